"""Offsets that are drawn again from a key, and the type they are written in."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ompd.crypto.streams import BlockStream
from ompd.errors import KeyMaterialError
from ompd.sealed import Layout, SealedTable, answer, check_request
from ompd.sealed.offsets import blocks, drawn_offsets, random_offsets
from tests.sealed.conftest import assert_exact, clustered, find, naive

KEY = bytes(range(32))
NARROW = Layout(256 * 17, 64, 17, 256, 2, 1)
WIDE = Layout(512 * 9, 64, 9, 512, 2, 1)


def test_blocks_are_counter_mode():
    """Block n is what counter mode has at n, but that its counter is little-endian."""
    numbers = [0, 1, 255, 1 << 40, 7, 7]
    drawn = blocks(BlockStream(KEY), np.array(numbers))
    for number, block in zip(numbers, drawn, strict=True):
        counter = Cipher(algorithms.AES(KEY), modes.CTR(number.to_bytes(16, "little")))
        assert counter.encryptor().update(bytes(16)) == block.tobytes()


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"0", bytearray(KEY)])
def test_keys_have_32_bytes(key):
    with pytest.raises(KeyMaterialError):
        BlockStream(key)


@pytest.mark.parametrize("layout", [NARROW, WIDE])
def test_offsets_are_drawn_again_in_any_order(layout):
    stream = BlockStream(KEY)
    every = drawn_offsets(stream, np.arange(40), layout)
    assert every.shape == (40, layout.chunks)
    assert every.dtype == layout.offset_type
    assert len(np.unique(every, axis=0)) == 40
    picked = np.array([39, 3, 3, 17])
    assert (drawn_offsets(BlockStream(KEY), picked, layout) == every[picked]).all()
    assert (drawn_offsets(BlockStream(KEY[::-1]), picked, layout) != every[picked]).any()


@pytest.mark.parametrize("layout", [NARROW, WIDE])
@pytest.mark.parametrize("drawn", ["random", "again"])
def test_every_offset_of_a_chunk_is_as_frequent(layout, drawn):
    if drawn == "random":
        offsets = random_offsets(3000, layout)
    else:
        offsets = drawn_offsets(BlockStream(KEY), np.arange(3000), layout)
    counts = np.bincount(offsets.reshape(-1), minlength=layout.chunk)
    assert len(counts) == layout.chunk
    mean = offsets.size / layout.chunk
    # Six standard deviations of a chi-square sum.
    assert ((counts - mean) ** 2 / mean).sum() < layout.chunk + 6 * (2 * layout.chunk) ** 0.5


def test_large_chunks_have_offsets_of_two_bytes(rng):
    vectors, labels = clustered(rng, 4000)
    layout = Layout(2048, 64, 4, 512, 24, 20)
    table, ciphertexts = SealedTable.build(vectors, labels, 3, 5, layout=layout)
    request, _ = table.ask(vectors[:1])
    assert len(request) == layout.request_bytes == 2 * 24 * 4
    assert check_request(layout, request) == 1
    assert len(answer(ciphertexts, layout, request)) == layout.answer_bytes
    exact = 0
    for row in range(0, 190, 10):
        found = find(table, ciphertexts, vectors[row : row + 1])
        if found.certified[0]:
            assert_exact(found, 0, naive(vectors, labels, vectors[row], 5))
            exact += 1
    assert exact >= 15
