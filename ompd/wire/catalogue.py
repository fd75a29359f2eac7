"""What a hospital tells everybody: which diseases it can be asked about, and how.

    [label, hospital, made at, valid until, content] + 96-byte signature

The content is a list of `Entry`. It is decoded once the signature was verified, so that the head is
all that a stranger can have parsed.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec

from ompd.errors import FramingError, NonCanonicalError, SchemaError, TooLargeError
from ompd.params import MAX_CLASSES, MAX_TEXT, Method, Profile
from ompd.schema import Bins, Feature, Kind, Missing, Schema
from ompd.schema.features import MAX_LEVELS
from ompd.wire.canonical import decode, encode
from ompd.wire.fields import MAX_COORDINATES, MAX_K, Batch, PartyId, Text
from ompd.wire.fields import Form as FormId
from ompd.wire.frames import SIGNATURE_BYTES

#: Longest catalogue, in bytes.
MAX_CATALOGUE_BYTES = 8 << 20
#: Longest line about a feature, in characters.
MAX_ABOUT = 1000
#: Longest validity, in milliseconds.
LONGEST_VALIDITY = 90 * 86_400_000

# Keep what is signed and what is hashed from being anything else.
_LABEL = b"ompd/catalogue/3\x00"
_FORM_LABEL = b"ompd/schema-form/1\x00"

_Moment = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Optional = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]


class _Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A part of a catalogue."""


class Column(_Record, frozen=True):
    """A feature, as `ompd.schema.Feature` has it."""

    name: Text
    kind: Kind
    low: float
    high: float
    unit: _Optional
    about: Annotated[str, msgspec.Meta(max_length=MAX_ABOUT)]
    levels: Annotated[tuple[_Optional, ...], msgspec.Meta(max_length=MAX_LEVELS)]
    since: Annotated[str, msgspec.Meta(max_length=10)]
    missing: Missing
    code: _Optional


class BlindCells(_Record, frozen=True):
    """What a user needs to ask a blind model.

    Parameters
    ----------
    edition : bytes
        Which model this is.
    cuts : tuple of tuple of float
        Borders between the cells of every feature; see `ompd.schema.Bins`.
    bits : int
        Scores come in nats times 2**bits.
    answers : int
        Rows that one user is told of this model.
    """

    edition: FormId
    cuts: Annotated[tuple[tuple[float, ...], ...], msgspec.Meta(max_length=MAX_COORDINATES)]
    bits: Annotated[int, msgspec.Meta(ge=0, le=16)]
    answers: Annotated[int, msgspec.Meta(ge=1, le=2**32)]


class Entry(_Record, frozen=True):
    """A disease that can be asked about.

    Parameters
    ----------
    disease : str
    columns : tuple of Column
    classes : tuple of str
    profile : {"blind", "sealed", "hardened", "paper"}
    method : {"relief-mw", "evidence"}
    k : int
        Number of neighbours that vote; 0 in the profile `blind`, where none do.
    most_rows : int
        Most rows of one query.
    epsilon : float or None
        What one row of a query costs its patient, if noise is added to it.
    blind : BlindCells or None
        In the profile `blind`, and in no other.
    """

    disease: Text
    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1, max_length=MAX_COORDINATES)]
    classes: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=MAX_CLASSES)]
    profile: Profile
    method: Method
    k: Annotated[int, msgspec.Meta(ge=0, le=MAX_K)]
    most_rows: Batch
    epsilon: Annotated[float, msgspec.Meta(gt=0, le=sys.float_info.max)] | None
    blind: BlindCells | None

    @classmethod
    def of(
        cls,
        disease: str,
        schema: Schema,
        *,
        profile: Profile,
        method: Method,
        k: int,
        most_rows: int,
        epsilon: float | None,
        blind: BlindCells | None = None,
    ) -> Entry:
        """Describe a table.

        Raises
        ------
        SchemaError
            If a text of the schema, or the disease's name, cannot be shown to everybody.
        """
        return cls(
            _shown(disease, "disease", MAX_TEXT),
            _columns(schema),
            _classes(schema),
            profile, method, k, most_rows, None if epsilon is None else float(epsilon), blind,
        )  # fmt: skip

    @property
    def schema(self) -> Schema:
        """Features and classes.

        Raises
        ------
        SchemaError
            If they contradict one another.
        """
        features = (
            Feature(
                each.name, each.kind, each.low, each.high, about=each.about, unit=each.unit,
                missing=each.missing, levels=each.levels, since=each.since, code=each.code,
            )
            for each in self.columns
        )  # fmt: skip
        return Schema(tuple(features), self.classes)

    @property
    def bins(self) -> Bins | None:
        """Cells of a blind model.

        Raises
        ------
        FramingError
            If a table of neighbours has cells, or a blind model none.
        SchemaError
            If they do not fit the features.
        """
        if (self.profile == "blind") != (self.blind is not None) or (self.k == 0) != bool(
            self.blind
        ):
            raise FramingError("catalogue: expected cells of blind models and of no others")
        return None if self.blind is None else Bins(self.schema, self.blind.cuts)


class _Head(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    forbid_unknown_fields=True,
    tag="ompd-catalogue-3",
):
    hospital: PartyId
    made_at: _Moment
    valid_until: _Moment
    content: bytes


_HEADS = msgspec.msgpack.Decoder(_Head)
_ENTRIES = msgspec.msgpack.Decoder(tuple[Entry, ...])


@dataclass(frozen=True, slots=True)
class CatalogueFrame:
    """A catalogue whose head was read; nothing in it is trusted before its signature is verified.

    Attributes
    ----------
    hospital : str
    made_at, valid_until : int
        Milliseconds since the epoch.
    signed_message, signature : bytes
    """

    hospital: str
    made_at: int
    valid_until: int
    signed_message: bytes
    signature: bytes
    _content: bytes

    @classmethod
    def decode(cls, data: bytes) -> CatalogueFrame:
        """Read the head.

        Raises
        ------
        TooLargeError
            If there are more than `MAX_CATALOGUE_BYTES`.
        FramingError, NonCanonicalError
            If it is not one complete canonical catalogue, or valid for more than 90 days.
        """
        if type(data) is not bytes:
            raise FramingError(f"catalogue: expected bytes, got {type(data).__name__}")
        check_catalogue_size(len(data))
        signed = data[:-SIGNATURE_BYTES]
        head = decode(_HEADS, signed)
        if not 0 < head.valid_until - head.made_at <= LONGEST_VALIDITY:
            raise FramingError("catalogue: expected a validity of up to 90 days")
        return cls(
            head.hospital, head.made_at, head.valid_until, _LABEL + signed,
            data[-SIGNATURE_BYTES:], head.content,
        )  # fmt: skip

    def entries(self) -> tuple[Entry, ...]:
        """Read the content, once the signature was verified.

        Raises
        ------
        FramingError, NonCanonicalError
            If it is no list of entries, or diseases are not in the order of their names, each once.
        SchemaError
            If a text cannot be shown, or the cells of a blind model do not fit its features.
        """
        entries: tuple[Entry, ...] = decode(_ENTRIES, self._content)
        names = [entry.disease for entry in entries]
        if any(name >= following for name, following in itertools.pairwise(names)):
            raise FramingError("catalogue: expected diseases in the order of their names")
        for entry in entries:
            _ = entry.bins
            again = Entry.of(
                entry.disease, entry.schema, profile=entry.profile, method=entry.method, k=entry.k,
                most_rows=entry.most_rows, epsilon=entry.epsilon, blind=entry.blind,
            )  # fmt: skip
            if again != entry:
                raise NonCanonicalError("catalogue: expected texts in Unicode's NFC")
        return entries


def encode_catalogue(
    hospital: str, made_at: int, valid_until: int, entries: list[Entry]
) -> tuple[bytes, bytes]:
    """Return a catalogue without its signature, and the message that the signature covers."""
    ordered = sorted(entries, key=lambda entry: entry.disease)
    signed = encode(_Head(hospital, made_at, valid_until, encode(ordered)))
    return signed, _LABEL + signed


def check_catalogue_size(size: int) -> None:
    """Refuse a catalogue above the cap.

    Raises
    ------
    TooLargeError
    """
    if size > MAX_CATALOGUE_BYTES:
        raise TooLargeError(f"catalogue: expected at most {MAX_CATALOGUE_BYTES} bytes, got {size}")


@lru_cache(maxsize=256)
def form_of(schema: Schema) -> bytes:
    """Return 16 bytes that differ between schemas by which the same numbers mean different things.

    What is written about a feature, where records have it, and how files write the table, play no
    part.

    Raises
    ------
    SchemaError
        If a text of the schema cannot be shown to everybody: it is too long, has characters that
        do not print, or two of them are the same in Unicode's NFC.
    """
    columns = [
        msgspec.structs.astuple(msgspec.structs.replace(each, about=""))[:-1]
        for each in _columns(schema)
    ]
    content = encode((columns, _classes(schema)))
    return hashlib.sha256(_FORM_LABEL + content).digest()[:16]


def check_listable(disease: str, schema: Schema) -> None:
    """Refuse what could not stand in a catalogue.

    Raises
    ------
    SchemaError
    """
    _shown(disease, "disease", MAX_TEXT)
    form_of(schema)


def _columns(schema: Schema) -> tuple[Column, ...]:
    columns = tuple(
        Column(
            _shown(feature.name, f"feature {place}: name", MAX_TEXT),
            feature.kind,
            # -0.0 is 0.0, as everywhere else where domains are compared.
            float(feature.low) + 0.0,
            float(feature.high) + 0.0,
            _shown(feature.unit, f"feature {place}: unit", MAX_TEXT, least=0),
            _shown(feature.about, f"feature {place}: about", MAX_ABOUT, least=0),
            _all_shown(feature.levels, f"feature {place}: levels", least=0),
            feature.since,
            feature.missing,
            _shown(feature.code, f"feature {place}: code", MAX_TEXT, least=0),
        )
        for place, feature in enumerate(schema.features)
    )
    if len({column.name for column in columns}) < len(columns):
        raise SchemaError("features: expected names that differ in Unicode's NFC")
    return columns


def _classes(schema: Schema) -> tuple[str, ...]:
    return _all_shown(schema.classes, "classes", least=1)


def _all_shown(texts: tuple[str, ...], where: str, *, least: int) -> tuple[str, ...]:
    shown = tuple(_shown(text, where, MAX_TEXT, least=least) for text in texts)
    if len(set(shown)) < len(shown):
        raise SchemaError(f"{where}: expected texts that differ in Unicode's NFC")
    return shown


def _shown(text: str, where: str, most: int, *, least: int = 1) -> str:
    """Return a text in the one form in which it is compared, if it can be shown on any screen."""
    shown = unicodedata.normalize("NFC", text)
    if not least <= len(shown) <= most:
        raise SchemaError(f"{where}: expected {least} to {most} characters")
    if not shown.isprintable() and not all(map(_prints, shown)):
        raise SchemaError(
            f"{where}: has a line break, a control or another character that does not print"
        )
    return shown


def _prints(character: str) -> bool:
    # Persian and Indian writing needs the two joiners, and spreadsheets like other blanks. What
    # turns the direction of writing could show one name as another.
    return (
        character.isprintable()
        or unicodedata.category(character) == "Zs"
        or character in "\u200c\u200d"
    )
