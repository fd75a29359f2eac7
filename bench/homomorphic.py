"""The same distances under homomorphic encryption: BFV measured, Paillier extrapolated.

python -m bench.homomorphic [--rows 1000] [--features 9] [--json]

BFV (`bfv_scan`, needs `pip install tenseal`): the key's owner encrypts a query, the server computes
the distances to all instances, the owner decrypts them. BFV has no absolute value, so the distance
is the squared Euclidean one. Layout: one ciphertext per coordinate with the query's value in every
slot, thousands of instances side by side in the slots, so that nothing is ever rotated. Two kinds:

* Plain table, the usual way to query somebody else's model. From |x|^2 - 2 x q + |q|^2 only
  products with plain numbers remain: no product of ciphertexts, and the smallest parameters of
  128-bit security that TenSEAL offers for the range of the data.
* Encrypted table, the server trusted with nothing, as a cloud that holds a hospital's records: one
  squared ciphertext per coordinate.

Set-up (context, public and relinearisation keys, the table's encryption) is not counted.

Paillier (`paillier_estimate`): the basic secure kNN of Elmehdwi, Samanthula and Jiang (ICDE 2014,
SkNN_b) with two servers that do not collude and an encrypted table; its stronger variant, which
also hides distances from the second server, costs orders of magnitude more. A whole scan takes
hours, so the time of each primitive (2048-bit modulus, gmpy2) is multiplied by how often the
protocol uses it; `secure_distances` is that protocol, and the numbers are those it was seen to use.
"""

from __future__ import annotations

import json
import secrets
import statistics
import time
from collections import Counter
from functools import cache
from typing import Annotated, Any

import gmpy2
import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table

from bench.transcript import example
from ompd.errors import OverflowParameterError, ParameterError

KEY_BITS = 2048
#: Largest plaintext modulus for which one product still decrypts, by polynomial degree.
_DEGREES = {4096: 1 << 21, 8192: 1 << 50}
#: The same for one product of ciphertexts.
_DEGREES_ENCRYPTED = {8192: 1 << 45}
_REPEATS = 7


def bfv_scan(
    instances: Any, queries: Any, *, encrypted_table: bool = False
) -> tuple[np.ndarray, float, int]:
    """Compute the squared Euclidean distances of encrypted queries to all instances.

    Parameters
    ----------
    instances : int array of shape (N, n)
    queries : int array of shape (q, n)
    encrypted_table : bool
        Encrypt the instances too; the server then knows neither.

    Returns
    -------
    distances : int64 array of shape (q, N)
    seconds : float
        Median per query: encryption, both messages' coding, server, decryption. One thread.
    bytes : int
        Per query, both directions.

    Raises
    ------
    ParameterError
        If an array is not of integers or the shapes do not fit.
    OverflowParameterError
        If a distance could need 50 bits (encrypted table: 45 bits) or more.
    ImportError
        If TenSEAL is not installed.
    """
    import tenseal

    instances, queries = _checked(instances, queries)
    degrees = _DEGREES_ENCRYPTED if encrypted_table else _DEGREES
    modulus, degree = _plain_modulus(instances, queries, degrees)
    context = tenseal.context(
        tenseal.SCHEME_TYPE.BFV,
        poly_modulus_degree=degree,
        plain_modulus=modulus,
        n_threads=1,
    )

    def encrypted(values: list[int]) -> Any:
        return tenseal.bfv_vector(context, values)

    def received(part: bytes) -> Any:
        return tenseal.bfv_vector_from(context, part)

    # Slots hold instances, the last block is padded with zeros.
    padded = np.zeros((-(-len(instances) // degree) * degree, instances.shape[1]), np.int64)
    padded[: len(instances)] = instances
    blocks = [padded[start : start + degree] for start in range(0, len(padded), degree)]
    if encrypted_table:
        hidden = [[encrypted(column) for column in block.T.tolist()] for block in blocks]
    else:
        prepared = [_prepared(block) for block in blocks]
    distances = np.empty((len(queries), len(instances)), dtype=np.int64)
    times, sent = [], 0
    for i, query in enumerate(queries):
        start_time = time.perf_counter()
        values = query.tolist() if encrypted_table else [*query.tolist(), int((query**2).sum())]
        asked = [encrypted([value] * degree).serialize() for value in values]
        parts = list(map(received, asked))
        if encrypted_table:
            answer = [_hidden_block(parts, block).serialize() for block in hidden]
        else:
            answer = [_plain_block(parts, *block).serialize() for block in prepared]
        plain = [received(part).decrypt() for part in answer]
        distances[i] = np.concatenate(plain)[: len(instances)] % modulus
        times.append(time.perf_counter() - start_time)
        sent = sum(map(len, asked)) + sum(map(len, answer))
    return distances, statistics.median(times), sent


def _prepared(block: np.ndarray) -> tuple[list[list[int] | None], list[int]]:
    """Factors -2 x of every coordinate, None for zeros, and norms of one plain block."""
    # SEAL refuses a product with zero, whose result would be no encryption at all.
    factors = [column.tolist() if column.any() else None for column in (-2 * block).T]
    return factors, (block**2).sum(axis=1).tolist()


def _plain_block(asked: list[Any], factors: list[list[int] | None], norms: list[int]) -> Any:
    *coordinates, norm = asked
    result = norm + norms
    for ciphertext, column in zip(coordinates, factors, strict=True):
        if column is not None:
            result.add_(ciphertext * column)
    return result


def _hidden_block(asked: list[Any], block: list[Any]) -> Any:
    result = None
    for ciphertext, column in zip(asked, block, strict=True):
        difference = column - ciphertext
        square = difference * difference
        result = square if result is None else result.add_(square)
    return result


def _checked(instances: Any, queries: Any) -> tuple[np.ndarray, np.ndarray]:
    instances, queries = np.asarray(instances), np.asarray(queries)
    for name, array in (("instances", instances), ("queries", queries)):
        if array.dtype.kind not in "iu" or array.ndim != 2 or 0 in array.shape:
            raise ParameterError(f"{name}: expected integers of shape (rows, features)")
    if instances.shape[1] != queries.shape[1]:
        raise ParameterError(f"queries: expected {instances.shape[1]} features")
    return instances.astype(np.int64), queries.astype(np.int64)


def _plain_modulus(
    instances: np.ndarray, queries: np.ndarray, degrees: dict[int, int]
) -> tuple[int, int]:
    """The least prime that batches and exceeds every distance and norm, and its degree."""
    low = np.minimum(instances.min(axis=0), queries.min(axis=0)).astype(object)
    high = np.maximum(instances.max(axis=0), queries.max(axis=0)).astype(object)
    widest = np.maximum(np.maximum(abs(low), abs(high)), high - low)
    need = max(int((widest**2).sum()), 1 << 16)
    for degree, most in degrees.items():
        modulus = need // (2 * degree) * 2 * degree + 1
        while modulus <= need or not gmpy2.is_prime(modulus):
            modulus += 2 * degree
        if modulus < most:
            return modulus, degree
    raise OverflowParameterError("instances: distances need more bits than BFV's plaintexts have")


class PaillierKey:
    """Both keys of Paillier's scheme, with generator modulus + 1."""

    def __init__(self, bits: int = KEY_BITS) -> None:
        while True:
            p, q = (_prime(bits // 2) for _ in range(2))
            if p != q and (p * q).bit_length() == bits:
                break
        self.modulus = p * q
        self.square = self.modulus**2
        self._parts = [
            (prime, gmpy2.invert((gmpy2.powmod(1 + self.modulus, prime - 1, prime**2) - 1) // prime,
                                 prime))
            for prime in (p, q)
        ]  # fmt: skip
        self.used: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<PaillierKey of {self.modulus.bit_length()} bits>"

    def encrypt(self, number: Any) -> Any:
        """Encrypt an integer modulo the modulus with fresh randomness."""
        self.used["encrypt"] += 1
        randomness = 1 + secrets.randbelow(int(self.modulus) - 1)
        masked = gmpy2.powmod(randomness, self.modulus, self.square)
        return (1 + number % self.modulus * self.modulus) * masked % self.square

    def decrypt(self, ciphertext: Any) -> Any:
        """Decrypt by the Chinese remainder theorem."""
        self.used["decrypt"] += 1
        (p, p_inverse), (q, q_inverse) = self._parts
        of_p = (gmpy2.powmod(ciphertext, p - 1, p * p) - 1) // p * p_inverse % p
        of_q = (gmpy2.powmod(ciphertext, q - 1, q * q) - 1) // q * q_inverse % q
        return of_p + (of_q - of_p) * gmpy2.invert(p, q) % q * p

    def add(self, one: Any, other: Any) -> Any:
        """Add under encryption."""
        self.used["add"] += 1
        return one * other % self.square

    def multiply(self, ciphertext: Any, factor: Any) -> Any:
        """Multiply under encryption by a plain factor of full length."""
        self.used["multiply"] += 1
        return gmpy2.powmod(ciphertext, factor % self.modulus, self.square)

    def negate(self, ciphertext: Any) -> Any:
        """Change the sign under encryption."""
        self.used["negate"] += 1
        return gmpy2.invert(ciphertext, self.square)


def _prime(bits: int) -> Any:
    return gmpy2.next_prime(secrets.randbits(bits) | 3 << (bits - 2))


def secure_distances(key: PaillierKey, table: list[list[Any]], query: list[Any]) -> list[int]:
    """Squared Euclidean distances of an encrypted query to an encrypted table.

    The first server holds the ciphertexts; what it cannot do, squaring, it asks of the second one,
    which holds the key and sees differences under a random mask, and at the end the distances.
    """
    negative = [key.negate(value) for value in query]
    distances = []
    for row in table:
        sum_ = None
        for value, minus in zip(row, negative, strict=True):
            difference = key.add(value, minus)
            mask = secrets.randbelow(int(key.modulus))
            opened = key.decrypt(key.add(difference, key.encrypt(mask)))
            square = key.encrypt(opened * opened)
            # (d + r)^2 - 2 r d - r^2; the last server's answer is fresh, so r^2 needs no noise.
            square = key.add(square, key.multiply(difference, -2 * mask))
            square = key.add(square, 1 - mask * mask % key.modulus * key.modulus)
            sum_ = square if sum_ is None else key.add(sum_, square)
        distances.append(int(key.decrypt(sum_)))
    return distances


def paillier_uses(rows: int, features: int) -> dict[str, int]:
    """How often one query uses each primitive, the user's encryption included."""
    cells = rows * features
    return {
        "encrypt": features + 2 * cells,
        "decrypt": cells + rows,
        "multiply": cells,
        "add": 5 * cells - rows,
        "negate": features,
    }


@cache
def paillier_primitives(bits: int = KEY_BITS) -> dict[str, float]:
    """Median seconds of every primitive, measured once per process."""
    key = PaillierKey(bits)
    number = secrets.randbelow(int(key.modulus))
    one, other = key.encrypt(number), key.encrypt(1)
    calls = {
        "encrypt": lambda: key.encrypt(number),
        "decrypt": lambda: key.decrypt(one),
        "multiply": lambda: key.multiply(one, number),
        "add": lambda: key.add(one, other),
        "negate": lambda: key.negate(one),
    }
    seconds = {}
    for name, call in calls.items():
        laps = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            call()
            laps.append(time.perf_counter() - start)
        seconds[name] = statistics.median(laps)
    return seconds


def paillier_estimate(rows: int, features: int) -> dict[str, Any]:
    """Extrapolate one query of SkNN_b from measured primitives.

    Returns
    -------
    dict
        "seconds" and "bytes" per query, "extrapolated" (True) and "primitives": for each its
        "count" and measured "seconds". Bytes: the query, and per cell one ciphertext to the second
        server and one back, and one distance per row.
    """
    seconds = paillier_primitives()
    uses = paillier_uses(rows, features)
    ciphertext = 2 * KEY_BITS // 8
    return {
        "seconds": sum(count * seconds[name] for name, count in uses.items()),
        "bytes": ciphertext * (features + 2 * rows * features + rows),
        "extrapolated": True,
        "primitives": {
            name: {"count": count, "seconds": seconds[name]} for name, count in uses.items()
        },
    }


@pytest.mark.benchmark(group="encrypted distances, 1000 instances")
def test_bfv(benchmark):
    pytest.importorskip("tenseal")
    table, _, query = example(1000, 9, 1)
    table, query = table.astype(np.int64), query.astype(np.int64)
    distances, _, _ = benchmark.pedantic(bfv_scan, (table, query), rounds=3)
    assert np.array_equal(distances[0], ((table - query) ** 2).sum(axis=1))


def main(
    rows: Annotated[int, typer.Option(help="Instances.")] = 1000,
    features: Annotated[int, typer.Option(help="Features per record.")] = 9,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure BFV, extrapolate Paillier."""
    report: dict[str, Any] = {"rows": rows, "features": features}
    table, _, queries = (array.astype(np.int64) for array in example(rows, features, 3))
    for name, encrypted in (("bfv", False), ("bfv, table encrypted", True)):
        try:
            _, seconds, sent = bfv_scan(table, queries, encrypted_table=encrypted)
            report[name] = {"seconds": seconds, "bytes": sent, "extrapolated": False}
        except ImportError:
            report[name] = None
    report["paillier"] = paillier_estimate(rows, features)
    if as_json:
        print(json.dumps(report))
        return
    shown = Table(title=f"One query, {rows:,} x {features}")
    for heading in ("scheme", "seconds", "bytes", ""):
        shown.add_column(heading, justify="right" if heading in {"seconds", "bytes"} else "left")
    for name in ("bfv", "bfv, table encrypted", "paillier"):
        found = report[name]
        if found is None:
            shown.add_row(name, "", "", "TenSEAL is not installed")
        else:
            note = "extrapolated" if found["extrapolated"] else "measured"
            shown.add_row(name, f"{found['seconds']:.3f}", f"{found['bytes']:,}", note)
    Console().print(shown)


if __name__ == "__main__":
    typer.run(main)
