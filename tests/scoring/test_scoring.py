"""Scores under encryption: exact for honest queries, uniform for others, typed errors for junk."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from ompd.aggregate import Evaluator, encrypt, encrypt_secretly, residues
from ompd.aggregate import SecretKey as AggregateSecretKey
from ompd.errors import (
    ContextMismatchError,
    FrameError,
    FramingError,
    KeyMaterialError,
    OmpdError,
    RangeError,
    VersionError,
)
from ompd.params import AGGREGATE_SETS, SCORING, STANDARD_BITS
from ompd.scoring import FLOOD_BITS, Layout, PublicKey, Query, SecretKey, reply
from ompd.scoring.replies import opened, reply_bytes, shortened
from tests.scoring.test_masks import MALFORMED, SMALL, WEIGHTS, T, asked, surprise


@pytest.fixture(scope="module")
def key():
    return SecretKey.generate()


@pytest.fixture(scope="module")
def public(key):
    return PublicKey.from_bytes(key.public)


def scored(key, public, sealed, layout=SMALL, weights=WEIGHTS, rows=SMALL.most_rows):
    query = Query.from_bytes(sealed, public)
    return key.open(reply(public, query, layout, weights, rows), layout, rows)


def sealed_as_new(key, values):
    """Any slots in a ciphertext that says what a new one says."""
    sealed = encrypt_secretly(key._key, values, bound=T // 2)
    sealed.bound = 1
    return sealed.to_bytes()


@pytest.mark.parametrize(("cells", "scores"), [((10,) * 9, 1), ((2, 7, 1, 4), 3), ((8192,), 1)])
def test_scores_are_exact(key, public, rng, cells, scores):
    layout = Layout(cells, scores)
    most = T // 2 // len(cells)
    weights = rng.integers(-most, most + 1, (scores, layout.width))
    weights[0, 0], weights[-1, -1] = -most, most
    rows = min(layout.most_rows, 80)
    places = layout.starts + rng.integers(0, 1 << 30, (rows, len(cells))) % np.array(cells)
    found = scored(key, public, key.seal(layout.indicators(places)), layout, weights, rows)
    assert found.tolist() == weights[:, places].sum(axis=2).T.tolist()


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_queries_get_uniform_scores(key, public, kind):
    slots = asked(MALFORMED[kind])
    sealed = sealed_as_new(key, np.where(slots > T // 2, slots - T, slots))
    assert surprise((scored(key, public, sealed) % T).ravel()) > 1e-9


def test_altered_ciphertexts_get_uniform_scores(key, public):
    sealed = bytearray(key.seal(asked([1, 0, 0, 1, 0])))
    sealed[1000] ^= 4
    assert surprise((scored(key, public, bytes(sealed)) % T).ravel()) > 1e-9


def test_a_short_reply_says_what_the_whole_ciphertext_does(key, public, rng):
    evaluator = Evaluator(public.key)
    values = rng.integers(-(T // 2), T // 2 + 1, SCORING.degree)
    sealed = encrypt_secretly(key._key, values, bound=T // 2)
    noisy = evaluator.multiply_plain(
        evaluator.multiply(sealed, sealed), rng.integers(0, T, SCORING.degree), bound=T - 1
    )
    for each in (sealed, noisy):
        finished = evaluator.finish(each, flood=FLOOD_BITS)
        found = residues(key._key, finished)
        values = np.where(2 * found > T, found - T, found)
        whole = key._key.context.packer.pack(values).astype(np.int64)
        # Of one cell, and so as many rows as there are slots: all coefficients.
        for cells, rows in ((1, SCORING.degree), (1, 100), (90, 5), (90, 1)):
            layout = Layout((cells,), 1)
            part = opened(key._key, shortened(finished, layout, rows), layout, rows)
            assert (part == whole[:: layout.block(rows)] % T).all()


@pytest.mark.parametrize(("rows", "numbers"), [(1, 1), (2, 2), (3, 4), (9, 16)])
def test_replies_have_as_many_numbers_as_scores(key, public, rows, numbers):
    """A query of another form than agreed can get no more than these, of 30 bits each."""
    for slots in (SMALL.indicators(np.array([[0, 3]] * rows)), asked([1, 1, 1, 1, 2])):
        query = Query.from_bytes(sealed_as_new(key, slots), public)
        data = reply(public, query, SMALL, WEIGHTS, rows)
        end = 1 + 30 * SCORING.degree // 8 + 4 * numbers
        assert any(data[end - 4 * numbers : end])
        assert not any(data[end:])


def test_parameters_have_room_for_the_flood(public):
    """What a new query's header says, through the circuit, and the flood on top of it."""
    noise = public.key.context.noise
    new = noise.fresh(1, SCORING.degree, secretly=True)
    product = noise.relinearised(noise.multiplied(new, new, 3), 3) + noise.plain(T, SCORING.degree)
    assert noise.opens(noise.flooded(product, noise.flood_bits(product, FLOOD_BITS)), 3)
    assert SCORING.modulus_bits <= STANDARD_BITS[SCORING.degree]
    assert all(prime % T == 1 for prime in SCORING.primes)


def test_both_ways_take_less_than_200_kilobytes(key):
    sealed = key.seal(SMALL.indicators(SMALL.starts[None]))
    assert len(sealed) + reply_bytes(SMALL) < 200_000
    assert len(key.public) < 1 << 20


def test_queries_that_claim_to_be_anything_but_new_are_refused(key, public):
    """Or else the reply's noise would not be hidden by as many bits as is said."""
    slots = np.zeros(SCORING.degree, np.int64)
    new = encrypt_secretly(key._key, slots, bound=1)
    for name, value in (
        ("noise", new.noise - 1), ("noise", new.noise + 1), ("depth", 1), ("bound", 2),
        ("length", 1),
    ):  # fmt: skip
        other = encrypt_secretly(key._key, slots, bound=1)
        setattr(other, name, value)
        with pytest.raises(RangeError, match="new"):
            Query.from_bytes(other.to_bytes(), public)
    for other in (Evaluator(public.key).finish(new), encrypt(public.key, slots, bound=1)):
        with pytest.raises(RangeError, match="new"):
            Query.from_bytes(other.to_bytes(), public)


def test_what_is_no_query_is_refused(key, public, rng):
    sealed = key.seal(np.zeros(SCORING.degree, np.int64))
    for junk in (b"", b"\x01", sealed[:-1], sealed + b"\0", "text", None):
        with pytest.raises(FramingError):
            Query.from_bytes(junk, public)
    with pytest.raises(ContextMismatchError):
        Query.from_bytes(sealed, PublicKey.from_bytes(SecretKey.generate().public))
    for _ in range(40):
        changed = bytearray(sealed)
        for place in rng.integers(0, 60, 2):
            changed[place] ^= 1 << int(rng.integers(0, 8))
        try:
            query = Query.from_bytes(bytes(changed), public)
        except FrameError:
            continue
        # What is still a ciphertext is one of garbage.
        assert len(reply(public, query, SMALL, WEIGHTS, 1)) == reply_bytes(SMALL)


def test_what_is_no_reply_is_refused(key):
    right = reply_bytes(SMALL)
    large = b"\x01" + bytes(right - 2) + b"\x40"
    for junk in (b"", bytes(right - 1), bytes(right + 1), large, "text", None):
        with pytest.raises(FramingError):
            key.open(junk, SMALL, 1)
    with pytest.raises(VersionError):
        key.open(b"\x02" + bytes(right - 1), SMALL, 1)
    more = bytearray(b"\x01" + bytes(right - 1))
    more[-1] = 1
    with pytest.raises(FramingError, match="zeros"):
        key.open(bytes(more), SMALL, 1)
    assert key.open(bytes(more), SMALL, SMALL.most_rows).shape == (SMALL.most_rows, 1)


def test_keys_are_stored_and_secret(key, public):
    again = SecretKey.from_bytes(key.to_bytes())
    assert again.key_id == key.key_id
    assert again.public == key.public
    query = Query.from_bytes(key.seal(SMALL.indicators(np.array([[0, 3]]))), public)
    assert again.open(reply(public, query, SMALL, WEIGHTS, 1), SMALL, 1).tolist() == [[7500]]
    assert repr(key) == "<SecretKey>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)
    for junk in (b"", b"\x01\x00", key.to_bytes()[:-1], key.public, None):
        with pytest.raises(OmpdError):
            SecretKey.from_bytes(junk)
    mixed = key.to_bytes()[:67] + SecretKey.generate().public
    with pytest.raises(KeyMaterialError):
        SecretKey.from_bytes(mixed)


def test_keys_of_other_parameters_are_refused():
    others = (each for each in AGGREGATE_SETS if each.packing == "slots" and each != SCORING)
    other = AggregateSecretKey.generate(next(others)).public.to_bytes()
    with pytest.raises(FramingError, match=SCORING.name):
        PublicKey.from_bytes(other)
