"""Batch verification: the verdicts are those of one at a time, whatever an attacker combines."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls import g2_primitives as plain
from py_ecc.optimized_bls12_381 import add, curve_order, field_modulus, multiply, neg

from ompd.crypto import SignatureBackend, backend, batch
from ompd.errors import OmpdError, ParameterError, PointError, SignatureError

Triple = tuple[Any, Any, Any]
NATIVE = backend("pyblst")


def on_g2(signature: bytes) -> Any:
    return plain.signature_to_G2(signature)


def shifted(signature: bytes, other: bytes, sign: int = 1) -> bytes:
    point = on_g2(other)
    return bytes(plain.G2_to_signature(add(on_g2(signature), point if sign > 0 else neg(point))))


@cache
def good(place: int, keys: int) -> Triple:
    secret = 7 + place % keys
    message = b"message %d" % place
    return NATIVE.public_key(secret), message, NATIVE.sign(secret, message)


def g1(x: int, flags: int = 0x80) -> bytes:
    return (x | flags << 376).to_bytes(48, "big")


def g2(c1: int, c0: int, flags: int = 0x80) -> bytes:
    return g1(c1, flags) + c0.to_bytes(48, "big")


def flipped(encoded: bytes) -> bytes:
    return bytes([encoded[0] ^ 0x20]) + encoded[1:]


#: One way each to spoil a single item.
SPOILED: dict[str, Callable[[Triple], Triple]] = {
    "wrong message": lambda item: (item[0], item[1] + b"!", item[2]),
    "no message": lambda item: (item[0], b"", item[2]),
    "negated signature": lambda item: (item[0], item[1], flipped(item[2])),
    "negated key": lambda item: (flipped(item[0]), item[1], item[2]),
    "other key": lambda item: (NATIVE.public_key(99), item[1], item[2]),
    "signature at infinity": lambda item: (item[0], item[1], b"\xc0" + bytes(95)),
    "infinity with sign": lambda item: (item[0], item[1], b"\xe0" + bytes(95)),
    "infinity with low bit": lambda item: (item[0], item[1], b"\xc0" + bytes(94) + b"\1"),
    "infinity not compressed": lambda item: (item[0], item[1], b"\x40" + bytes(95)),
    "x equals the field": lambda item: (item[0], item[1], g2(field_modulus, 2)),
    "second x above the field": lambda item: (item[0], item[1], g2(0, field_modulus + 2)),
    "signature off the curve": lambda item: (item[0], item[1], g2(0, 1)),
    "signature off the subgroup": lambda item: (item[0], item[1], g2(0, 2)),
    "key at infinity": lambda item: (b"\xc0" + bytes(47), item[1], item[2]),
    "both at infinity": lambda item: (b"\xc0" + bytes(47), item[1], b"\xc0" + bytes(95)),
    "key at other infinity": lambda item: (b"\xc0" + bytes(46) + b"\1", item[1], item[2]),
    "key's x above the field": lambda item: (g1(field_modulus + 4), item[1], item[2]),
    "key off the curve": lambda item: (g1(1), item[1], item[2]),
    "key off the subgroup": lambda item: (g1(4), item[1], item[2]),
    "key of order three": lambda item: (g1(0), item[1], item[2]),
    "cut signature": lambda item: (item[0], item[1], item[2][:-1]),
    "cut key": lambda item: (item[0][:-1], item[1], item[2]),
    "message is text": lambda item: (item[0], "text", item[2]),
    "key is None": lambda item: (None, item[1], item[2]),
    "signature is a buffer": lambda item: (item[0], item[1], bytearray(item[2])),
}


def swap(items: list[Triple], i: int, j: int) -> None:
    items[i], items[j] = (*items[i][:2], items[j][2]), (*items[j][:2], items[i][2])


def cancel(items: list[Triple], i: int, j: int) -> None:
    """One signature too large by a point, the other too small by it: the plain sum is right."""
    by = NATIVE.sign(5, b"any point")
    items[i] = (*items[i][:2], shifted(items[i][2], by))
    items[j] = (*items[j][:2], shifted(items[j][2], by, -1))


def negate_both(items: list[Triple], i: int, j: int) -> None:
    """Good under the negated key: both ends turned round."""
    items[i] = (flipped(items[i][0]), items[i][1], flipped(items[i][2]))
    items[j] = (flipped(items[j][0]), items[j][1], items[j][2])


def contradict(items: list[Triple], i: int, j: int) -> None:
    """Key and negated key, one message: their plain pairings cancel, and so do two infinities."""
    items[j] = (flipped(items[i][0]), items[i][1], items[i][2])


def repeat(items: list[Triple], i: int, j: int) -> None:
    items[j] = items[i]


PAIRED: dict[str, Callable[[list[Triple], int, int], None]] = {
    "swap": swap,
    "cancel": cancel,
    "negate both": negate_both,
    "contradict": contradict,
    "repeat": repeat,
}


def one_by_one(scheme: SignatureBackend, items: Sequence[Triple]) -> list[OmpdError | None]:
    verdicts: list[OmpdError | None] = []
    for item in items:
        try:
            scheme.verify(*item)
        except OmpdError as error:
            verdicts.append(error)
        else:
            verdicts.append(None)
    return verdicts


def plainly(verdicts: Sequence[OmpdError | None]) -> list[tuple[type, str]]:
    return [(type(verdict), str(verdict)) for verdict in verdicts]


def assert_alike(scheme: SignatureBackend, items: Sequence[Triple]) -> None:
    verdicts = scheme.verify_many(items)
    assert plainly(verdicts) == plainly(one_by_one(scheme, items))
    for verdict in verdicts:
        if verdict is not None:
            assert verdict.__traceback__ is None
            assert verdict.__context__ is None
            assert isinstance(verdict, PointError | SignatureError | ParameterError)


@st.composite
def batches(draw: st.DrawFn, most: int) -> list[Triple]:
    size = draw(st.integers(1, most))
    keys = draw(st.sampled_from([1, 2, size]))
    items = [good(place, keys) for place in range(size)]
    places = st.integers(0, size - 1)
    for how, i, j in draw(
        st.lists(st.tuples(st.sampled_from(sorted(PAIRED)), places, places), max_size=2)
    ):
        if i != j:
            try:
                PAIRED[how](items, i, j)
            except ValueError:
                # A second change can cancel the first down to the point at infinity.
                continue
    for how, i in draw(st.lists(st.tuples(st.sampled_from(sorted(SPOILED)), places), max_size=4)):
        # Spoilt already: what follows needs bytes to work on.
        if type(items[i][0]) is bytes and type(items[i][2]) is bytes and type(items[i][1]) is bytes:
            items[i] = SPOILED[how](items[i])
    order = draw(st.randoms(use_true_random=False))
    order.shuffle(items)
    return items


@settings(max_examples=12)
@given(batches(most=70))
def test_verdicts_are_those_of_single_verification(items: list[Triple]) -> None:
    assert_alike(NATIVE, items)


@pytest.mark.long
@settings(max_examples=60)
@given(batches(most=70))
def test_verdicts_are_those_of_single_verification_many_times(items: list[Triple]) -> None:
    assert_alike(NATIVE, items)


@pytest.mark.long
@settings(max_examples=4)
@given(batches(most=4))
def test_backends_agree(both: tuple[SignatureBackend, SignatureBackend], items: list[Any]) -> None:
    native, portable = both
    assert plainly(native.verify_many(items)) == plainly(portable.verify_many(items))
    assert plainly(native.verify_many(items)) == plainly(one_by_one(native, items))


@pytest.mark.parametrize("how", SPOILED)
def test_each_kind_of_bad_item(how: str) -> None:
    items = [good(place, 30) for place in range(30)]
    items[17] = SPOILED[how](items[17])
    assert_alike(NATIVE, items)
    assert [place for place, verdict in enumerate(NATIVE.verify_many(items)) if verdict] == [17]


def test_kinds_of_bad_points_in_one_batch_alike_in_both(
    both: tuple[SignatureBackend, SignatureBackend],
) -> None:
    """Nearly all of these fall before any pairing, so the portable backend can do them too."""
    kinds = [how for how in SPOILED if "infinity" in how or " x" in how or "the" in how]
    items = [SPOILED[how](good(0, 1)) for how in kinds] + [good(0, 1), good(1, 1)]
    native, portable = (scheme.verify_many(items) for scheme in both)
    assert plainly(native) == plainly(portable)
    assert native[-2:] == [None, None]
    assert all(verdict is not None for verdict in native[:-2])


@pytest.mark.parametrize("how", ["swap", "cancel", "contradict"])
@pytest.mark.parametrize("keys", [1, 40])
def test_pairs_that_would_cancel_are_both_found(how: str, keys: int) -> None:
    items = [good(place, keys) for place in range(40)]
    PAIRED[how](items, 3, 33)
    found = [place for place, verdict in enumerate(NATIVE.verify_many(items)) if verdict]
    assert found == ([33] if how == "contradict" else [3, 33])


def test_pairs_that_cancel_do_pass_without_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack is real: with all factors equal, the batch check sees nothing."""
    items = [good(place, 40) for place in range(40)]
    cancel(items, 3, 33)
    monkeypatch.setattr(batch.secrets, "randbelow", lambda bound: 4)
    assert NATIVE.verify_many(items) == [None] * 40


@pytest.mark.parametrize("how", ["swap", "cancel", "negate both"])
def test_pairs_with_the_portable_backend(how: str) -> None:
    items = [good(0, 2), good(1, 2)]
    PAIRED[how](items, 0, 1)
    portable = backend("py_ecc").verify_many(items)
    assert plainly(portable) == plainly(one_by_one(NATIVE, items))


@pytest.mark.parametrize("bad", [0, 1, 2, 16, 63, 64])
def test_any_number_of_bad_items(bad: int) -> None:
    items = [good(place, 64) for place in range(64)]
    wrong = sorted(place * 37 % 64 for place in range(bad))
    for place in wrong:
        items[place] = SPOILED["wrong message"](items[place])
    verdicts = NATIVE.verify_many(items)
    assert [place for place, verdict in enumerate(verdicts) if verdict is not None] == wrong


def test_work_on_wrong_batches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are wrong, an item is checked alone at most once."""
    items = [SPOILED["wrong message"](good(place, 200)) for place in range(200)]
    calls = []
    agree = NATIVE._agree
    monkeypatch.setattr(NATIVE, "_agree", lambda *sides: calls.append(1) or agree(*sides))
    assert all(NATIVE.verify_many(items))
    assert 200 <= len(calls) <= 200 + 200 // 4


def test_no_items_and_iterators(scheme: SignatureBackend) -> None:
    assert scheme.verify_many([]) == []
    assert scheme.verify_many(iter([good(0, 1)])) == [None]


@pytest.mark.parametrize("item", [None, b"x", (b"k", b"m"), [b"k", b"m", b"s"], "kms"])
def test_items_must_be_triples(item: Any) -> None:
    with pytest.raises(ParameterError, match="tuples of public key"):
        NATIVE.verify_many([good(0, 1), item])


# --- the combination itself ----------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**6), 10**6),
            st.one_of(st.integers(1, 2**128 - 1), st.sampled_from([1, 2**127, 2**128 - 1])),
        ),
        min_size=1,
        max_size=300,
    )
)
def test_combination_is_the_weighted_sum(pairs: list[tuple[int, int]]) -> None:
    elements, factors = zip(*pairs, strict=True)
    expected = sum(element * factor for element, factor in pairs)
    assert batch.combination(elements, factors, operator.add) == expected


def test_combination_on_the_curve_with_equal_and_opposite_points(
    scheme: SignatureBackend,
) -> None:
    """Equal points meet in a bucket and double; opposite ones vanish and leave infinity there."""
    point = scheme._load_signature(good(0, 1)[2])
    other = scheme._load_signature(flipped(good(0, 1)[2]))
    factors = [2**127 + 5, 2**127 + 5, 2**127 + 5, 2**127 + 4, 3]
    combined = batch.combination([point, other, point, other, point], factors, scheme._add)
    expected = multiply(on_g2(good(0, 1)[2]), (2**127 + 5 - 2**127 - 4 + 3) % curve_order)
    wanted = scheme._load_signature(bytes(plain.G2_to_signature(expected)))
    one = scheme._load_key(NATIVE.public_key(1))
    # Compared through a pairing: the libraries' own forms of one point differ.
    assert scheme._agree(scheme._loop(one, wanted), scheme._generator_loop(combined))


def test_factors_are_drawn_anew_and_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def randbelow(bound: int) -> int:
        drawn.append(bound)
        return 0

    monkeypatch.setattr(batch.secrets, "randbelow", randbelow)
    assert NATIVE.verify_many([good(place, 20) for place in range(20)]) == [None] * 20
    assert drawn == [2**128 - 1] * 20
