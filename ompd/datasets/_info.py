"""What is known about the origin of a table."""

from __future__ import annotations

import msgspec

from ompd.schema import Schema, TableForm


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One difference between a table and its published source.

    Parameters
    ----------
    reason : str
        What differs and why, in a sentence.
    row : int, optional
        Index into `Dataset.features`, from 0. Present only if one cell was corrected, as are the
        next three.
    feature : str, optional
        Column of the corrected cell.
    was, now : float, optional
        The published value, and the one that replaces it at load.
    """

    reason: str
    row: int | None = None
    feature: str | None = None
    was: float | None = None
    now: float | None = None


class DatasetInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Origin, terms and size of a data set.

    Parameters
    ----------
    name : str
        What `load` takes; for a file its name without suffix.
    title : str
        Name for people.
    schema : Schema
        Features with their domains, and classes; without `table`.
    rows : int
        Number of instances.
    class_rows : tuple of int
        Number of instances of each class, in the order of ``schema.classes``.
    sha256 : str
        Checksum of the CSV file in hexadecimal; empty for values from memory.
    disease : str
        Name under which a hospital can register the table.
    source, url, doi, citation, licence : str
        Where the data come from, how to cite them, and on what terms they may be used. Empty for
        a hospital's own file.
    changes : tuple of Change
        Every difference from the published source.
    form : TableForm, optional
        How the file or frame was written that the table was read from.
    """

    name: str
    title: str
    schema: Schema
    rows: int
    class_rows: tuple[int, ...]
    sha256: str
    disease: str = ""
    source: str = ""
    url: str = ""
    doi: str = ""
    citation: str = ""
    licence: str = ""
    changes: tuple[Change, ...] = ()
    form: TableForm | None = None
