"""SEAL's own decryptor opens our ciphertexts with our secret key (extra `he`).

A BGV ciphertext times 1 / t modulo Q is a BFV one of the plaintext times -1 / Q modulo t. SEAL
takes the least roots of one and the order of reversed bits as well, so that a transformed secret is
the same to both. The forms of its files are those of SEAL 4.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from ompd.aggregate import Evaluator, decrypt, encrypt, encrypt_secretly
from tests.aggregate.transforms import restored

seal = pytest.importorskip("tenseal.sealapi")


def unsigned(row, p):
    return np.where(row < 0, row + p, row).astype(np.int64).astype(np.uint64)


class Seal:
    """A decryptor of SEAL with our secret."""

    def __init__(self, secret, folder):
        self.parameters = secret.context.parameters
        self.tables = secret.context.tables
        self.folder = folder
        n, moduli = self.parameters.degree, self.parameters.primes
        given = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        given.set_poly_modulus_degree(n)
        given.set_coeff_modulus([seal.Modulus(p) for p in (*moduli, self.parameters.special_prime)])
        given.set_plain_modulus(seal.Modulus(self.parameters.plain_modulus))
        # Refuses what has not 128 bits of security.
        self.context = seal.SEALContext(given, True, seal.SEC_LEVEL_TYPE.TC128)
        assert self.context.parameters_set()
        own = seal.KeyGenerator(self.context).secret_key()
        rows = [unsigned(row, p) for row, p in zip(secret.rows, moduli, strict=True)]
        # Nothing decrypts modulo the special prime.
        rows.append(np.zeros(n, dtype=np.uint64))
        path = folder / "own"
        own.save(str(path))
        self.version = path.read_bytes()[:5]
        body = struct.pack("<4Q", *own.parms_id()) + struct.pack("<Qd", n * len(rows), 1.0)
        loaded = seal.SecretKey()
        loaded.load(self.context, self.file(self.framed(body + self.array(np.concatenate(rows)))))
        self.decryptor = seal.Decryptor(self.context, loaded)
        self.encrypted = seal.Ciphertext(self.context)

    def framed(self, body):
        """Behind magic number, length of this, version, no compression and length of all."""
        return self.version + struct.pack("<BHQ", 0, 0, 16 + len(body)) + body

    def array(self, values):
        return self.framed(struct.pack("<Q", values.size) + values.astype("<u8").tobytes())

    def file(self, data):
        path = self.folder / "seal"
        path.write_bytes(data)
        return str(path)

    def ciphertext(self, ciphertext):
        n, t = self.parameters.degree, self.parameters.plain_modulus
        primes = self.parameters.primes[: ciphertext.level]
        out = np.empty((2, len(primes), n), dtype=np.uint64)
        for part in range(2):
            for row, p in enumerate(primes):
                factor = pow(t * n, -1, p)
                factor -= p if factor > p // 2 else 0
                x = restored(ciphertext.rows[part, row], self.tables.ring, row, float(factor))
                out[part, row] = unsigned(x, p)
        body = struct.pack("<4QB", *self.encrypted.parms_id(), 0)
        body += struct.pack("<QQQdQ", 2, n, len(primes), 1.0, 1)
        loaded = seal.Ciphertext()
        loaded.load(self.context, self.file(self.framed(body + self.array(out))))
        return loaded

    def decrypt(self, ciphertext):
        t = self.parameters.plain_modulus
        product = 1
        for p in self.parameters.primes[: ciphertext.level]:
            product = product * p % t
        plain = seal.Plaintext()
        self.decryptor.decrypt(self.ciphertext(ciphertext), plain)
        found = [plain[place] * -product % t for place in range(plain.coeff_count())]
        found = [each - t if each > t // 2 else each for each in found]
        return found[: ciphertext.length] + [0] * (ciphertext.length - len(found))


@pytest.fixture(scope="module")
def secret(full):
    return full


@pytest.fixture(scope="module")
def other(secret, tmp_path_factory):
    return Seal(secret, tmp_path_factory.mktemp("seal"))


def test_seal_opens_fresh_ciphertexts(secret, other, rng):
    values = rng.integers(-(2**23) + 1, 2**23, 8192)
    for c in (
        encrypt(secret.public, values, bound=2**23 - 1),
        encrypt_secretly(secret, values, bound=2**23 - 1),
    ):
        assert other.decrypt(c) == values.tolist()
        assert other.decryptor.invariant_noise_budget(other.ciphertext(c)) > 100


def test_seal_opens_products(secret, other, rng):
    a, b = rng.integers(-40, 41, 4000), rng.integers(-40, 41, 4193)
    ev = Evaluator(secret.public)
    product = ev.multiply(
        encrypt(secret.public, a, bound=40), encrypt_secretly(secret, b, bound=40)
    )
    assert other.decrypt(product) == np.convolve(a, b).tolist() == decrypt(secret, product).tolist()
