"""What the versions of a `hardened` table have in common, so that a row is released once.

A row that is encoded, rounded, noised and blinded as in the version before comes out as the same
bytes, and tells the cloud nothing that it did not have. Were anything of it chosen anew, each
version would be one more look at every record, and few of them give nearly all cells.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import msgspec
import numpy as np

from ompd.arrays import F64, I64, Form, pack, unpack
from ompd.blind import HardenedKey, LaplaceNoise
from ompd.confidential import Confidential
from ompd.encode import CoarseEncoder, EvidenceEncoder, Filling
from ompd.errors import OmpdError, ParameterError, StoreError
from ompd.roles.encoders import (
    StoredEncoder,
    StoredFilling,
    restored_encoder,
    restored_filling,
    stored_encoder,
    stored_filling,
)
from ompd.schema import Schema

_FORM = Form("frozen", 3)
#: Of a record's name; short, so that a row and its name fill one block of the noise's hash.
_NAME_BYTES = 16


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The bytes' content."""

    method: str
    filling: StoredFilling
    encoder: StoredEncoder
    step: int
    key: bytes
    k: int
    epsilon: str | None
    unit: str | None
    noise_key: bytes
    learned: dict[str, bytes]

    def __repr__(self) -> str:
        return "<_Stored>"


@dataclass(frozen=True, slots=True, repr=False)
class Frozen(Confidential):
    """Choices that a table keeps from version to version.

    Parameters
    ----------
    method : {"relief-mw", "evidence"}
    filling : Filling
        What stands for missing values.
    encoder : CoarseEncoder
        Weights, or what was learned, and the step.
    key : HardenedKey
    k : int
        Of the last version.
    epsilon : float or Fraction, optional
        As the hospital was told, per median distance.
    unit : Fraction, optional
        The same per unit of distance, by the median of the table that was trained on.
    noise_key : bytes
        Empty without noise.
    learned : mapping of record name to bytes
        Coarse vectors of records that the encoder learned from or met: their own labels had no
        part in them, which `encode` cannot repeat. Empty for the method that has no such vectors.
    """

    method: str
    filling: Filling
    encoder: CoarseEncoder
    key: HardenedKey
    k: int
    epsilon: float | Fraction | None
    unit: Fraction | None
    noise_key: bytes
    learned: Mapping[str, bytes]

    @property
    def noise(self) -> LaplaceNoise | None:
        """What makes rows and queries noisy, if anything."""
        return None if self.unit is None else LaplaceNoise(self.noise_key, self.unit)

    def check(self, schema: Schema, method: str, epsilon: float | None) -> None:
        """Refuse a version that cannot be made with these choices.

        Raises
        ------
        ParameterError
        """
        for name, wanted, found in (
            ("instances", self.filling.schema, schema),
            ("method", self.method, method),
            ("epsilon", self.epsilon, epsilon),
        ):
            if wanted != found:
                what = "schema" if name == "instances" else name
                raise ParameterError(
                    f"{name}: expected the {what} of the version before; retrain=True makes a "
                    "version of its own, which is one more release of every record"
                )

    def vectors(self, names: Sequence[str], features: F64) -> I64:
        """Return the coarse vectors of records, those of known records as they were.

        Parameters
        ----------
        names : sequence of str
        features : float64 array of shape (N, n)
            NaN stands for a missing value.

        Returns
        -------
        int64 array of shape (N, coordinates)
        """
        filled, _ = self.filling.fill(features)
        vectors = np.array(self.encoder.encode(filled), dtype=np.int64)
        for row, name in enumerate(names):
            if (kept := self.learned.get(name)) is not None:
                vectors[row] = np.frombuffer(kept, dtype="<i8")
        return vectors

    def released(self, k: int, names: Sequence[str], vectors: I64) -> Frozen:
        """Return the choices for the version after one of these records and this K."""
        if not isinstance(self.encoder.base, EvidenceEncoder):
            return replace(self, k=k)
        rows = [row.astype("<i8").tobytes() for row in vectors]
        return replace(self, k=k, learned={**self.learned, **dict(zip(names, rows, strict=True))})

    def to_bytes(self) -> bytes:
        """Return everything for storage; it is as secret as the records."""
        packed = pack(
            _FORM,
            _Stored(
                method=self.method,
                filling=stored_filling(self.filling),
                encoder=stored_encoder(self.encoder.base),
                step=self.encoder.step,
                key=self.key.to_bytes(),
                k=self.k,
                epsilon=None if self.epsilon is None else str(Fraction(self.epsilon)),
                unit=None if self.unit is None else str(self.unit),
                noise_key=self.noise_key,
                learned=dict(self.learned),
            ),
        )
        return b"".join(packed.parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Frozen:
        """Restore what `to_bytes` returned.

        Raises
        ------
        StoreError
            If the bytes are damaged or foreign.
        VersionError
            If they are of another version.
        """
        kept = unpack(data, _FORM, _Stored, name="frozen", error=StoreError).content
        try:
            encoder = CoarseEncoder(restored_encoder(kept.encoder), kept.step)
            frozen = cls(
                method=kept.method,
                filling=restored_filling(kept.filling, encoder),
                encoder=encoder,
                key=HardenedKey.from_bytes(kept.key),
                k=kept.k,
                epsilon=None if kept.epsilon is None else Fraction(kept.epsilon),
                unit=None if kept.unit is None else Fraction(kept.unit),
                noise_key=kept.noise_key,
                learned=kept.learned,
            )
        except (OmpdError, ValueError):
            frozen = None
        if frozen is None:
            raise StoreError("frozen: is damaged")
        return frozen


def noise_key_of(filling: Filling, encoder: CoarseEncoder, secret: bytes) -> bytes:
    """Derive the key of the noise on what filling and encoder make, another one for every pair.

    A vector that two encoders make of a record is two releases. Under one key both would have the
    same noise, so the cloud would see that they are equal, and nobody would be charged for it.

    Parameters
    ----------
    filling : Filling
    encoder : CoarseEncoder
    secret : bytes
        32 bytes, for nothing else.
    """
    made_by = msgspec.msgpack.encode(
        (stored_filling(filling), stored_encoder(encoder.base), encoder.step)
    )
    return hmac.digest(secret, made_by, "sha256")


@dataclass(frozen=True, slots=True, repr=False)
class Release:
    """What a version of a `hardened` table tells the cloud about its records.

    Attributes
    ----------
    frozen : Frozen
        For the next version.
    charges : list of (record, digest)
        Whom each row's noise is about, and what names it; empty without noise.
    names : list of str, optional
        Of all records, where what is made of one depends on its name.
    """

    frozen: Frozen
    charges: list[tuple[str, bytes]]
    names: list[str] | None


def record_names(
    schema: Schema, features: F64, labels: I64, taken: Container[str] = ()
) -> list[str]:
    """Name records by what they say, so that they are known again in another version.

    Parameters
    ----------
    schema : Schema
    features : float64 array of shape (N, n)
        NaN stands for a missing value: what fills it may change with the training.
    labels : int64 array of shape (N,)
    taken : container of str
        Names that others have.

    Returns
    -------
    list of str
        All different: of equal records of one class, the name counts those before.
    """
    classes = [name.encode() for name in schema.classes]
    # Adding 0.0 makes one zero of the two that there are.
    values = np.ascontiguousarray(features + 0.0, dtype="<f8")
    # Likewise one of the many numbers that are none.
    values[np.isnan(values)] = np.nan
    seen: Counter[bytes] = Counter()
    names = []
    for row, code in zip(values, labels.tolist(), strict=True):
        record = row.tobytes() + classes[code]
        name = ""
        while not name or name in taken:
            count = seen[record]
            seen[record] += 1
            content = len(row).to_bytes(8, "little") + count.to_bytes(8, "little") + record
            name = hashlib.blake2b(content, digest_size=_NAME_BYTES).hexdigest()
        names.append(name)
    return names
