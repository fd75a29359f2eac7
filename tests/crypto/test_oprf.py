"""The oblivious function: vectors of RFC 9497 (A.1.2), the package `voprf` as oracle, refusals."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voprf import ristretto as reference

from ompd.crypto import ristretto
from ompd.crypto.oprf import Evaluator, blind_all, check_public, finalize_all, verified
from ompd.errors import (
    BackendUnavailableError,
    IdentityPointError,
    KeyMaterialError,
    ParameterError,
    PointDecodingError,
    ProofError,
)

SEED, INFO = b"\xa3" * 32, b"test key"
PUBLIC = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e"
INPUTS = (b"\x00", b"\x5a" * 17)
OUTPUTS = (
    "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d"
    "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c",
    "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60"
    "356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6",
)
BLIND = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706"
#: Vectors 1, 2 and 3: blinded elements, evaluated elements, proof.
VECTORS = {
    "1": (
        ["863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945"],
        ["aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e"],
        "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06"
        "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d",
    ),
    "2": (
        ["cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c"],
        ["60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468"],
        "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a"
        "67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02",
    ),
    "3": (
        [
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "90a0145ea9da29254c3a56be4fe185465ebb3bf2a1801f7124bbbadac751e654",
        ],
        [
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            "cc5ac221950a49ceaa73c8db41b82c20372a4c8d63e5dded2db920b7eee36a2a",
        ],
        "cc203910175d786927eeb44ea847328047892ddf8590e723c37205cb74600b0a"
        "5ab5337c8eb4ceae0494c2cf89529dcf94572ed267473d567aeed6ab873dee08",
    ),
}


def unhex(texts):
    return [bytes.fromhex(text) for text in texts]


def test_keys_and_outputs_are_those_of_the_rfc():
    evaluator = Evaluator(SEED, INFO)
    assert evaluator.public.hex() == PUBLIC
    assert [evaluator.output(each).hex() for each in INPUTS] == list(OUTPUTS)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_proofs_of_the_rfc_are_accepted_and_its_elements_computed(vector):
    blinded, evaluated, proof = unhex(vector[0]), unhex(vector[1]), bytes.fromhex(vector[2])
    answer = proof + b"".join(evaluated)
    found = verified(blinded, answer, bytes.fromhex(PUBLIC))
    assert [ristretto.encode(each) for each in found] == evaluated
    assert Evaluator(SEED, INFO).evaluate(blinded)[64:] == b"".join(evaluated)
    for place in (0, 31, 32, 63, len(answer) - 32):
        altered = bytearray(answer)
        altered[place] ^= 2
        with pytest.raises((ProofError, PointDecodingError)):
            verified(blinded, bytes(altered), bytes.fromhex(PUBLIC))


def test_the_rfcs_blinded_element_is_its_blind_times_the_hash():
    blind = int.from_bytes(bytes.fromhex(BLIND), "little")
    for message, name in zip(INPUTS, "12", strict=True):
        hashed = ristretto.hash_to_group(message, b"HashToGroup-OPRFV1-\x01-ristretto255-SHA512")
        assert ristretto.encode(ristretto.combine([blind], [hashed])).hex() == VECTORS[name][0][0]


#: RFC 9496, A.1: multiples of the generator; A.2: what is no element.
MULTIPLES = {
    1: "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    2: "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    3: "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
}
NO_ELEMENTS = [
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(("factor", "encoded"), MULTIPLES.items())
def test_multiples_of_the_generator(factor, encoded):
    base = ristretto.FixedBase(ristretto.GENERATOR, 4)
    found = [
        base.multiply(factor),
        ristretto.combine([factor], [ristretto.GENERATOR]),
        ristretto.combine([factor - 1, 1], [ristretto.GENERATOR] * 2),
        ristretto.negate(base.multiply(ristretto.ORDER - factor)),
    ]
    assert {ristretto.encode(each).hex() for each in found} == {encoded}
    assert ristretto.encode(ristretto.decode(bytes.fromhex(encoded), "x")).hex() == encoded


@pytest.mark.parametrize("encoded", [*NO_ELEMENTS, "", "01" * 31, "02" * 33])
def test_what_is_no_element_is_refused(encoded):
    data = bytes.fromhex(encoded)
    for attempt in (
        lambda: ristretto.decode(data, "x"),
        lambda: Evaluator(SEED, INFO).evaluate([data]),
        lambda: check_public(data),
    ):
        with pytest.raises(PointDecodingError):
            attempt()


def test_the_identity_is_refused():
    for attempt in (
        lambda: ristretto.decode(bytes(32), "x"),
        lambda: Evaluator(SEED, INFO).evaluate([bytes(32)]),
        lambda: check_public(bytes(32)),
    ):
        with pytest.raises(IdentityPointError):
            attempt()


@settings(max_examples=8)
@given(
    st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=5),
    st.binary(min_size=32, max_size=32),
)
def test_as_the_reference_computes_it(messages, seed):
    evaluator = Evaluator(seed, b"x")
    blinds, elements = blind_all(messages)
    answer = evaluator.evaluate(elements)
    found = finalize_all(messages, blinds, elements, answer, evaluator.public)
    clients, inputs = zip(*(reference.Client.blind(each) for each in messages), strict=True)
    key = reference.PublicKey.deserialize(evaluator.public)
    theirs = evaluator.evaluate([each.serialize() for each in inputs])
    output = reference.VerifiableBatchOutput.deserialize(theirs)
    assert reference.Client.finalize_batch(list(clients), output, key) == found
    assert found == [evaluator.output(each) for each in messages]
    # The same answer under another key is none.
    other = Evaluator(bytes(32), b"y")
    with pytest.raises(ProofError):
        finalize_all(messages, blinds, elements, answer, other.public)
    with pytest.raises(ProofError):
        finalize_all(messages, blinds, elements, answer[:-32], evaluator.public)


def test_the_same_input_is_blinded_anew_each_time():
    blinds, elements = blind_all([b"same"] * 4)
    again, others = blind_all([b"same"] * 4)
    assert len({*blinds, *again}) == len({*elements, *others}) == 8
    assert min(*blinds, *again) > 2**200


def test_types_and_secrets(monkeypatch):
    for seed, info, error in (
        (b"", b"", KeyMaterialError),
        ("x" * 32, b"", KeyMaterialError),
        (SEED, "x", ParameterError),
        (SEED, bytes(1025), ParameterError),
    ):
        with pytest.raises(error):
            Evaluator(seed, info)
    evaluator = Evaluator(SEED, INFO)
    assert repr(evaluator) == "<Evaluator>"
    with pytest.raises(TypeError):
        pickle.dumps(evaluator)
    for elements in ([], [bytes.fromhex(MULTIPLES[1])] * 1025):
        with pytest.raises(ParameterError):
            evaluator.evaluate(elements)
    monkeypatch.setitem(__import__("sys").modules, "voprf", None)
    with pytest.raises(BackendUnavailableError):
        Evaluator(SEED, INFO)


@pytest.mark.parametrize("width", [2, 6, 8])
def test_multiples_at_every_carry(width):
    """A digit above half of its window takes from the next one, to the last."""
    whole = 1 << width
    base = ristretto.FixedBase(ristretto.GENERATOR, width)
    digits = [0, 1, whole // 2 - 1, whole // 2, whole // 2 + 1, whole - 1]
    scalars = [sum(digit * whole**k for k in range(260 // width)) for digit in digits]
    for scalar in [*scalars, ristretto.ORDER - 1, 2**252, 2**252 - 1]:
        found = base.multiply(scalar % ristretto.ORDER)
        expected = ristretto.combine([scalar % ristretto.ORDER], [ristretto.GENERATOR])
        assert ristretto.encode(found) == ristretto.encode(expected)
