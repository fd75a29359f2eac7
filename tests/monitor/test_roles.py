"""Company, authority, cloud and people: programs and records through signed frames."""

from __future__ import annotations

import secrets

import msgspec
import pytest

from ompd.crypto import Identity
from ompd.errors import (
    CapsuleError,
    ContextMismatchError,
    CreditError,
    DecryptionError,
    EpochError,
    FramingError,
    GrantError,
    OmpdError,
    ProofError,
    QuotaError,
    RefusedError,
    ReplayError,
    RoleError,
    SignatureError,
    UnknownKeyError,
    UnknownProgramError,
)
from ompd.monitor import Card
from ompd.roles import Cloud, Company, Subscriber, introduce
from ompd.roles.requests import ask
from ompd.share import EPOCH_SECONDS, Grant, Reencrypted, Scope, SharingKey, seal
from ompd.stores import Keeper
from ompd.stores import keeper as keeper_module
from ompd.wire.keeping import (
    GrantUpload,
    KeepingAnswer,
    KeepingRequest,
    ProgramUpload,
    RecordRequest,
    RecordUpload,
)
from ompd.wire.payments import AccountAnswer, AccountRequest, Registration
from tests.monitor import programs
from tests.monitor.shop import EPOCH, NOW, SOURCE
from tests.monitor.world import World

#: What the cloud writes into its own files is as late as anything.
MADE = int(NOW * 1000) + 1


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def asked(world, person, matter):
    """What the cloud says to a person who writes whatever they like."""
    return ask(person._post, "cloud", KeepingRequest(matter), KeepingAnswer, world.cloud[1]).matter


# --- programs


def test_advice_for_tokens(world):
    encoded = world.publish()
    card = world.alice.read_card(encoded)
    world.alice.buy(card, 4, world.ta.serve)
    for values, advice, left in (
        ({"a0": 100, "a1": 0}, "low", 3),
        ({"a0": 101, "a1": 7}, "middle", 1),
        # Both values were paid for.
        ({"a0": 101, "a1": 7}, "middle", 1),
        ({"a0": 101, "a1": 8}, "high", 0),
    ):
        assert world.advise(encoded, values) == advice
        assert world.alice.purse(card).ready == left
    with pytest.raises(CreditError):
        world.advise(encoded, {"a0": 5})
    with pytest.raises(CreditError):
        world.alice.buy(card, 17, world.ta.serve)
    with pytest.raises(CreditError):
        world.alice.give_back(card, 1, world.ta.serve)


def test_a_company_gives_a_program_a_new_key_each_epoch(world):
    first = Card.from_bytes(world.publish())
    ahead = world.publish(program=first.program, ahead=True)
    world.alice.buy(first, 2, world.ta.serve)
    with pytest.raises(EpochError):
        world.alice.read_card(ahead)
    world.clock.now += EPOCH_SECONDS
    with pytest.raises(EpochError):
        world.alice.read_card(first.to_bytes())
    # Tokens of the epoch before are still taken.
    assert world.advise(ahead, {"a0": 3}) == "low"
    card = world.alice.read_card(ahead)
    assert card.function != first.function
    world.alice.give_back(card, 1, world.ta.serve)
    assert world.ta.till.credit("alice") == 19
    world.clock.now += 2 * EPOCH_SECONDS
    world.bell.records.store("diary", b"x", world.cloud)
    with pytest.raises(UnknownProgramError):
        world.alice.fetch(card, world.cloud[1])


def test_cards_are_the_companys(world):
    encoded = world.publish()
    card = Card.from_bytes(encoded)
    for field, value in (("function", bytes(32)), ("name", "other"), ("authority", "eve")):
        forged = msgspec.structs.replace(card, **{field: value}).to_bytes()
        with pytest.raises(SignatureError):
            world.alice.read_card(forged)
    # Somebody else signs in their own name, or is unknown.
    for company, error in (("eve", RoleError), ("nobody", UnknownKeyError)):
        blank = msgspec.structs.replace(card, company=company)
        key = world.eve._post.identity.signing_key
        signed = msgspec.structs.replace(blank, signature=key.sign(blank.message))
        with pytest.raises(error):
            world.alice.read_card(signed.to_bytes())


def test_another_program_from_the_cloud_is_refused(world):
    card = world.alice.read_card(world.publish())
    other = world.alice.read_card(world.publish())
    world.alice.buy(card, 1, world.ta.serve)
    content = world.alice.fetch(other, world.cloud[1])
    with pytest.raises(ContextMismatchError):
        world.alice.advise(card, content, {"a0": 3}, world.ta.evaluate)
    assert world.alice.purse(card).ready == 1


def test_nothing_is_paid_for_an_answer_that_was_lost(world):
    encoded = world.publish()
    card = world.alice.read_card(encoded)

    def lost(letter):
        world.ta.evaluate(letter)
        raise ConnectionError

    def lost_order(frame):
        world.ta.serve(frame)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        world.alice.buy(card, 2, lost_order)
    assert world.alice.purse(card).ready == 0
    world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert world.alice.purse(card).ready == 2
    assert world.ta.till.credit("alice") == 18
    content = world.alice.fetch(card, world.cloud[1])
    with pytest.raises(ConnectionError):
        world.alice.advise(card, content, {"a0": 3}, lost)
    world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert world.alice.purse(card).ready == 1
    assert world.alice.advise(card, content, {"a0": 3}, lost) == "low"
    with pytest.raises(ConnectionError):
        world.alice.give_back(card, 1, lost_order)
    world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert world.ta.till.credit("alice") == 19


def test_a_value_on_its_way_is_not_paid_for_again(world):
    card = world.alice.read_card(world.publish())
    world.alice.buy(card, 3, world.ta.serve)
    content = world.alice.fetch(card, world.cloud[1])

    def lost(letter):
        world.ta.evaluate(letter)
        raise ConnectionError

    for _ in range(3):
        with pytest.raises(ConnectionError):
            world.alice.advise(card, content, {"a0": 3}, lost)
    assert world.alice.purse(card).ready == 2
    # Nobody had to know of `resume`; and two who get the same answer at once are both content.
    purse = world.alice.purse(card)
    found = []

    def twice(letter):
        answer = world.ta.evaluate(letter)
        if not found:
            found.append(None)
            world.alice.advise(card, content, {"a0": 3}, twice)
        return answer

    assert world.alice.advise(card, content, {"a0": 3}, twice) == "low"
    assert purse.ready == 2


def test_an_order_that_is_refused_is_not_filled_later(world):
    card = world.alice.read_card(world.publish())
    for serve, error in (
        (world.ta.serve, CreditError),
        (world.ta.serve_or_refuse, RefusedError),
    ):
        with pytest.raises(error):
            world.alice.buy(card, 21, serve)
    world.ta.till.deposit("alice", b"q" * 16, 100)
    world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert world.ta.till.credit("alice") == 120


def test_one_refusal_does_not_keep_others_from_being_sent_again(world):
    card = world.alice.read_card(world.publish())
    purse = world.alice.purse(card)
    orders = [purse.order(count) for count in (25, 2)]
    with pytest.raises(CreditError):
        world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert purse.ready == 2
    # The refused one is over.
    assert purse.unanswered()[0] == []
    assert orders[0].order != orders[1].order


@pytest.mark.parametrize("letter", [b"", b"x" * 100, bytes(2000)])
def test_letters_that_are_none(world, letter):
    with pytest.raises(DecryptionError):
        world.ta.evaluate(letter)


def test_answers_belong_to_their_letters(world):
    encoded = world.publish()
    card = world.alice.read_card(encoded)
    world.alice.buy(card, 2, world.ta.serve)
    content = world.alice.fetch(card, world.cloud[1])
    answers = []

    def swapped(letter):
        answers.append(world.ta.evaluate(letter))
        return answers[0]

    world.alice.advise(card, content, {"a0": 3}, swapped)
    with pytest.raises(DecryptionError):
        world.alice.advise(card, content, {"a0": 4}, swapped)
    world.alice.resume(card, world.ta.serve, world.ta.evaluate)
    assert world.alice.purse(card).ready == 0


def test_roles_do_what_they_may(world):
    with pytest.raises(RoleError):
        asked(world, world.company, RecordRequest("alice", "diary", EPOCH, bytes(16)))
    with pytest.raises(RoleError):
        asked(world, world.alice, ProgramUpload(bytes(16), EPOCH, b"x"))
    encoded = world.publish()
    rival = AccountRequest(Registration(Card.from_bytes(encoded).program, EPOCH))
    mine = AccountRequest(Registration(bytes(16), EPOCH))
    for wanted in (rival, mine):
        with pytest.raises(RoleError):
            ask(world.eve._post, "ta", wanted, AccountAnswer, world.ta.serve)
    with pytest.raises(ContextMismatchError):
        asked(world, world.company, ProgramUpload(bytes(16), EPOCH + 2, b"x"))


def test_a_program_of_another_company_is_not_replaced(world):
    card = Card.from_bytes(world.publish())
    content = world.alice.fetch(card, world.cloud[1])
    rival = Company.create("rival", clock=world.clock, directory=world.company.directory)
    world.company.directory.register(rival.public, "company")
    upload = ProgramUpload(card.program, card.epoch, b"other")
    with pytest.raises(ContextMismatchError):
        asked(world, rival, upload)
    assert world.alice.fetch(card, world.cloud[1]) == content


def test_a_refusal_tells_nothing(world):
    card = world.alice.read_card(world.publish())
    with pytest.raises(RefusedError):
        world.eve.buy(card, 1, world.ta.serve_or_refuse)
    request = RecordRequest("alice", "diary", EPOCH, bytes(16))
    refusing = world.cloud_role.keeping.answer_or_refuse
    with pytest.raises(RefusedError):
        ask(world.eve._post, "cloud", KeepingRequest(request), KeepingAnswer, refusing)


def test_the_same_frame_gets_the_same_answer_and_another_none(world):
    sent = []

    def twice(frame):
        sent.append(frame)
        first = world.cloud[1](frame)
        assert world.cloud[1](frame) == first
        return first

    name = world.alice.records.store("diary", b"x", ("cloud", twice))
    assert world.alice.records.names(world.alice.records.scope("diary"), world.cloud) == [name]
    with pytest.raises(OmpdError):
        world.cloud[1](sent[0][:-1] + bytes([sent[0][-1] ^ 1]))


def test_a_cloud_without_a_keeper_keeps_nothing():
    assert Cloud.create("bare").keeping is None


# --- records


def share(world, content=b"rate 71", kind="cardio"):
    name = world.alice.records.store(kind, content, world.cloud)
    notice = world.alice.records.grant(kind, "bell", world.bell.records.public, world.cloud)
    return name, notice


def test_a_shared_record_opens_for_whom_it_is_shared_with(world):
    name, notice = share(world)
    received = world.bell.records.accept(notice)
    assert world.bell.records.names(received.scope, world.cloud) == [name]
    assert world.bell.records.open_shared(received, name, world.cloud) == b"rate 71"
    scope = world.alice.records.scope("cardio")
    assert world.alice.records.open(scope, name, world.cloud) == b"rate 71"
    with pytest.raises(ContextMismatchError):
        world.eve.records.accept(notice)
    with pytest.raises(GrantError):
        asked(world, world.eve, RecordRequest("alice", "cardio", EPOCH, name))
    # Bell's grant is for this type alone.
    other = world.alice.records.store("diary", b"hidden", world.cloud)
    with pytest.raises(GrantError):
        asked(world, world.bell, RecordRequest("alice", "diary", EPOCH, other))


def test_a_grant_to_bell_is_of_no_use_to_eve(world):
    name, _ = share(world)
    # Eve is let in by mistake with Bell's grant, and with the point of it.
    keeper = world.keeper
    scope = ("alice", "cardio", EPOCH)
    keeper.grant(scope, "eve", 0, keeper.granted(scope, "bell"))
    answer = asked(world, world.eve, RecordRequest("alice", "cardio", EPOCH, name))
    notice = world.alice.records.grant("cardio", "eve", world.bell.records.public, world.cloud)
    received = world.eve.records.accept(notice)
    with pytest.raises((ProofError, GrantError)):
        world.eve.records.open_shared(received, name, world.cloud)
    assert b"rate 71" not in answer.ciphertext


def test_a_grant_ends_with_its_epoch(world):
    name, notice = share(world)
    received = world.bell.records.accept(notice)
    path = world.keeper._database._path
    content = world.keeper.granted(("alice", "cardio", EPOCH), "bell")
    world.clock.now = (EPOCH + 1) * EPOCH_SECONDS - 1
    assert world.bell.records.open_shared(received, name, world.cloud) == b"rate 71"
    world.clock.now += 1
    with pytest.raises(EpochError):
        world.bell.records.open_shared(received, name, world.cloud)
    with pytest.raises(EpochError):
        world.bell.records.accept(notice)
    # What the cloud had of the grant is gone, from the log of changes as well.
    left = b"".join(each.read_bytes() for each in path.parent.glob("keeper.sqlite*"))
    assert content[:32] not in left
    assert content[32:80] not in left
    # The owner still opens the record.
    assert world.alice.records.open(received.scope, name, world.cloud) == b"rate 71"


def test_outsourced_decryption(world):
    world.alice.records.outsource("cardio", world.cloud)
    name = world.alice.records.store("cardio", b"rate 71", world.cloud)
    scope = world.alice.records.scope("cardio")
    answer = asked(world, world.alice, RecordRequest("alice", "cardio", EPOCH, name))
    assert len(answer.turned) == 48
    assert world.alice.records.open(scope, name, world.cloud) == b"rate 71"
    world.clock.now += EPOCH_SECONDS
    # The blinded grant is forgotten; the owner does it alone.
    assert world.alice.records.open(scope, name, world.cloud) == b"rate 71"


def test_records_can_be_replaced_and_removed(world):
    records = world.alice.records
    name = records.store("diary", b"first", world.cloud)
    records.store("diary", b"second", world.cloud, record=name)
    scope = records.scope("diary")
    assert records.open(scope, name, world.cloud) == b"second"
    records.remove(scope, name, world.cloud)
    assert records.names(scope, world.cloud) == []
    with pytest.raises(ContextMismatchError):
        records.open(scope, name, world.cloud)


def test_capsules_cannot_be_moved(world):
    name, notice = share(world)
    found = asked(world, world.alice, RecordRequest("alice", "cardio", EPOCH, name))
    for kind, record in (("cardio", bytes(16)), ("diary", name)):
        moved = RecordUpload(kind, EPOCH, record, found.capsule, found.ciphertext, found.signature)
        with pytest.raises(CapsuleError):
            asked(world, world.alice, moved)
    mine = RecordUpload("cardio", EPOCH, name, found.capsule, found.ciphertext, found.signature)
    with pytest.raises(CapsuleError):
        asked(world, world.eve, mine)
    # The cloud itself swaps two records.
    other = world.alice.records.store("cardio", b"rate 120", world.cloud)
    scope = ("alice", "cardio", EPOCH)
    world.keeper.put(scope, name, MADE, *world.keeper.get(scope, other))
    received = world.bell.records.accept(notice)
    with pytest.raises(CapsuleError):
        world.bell.records.open_shared(received, name, world.cloud)
    with pytest.raises(SignatureError):
        world.alice.records.open(received.scope, name, world.cloud)


def test_grants_that_are_none_are_not_kept(world):
    key = SharingKey.generate().scope(Scope("eve", "cardio", EPOCH))
    grant = Grant.make(key, world.bell.records.public).to_bytes()
    for content, epoch, error in (
        (bytes(128), EPOCH, GrantError),
        (grant[:-1] + bytes([grant[-1] ^ 1]), EPOCH, GrantError),
        (grant, EPOCH + 1, EpochError),
        (grant, EPOCH - 1, EpochError),
    ):
        with pytest.raises(error):
            asked(world, world.eve, GrantUpload("cardio", epoch, "bell", content))
    with pytest.raises(GrantError):
        asked(world, world.eve, GrantUpload("cardio", EPOCH, "eve", grant))


def test_a_lying_cloud_is_found_out(world):
    name, notice = share(world)
    received = world.bell.records.accept(notice)
    honest = Grant.from_bytes(
        world.keeper.granted(("alice", "cardio", EPOCH), "bell"), received.scope
    )
    key = SharingKey.generate().scope(received.scope)
    false = Grant.make(key, world.bell.records.public)
    # A factor of its own under the point that Bell knows.
    forged = Grant(received.scope, false.factor, honest.point, false.commitment, honest.group)
    world.keeper.grant(("alice", "cardio", EPOCH), "bell", MADE, forged.to_bytes())
    with pytest.raises(ProofError):
        world.bell.records.open_shared(received, name, world.cloud)


def test_a_cloud_that_knows_a_scopes_key_cannot_write_records(world):
    """The control: what it makes opens, for owner and recipient, but for the signature."""
    name, notice = share(world)
    received = world.bell.records.accept(notice)
    # All of it is in the notice, which is no secret.
    told = msgspec.msgpack.decode(notice)
    sealed = seal(told[5], received.scope, name, b"rate 300")
    scope = ("alice", "cardio", EPOCH)
    signature = world.keeper.get(scope, name)[2]
    world.keeper.put(scope, name, MADE, sealed.capsule, sealed.ciphertext, signature)
    for outsourced in (False, True):
        if outsourced:
            world.alice.records.outsource("cardio", world.cloud)
        with pytest.raises(SignatureError):
            world.bell.records.open_shared(received, name, world.cloud)
        with pytest.raises(SignatureError):
            world.alice.records.open(received.scope, name, world.cloud)
    answer = asked(world, world.bell, RecordRequest("alice", "cardio", EPOCH, name))
    turned = Reencrypted(answer.point, answer.turned)
    assert received.open(name, sealed, turned) == b"rate 300"


def held_back(world, action):
    """Do something of which the cloud gets nothing yet; returns its frame."""
    frames = []

    def hold(frame):
        frames.append(frame)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        action(("cloud", hold))
    world.clock.now += 1
    return frames[0]


def test_a_frame_that_was_held_back_undoes_nothing(world):
    """Whoever is on the way can let a request wait, and a client makes a new one meanwhile."""
    records = world.alice.records
    name = records.store("diary", b"first", world.cloud)
    scope = records.scope("diary")
    old = held_back(world, lambda cloud: records.store("diary", b"old", cloud, record=name))
    gone = held_back(world, lambda cloud: records.remove(scope, name, cloud))
    records.store("diary", b"new", world.cloud, record=name)
    for frame in (old, gone):
        with pytest.raises(ReplayError):
            world.cloud[1](frame)
    assert records.open(scope, name, world.cloud) == b"new"
    again = held_back(world, lambda cloud: records.store("diary", b"x", cloud, record=name))
    records.remove(scope, name, world.cloud)
    with pytest.raises(ReplayError):
        world.cloud[1](again)
    assert records.names(scope, world.cloud) == []
    public = world.bell.records.public
    grant = held_back(world, lambda cloud: records.grant("diary", "bell", public, cloud))
    records.grant("diary", "bell", public, world.cloud)
    records.revoke(scope, "bell", world.cloud)
    with pytest.raises(ReplayError):
        world.cloud[1](grant)
    with pytest.raises(GrantError):
        world.bell.records.names(scope, world.cloud)
    # What is later counts.
    records.store("diary", b"back", world.cloud, record=name)
    records.grant("diary", "bell", public, world.cloud)
    assert world.bell.records.names(scope, world.cloud) == [name]


def test_a_revoked_grant_is_gone_from_the_file(world):
    name, notice = share(world)
    received = world.bell.records.accept(notice)
    content = world.keeper.granted(("alice", "cardio", EPOCH), "bell")
    world.clock.now += 1
    world.alice.records.revoke(received.scope, "bell", world.cloud)
    with pytest.raises(GrantError):
        world.bell.records.open_shared(received, name, world.cloud)
    path = world.keeper._database._path
    left = b"".join(each.read_bytes() for each in path.parent.glob("keeper.sqlite*"))
    assert content[:32] not in left
    assert content[32:80] not in left


def test_another_device_of_the_owner_opens_what_the_first_outsourced(world, tmp_path):
    key = SharingKey(world.alice.records._key.to_bytes())
    identity = world.alice._post.identity
    twin = Subscriber(
        identity, wallet=tmp_path / "twin", sharing=key, clock=world.clock,
        directory=world.alice.directory,
    )  # fmt: skip
    name = world.alice.records.store("cardio", b"rate 71", world.cloud)
    scope = world.alice.records.scope("cardio")
    for records in (world.alice.records, twin.records):
        records.outsource("cardio", world.cloud)
        world.clock.now += 1
    for records in (world.alice.records, twin.records):
        assert records.open(scope, name, world.cloud) == b"rate 71"
    twin.close()


def test_nobody_fills_a_clouds_disk(world, monkeypatch):
    for name, most in (("MOST_RECORDS", 3), ("MOST_GRANTS", 2), ("MOST_BYTES", 1000)):
        monkeypatch.setattr(keeper_module, name, most)
    records = world.alice.records
    with pytest.raises(QuotaError):
        records.store("diary", bytes(900), world.cloud)
    kept = [records.store(f"kind{k}", bytes(100), world.cloud) for k in range(3)]
    with pytest.raises(QuotaError):
        records.store("diary", b"", world.cloud)
    records.store("kind0", bytes(200), world.cloud, record=kept[0])
    # Of all types and epochs together.
    for kind in ("a", "b"):
        records.grant(kind, "bell", world.bell.records.public, world.cloud)
    with pytest.raises(QuotaError):
        records.grant("c", "bell", world.bell.records.public, world.cloud)
    world.bell.records.store("diary", bytes(500), world.cloud)
    with pytest.raises(QuotaError):
        world.publish()


def test_notices_are_the_owners(world):
    _, notice = share(world)
    for place in (20, len(notice) - 1):
        changed = bytearray(notice)
        changed[place] ^= 1
        with pytest.raises((SignatureError, FramingError, UnknownKeyError)):
            world.bell.records.accept(bytes(changed))
    with pytest.raises(FramingError):
        world.bell.records.accept(b"")


# --- who sees what


def test_no_file_of_cloud_or_authority_has_what_is_hidden(world):
    planted = [f"planted-{k}-{secrets.token_hex(6)}" for k in range(200)]
    records, names, advice = planted[:120], planted[120:140], iter(planted[140:])
    source = msgspec.json.decode(programs.text(SOURCE))
    for attribute, name in zip(source["attributes"], names, strict=False):
        for node in source["nodes"].values():
            if node.get("attribute") == attribute["name"]:
                node["attribute"] = name
        attribute["name"] = name
    for node in source["nodes"].values():
        if "advice" in node:
            node["advice"] = next(advice)
    source["name"] = next(advice)
    encoded = world.publish(source)
    card = world.alice.read_card(encoded)
    world.alice.buy(card, 2, world.ta.serve)
    said = world.advise(encoded, {names[0]: 101, names[1]: 8})
    assert said in planted
    texts = ["\n".join(records[k : k + 20]).encode() for k in range(0, len(records), 20)]
    stored = [world.alice.records.store("diary", text, world.cloud) for text in texts]
    rest = "\n".join([*names[2:], *advice])
    world.alice.records.store("diary", rest.encode(), world.cloud)
    notice = world.alice.records.grant("diary", "bell", world.bell.records.public, world.cloud)
    received = world.bell.records.accept(notice)
    assert world.bell.records.open_shared(received, stored[3], world.cloud) == texts[3]
    for file in ("keeper", "till"):
        content = b"".join(each.read_bytes() for each in world.folder.glob(f"{file}.sqlite*"))
        assert len(content) > 10_000
        assert not [text for text in planted if text.encode() in content]
        assert not [text for text in planted if text[:14].encode() in content]


def test_the_authority_cannot_tell_who_asks(world):
    """What it gets for an evaluation has no name, and differs each time in all that is not paid."""
    card = world.alice.read_card(world.publish())
    world.alice.buy(card, 2, world.ta.serve)
    content = world.alice.fetch(card, world.cloud[1])
    seen = []

    def watched(letter):
        seen.append(world.ta._post.decrypt(letter, b"ompd/evaluation/1\0"))
        return world.ta.evaluate(letter)

    world.alice.advise(card, content, {"a0": 3}, watched)
    world.alice.advise(card, content, {"a0": 4}, watched)
    assert len(seen) == 2
    for plain in seen:
        assert b"alice" not in plain
    orders = b"".join(each.read_bytes() for each in world.folder.glob("till.sqlite*"))
    first, second = (msgspec.msgpack.decode(plain.rstrip(b"\0")[:-1]) for plain in seen)
    assert first[4][:32] != second[4][:32]
    assert first[:2] == second[:2]
    # The token's name is among the spent ones, and in no order.
    assert first[4][:32] in orders


@pytest.mark.long
def test_parties_with_the_portable_library(tmp_path):
    keeper = Keeper(tmp_path / "keeper.sqlite")
    cloud = Cloud.create("cloud", signatures="py_ecc", keeper=keeper)
    alice = Subscriber.create("alice", signatures="py_ecc", wallet=tmp_path / "wallet.sqlite")
    introduce(cloud, alice)
    to = ("cloud", cloud.keeping.answer)
    name = alice.records.store("cardio", b"rate 71", to)
    assert alice.records.open(alice.records.scope("cardio"), name, to) == b"rate 71"
    alice.close()
    keeper.close()


def test_a_patient_has_the_keys_given(tmp_path):
    key = SharingKey.generate()
    identity = Identity.generate("alice")
    person = Subscriber(identity, wallet=tmp_path / "w.sqlite", sharing=key)
    assert person.records.public == key.public
    person.close()
