"""Both signature backends: known answers, equal bytes, equal refusals."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ecc.bls import G2ProofOfPossession as Reference
from py_ecc.bls import g2_primitives as plain
from py_ecc.optimized_bls12_381 import G1, add, curve_order, field_modulus, multiply, neg

from ompd.crypto import SignatureBackend, backend, backends, points, signatures
from ompd.errors import (
    BackendUnavailableError,
    IdentityPointError,
    KeyMaterialError,
    OmpdError,
    ParameterError,
    PointDecodingError,
    ProofOfPossessionError,
    SignatureError,
    SubgroupError,
)

# Secret key, public key and signature of 32 zero bytes: a case of the Ethereum consensus tests
# (bls/sign and bls/verify, the same ciphersuite), which py_ecc's own G2ProofOfPossession repeats
# below. The proof of possession comes from py_ecc.
SECRET = 0x263DBD792F5B1BE47ED85F8938C0F29586AF0D3AC7B977F21C278FE1462040E3
PUBLIC = bytes.fromhex(
    "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20f"
    "d6e10c1b77654d067c0618f6e5a7f79a"
)
SIGNATURE = bytes.fromhex(
    "b6ed936746e01f8ecf281f020953fbf1f01debd5657c4a383940b020b26507f6"
    "076334f91e2366c96e9ab279fb5158090352ea1c5b0c9274504f4f0e7053af24"
    "802e51e4568d164fe986834f41e55c8e850ce1f98458c0cfc9ab380b55285a55"
)
POSSESSION = bytes.fromhex(
    "b803eb0ed93ea10224a73b6b9c725796be9f5fefd215ef7a5b97234cc956cf68"
    "70db6127b7e4d824ec62276078e787db05584ce1adbf076bc0808ca0f15b73d5"
    "9060254b25393d95dfc7abe3cda566842aaedf50bbb062aae1bbb6ef3b1f77e1"
)
MESSAGE = bytes(32)
P = field_modulus
INFINITY_G1 = b"\xc0" + bytes(47)
INFINITY_G2 = b"\xc0" + bytes(95)


def g1(x: int, flags: int = 0x80) -> bytes:
    return (x | flags << 376).to_bytes(48, "big")


def g2(c1: int, c0: int, flags: int = 0x80) -> bytes:
    return g1(c1, flags) + c0.to_bytes(48, "big")


# x = 0 belongs to points of order three; x = 1 to none, x = 4 to points outside the subgroup.
SHIFTED_KEY = bytes(plain.G1_to_pubkey(add(plain.pubkey_to_G1(PUBLIC), plain.pubkey_to_G1(g1(4)))))
BAD_G1: dict[str, tuple[Any, type[OmpdError]]] = {
    "infinity": (INFINITY_G1, IdentityPointError),
    "infinity with sign": (b"\xe0" + bytes(47), PointDecodingError),
    "infinity with low bit": (b"\xc0" + bytes(46) + b"\x01", PointDecodingError),
    "infinity with x bit": (b"\xc1" + bytes(47), PointDecodingError),
    "infinity over a key": (bytes([PUBLIC[0] | 0x40]) + PUBLIC[1:], PointDecodingError),
    "infinity not compressed": (b"\x40" + bytes(47), PointDecodingError),
    "zeros": (bytes(48), PointDecodingError),
    "ones": (b"\xff" * 48, PointDecodingError),
    "not compressed": (bytes([PUBLIC[0] & 0x7F]) + PUBLIC[1:], PointDecodingError),
    "x equals the modulus": (g1(P), PointDecodingError),
    "x above the modulus": (g1(P + 4), PointDecodingError),
    "largest x": (g1(2**381 - 1), PointDecodingError),
    "off the curve": (g1(1), PointDecodingError),
    "off the curve, other sign": (g1(1, 0xA0), PointDecodingError),
    "order three": (g1(0), SubgroupError),
    "order three, other sign": (g1(0, 0xA0), SubgroupError),
    "outside the subgroup": (g1(4), SubgroupError),
    "key plus a foreign point": (SHIFTED_KEY, SubgroupError),
    "empty": (b"", PointDecodingError),
    "short": (PUBLIC[:-1], PointDecodingError),
    "long": (PUBLIC + b"\0", PointDecodingError),
    "a signature": (SIGNATURE, PointDecodingError),
    "bytearray": (bytearray(PUBLIC), PointDecodingError),
    "memoryview": (memoryview(PUBLIC), PointDecodingError),
    "str": (PUBLIC.hex(), PointDecodingError),
    "None": (None, PointDecodingError),
    "int": (48, PointDecodingError),
}
BAD_G2: dict[str, tuple[Any, type[OmpdError]]] = {
    "infinity": (INFINITY_G2, IdentityPointError),
    "infinity with sign": (b"\xe0" + bytes(95), PointDecodingError),
    "infinity with low bit": (b"\xc0" + bytes(94) + b"\x01", PointDecodingError),
    "zeros": (bytes(96), PointDecodingError),
    "ones": (b"\xff" * 96, PointDecodingError),
    "not compressed": (bytes([SIGNATURE[0] & 0x7F]) + SIGNATURE[1:], PointDecodingError),
    "flags on the second half": (
        SIGNATURE[:48] + bytes([SIGNATURE[48] | 0x80]) + SIGNATURE[49:],
        PointDecodingError,
    ),
    "c1 equals the modulus": (g2(P, 2), PointDecodingError),
    "c0 equals the modulus": (g2(0, P), PointDecodingError),
    "c0 above the modulus": (g2(0, P + 2), PointDecodingError),
    "x = 0, off the curve": (g2(0, 0), PointDecodingError),
    "off the curve": (g2(0, 1), PointDecodingError),
    "outside the subgroup": (g2(0, 2), SubgroupError),
    "outside the subgroup, other sign": (g2(0, 2, 0xA0), SubgroupError),
    "short": (SIGNATURE[:-1], PointDecodingError),
    "long": (SIGNATURE + b"\0", PointDecodingError),
    "a key": (PUBLIC, PointDecodingError),
    "bytearray": (bytearray(SIGNATURE), PointDecodingError),
    "None": (None, PointDecodingError),
}
NEGATED = bytes([SIGNATURE[0] ^ 0x20]) + SIGNATURE[1:]


def verdict(call: Callable[[], None]) -> type[BaseException] | None:
    """Run a check; return the class of what it raises, None if it passes."""
    try:
        call()
    except OmpdError as error:
        # What the library below raised must not be shown along with it.
        shown = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return type(error) if shown is None else type(shown)
    return None


def test_constants_are_those_of_the_standard() -> None:
    assert signatures.SIGNATURE_DST == b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
    assert signatures.POSSESSION_DST == b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
    assert signatures.SIGNATURE_DST == Reference.DST
    assert signatures.POSSESSION_DST == Reference.POP_TAG
    assert field_modulus == points.FIELD_MODULUS
    assert curve_order == points.GROUP_ORDER


def test_known_answers_come_from_py_ecc() -> None:
    assert Reference.SkToPk(SECRET) == PUBLIC
    assert Reference.Sign(SECRET, MESSAGE) == SIGNATURE
    assert Reference.PopProve(SECRET) == POSSESSION


def test_known_answers(scheme: SignatureBackend) -> None:
    assert scheme.public_key(SECRET) == PUBLIC
    assert scheme.sign(SECRET, MESSAGE) == SIGNATURE
    assert scheme.prove_possession(SECRET) == POSSESSION
    assert scheme.verify(PUBLIC, MESSAGE, SIGNATURE) is None
    assert scheme.verify_possession(PUBLIC, POSSESSION) is None
    assert scheme.check_public_key(PUBLIC) is None


@pytest.mark.parametrize(
    ("secret", "message"), [(1, b""), (curve_order - 1, b"\0"), (2**200 + 3, b"ompd" * 999)]
)
def test_backends_make_equal_bytes(
    both: tuple[SignatureBackend, SignatureBackend], secret: int, message: bytes
) -> None:
    native, portable = both
    assert native.public_key(secret) == portable.public_key(secret)
    assert native.sign(secret, message) == portable.sign(secret, message)
    native.verify(native.public_key(secret), message, native.sign(secret, message))


def test_secret_one_gives_the_generator(scheme: SignatureBackend) -> None:
    assert scheme.public_key(1) == plain.G1_to_pubkey(G1)
    assert scheme.public_key(curve_order - 1) == plain.G1_to_pubkey(neg(G1))


@pytest.mark.parametrize("row", BAD_G1)
def test_bad_public_keys(scheme: SignatureBackend, row: str) -> None:
    encoded, error = BAD_G1[row]
    assert verdict(partial(scheme.check_public_key, encoded)) is error
    assert verdict(partial(scheme.verify, encoded, MESSAGE, SIGNATURE)) is error
    assert verdict(partial(scheme.verify_possession, encoded, POSSESSION)) is error


@pytest.mark.parametrize("row", BAD_G2)
def test_bad_signature_points(scheme: SignatureBackend, row: str) -> None:
    encoded, error = BAD_G2[row]
    raised = verdict(partial(scheme.verify, PUBLIC, MESSAGE, encoded))
    assert raised is not None
    assert issubclass(raised, error)
    assert issubclass(raised, SignatureError)
    possession = verdict(partial(scheme.verify_possession, PUBLIC, encoded))
    assert possession is ProofOfPossessionError


def test_wrong_signatures(scheme: SignatureBackend) -> None:
    for message, signature in ((b"", SIGNATURE), (MESSAGE, NEGATED), (MESSAGE, POSSESSION)):
        assert verdict(partial(scheme.verify, PUBLIC, message, signature)) is SignatureError
    other = backend("pyblst").public_key(SECRET + 1)
    assert verdict(partial(scheme.verify, other, MESSAGE, SIGNATURE)) is SignatureError


def test_signature_is_no_proof_of_possession(scheme: SignatureBackend) -> None:
    # The same message under the other tag.
    signature = backend("pyblst").sign(SECRET, PUBLIC)
    raised = verdict(partial(scheme.verify_possession, PUBLIC, signature))
    assert raised is ProofOfPossessionError


def test_infinity_would_verify_without_the_check() -> None:
    """The library below accepts the forgery that the identity check is there for."""
    from pyblst import BlstP1Element, BlstP2Element, final_verify, miller_loop

    key, signature = BlstP1Element.uncompress(INFINITY_G1), BlstP2Element.uncompress(INFINITY_G2)
    hashed = BlstP2Element.hash_to_group(b"anything", signatures.SIGNATURE_DST)
    generator = BlstP1Element.uncompress(bytes(plain.G1_to_pubkey(G1)))
    assert final_verify(miller_loop(key, hashed), miller_loop(generator, signature))


@pytest.mark.parametrize(
    "secret", [0, -1, curve_order, curve_order + 1, 2**300, True, 1.0, "1", None, b"\1"]
)
def test_bad_secrets(scheme: SignatureBackend, secret: object) -> None:
    for call in (scheme.public_key, scheme.prove_possession, partial(scheme.sign, message=b"")):
        with pytest.raises(KeyMaterialError, match=r"^secret: "):
            call(secret)  # type: ignore[operator]


@pytest.mark.parametrize("message", ["text", bytearray(b"x"), None, memoryview(b"x")])
def test_messages_must_be_bytes(scheme: SignatureBackend, message: object) -> None:
    with pytest.raises(ParameterError, match=r"^message: "):
        scheme.sign(SECRET, message)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"^message: "):
        scheme.verify(PUBLIC, message, SIGNATURE)  # type: ignore[arg-type]


def test_errors_carry_no_values(scheme: SignatureBackend) -> None:
    for bad in (0xABCDEF << 256, -0xABCDEF):
        with pytest.raises(KeyMaterialError) as caught:
            scheme.sign(bad, b"")
        text = str(caught.value).lower()
        assert "abcdef" not in text
        assert str(bad) not in text


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mutated_encodings_get_equal_verdicts(
    both: tuple[SignatureBackend, SignatureBackend], data: st.DataObject
) -> None:
    valid, checks = data.draw(
        st.sampled_from(
            [
                (PUBLIC, [scheme.check_public_key for scheme in both]),
                (
                    SIGNATURE,
                    [partial(scheme.verify, PUBLIC, MESSAGE) for scheme in both],
                ),
            ]
        )
    )
    changed = bytearray(valid)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(valid) - 1), st.integers(0, 255)), max_size=3)
    ):
        changed[place] = value
    native, portable = (verdict(partial(check, bytes(changed))) for check in checks)
    assert native is portable


def test_reasons_agree_with_py_ecc_on_many_coordinates() -> None:
    """On or off the curve: Euler's criterion against the square roots of the oracle."""
    for x in range(1, 30):
        encoded = g1(x)
        with pytest.raises((PointDecodingError, SubgroupError)) as caught:
            points.refuse_g1(encoded, "point")
        try:
            plain.pubkey_to_G1(encoded)
        except ValueError:
            assert caught.type is PointDecodingError
        else:
            assert caught.type is SubgroupError
    for x in range(1, 12):
        encoded = g2(x * x - 3 if x > 1 else 0, x)
        with pytest.raises((PointDecodingError, SubgroupError)) as caught:
            points.refuse_g2(encoded, "point")
        try:
            plain.signature_to_G2(encoded)
        except ValueError:
            assert caught.type is PointDecodingError
        else:
            assert caught.type is SubgroupError


def test_choice_of_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend().name == "pyblst"
    assert backend("py_ecc").name == "py_ecc"
    assert backend("py_ecc") is backend("py_ecc")
    assert backend(backend("py_ecc")) is backend("py_ecc")
    for bad in ("blst", "", 3, b"pyblst"):
        with pytest.raises(ParameterError, match=r"^backend: "):
            backend(bad)  # type: ignore[arg-type]

    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.delitem(sys.modules, "ompd.crypto._pyblst", raising=False)
    monkeypatch.setitem(sys.modules, "pyblst", None)  # type: ignore[arg-type]
    assert backend().name == "py_ecc"
    with pytest.raises(BackendUnavailableError, match="pyblst"):
        backend("pyblst")
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setitem(sys.modules, "ompd.crypto._py_ecc", None)  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailableError):
        backend()


def test_import_loads_no_backend() -> None:
    code = "import sys, ompd.crypto; print([m for m in ('pyblst', 'py_ecc') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_backend_is_shared_by_threads() -> None:
    scheme = backend("pyblst")
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                message = bytes([number, turn])
                scheme.verify(PUBLIC, message, scheme.sign(SECRET, message))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_foreign_multiple_of_the_group_order_is_refused() -> None:
    # A point outside the subgroup times r is a point of small order: never infinity by accident.
    point = multiply(plain.pubkey_to_G1(g1(4)), curve_order)
    encoded = bytes(plain.G1_to_pubkey(point))
    assert verdict(partial(backend("pyblst").check_public_key, encoded)) is SubgroupError
