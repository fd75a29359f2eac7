"""Does time tell anything about the secret? Signing and opening envelopes, fixed against random.

python -m bench.leak [--samples 20000] [--only TEXT] [--json]

Two classes of inputs, one fixed and one random, are timed in random order, and Welch's t asks
whether their means differ: the leak assessment of Goodwill et al. (2011) as dudect applies it to
time (Reparaz, Balasch, Verbauwhede, ePrint 2016/1123). Slow runs say more about the machine than
about the code, so the test is repeated on what lies below several percentiles. |t| above 4.5 is a
suspicion, above 10 a certainty.

A harness that finds nothing may just be blind. Hence three kinds of rows:

- *claims*: what the library relies on; |t| should stay below 4.5;
- *controls*: code that is known to leak; the harness fails if it does not see that;
- *null*: two classes drawn alike, which shows how large |t| becomes by chance.

"Smallest effect" is the difference, in ns, that this run would have found with a probability of
95%, which takes |t| = 4.5 + 1.645. The sample's own spread gives it: the classes are shuffled, a
growing difference is planted, and the one counts at which the test reaches that |t|. Standard
errors alone would promise too much, since cropping also cuts away part of a difference. A leak
below it goes unnoticed.
"""

from __future__ import annotations

import gc
import hmac
import json
import math
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scipy import stats

from ompd.crypto import EnvelopeKey, backend, encrypt
from ompd.crypto.points import GROUP_ORDER
from ompd.crypto.signatures import SIGNATURE_DST
from ompd.errors import DecryptionError

#: Share of the fastest runs that is looked at.
CROPS = (1.0, 0.99, 0.95, 0.9, 0.75, 0.5, 0.25, 0.1)
SUSPECT, CERTAIN = 4.5, 10.0
#: 95% of a normal distribution lies above its mean minus this many deviations.
POWER = 1.645
#: Inputs are made this many at a time, so that making them does not stand between timings.
BLOCK = 64

LOW_WEIGHT = 2**254 + 1
HIGH_WEIGHT = 2**254 + 2**253 + 2**252 - 1  # the top bits 110111..., below r
BYTE_SHORT = 2**247 + 2**9 + 1  # one key in 116 begins with a byte of zeros
SHORT = 3
MESSAGE = bytes(range(200))
INFO = b"header"
PLAINTEXT = bytes(735)


@dataclass(frozen=True)
class Case:
    """Something to time.

    Parameters
    ----------
    kind : {"claim", "control", "null", "known"}
        "known" leaks by design or by nature, which is reported and not asserted.
    make : callable
        From the class, 0 for fixed and 1 for random, to the input of `run`. Both classes must
        make new objects, or else the fixed ones would be in the processor's cache.
    share : float
        Part of the samples that suffices or can be afforded.
    """

    name: str
    kind: str
    make: Callable[[int], Any]
    run: Callable[[Any], Any]
    share: float = 1.0


@dataclass(frozen=True)
class Finding:
    """What a case showed, of the crop with the largest |t|; `smallest` is of the best crop."""

    name: str
    kind: str
    samples: int
    t: float
    crop: float
    difference_ns: float
    smallest_ns: float
    median_ns: float

    @property
    def verdict(self) -> str:
        """What |t| says."""
        size = abs(self.t)
        return "leaks" if size > CERTAIN else "suspect" if size > SUSPECT else "nothing found"


# --- what is timed -------------------------------------------------------------------------------


def fresh(number: int) -> int:
    """Make a new object of the same value."""
    return int.from_bytes(number.to_bytes(32, "big"), "big")


def random_secret() -> int:
    return fresh(1 + secrets.randbelow(GROUP_ORDER - 1))


def secret_against_random(fixed: int) -> Callable[[int], int]:
    def make(which: int) -> int:
        # Both are drawn, so that the state of memory does not depend on the class either.
        drawn = random_secret()
        return drawn if which else fresh(fixed)

    return make


def signing() -> list[Case]:
    scheme = backend("pyblst")

    def sign(secret: int) -> bytes:
        return scheme.sign(secret, MESSAGE)

    fixed = random_secret()
    return [
        Case(f"sign, {name}", "claim", secret_against_random(secret), sign)
        for name, secret in (
            ("weight 2 against random", LOW_WEIGHT),
            ("weight 253 against random", HIGH_WEIGHT),
            ("31 bytes against random", BYTE_SHORT),
            ("2 bits against random", SHORT),
            ("one random key against many", fixed),
        )
    ] + [Case("null: random against random", "null", lambda which: random_secret(), sign)]


def opening() -> list[Case]:
    fixed = EnvelopeKey.generate().to_bytes()
    extreme = b"\1" + bytes(32)
    mask = secrets.token_bytes(len(PLAINTEXT) + 48)

    def sealed(raw: bytes) -> tuple[EnvelopeKey, bytes]:
        key = EnvelopeKey.from_bytes(bytes(bytearray(raw)))
        return key, encrypt(key.public_bytes, PLAINTEXT, INFO)

    def against_random(raw: bytes) -> Callable[[int], tuple[EnvelopeKey, bytes]]:
        def make(which: int) -> tuple[EnvelopeKey, bytes]:
            drawn = EnvelopeKey.generate().to_bytes()
            return sealed(drawn if which else raw)

        return make

    def tampered(place: int) -> Callable[[int], tuple[EnvelopeKey, bytes]]:
        """The tag is changed at one place, or all over at random."""

        def make(which: int) -> tuple[EnvelopeKey, bytes]:
            key, ciphertext = sealed(fixed)
            changed = bytearray(ciphertext)
            if which:
                changed[-16:] = secrets.token_bytes(16)
            else:
                changed[place] ^= 1
            return key, bytes(changed)

        return make

    def valid_or_not(which: int) -> tuple[EnvelopeKey, bytes]:
        key, ciphertext = sealed(fixed)
        changed = bytearray(ciphertext)
        changed[-1] ^= which * (1 + mask[0] % 255)
        return key, bytes(changed)

    def open_it(pair: tuple[EnvelopeKey, bytes]) -> bytes | None:
        try:
            return pair[0].decrypt(pair[1], INFO)
        except DecryptionError:
            return None

    return [
        Case("open, one key against many", "claim", against_random(fixed), open_it),
        Case(
            "open, scalar of zero bytes against random", "claim", against_random(extreme), open_it
        ),
        Case("open, first byte of tag against all", "claim", tampered(-16), open_it),
        Case("open, last byte of tag against all", "claim", tampered(-1), open_it),
        # A refusal raises and says so to the caller; no secret hangs on it.
        Case("open, valid against tampered (public)", "known", valid_or_not, open_it),
    ]


def controls() -> list[Case]:
    scheme = backend("pyblst")
    hashed = scheme._hash(MESSAGE, SIGNATURE_DST)
    tag = secrets.token_bytes(32)

    def double_and_add(secret: int) -> Any:
        """Multiply the naive way: one more addition for each bit that is set."""
        total = hashed
        for bit in bin(secret)[3:]:
            total = total + total
            if bit == "1":
                total = total + hashed
        return total

    def early_exit(guess: bytes) -> bool:
        # A plain loop; the memcmp behind == differs by less than 10 ns.
        for left, right in zip(tag, guess, strict=True):  # noqa: SIM110
            if left != right:
                return False
        return True

    def constant_time(guess: bytes) -> bool:
        return hmac.compare_digest(tag, guess)

    def guesses(which: int) -> bytes:
        drawn = secrets.token_bytes(32)
        return drawn if which else bytes(bytearray(tag))

    low = secret_against_random(LOW_WEIGHT)
    return [
        Case("double-and-add, weight 2 against random", "control", low, double_and_add, share=0.1),
        Case("early-exit comparison", "control", guesses, early_exit),
        Case("hmac.compare_digest", "claim", guesses, constant_time),
    ]


def portable() -> list[Case]:
    scheme = backend("py_ecc")
    low = secret_against_random(LOW_WEIGHT)
    return [
        Case("py_ecc public key, weight 2 against random", "known", low, scheme.public_key, 0.02)
    ]


def cases() -> list[Case]:
    return [*controls(), *signing(), *opening(), *portable()]


# --- the statistics ------------------------------------------------------------------------------


def welch(left: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Return t, difference of the means (right minus left) and its standard error."""
    if min(len(left), len(right)) < 2:
        return 0.0, 0.0, math.inf
    error = math.sqrt(left.var(ddof=1) / len(left) + right.var(ddof=1) / len(right))
    difference = float(right.mean() - left.mean())
    return (difference / error if error else 0.0), difference, error or math.inf


def strongest(classes: np.ndarray, times: np.ndarray) -> tuple[float, float, float]:
    """Return t, crop and difference of the crop with the largest |t|."""
    rows = []
    for crop in CROPS:
        kept = times <= np.quantile(times, crop)
        t, difference, _ = welch(times[kept & (classes == 0)], times[kept & (classes == 1)])
        rows.append((abs(t), t, crop, difference))
    return max(rows)[1:]


def smallest_effect(classes: np.ndarray, times: np.ndarray, shuffles: int = 3) -> float:
    """Return the smallest difference that such times would give away, in ns."""
    rng = np.random.default_rng(0)
    results = []
    for _ in range(shuffles):
        mixed = rng.permutation(classes)
        low, high = 0.0, 1.0
        while abs(strongest(mixed, times + high * mixed)[0]) < SUSPECT + POWER and high < 1e12:
            low, high = high, 2 * high
        for _ in range(8):
            middle = (low + high) / 2
            if abs(strongest(mixed, times + middle * mixed)[0]) < SUSPECT + POWER:
                low = middle
            else:
                high = middle
        results.append(high)
    return max(results)


def assess(case: Case, classes: np.ndarray, times: np.ndarray) -> Finding:
    """Look for a difference in what was timed."""
    t, crop, difference = strongest(classes, times)
    smallest = smallest_effect(classes, times)
    median = float(np.median(times))
    return Finding(case.name, case.kind, len(times), t, crop, difference, smallest, median)


def measure(case: Case, samples: int, tell: Callable[[int], None] = lambda done: None) -> Finding:
    """Time both classes of a case in random order."""
    coin = random.Random(secrets.randbits(64))  # noqa: S311
    classes = np.array([coin.getrandbits(1) for _ in range(samples)])
    times = np.empty(samples)
    run, clock = case.run, time.perf_counter_ns
    for which in (0, 1) * 8:
        run(case.make(which))
    collecting = gc.isenabled()
    gc.disable()
    try:
        for first in range(0, samples, BLOCK):
            inputs = [case.make(int(which)) for which in classes[first : first + BLOCK]]
            for place, value in enumerate(inputs, first):
                start = clock()
                run(value)
                times[place] = clock() - start
            tell(min(first + BLOCK, samples))
    finally:
        if collecting:
            gc.enable()
    return assess(case, classes, times)


# --- tests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", controls()[:2], ids=lambda case: case.name)
def test_controls_are_found(case: Case) -> None:
    """Code that leaks is seen to leak, even with few samples on a busy machine."""
    finding = measure(case, 1000)
    assert abs(finding.t) > CERTAIN
    assert finding.verdict == "leaks"


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_case_runs(case: Case) -> None:
    """What the clock says of them is for `main` to report."""
    finding = measure(case, 10)
    assert math.isfinite(finding.t)
    assert finding.smallest_ns > 0


def test_statistic_agrees_with_scipy() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(100, 5, 400), rng.normal(101, 9, 300)
    t, difference, _ = welch(left, right)
    assert t == pytest.approx(stats.ttest_ind(right, left, equal_var=False).statistic)
    assert difference == pytest.approx(right.mean() - left.mean())


def test_effect_of_the_stated_size_is_found() -> None:
    """A difference of the stated size is found in nearly all of many trials, and none without."""
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 2, 2000)
    noise = rng.normal(1000, 20, (100, 2000)) + rng.exponential(30, (100, 2000))
    smallest = smallest_effect(classes, noise[0])
    found = [abs(strongest(classes, row + smallest * classes)[0]) > SUSPECT for row in noise]
    assert np.mean(found) > 0.8
    quiet = [abs(strongest(classes, row)[0]) > SUSPECT for row in noise]
    assert np.mean(quiet) < 0.05


# --- command line --------------------------------------------------------------------------------


def main(
    samples: Annotated[int, typer.Option(min=100, help="Timings per case.")] = 20_000,
    only: Annotated[str, typer.Option(help="Only cases whose name contains this.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look for secrets in timings. Exit code 1: a control went unnoticed or a claim leaks."""
    chosen = [case for case in cases() if only in case.name]
    console = Console()
    findings = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for case in chosen:
            count = max(100, round(samples * case.share))
            task = bar.add_task(case.name, total=count)
            findings.append(
                measure(case, count, lambda done, task=task: bar.update(task, completed=done))
            )
    blind = [f.name for f in findings if f.kind == "control" and f.verdict != "leaks"]
    leaks = [f.name for f in findings if f.kind == "claim" and f.verdict == "leaks"]
    if as_json:
        rows = [asdict(finding) | {"verdict": finding.verdict} for finding in findings]
        print(json.dumps({"findings": rows, "blind": blind, "leaks": leaks}))
    else:
        table = Table(title="Fixed against random inputs, Welch's t")
        for heading in ("case", "kind", "samples", "median", "|t|", "crop", "difference"):
            table.add_column(heading, justify="left" if heading in {"case", "kind"} else "right")
        table.add_column("smallest effect", justify="right")
        table.add_column("verdict")
        for f in findings:
            table.add_row(
                f.name,
                f.kind,
                f"{f.samples:,}",
                f"{f.median_ns / 1000:,.1f} us",
                f"{abs(f.t):.1f}",
                f"{f.crop:.0%}",
                f"{f.difference_ns:+,.0f} ns",
                f"{f.smallest_ns:,.0f} ns",
                f.verdict,
            )
        console.print(table)
    if blind or leaks:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
