"""The cloud's side of a ``sealed`` table.

On disk it is a folder with ``buckets``, which is mapped, and ``index``: layout and digests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np

from ompd.arrays import U8, U16, Form, block_digests, map_values, pack, unpack
from ompd.errors import FramingError, ParameterError, TableError, TooLargeError
from ompd.files import make_folder, refusing, take_over, write_private
from ompd.sealed.layout import Layout
from ompd.sealed.server import answer, check_layout, check_request
from ompd.search.verdicts import Ballots
from ompd.stores.tables.blinded import check_extent
from ompd.stores.tables.contract import Job, Piece, Upload
from ompd.stores.tables.limb_index import INDEX
from ompd.wire import Kind, SealedAnswer, SealedJob, SealedUpload, content_cap, sums_cap

_FORM = Form("buckets", 1)


class _Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    layout: dict[str, int]
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, repr=False)
class SealedStored:
    """Encrypted buckets."""

    layout: Layout
    buckets: U8

    upload: ClassVar[type[Upload]] = SealedUpload
    job: ClassVar[type[Job]] = SealedJob

    @classmethod
    def piece(cls, body: SealedUpload) -> Piece:
        """Check layout and buckets of a body.

        Raises
        ------
        ParameterError, FramingError, TooLargeError
        """
        layout = _layout(body)
        # Both can be asked for, and come in one frame.
        if layout.answer_bytes > sums_cap(layout.table_bytes):
            raise TooLargeError("layout: one answer would be above the cap of this table")
        if layout.table_bytes > content_cap(Kind.SEALED_ANSWER):
            raise TooLargeError("layout: the table would be above the cap of an answer")
        piece = Piece(body.rows, body.first, body.bucket_bytes, body.buckets, b"")
        check_extent(piece)
        return piece

    @classmethod
    def of(cls, body: SealedUpload, values: U8, labels: U16, ballots: Ballots) -> SealedStored:
        """Keep buckets."""
        layout = _layout(body)
        check_layout(layout, len(values))
        return cls(layout, values)

    @property
    def rows(self) -> int:
        """Buckets."""
        return self.layout.buckets

    @property
    def k(self) -> int:
        """The hospital counts votes itself."""
        return 0

    def prepare(self, body: SealedJob) -> Callable[[], SealedAnswer]:
        """Check a request, and return what answers it."""
        if body.whole:
            if body.request:
                raise FramingError("request: expected none with the whole table")
            return lambda: SealedAnswer(body.table_id, body.version, self.buckets.tobytes())
        queries = check_request(self.layout, body.request)
        if queries * self.layout.answer_bytes > sums_cap(self.layout.table_bytes):
            raise TooLargeError("request: its answer would be above the cap of this table")

        def combine() -> SealedAnswer:
            sums = answer(self.buckets, self.layout, body.request)
            return SealedAnswer(body.table_id, body.version, sums)

        return combine

    def save(self, folder: Path, values: Path) -> SealedStored:
        """Write the table to a new folder, of which the values become a part."""
        with refusing(TableError, "path"):
            make_folder(folder)
            take_over(values, folder / "buckets")
        buckets = _map(folder, self.layout)
        with refusing(TableError, "index"):
            packed = pack(_FORM, _Head(asdict(self.layout), block_digests(buckets)))
            write_private(folder / INDEX, packed.parts)
        return replace(self, buckets=buckets)

    @classmethod
    def open(
        cls, folder: Path, ballots: Ballots, *, index: str, verify: bool, mend: bool = True
    ) -> SealedStored:
        """Map what `save` wrote."""
        with refusing(TableError, "index"):
            data = (folder / index).read_bytes()
        head = unpack(data, _FORM, _Head, name="index", error=TableError).content
        try:
            layout = Layout(**head.layout)
        except (ParameterError, TypeError):
            raise TableError("index: is not that of a sealed table") from None
        buckets = _map(folder, layout)
        if verify and block_digests(buckets) != head.blocks:
            raise TableError("buckets: a block differs from its digest")
        return cls(layout, buckets)


def _layout(body: SealedUpload) -> Layout:
    return Layout(
        buckets=body.rows,
        bucket_bytes=body.bucket_bytes,
        chunks=body.chunks,
        chunk=body.chunk,
        fetches=body.fetches,
        # The hospital's own affair; only that there are windows shows in `fetches`.
        window=int(body.fetches > 0),
    )


def _shape(layout: Layout) -> tuple[int, int]:
    return layout.buckets, layout.bucket_bytes


def _map(folder: Path, layout: Layout) -> U8:
    file = folder / "buckets"
    return map_values(file, _shape(layout), np.uint8, name="buckets", error=TableError)
