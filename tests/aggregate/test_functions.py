from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ompd.aggregate import (
    Ciphertext,
    Evaluator,
    SecretKey,
    decrypt,
    encrypt,
    encrypt_secretly,
    functions,
)
from ompd.aggregate.fitting import fits, parameters_for
from ompd.aggregate.functions import (
    CORRELATION,
    DOT,
    FUNCTIONS,
    MOMENTS,
    SUM,
    Function,
    by_name,
    check_fresh,
)
from ompd.errors import (
    Bottom,
    ContextMismatchError,
    FrameError,
    FramingError,
    ParameterError,
    RangeError,
)
from ompd.params import AGGREGATE_SETS
from tests.marks import long

LENGTH, BOUND = 5, 9


@pytest.fixture(scope="module")
def secrets():
    """One key per packing, enough for all functions."""
    return {
        each.packing: SecretKey.generate(parameters_for(each, LENGTH, BOUND, 20))
        for each in (SUM, CORRELATION)
    }


def plain(name, rows):
    """What each function is, in whole numbers of Python."""
    columns = list(zip(*rows, strict=True))

    def dot(one, other):
        return [
            sum(int(a[k]) * int(b[k]) for a, b in zip(columns[one], columns[other], strict=True))
            for k in range(LENGTH)
        ]

    def total(which):
        return [sum(int(row[k]) for row in columns[which]) for k in range(LENGTH)]

    return {
        "sum": lambda: [total(0)],
        "moments": lambda: [total(0), dot(0, 0)],
        "dot": lambda: [dot(0, 1)],
        "correlation": lambda: [total(0), total(1), dot(0, 1), dot(0, 0), dot(1, 1)],
    }[name]()


def sealed(public, rows):
    return [[encrypt(public, part, bound=BOUND).to_bytes() for part in parts] for parts in rows]


vectors = st.lists(st.integers(-BOUND, BOUND), min_size=LENGTH, max_size=LENGTH)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.name)
def test_functions_are_exact(secrets, function):
    secret = secrets[function.packing]

    @settings(max_examples=8)
    @given(st.lists(st.tuples(*[vectors] * function.parts), min_size=1, max_size=5))
    def check(rows):
        parts = function.evaluate(secret.public, iter(sealed(secret.public, rows)), ())
        assert len(parts) == function.results
        found = [
            decrypt(secret, Ciphertext.from_bytes(part, secret.context)).tolist() for part in parts
        ]
        assert found == plain(function.name, rows)

    check()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_more_than_are_added_at_once(secrets, monkeypatch, size):
    monkeypatch.setattr("ompd.aggregate.functions._AT_ONCE", size)
    secret = secrets["slots"]
    rng = np.random.default_rng(3)
    rows = rng.integers(-BOUND, BOUND + 1, (7, 2, LENGTH))
    parts = CORRELATION.evaluate(secret.public, sealed(secret.public, rows), ())
    found = [
        decrypt(secret, Ciphertext.from_bytes(part, secret.context)).tolist() for part in parts
    ]
    assert found == plain("correlation", rows)
    # As much noise as the choice of parameters reckons with.
    total = functions._Total(Evaluator(secret.public))
    one = encrypt(secret.public, [1] * LENGTH, bound=BOUND)
    for _ in range(100):
        total.add(one)
    assert total.value().noise <= one.noise + math.log2(100) * 256 + 7 + 2


def test_results_are_finished(secrets):
    for function in FUNCTIONS:
        public = secrets[function.packing].public
        rows = [[[1] * LENGTH] * function.parts] * 2
        for part in function.evaluate(public, sealed(public, rows), ()):
            found = Ciphertext.from_bytes(part, public.context)
            assert found.level == 1
            assert found.rows.shape[0] == 2


def test_nothing_is_no_contribution(secrets):
    for function in FUNCTIONS:
        with pytest.raises(FramingError, match="at least one"):
            function.evaluate(secrets[function.packing].public, [], ())


def test_only_new_encryptions_are_taken(secrets):
    secret = secrets["slots"]
    public = secret.public
    good = encrypt(public, [BOUND] * LENGTH, bound=BOUND)
    check_fresh(public, [good.to_bytes()], LENGTH, BOUND)
    evaluator = Evaluator(public)
    header = {name: getattr(good, name) for name in ("noise", "bound", "length", "depth")}

    def told(**changes):
        changed = header | changes
        return Ciphertext(
            good.context, good.rows, changed["noise"], changed["bound"], changed["length"],
            changed["depth"],
        )  # fmt: skip

    for bad in (
        told(noise=good.noise - 1),
        told(noise=good.noise + 1),
        told(bound=BOUND - 1),
        told(bound=BOUND + 1),
        told(length=LENGTH + 1),
        told(depth=1),
        evaluator.add(good, good),
        evaluator.finish(good),
        evaluator.multiply(good, good),
        encrypt_secretly(secret, [1] * LENGTH, bound=BOUND),
        encrypt(public, [1] * (LENGTH - 1), bound=BOUND),
    ):
        with pytest.raises(RangeError):
            check_fresh(public, [good.to_bytes(), bad.to_bytes()], LENGTH, BOUND)
    other = SecretKey.generate(public.parameters).public
    with pytest.raises(ContextMismatchError):
        check_fresh(public, [encrypt(other, [1] * LENGTH, bound=BOUND).to_bytes()], LENGTH, BOUND)
    for data in (b"", b"x", good.to_bytes()[:-1], good.to_bytes() + b"x"):
        with pytest.raises(FrameError):
            check_fresh(public, [data], LENGTH, BOUND)


def repeated(evaluator, one, times):
    """The sum of so many, which need not be different."""
    total, power = None, one
    while times:
        if times & 1:
            total = power if total is None else evaluator.add(total, power)
        times >>= 1
        if times:
            power = evaluator.add(power, power)
    return total


@pytest.mark.parametrize(
    "largest",
    [
        (SUM, 100, 1000), (DOT, 15, 1000), *long((SUM, 1, 1 << 20), (SUM, 2000, 1 << 20),
        (MOMENTS, 1, 1 << 20), (CORRELATION, 255, 250), (CORRELATION, 1000, 16)),
    ],
)  # fmt: skip
def test_the_chosen_parameters_hold_the_largest_result(largest):
    function, bound, most = largest
    secret = SecretKey.generate(parameters_for(function, LENGTH, bound, most))
    evaluator = Evaluator(secret.public)
    one = encrypt(secret.public, [bound, -bound, 0], bound=bound)
    if function.depth:
        one = evaluator.dot([one], [one])
    found = decrypt(secret, evaluator.finish(repeated(evaluator, one, most)))
    assert abs(found[0]) == most * bound ** (1 + function.depth)


def test_a_set_that_does_not_fit_ends_in_bottom():
    # The control: of all sets, the first that is refused for its noise alone does not open.
    small = next(each for each in AGGREGATE_SETS if each.name == "slots-8192-20")
    most = 2000
    assert small.largest_bound > DOT.largest(9, most)
    assert not fits(small, DOT, LENGTH, 9, most)
    secret = SecretKey.generate(small)
    evaluator = Evaluator(secret.public)
    one = encrypt(secret.public, [9] * LENGTH, bound=9)
    total = repeated(evaluator, evaluator.dot([one], [one]), most)
    with pytest.raises(Bottom):
        decrypt(secret, evaluator.finish(total))


@given(
    st.sampled_from(FUNCTIONS), st.integers(1, 20_000), st.integers(1, 2**40),
    st.integers(1, 2**20),
)  # fmt: skip
def test_parameters_are_the_first_that_fit(function, length, bound, most):
    fitting = [each for each in AGGREGATE_SETS if fits(each, function, length, bound, most)]
    if not fitting:
        with pytest.raises(ParameterError, match="expected less"):
            parameters_for(function, length, bound, most)
        return
    found = parameters_for(function, length, bound, most)
    assert found is fitting[0]
    assert found.packing == function.packing
    assert found.degree >= length
    assert found.largest_bound >= most * bound ** (1 + function.depth)
    assert math.log2(most) < 21


def test_functions_have_different_names():
    assert list(by_name(FUNCTIONS)) == ["sum", "moments", "dot", "correlation"]
    with pytest.raises(ParameterError, match="different names"):
        by_name([SUM, DOT, SUM])
    with pytest.raises(ParameterError, match="expected Function"):
        by_name([SUM, "dot"])
    own = Function("own", 1, 1, "coefficients", check_fresh, SUM.evaluate, pooled=False, most=77)
    assert own.largest(10, 10) == 77
