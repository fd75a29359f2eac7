"""Packed files that no writer of this library makes, although every digest fits."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from ompd import arrays
from ompd.arrays import Form, unpack
from ompd.errors import TableError

FORM = Form("test", 1)


def packed(dtype, shape):
    """A file with one array of no bytes."""
    entry = arrays._Entry("a", dtype, shape, hashlib.sha256(b"").digest())
    header = msgspec.msgpack.encode(
        arrays._Header(*FORM, msgspec.Raw(msgspec.msgpack.encode(0)), (entry,))
    )
    head = arrays._PREFIX.pack(arrays._MAGIC, arrays._LAYOUT, len(header)) + header
    size = len(head) + arrays._DIGEST
    return head + hashlib.sha256(head).digest() + bytes(-size % arrays.LINE)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("<f1", (0,)),
        ("|b8", (0,)),
        ("<M8", (0,)),
        ("|O8", (0,)),
        ("<i8", (-1,)),
        ("<i8", (0, 1 << 62)),
        ("<i8", (0, 1 << 40, 1 << 40)),
        ("<i8", (0,) * 70),
    ],
)
def test_types_and_shapes_that_numpy_does_not_have_are_refused(dtype, shape):
    with pytest.raises(TableError, match="expected arrays of numbers"):
        unpack(packed(dtype, shape), FORM, int, name="file", error=TableError)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 1 << 40)])
def test_arrays_without_elements_keep_their_shape(shape):
    found = unpack(packed("<u8", shape), FORM, int, name="file", error=TableError)
    assert found.arrays["a"].shape == shape
