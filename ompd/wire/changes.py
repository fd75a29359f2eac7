"""What a hospital says to a cloud when a table changes or ends, before encryption."""

from __future__ import annotations

from ompd.wire.fields import Body, Count, TableId, Unsigned63


class _Change(Body, frozen=True):
    """Hospital to cloud: rows of a table that go, change their class, or come.

    Parameters
    ----------
    table_id : bytes
    version : int
        That the change makes, above `base`.
    base : int
        That it is made of: the newest at the cloud.
    rows : int
        Rows of the base, removed ones included; the added ones are numbered from here on.
    removed : bytes
        Little-endian uint32 row numbers, rising.
    relabelled : bytes
        Likewise, of rows that stay.
    codes : bytes
        Their classes, one little-endian uint16 each.
    labels : bytes
        Classes of the added rows, likewise.
    values : bytes
        Of the added rows, as in the upload of such a table.
    """

    table_id: TableId
    version: Unsigned63
    base: Unsigned63
    rows: Count
    removed: bytes
    relabelled: bytes
    codes: bytes
    labels: bytes
    values: bytes


class PaperChange(_Change, frozen=True):
    """A change of a blinded table."""


class HardenedChange(_Change, frozen=True):
    """A change of a table on the ring."""


class Withdrawal(Body, frozen=True):
    """Hospital to cloud: a table ends, in all its versions.

    Parameters
    ----------
    table_id : bytes
    version : int
        Above all that were uploaded: nothing below it comes after it.
    """

    table_id: TableId
    version: Unsigned63
