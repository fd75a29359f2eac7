"""Private keys: round trips, and secrets that stay where they are."""

from __future__ import annotations

import copy
import logging
import pickle
import traceback
from typing import Any

import pytest
from py_ecc.optimized_bls12_381 import curve_order

from ompd.crypto import EnvelopeKey, Identity, SignatureBackend, SigningKey, backend, keys
from ompd.errors import KeyMaterialError, ParameterError

# Recognisable secrets, in every form in which they might show up.
MARKER = bytes.fromhex("5ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7e75ec7")
SCALAR = int.from_bytes(MARKER, "big")
TRACES = [MARKER.hex()[:12], str(SCALAR)[:12], hex(SCALAR)[2:14], repr(MARKER)[2:14], "^\\xc7"]


def holders() -> list[Any]:
    signing = SigningKey.from_bytes(MARKER)
    compact = EnvelopeKey.from_bytes(b"\1" + MARKER)
    hybrid = EnvelopeKey.from_bytes(b"\2" + MARKER * 3)
    return [signing, compact, hybrid, Identity("hospital", signing, compact)]


def assert_clean(text: str) -> None:
    assert not [trace for trace in TRACES if trace in text.lower()]


def test_marker_would_be_noticed() -> None:
    for leak in (MARKER.hex(), str(SCALAR), hex(SCALAR), repr(MARKER), f"{SCALAR:x}"):
        with pytest.raises(AssertionError):
            assert_clean(leak)


@pytest.mark.parametrize("holder", holders(), ids=["signing", "compact", "hybrid", "identity"])
class TestSecretsStay:
    def test_text_and_log(self, holder: Any, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("test").info("%s %r %s", holder, holder, [holder])
        for text in (repr(holder), str(holder), f"{holder}", f"{[holder]}", caplog.text):
            assert_clean(text)
            assert type(holder).__name__ in text or holder.__class__.__name__ in text

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_no_pickle(self, holder: Any, protocol: int) -> None:
        for wrapped in (holder, [holder], {"key": holder}):
            with pytest.raises(TypeError, match="holds a secret") as caught:
                pickle.dumps(wrapped, protocol)
            assert_clean(str(caught.value))

    def test_no_copy(self, holder: Any) -> None:
        calls = (
            copy.copy,
            copy.deepcopy,
            lambda value: copy.deepcopy([value]),
            lambda value: value.__reduce__(),
            lambda value: value.__reduce_ex__(4),
            lambda value: value.__getstate__(),
        )
        for call in calls:
            with pytest.raises(TypeError, match="holds a secret"):
                call(holder)

    def test_no_dict(self, holder: Any) -> None:
        assert not hasattr(holder, "__dict__")
        with pytest.raises(AttributeError):
            holder.note = 1


def test_errors_are_clean() -> None:
    signing, compact, hybrid, _ = holders()
    calls = (
        lambda: signing.sign("text"),
        lambda: SigningKey(SCALAR << 8),
        lambda: SigningKey(-SCALAR),
        lambda: SigningKey(str(SCALAR)),  # type: ignore[arg-type]
        lambda: SigningKey.from_bytes(MARKER + b"\0"),
        lambda: SigningKey.from_bytes(MARKER.hex()),  # type: ignore[arg-type]
        lambda: SigningKey.from_bytes(b"\xff" + MARKER[1:]),
        lambda: SigningKey(SCALAR, "blst"),
        lambda: compact.decrypt(bytes(100), b""),
        lambda: hybrid.decrypt(bytes(2000), b""),
        lambda: EnvelopeKey.from_bytes(b"\1" + MARKER + b"\0"),
        lambda: EnvelopeKey.from_bytes(b"\3" + MARKER),
        lambda: Identity("UPPER", signing, compact),
        lambda: Identity("a", compact, signing),  # type: ignore[arg-type]
    )
    for call in calls:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            call()
        assert_clean(str(caught.value))
        # Without the source lines, which quote this test.
        assert_clean("".join(traceback.format_exception_only(caught.value)))


def test_signing_key(scheme: SignatureBackend) -> None:
    key = SigningKey.from_bytes(MARKER, scheme)
    assert key.backend is scheme
    assert key.public_key == backend("pyblst").public_key(SCALAR)
    assert key.sign(b"message") == backend("pyblst").sign(SCALAR, b"message")
    assert key.proof_of_possession == backend("pyblst").prove_possession(SCALAR)
    assert key.proof_of_possession is key.proof_of_possession
    assert key.to_bytes() == MARKER
    assert repr(key) == f"SigningKey(public_key={key.public_key[:4].hex()}...)"


def test_generated_keys_differ() -> None:
    made = [SigningKey.generate() for _ in range(20)]
    assert len({key.public_key for key in made}) == 20
    for key in made:
        assert 1 <= int.from_bytes(key.to_bytes(), "big") < curve_order
    assert len({EnvelopeKey.generate().public_bytes for _ in range(20)}) == 20


@pytest.mark.parametrize(("draw", "secret"), [(0, 1), (curve_order - 2, curve_order - 1)])
def test_generation_covers_the_range(
    monkeypatch: pytest.MonkeyPatch, draw: int, secret: int
) -> None:
    asked: list[int] = []

    def randbelow(bound: int) -> int:
        asked.append(bound)
        return draw

    monkeypatch.setattr(keys.secrets, "randbelow", randbelow)
    assert int.from_bytes(SigningKey.generate().to_bytes(), "big") == secret
    assert asked == [curve_order - 1]


@pytest.mark.parametrize(
    "encoded",
    [b"", bytes(32), b"\1", b"\0" + MARKER, curve_order.to_bytes(32, "big"), b"\xff" * 32, None, 7],
)
def test_bad_exports(encoded: Any) -> None:
    with pytest.raises(KeyMaterialError):
        SigningKey.from_bytes(encoded)


def test_backend_is_passed_on() -> None:
    assert SigningKey.generate("py_ecc").backend.name == "py_ecc"
    with pytest.raises(ParameterError):
        SigningKey.generate("other")
