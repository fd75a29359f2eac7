"""The durable registry of parties."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ompd.crypto import Directory, EnvelopeKey, Identity, PublicIdentity, SigningKey
from ompd.crypto.rotation import MAX_ROTATION_BYTES, Rotation, rotation_message
from ompd.errors import (
    ExpiredError,
    FramingError,
    KeyMaterialError,
    NonCanonicalError,
    NotYetValidError,
    OmpdError,
    ParameterError,
    ProofOfPossessionError,
    RevokedKeyError,
    SignatureError,
    StoreError,
    TooLargeError,
    UnknownKeyError,
    VersionError,
)
from ompd.stores.registry import Registry

replace = msgspec.structs.replace


def identity(id: str, number: int) -> Identity:
    return Identity(
        id, SigningKey(number), EnvelopeKey.from_bytes(b"\1" + bytes([number % 251]) * 32)
    )


ALICE, ALICE2, ALICE3 = (identity("alice", number) for number in (9001, 9002, 9003))
BOB, MARY = identity("bob", 9011), identity("st-mary", 9012)
A, A2 = ALICE.public, ALICE2.public


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "registry.db"


@pytest.fixture
def registry(path: Path, clock: Clock) -> Any:
    with Registry(path, clock=clock) as opened:
        yield opened


def contents(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# --- admission ------------------------------------------------------------------------------------


def test_admitted_parties_are_found_again(registry: Registry, path: Path, clock: Clock) -> None:
    registry.admit(A, "user")
    registry.admit(MARY.public, "hospital", valid_until=2000)
    with Registry(path, clock=clock) as other:
        for each in (registry, other):
            assert each.get("alice") == A
            assert (each.role("alice"), each.role("st-mary")) == ("user", "hospital")
            assert "alice" in each
            assert "bob" not in each
            assert 7 not in each
            assert len(each) == 2
            assert repr(each) == "<Registry of 2 parties>"
            assert [entry.public.id for entry in each.parties()] == ["alice", "st-mary"]
    for unknown in ("bob", "", "\ud800", None, 7, "alice' OR 1=1 --"):
        with pytest.raises(UnknownKeyError):
            registry.get(unknown)  # type: ignore[arg-type]
        with pytest.raises(UnknownKeyError):
            registry.history(unknown)  # type: ignore[arg-type]


def test_serves_where_a_directory_does(registry: Registry) -> None:
    assert registry  # an empty one, too
    for place in (Directory(), registry):
        place.register(A)
        place.register(A)
        assert place.get("alice") == A
        assert "alice" in place
        assert len(place) == 1
        with pytest.raises(UnknownKeyError):
            place.get("bob")
        with pytest.raises(KeyMaterialError):
            place.register(A2)
        with pytest.raises(KeyMaterialError):
            place.register(replace(A, id="Bob"))
        with pytest.raises(KeyMaterialError):
            place.register("alice")  # type: ignore[arg-type]
        place.register(MARY.public, "hospital")
        place.register(MARY.public)
        assert (place.role("alice"), place.role("st-mary")) == ("user", "hospital")
        assert place.member("alice") == (A, "user")
        for look in (place.role, place.member):
            with pytest.raises(UnknownKeyError):
                look("bob")
        # Nobody rises by registering again.
        for public, other in ((A, "hospital"), (MARY.public, "cloud")):
            with pytest.raises(KeyMaterialError, match="another role"):
                place.register(public, other)
        with pytest.raises(ParameterError, match="role"):
            place.register(MARY.public, "surgeon")  # type: ignore[arg-type]
        assert (place.role("alice"), place.role("st-mary")) == ("user", "hospital")


def test_refusals_change_nothing(registry: Registry, path: Path) -> None:
    registry.admit(A, "user")
    before = contents(path)
    same_key = Identity("bob", ALICE.signing_key, BOB.envelope_key).public
    for public, role, error in (
        (A2, "user", KeyMaterialError),
        (A, "cloud", KeyMaterialError),
        (same_key, "user", KeyMaterialError),
        (replace(BOB.public, possession=A.possession), "user", ProofOfPossessionError),
        (replace(BOB.public, binding=A.binding), "user", SignatureError),
        (replace(BOB.public, envelope_key=A.envelope_key), "user", SignatureError),
        (BOB.public, "doctor", ParameterError),
        (BOB.public, None, ParameterError),
        ("bob", "user", KeyMaterialError),
    ):
        with pytest.raises(error):
            registry.admit(public, role)  # type: ignore[arg-type]
    for start, end in (
        (5, 5), (6, 5), (float("nan"), None), (None, float("inf")), ("1", None), (True, None),
        (None, 10**400),
    ):  # fmt: skip
        with pytest.raises(ParameterError):
            registry.admit(BOB.public, "user", start, end)  # type: ignore[arg-type]
    assert contents(path) == before


def test_validity(registry: Registry, clock: Clock) -> None:
    registry.admit(A, "user", 1500, 2000)
    with pytest.raises(NotYetValidError):
        registry.get("alice")
    assert registry.get("alice", now=1500) == A
    assert registry.get("alice", now=1999.9) == A
    with pytest.raises(ExpiredError):
        registry.get("alice", now=2000)
    with pytest.raises(UnknownKeyError):  # for whoever wants to know only this much
        registry.get("alice", now=2000)
    states = []
    for clock.now in (1000, 1500, 2000):
        states.append((len(registry), "alice" in registry, registry.parties()[0].state(clock.now)))
    assert states == [(0, False, "not yet valid"), (1, True, "valid"), (0, False, "expired")]
    registry.renew("alice", 3000)
    assert registry.get("alice") == A
    for error, arguments in (
        (UnknownKeyError, ("bob", None)),
        (ParameterError, ("alice", 1500)),
        (ParameterError, ("alice", float("nan"))),
    ):
        with pytest.raises(error):
            registry.renew(*arguments)
    registry.renew("alice", None)
    assert registry.get("alice", now=1e9) == A


# --- revocation -----------------------------------------------------------------------------------


def test_revocation_is_for_ever(registry: Registry, path: Path, clock: Clock) -> None:
    registry.admit(A, "user")
    registry.revoke("alice", "laptop stolen")
    clock.now = 1001
    registry.revoke("alice", "again")
    (entry,) = registry.history("alice")
    assert (entry.revoked_at, entry.reason, entry.state(0)) == (1000, "laptop stolen", "revoked")
    before = contents(path)
    rotation = Rotation.make(ALICE, A2)
    for attempt in (
        lambda: registry.get("alice"),
        lambda: registry.get("alice", now=0),
        lambda: registry.register(A),
        lambda: registry.admit(A, "user"),
        lambda: registry.admit(A, "user", readmit=True),
        lambda: registry.rotate(A2, rotation.signature),
        lambda: registry.renew("alice", None),
    ):
        with pytest.raises(RevokedKeyError):
            attempt()
    with pytest.raises(KeyMaterialError):
        registry.admit(A2, "user")
    assert "alice" not in registry
    assert contents(path) == before
    registry.admit(A2, "user", readmit=True)
    assert registry.get("alice") == A2
    assert [entry.state(0) for entry in registry.history("alice")] == ["revoked", "valid"]
    with pytest.raises(UnknownKeyError):
        registry.revoke("bob", "?")
    for reason in ("", "x" * 201, "a\nb", "\x1b[2J", None):
        with pytest.raises(ParameterError):
            registry.revoke("alice", reason)  # type: ignore[arg-type]


def test_readmission_is_for_the_revoked(registry: Registry) -> None:
    registry.admit(A, "user")
    with pytest.raises(KeyMaterialError):
        registry.admit(A2, "user", readmit=True)
    registry.revoke("alice", "lost")
    with pytest.raises(KeyMaterialError):
        registry.admit(A2, "cloud", readmit=True)


# --- rotation -------------------------------------------------------------------------------------


def test_rotation(registry: Registry, clock: Clock) -> None:
    registry.admit(A, "hospital", valid_until=5000)
    clock.now = 1100
    rotation = Rotation.make(ALICE, A2)
    for _ in range(2):  # repeating it changes nothing
        registry.rotate(A2, rotation.signature)
    assert registry.get("alice") == A2
    first, second = registry.history("alice")
    assert (first.public, first.generation, first.superseded_at) == (A, 1, 1100)
    assert (second.generation, second.role, second.valid_until) == (2, "hospital", 5000)
    assert second.rotation == rotation.signature
    assert (first.state(1100), second.state(1100)) == ("superseded", "valid")
    registry.rotate(ALICE3.public, Rotation.make(ALICE2, ALICE3.public).signature)
    assert [entry.generation for entry in registry.history("alice")] == [1, 2, 3]
    assert len(registry.parties()) == 1


def test_refused_rotations_change_nothing(registry: Registry, path: Path, clock: Clock) -> None:
    registry.admit(A, "user", valid_until=5000)
    registry.admit(BOB.public, "user")
    good = Rotation.make(ALICE, A2).signature
    stolen = Identity("alice", BOB.signing_key, ALICE2.envelope_key)
    before = contents(path)
    for public, signature, error in (
        (MARY.public, good, UnknownKeyError),
        (A2, ALICE2.signing_key.sign(rotation_message(A.signing_key, A2)), SignatureError),
        (A2, ALICE.signing_key.sign(b"other"), SignatureError),
        (A2, ALICE.signing_key.sign(rotation_message(A2.signing_key, A2)), SignatureError),
        (ALICE3.public, good, SignatureError),
        (A2, good[:-1], SignatureError),
        (A2, bytearray(good), SignatureError),
        (A2, None, SignatureError),
        (replace(A2, possession=A.possession), good, ProofOfPossessionError),
        (stolen.public, Rotation.make(ALICE, stolen.public).signature, KeyMaterialError),
        ("alice", good, KeyMaterialError),
    ):
        with pytest.raises(error):
            registry.rotate(public, signature)  # type: ignore[arg-type]
    clock.now = 5000
    with pytest.raises(ExpiredError):
        registry.rotate(A2, good)
    clock.now = 1000
    assert contents(path) == before
    registry.rotate(A2, good)
    before = contents(path)
    # Neither back to old keys, nor by old keys.
    with pytest.raises(KeyMaterialError):
        registry.rotate(A, Rotation.make(ALICE2, A).signature)
    with pytest.raises(SignatureError):
        registry.rotate(ALICE3.public, Rotation.make(ALICE, ALICE3.public).signature)
    with pytest.raises(KeyMaterialError):
        registry.admit(A, "user")
    assert contents(path) == before


def test_both_backends_rotate(tmp_path: Path, path: Path) -> None:
    with Registry(path, backend="py_ecc") as registry:
        registry.admit(A, "user")
        registry.rotate(A2, Rotation.make(ALICE, A2).signature)
        assert registry.get("alice") == A2


def test_rotation_encoding() -> None:
    rotation = Rotation.make(ALICE, A2)
    encoded = rotation.to_bytes()
    assert Rotation.from_bytes(encoded) == rotation
    assert rotation.public_identity == A2
    for wrong, error in (
        (encoded[:-1], FramingError),
        (encoded + b"\0", FramingError),
        (A.to_bytes(), FramingError),
        (b"", FramingError),
        (None, FramingError),
        (b"\0" * (MAX_ROTATION_BYTES + 1), TooLargeError),
        (b"\xdc\0\3" + encoded[1:], NonCanonicalError),
        (Rotation(b"", b"").to_bytes(), FramingError),
    ):
        with pytest.raises(error):
            Rotation.from_bytes(wrong)  # type: ignore[arg-type]
    for new in (BOB.public, A):
        with pytest.raises(KeyMaterialError):
            Rotation.make(ALICE, new)


@given(junk=st.binary(max_size=600))
def test_junk_is_no_rotation(junk: bytes) -> None:
    with pytest.raises(OmpdError):
        Rotation.from_bytes(junk)


# --- the file -------------------------------------------------------------------------------------


def test_threads_agree_on_one_winner(registry: Registry) -> None:
    registry.admit(A, "user")
    rivals = [identity("alice", 9100 + number).public for number in range(8)]
    barrier, won = threading.Barrier(len(rivals)), []

    def run(public: PublicIdentity) -> None:
        signature = Rotation.make(ALICE, public).signature
        barrier.wait()
        try:
            registry.rotate(public, signature)
        except (KeyMaterialError, SignatureError):
            return
        won.append(public)

    threads = [threading.Thread(target=run, args=(public,)) for public in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [registry.get("alice")]
    assert len(registry.history("alice")) == 2


RIVAL = """
import sys
from ompd.crypto import EnvelopeKey, Identity, SigningKey
from ompd.errors import KeyMaterialError
from ompd.stores.registry import Registry
own = Identity("alice", SigningKey(int(sys.argv[2])), EnvelopeKey.from_bytes(b"\\1" + b"k" * 32))
with open(0) as go:
    print("ready", flush=True)
    go.readline()
try:
    with Registry(sys.argv[1]) as registry:
        registry.admit(own.public, "user")
except KeyMaterialError:
    print("lost")
else:
    print("won")
"""


def test_processes_agree_on_one_winner(path: Path) -> None:
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", RIVAL, str(path), str(9200 + number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for rival in rivals:
        assert rival.stdout is not None
        assert rival.stdout.readline() == "ready\n"
    for rival in rivals:  # the file itself is created in the race
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    outcomes = sorted(rival.communicate(timeout=60)[0] for rival in rivals)
    assert outcomes == ["lost\n"] * 3 + ["won\n"]


def test_a_killed_writer_leaves_nothing_half_done(path: Path, clock: Clock) -> None:
    code = (
        "import os, sys\n"
        "from ompd.crypto import EnvelopeKey, Identity, SigningKey\n"
        "from ompd.stores import registry as module\n"
        "from ompd.crypto.rotation import Rotation\n"
        "def one(number): return Identity('alice', SigningKey(number),"
        " EnvelopeKey.from_bytes(b'\\1' + bytes([number % 251]) * 32))\n"
        "registry = module.Registry(sys.argv[1])\n"
        "registry.admit(one(9001).public, 'user')\n"
        "module.generations.insert = lambda *a: os.kill(os.getpid(), 9)\n"
        "new = one(9002).public\n"
        "registry.rotate(new, Rotation.make(one(9001), new).signature)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == -9
    with Registry(path, clock=clock) as registry:
        assert registry.get("alice") == A
        assert len(registry.history("alice")) == 1


@pytest.mark.parametrize(
    "content", [b"x", b"no database at all" * 400, b"SQLite format 3\0" + bytes(4080)]
)
def test_foreign_and_damaged_files(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreError):
        Registry(path)
    assert path.read_bytes() == content


def test_damage_within(path: Path) -> None:
    with Registry(path) as registry:
        registry.admit(A, "user")
    whole = path.read_bytes()
    for start in range(0, len(whole), 512):
        damaged = whole[:start] + b"\xa5" * 512 + whole[start + 512 :]
        path.write_bytes(damaged)
        try:
            with Registry(path) as registry:
                assert registry.get("alice") == A
        except (StoreError, VersionError):
            continue
    path.write_bytes(whole[:-4096])
    with pytest.raises(StoreError):
        Registry(path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE generations SET public = x'00'",
        "UPDATE generations SET public = 'text'",
        "UPDATE generations SET signing_key = x'00'",
        "UPDATE generations SET since = 'then'",
        "UPDATE generations SET generation = 'first'",
        "UPDATE parties SET role = 'doctor'",
        "DROP TABLE generations",
    ],
)
def test_entries_that_nobody_wrote(path: Path, change: str) -> None:
    with Registry(path) as registry:
        registry.admit(A, "user")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(change)
    with Registry(path) as registry, pytest.raises(StoreError):
        registry.get("alice")


def test_other_databases_are_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another kind"):
        Registry(path)
    assert path.read_bytes() == before
    path.unlink()
    with Registry(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(VersionError):
        Registry(path)


def test_modes_paths_and_closing(tmp_path: Path, path: Path) -> None:
    with Registry(path) as registry:
        registry.admit(A, "user")
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
        assert set(modes.values()) == {0o600}
    for _ in range(2):
        registry.close()
    with pytest.raises(StoreError, match="closed"):
        registry.get("alice")
    with pytest.raises(StoreError):
        Registry(tmp_path / "no" / "folder")
    with pytest.raises(StoreError):
        Registry(tmp_path)
    if os.name == "posix":
        path.chmod(0o620)
        with pytest.raises(StoreError, match="0600"):
            Registry(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_child_may_not_share_the_connection(registry: Registry, path: Path) -> None:
    registry.admit(A, "user")
    child = os.fork()
    if child == 0:
        good = 0
        for attempt in (lambda: registry.get("alice"), lambda: Registry(path)):
            try:
                attempt()
            except StoreError:
                good += 1
        os._exit(good)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert registry.get("alice") == A
