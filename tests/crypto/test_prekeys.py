"""Short-lived envelope keys: made, signed, handed out, rotated, deleted."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
import threading

import msgspec
import pytest

from ompd import files
from ompd.crypto import (
    Directory,
    EnvelopeKey,
    Identity,
    Prekeys,
    PublicIdentity,
    SigningKey,
    encrypt,
    passwords,
    prekey_files,
)
from ompd.crypto.identity_files import save_identity
from ompd.crypto.prekey_files import PREKEY_FILE, open_prekeys, read_prekey
from ompd.crypto.prekeys import LIFETIME, OVERLAP, SKEW, SignedPrekey
from ompd.crypto.rotation import Rotation, rotation_message
from ompd.errors import (
    DecryptionError,
    KeyMaterialError,
    KeystoreError,
    NonCanonicalError,
    OmpdError,
    ParameterError,
    PasswordError,
    PrekeyError,
    RevokedKeyError,
    SignatureError,
    SubgroupError,
)
from ompd.stores import Registry

replace = msgspec.structs.replace
PASSWORD = "correct horse"  # noqa: S105
START = 1_800_000_000.0


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


def identity(id="st-mary", number=7001, suite=1):
    raw = bytes([number % 251]) * (32 if suite == 1 else 96)
    return Identity(id, SigningKey(number), EnvelopeKey(bytes([suite]) + raw))


MARY = identity()
BOB = identity("bob", 7002)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def prekeys(clock):
    return Prekeys(MARY, clock=clock)


def opens(prekeys, public_bytes):
    """Whether what is encrypted to this key can still be opened."""
    try:
        return prekeys.decrypt(encrypt(public_bytes, b"content", b"info"), b"info") == b"content"
    except DecryptionError:
        return False


def test_a_key_opens_until_the_overlap_ends(prekeys, clock):
    assert prekeys.statement is None
    with pytest.raises(DecryptionError):
        prekeys.decrypt(b"", b"")
    first = prekeys.rotate()
    assert prekeys.statement == first
    assert opens(prekeys, first.envelope_key)
    clock.now += 3600
    second = prekeys.rotate()
    assert prekeys.statement == second != first
    assert second.not_before > first.not_before
    assert opens(prekeys, first.envelope_key)
    assert opens(prekeys, second.envelope_key)
    clock.now += OVERLAP - 1
    assert opens(prekeys, first.envelope_key)
    clock.now += 1
    assert not opens(prekeys, first.envelope_key)
    assert opens(prekeys, second.envelope_key)


def test_a_deleted_key_is_nowhere_in_the_object(prekeys, clock):
    prekeys.rotate()
    (held,) = prekeys._held
    prekeys.rotate()
    assert held.key in [each.key for each in prekeys._held]
    clock.now += OVERLAP
    prekeys.expire()
    assert len(prekeys._held) == 1
    assert held.key not in [each.key for each in prekeys._held]


def test_no_more_than_two_keys_are_left(prekeys):
    keys = [prekeys.rotate().envelope_key for _ in range(4)]
    assert [opens(prekeys, key) for key in keys] == [False, False, True, True]


def test_an_expired_key_is_deleted_also_without_a_next_one(prekeys, clock):
    only = prekeys.rotate()
    clock.now += LIFETIME + OVERLAP - 1
    assert opens(prekeys, only.envelope_key)
    clock.now += 1
    assert not opens(prekeys, only.envelope_key)
    assert prekeys.statement is None


def test_it_does_not_open_with_the_long_lived_key_and_cannot_be_copied(prekeys):
    prekeys.rotate()
    sealed = encrypt(prekeys.statement.envelope_key, b"content", b"info")
    with pytest.raises(DecryptionError):
        MARY.envelope_key.decrypt(sealed, b"info")
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            action(prekeys)
    assert prekeys._held[0].key.to_bytes().hex() not in repr(prekeys) + repr(prekeys.statement)


@pytest.mark.parametrize(
    "options",
    [{"lifetime": 0}, {"lifetime": 91 * 86_400}, {"overlap": -1}, {"overlap": float("nan")}],
)
def test_times_out_of_range_are_refused(options):
    with pytest.raises(ParameterError):
        Prekeys(MARY, **options)


def test_a_statement_is_valid_from_a_little_before_to_the_end(prekeys, clock):
    statement = prekeys.rotate()
    for moment in (START - SKEW, START, START + LIFETIME - 0.001):
        statement.check_time(moment)
        assert statement.is_valid(moment)
    with pytest.raises(PrekeyError, match="not valid yet"):
        statement.check_time(START - SKEW - 0.001)
    with pytest.raises(PrekeyError, match="expired"):
        statement.check_time(START + LIFETIME)


def test_a_clock_that_was_ahead_does_not_block_later_keys(prekeys, clock):
    clock.now += 365 * 86_400
    prekeys.rotate()
    clock.now = START
    assert prekeys.rotate().is_valid(START)


# --- encoding and verification -------------------------------------------------------------------


@pytest.mark.parametrize("suite", [1, 2])
def test_an_identity_travels_with_and_without(suite, clock):
    mary = identity(suite=suite)
    made = Prekeys(mary, clock=clock).rotate()
    public = mary.public.with_prekey(made)
    for each in (public, mary.public):
        assert PublicIdentity.from_bytes(each.to_bytes()) == each
        each.verify()
    assert public.lasting == mary.public
    assert mary.public.to_bytes()[0] == 0x96  # as it was before there was such a field
    fields = msgspec.msgpack.decode(mary.public.to_bytes())
    with pytest.raises(NonCanonicalError):
        PublicIdentity.from_bytes(msgspec.msgpack.encode([*fields, None]))


def changed(**changes):
    statement = Prekeys(MARY, clock=Clock()).rotate()
    return MARY.public.with_prekey(replace(statement, **changes))


@pytest.mark.parametrize(
    ("public", "error"),
    [
        (changed(not_after=int(START * 1000) + 10), SignatureError),
        (changed(not_before=int(START * 1000)), SignatureError),
        (changed(envelope_key=BOB.public.envelope_key), SignatureError),
        (changed(signature=MARY.public.binding), SignatureError),
        (changed(signature=MARY.public.possession), SignatureError),
        (changed(signature=bytes(96)), OmpdError),
        (changed(signature=b""), KeyMaterialError),
        (changed(signature="x" * 96), KeyMaterialError),
        (changed(envelope_key=b"\1" + bytes(32)), SubgroupError),
        (changed(envelope_key=b"\3" + bytes(32)), KeyMaterialError),
        (changed(envelope_key=identity(suite=2).public.envelope_key), KeyMaterialError),
        (changed(not_before=-1), KeyMaterialError),
        (changed(not_before=1.0), KeyMaterialError),
        (changed(not_after=0), KeyMaterialError),
        (changed(not_after=2**53), KeyMaterialError),
        (MARY.public.with_prekey("text"), KeyMaterialError),
        # Another party's, well signed by that one.
        (MARY.public.with_prekey(Prekeys(BOB, clock=Clock()).rotate()), SignatureError),
        # Signed by the right key for another id.
        (
            MARY.public.with_prekey(
                Prekeys(
                    Identity("eve", MARY.signing_key, MARY.envelope_key), clock=Clock()
                ).rotate()
            ),
            SignatureError,
        ),
    ],
)
def test_what_the_owner_did_not_sign_is_refused_everywhere(public, error, tmp_path, clock):
    with pytest.raises(error):
        public.verify()
    with pytest.raises(error):
        Directory(clock=clock).register(public)
    with Registry(tmp_path / "r.db", clock=clock) as registry, pytest.raises(error):
        registry.admit(public, "hospital")


@pytest.fixture(params=["directory", "registry"])
def place(request, tmp_path, clock):
    if request.param == "directory":
        yield Directory(clock=clock)
        return
    with Registry(tmp_path / "r.db", clock=clock) as registry:
        registry.admit(MARY.public, "hospital")
        yield registry


def test_a_place_takes_newer_keys_and_no_older_ones(place, prekeys, clock):
    first = MARY.public.with_prekey(prekeys.rotate())
    place.register(first)
    assert place.get("st-mary") == first
    second = MARY.public.with_prekey(prekeys.rotate())
    place.register(second)
    for _ in range(2):
        assert place.get("st-mary") == second
        place.register(second)
        # Without one, what is known stays.
        place.register(MARY.public)
    with pytest.raises(PrekeyError, match="newer"):
        place.register(first)
    twin = Prekeys(MARY, clock=clock)
    with pytest.raises(PrekeyError, match="newer"):
        place.register(MARY.public.with_prekey(twin.rotate()))
    assert place.get("st-mary") == second


def test_a_place_takes_no_expired_or_future_keys(place, prekeys, clock):
    old = MARY.public.with_prekey(prekeys.rotate())
    clock.now += LIFETIME
    with pytest.raises(PrekeyError, match="expired"):
        place.register(old)
    clock.now += 1000
    future = MARY.public.with_prekey(prekeys.rotate())
    clock.now -= 2 * SKEW + 1
    with pytest.raises(PrekeyError, match="future"):
        place.register(future)
    clock.now += 1
    place.register(future)


def test_a_registry_keeps_them_with_the_generation(tmp_path, prekeys, clock):
    with Registry(tmp_path / "r.db", clock=clock) as registry:
        registry.admit(MARY.public.with_prekey(prekeys.rotate()), "hospital")
    newer = MARY.public.with_prekey(prekeys.rotate())
    with Registry(tmp_path / "r.db", clock=clock) as registry:
        registry.admit(newer, "hospital")
        assert registry.get("st-mary") == newer
        assert len(registry.history("st-mary")) == 1
        # A rotation is about the lasting keys.
        after = identity(number=7003)
        statement = Rotation.make(MARY, after.public.with_prekey(Prekeys(after).rotate()))
        assert statement == Rotation.make(MARY, after.public)
        assert rotation_message(b"k", newer) == rotation_message(b"k", MARY.public)
        registry.rotate(after.public, statement.signature)
        assert registry.get("st-mary").prekey is None
        registry.revoke("st-mary", "lost")
        with pytest.raises(RevokedKeyError):
            registry.register(after.public.with_prekey(Prekeys(after, clock=clock).rotate()))


# --- at rest -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(passwords, "_SCRYPT_N", 16)
    save_identity(tmp_path / "keys", MARY, PASSWORD)
    return tmp_path / "keys"


def opened(folder, clock, **options):
    return open_prekeys(folder, PASSWORD, MARY, clock=clock, **options)


def test_keys_outlive_the_process_and_are_encrypted(folder, clock):
    made = opened(folder, clock)
    assert made.statement is None
    assert read_prekey(folder, MARY.public.signing_key) is None
    first, second = made.rotate(), made.rotate()
    again = opened(folder, clock)
    assert again.statement == second == read_prekey(folder, MARY.public.signing_key)
    assert opens(again, first.envelope_key)
    assert opens(again, second.envelope_key)
    text = (folder / PREKEY_FILE).read_text()
    for held in made._held:
        assert held.key.to_bytes()[1:].hex() not in text
    assert (folder / PREKEY_FILE).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir())[1:] == [
        "lock", PREKEY_FILE, f"signing-{MARY.public.signing_key[:8].hex()}.json",
    ]  # fmt: skip


def test_a_key_whose_time_is_over_leaves_the_disk(folder, clock):
    made = opened(folder, clock)
    first = made.rotate()
    made.rotate()
    clock.now += OVERLAP
    made.expire()
    left = opened(folder, Clock())  # whose clock stands before the end
    assert not opens(left, first.envelope_key)
    assert len(left._held) == 1
    # If that process is no more, by the next one, before it does anything else.
    clock.now += LIFETIME + OVERLAP
    assert opened(folder, clock).statement is None
    assert opened(folder, Clock())._held == ()
    assert read_prekey(folder, MARY.public.signing_key) is None


def test_a_write_that_fails_changes_nothing(folder, clock, monkeypatch):
    made = opened(folder, clock)
    first = made.rotate()
    before = (folder / PREKEY_FILE).read_bytes()

    def full(*_, **__):
        raise KeystoreError("prekeys.json: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(prekey_files, "write_private", full)
        with pytest.raises(KeystoreError):
            made.rotate()
    assert made.statement == first
    assert (folder / PREKEY_FILE).read_bytes() == before
    second = made.rotate()
    assert opened(folder, clock).statement == second


def test_a_disk_that_refuses_holds_up_no_query(folder, clock, monkeypatch, caplog):
    made = opened(folder, clock)
    first, second = made.rotate(), made.rotate()

    def full(*_, **__):
        raise KeystoreError("prekeys.json: No space left on device")

    clock.now += OVERLAP
    with monkeypatch.context() as patch:
        patch.setattr(prekey_files, "write_private", full)
        assert opens(made, second.envelope_key)
    assert "still on disk" in caplog.text
    assert not opens(made, first.envelope_key)
    made.rotate()
    assert not opens(opened(folder, Clock()), first.envelope_key)


def test_two_processes_do_not_overwrite_each_others_keys(folder, clock):
    one, other = opened(folder, clock), opened(folder, clock)
    made = one.rotate()
    with pytest.raises(KeystoreError, match="another process"):
        other.rotate()
    assert opened(folder, clock).statement == made


def test_keys_of_an_earlier_generation_are_replaced(folder, clock):
    opened(folder, clock).rotate()
    after = identity(number=7003)
    assert read_prekey(folder, after.public.signing_key) is None
    next_one = open_prekeys(folder, PASSWORD, after, clock=clock)
    assert next_one.statement is None
    made = next_one.rotate()
    assert read_prekey(folder, after.public.signing_key) == made


def test_a_wrong_password_or_a_changed_file_is_noticed(folder, clock):
    opened(folder, clock).rotate()
    path = folder / PREKEY_FILE
    with pytest.raises(PasswordError):
        open_prekeys(folder, "wrong horse", MARY, clock=clock)
    good = json.loads(path.read_text())
    other = Prekeys(MARY, clock=clock).rotate()
    for change in (
        {"present": msgspec.msgpack.encode(other).hex()},
        {"cipher": {**good["cipher"], "message": "00" * 200}},
        {"cipher": {**good["cipher"], "params": {"nonce": "00" * 12}}},
        {"kdf": {**good["kdf"], "params": {**good["kdf"]["params"], "salt": "00" * 32}}},
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(PasswordError):
            opened(folder, clock)
    for damage in (
        b"", b"{}", b"\xff", json.dumps({**good, "version": 2}).encode(),
        json.dumps({**good, "more": 1}).encode(),
        json.dumps({**good, "kdf": {**good["kdf"], "params": {
            **good["kdf"]["params"], "n": 2**19}}}).encode(),
    ):  # fmt: skip
        path.write_bytes(damage)
        with pytest.raises(KeystoreError):
            opened(folder, clock)
    path.write_text(json.dumps({**good, "present": "c0"}))
    with pytest.raises(KeystoreError, match="short-lived"):
        read_prekey(folder, MARY.public.signing_key)
    path.write_text(json.dumps(good))
    path.chmod(0o644)
    for reader in (lambda: opened(folder, clock), lambda: read_prekey(folder, b"")):
        with pytest.raises(KeystoreError, match="0600"):
            reader()


def test_a_statement_shows_little(prekeys):
    statement = prekeys.rotate()
    assert type(statement) is SignedPrekey
    assert len(repr(statement)) < 60


def test_what_a_crash_left_beside_the_file_is_removed(folder, clock, monkeypatch):
    opened(folder, clock).rotate()
    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "replace", lambda *_: os._exit(7))
        opened(folder, clock).rotate()
        os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    # It has the key that is to be deleted one day.
    assert list(folder.glob(".prekeys.json.*.new"))
    other = folder / f".identity.json.{'0' * 16}.new"  # somebody else may be writing it just now
    other.touch()
    opened(folder, clock)
    assert [path.name for path in folder.glob(".*")] == [other.name]


def test_of_two_writers_at_the_same_time_one_is_refused(folder, clock, monkeypatch):
    opened(folder, clock).rotate()
    one, other = opened(folder, clock), opened(folder, clock)
    refused = []

    def rotate():
        try:
            other.rotate()
        except KeystoreError as error:
            refused.append(str(error))

    second = threading.Thread(target=rotate)
    write = prekey_files.write_private

    def late(*arguments, **options):
        # The first has looked at the file and not written it yet.
        if second.ident is None:
            second.start()
            second.join(0.2)
        write(*arguments, **options)

    monkeypatch.setattr(prekey_files, "write_private", late)
    made = one.rotate()
    second.join()
    assert refused == ["prekeys.json: another process has changed it"]
    assert opened(folder, clock).statement == made


def test_a_folder_that_cannot_be_synced_blocks_no_later_key(folder, clock, monkeypatch):
    made = opened(folder, clock)
    first = made.rotate()

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "sync_folder", broken)
        with pytest.raises(KeystoreError):
            made.rotate()
    assert made.statement == first
    second = made.rotate()
    assert opened(folder, clock).statement == second


def test_what_the_disk_refused_to_delete_is_deleted_when_told_again(folder, clock, monkeypatch):
    made = opened(folder, clock)
    first = made.rotate()
    made.rotate()

    def full(*_, **__):
        raise KeystoreError("prekeys.json: No space left on device")

    clock.now += OVERLAP
    with monkeypatch.context() as patch:
        patch.setattr(prekey_files, "write_private", full)
        made.expire()
    assert not opens(made, first.envelope_key)
    made.expire()
    assert len(opened(folder, Clock())._held) == 1
    before = (folder / PREKEY_FILE).read_bytes()
    made.expire()
    assert (folder / PREKEY_FILE).read_bytes() == before


def test_a_key_to_begin_with_is_one_that_others_take(prekeys, clock):
    prekeys.begin()
    first = prekeys.statement
    prekeys.begin(first)
    assert prekeys.statement == first
    clock.now += 1
    newer = Prekeys(MARY, clock=clock).rotate()
    prekeys.begin(newer)  # these are a backup's
    second = prekeys.statement
    assert second.not_before > newer.not_before
    clock.now += LIFETIME
    prekeys.begin(second)
    assert prekeys.statement.is_valid(clock.now)
    # What is on its way still opens.
    assert opens(prekeys, second.envelope_key)


def test_a_clock_that_was_ahead_and_still_believed_blocks_no_later_key(clock):
    ahead = Clock()
    ahead.now += 2 * SKEW  # the most that a directory admits
    prekeys, directory = Prekeys(MARY, clock=ahead), Directory(clock=clock)
    directory.register(MARY.public.with_prekey(prekeys.rotate()))
    ahead.now = clock.now
    following = prekeys.rotate()
    clock.now += 0.001
    directory.register(MARY.public.with_prekey(following))
    assert directory.get("st-mary").prekey == following
