"""Sums of hidden values: patients, a physician and a cloud, and who tries to break them."""

from __future__ import annotations

import hashlib
import pickle
import threading

import numpy as np
import pytest
from msgspec.structs import replace

from ompd.aggregate import (
    Ciphertext,
    Evaluator,
    PublicKey,
    SecretKey,
    decrypt,
    encrypt,
)
from ompd.aggregate.fitting import parameters_for
from ompd.aggregate.functions import FUNCTIONS, SUM, Function, check_fresh
from ompd.crypto import Directory, Identity
from ompd.errors import (
    Bottom,
    ContextMismatchError,
    ContributorsError,
    DomainError,
    DowngradeError,
    ExpiredError,
    FeatureError,
    FramingError,
    KeyMaterialError,
    OmpdError,
    ParameterError,
    QuotaError,
    RangeError,
    RefusedError,
    ReplayError,
    RevokedKeyError,
    RoleError,
    StoreError,
    TooLargeError,
    UnknownKeyError,
)
from ompd.roles import (
    Aggregate,
    AggregateCloud,
    Hospital,
    HospitalContributor,
    Patient,
    Physician,
)
from ompd.roles.clerk import seal
from ompd.stores import Collections, DurableReplayGuard, Registry
from ompd.stores import collections as collections_module
from ompd.wire import (
    AggregateRequest,
    AggregateResult,
    Collection,
    CollectionReceipt,
    Contribution,
    Frame,
    Invitation,
    Kind,
    Refusal,
)
from tests.marks import long
from tests.roles.conftest import keys_of, post_of
from tests.roles.gathering import BOUND, LENGTH, World, everybody, sent_by


@pytest.fixture
def world():
    return World()


@pytest.fixture(scope="module")
def foreign():
    """A key that is none of the physician's."""
    return SecretKey.generate(parameters_for(SUM, LENGTH, BOUND, 20))


def invited(physician, collection, who):
    """An invitation to somebody whom the physician's directory does not have."""
    own = physician._own[collection]
    post = post_of(physician)
    key = who.public.key_at(post.now())
    letter = post.letter(
        "p0", Invitation(own.terms, own.key), nonce=b"i" * 16, sequence=0, encrypt_to=key
    )
    letter = letter._replace(header=replace(letter.header, recipient=who.id))
    return seal(post.identity.signing_key, letter)


# --- what it is for


@pytest.mark.parametrize("name", ["correlation", *long("sum", "moments", "dot")])
def test_functions_of_all_contributors(world, name):
    (function,) = [each for each in FUNCTIONS if each.name == name]
    collection, rows = world.filled(5, function.name, function.parts)
    found = world.result(collection)
    x, y = rows[:, 0], rows[:, -1]
    expected = {
        "sum": [x.sum(0)],
        "moments": [x.sum(0), (x * x).sum(0)],
        "dot": [(x * y).sum(0)],
        "correlation": [
            x.sum(0), y.sum(0), (x * y).sum(0), (x * x).sum(0), (y * y).sum(0)
        ],
    }[function.name]  # fmt: skip
    assert found.contributors == 5
    assert [part.tolist() for part in found.values] == [part.tolist() for part in expected]


def test_patients_and_hospitals_contribute_alike(world):
    collection, rows = world.filled(4)
    world.hand_in(collection, world.hospitals[0], [1, 2, 3, 4])
    found = world.result(collection)
    assert found.values[0].tolist() == np.add(rows.sum((0, 1)), [1, 2, 3, 4]).tolist()
    assert found.contributors == 5


def test_the_terms_are_told_to_those_who_are_invited(world):
    collection = world.begin(least=6)
    terms = world.patients[0].accept(world.physician.invite(collection, "p0"))
    assert (terms.about, terms.function, terms.least, terms.most) == ("weekly steps", "sum", 6, 20)
    assert (terms.physician, terms.cloud, terms.collection) == ("dr-lee", "cloud", collection)
    # Again it changes nothing.
    assert world.patients[0].accept(world.physician.invite(collection, "p0")) == terms


def test_a_later_contribution_takes_the_place_of_an_earlier_one(world):
    collection, rows = world.filled(5)
    world.hand_in(collection, world.patients[0], [0, 0, 0, 7])
    expected = np.add(rows[1:].sum((0, 1)), [0, 0, 0, 7])
    assert world.result(collection).values[0].tolist() == expected.tolist()


def test_physicians_do_not_mix(world):
    world.filled(1)
    other = world.begin(physician=world.other)
    for who in world.patients[:5]:
        who.accept(world.other.invite(other, who.id))
        who.confirm(world.cloud.answer(who.contribute(other, [1, 1, 1, 1])))
    assert world.result(other, world.other).values[0].tolist() == [5, 5, 5, 5]


def test_a_collection_outlives_its_physicians_process(world):
    collection, rows = world.filled(5)
    stored = world.physician.to_bytes(collection)
    again = world.party(Physician, "dr-lee")
    assert again.restore(stored) == collection
    assert world.result(collection, again).values[0].tolist() == rows.sum((0, 1)).tolist()
    again.forget(collection)
    with pytest.raises(ContextMismatchError):
        again.ask(collection)
    flipped = [stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :] for at in (0, 16, 60, 9999)]
    for bad in (b"", b"x", stored[:-1], stored + b"x", None, *flipped):
        with pytest.raises(KeyMaterialError):
            again.restore(bad)
    with pytest.raises(KeyMaterialError):
        world.other.restore(stored)


# --- few contributors, one result


def test_no_result_of_too_few(world):
    collection, rows = world.filled(4)
    request = world.physician.ask(collection)
    with pytest.raises(ContributorsError):
        world.cloud.answer(request)
    with pytest.raises(RefusedError):
        world.physician.read(world.cloud.refuse(request))
    # It goes on, and one person counts once.
    world.hand_in(collection, world.patients[0], *rows[0])
    with pytest.raises(ContributorsError):
        world.cloud.answer(world.physician.ask(collection))
    world.hand_in(collection, world.patients[4], [1, 1, 1, 1])
    assert world.result(collection).values[0].tolist() == (rows.sum((0, 1)) + 1).tolist()


def test_there_is_one_result(world):
    collection, rows = world.filled(5)
    first = world.result(collection)
    # Otherwise the difference of two results would be the values of one.
    late = world.patients[5]
    late.accept(world.physician.invite(collection, late.id))
    frame = late.contribute(collection, [9, 9, 9, 9])
    with pytest.raises(ContextMismatchError, match="no more"):
        world.cloud.answer(frame)
    with pytest.raises(RefusedError):
        late.confirm(world.cloud.refuse(frame))
    world.clock.now += 1
    second = world.result(collection)
    assert second.parts == first.parts
    assert second.values[0].tolist() == rows.sum((0, 1)).tolist()


def test_contributions_do_not_outlast_the_result(world):
    collections = Collections()
    world = World(collections=collections)
    collection, _ = world.filled(5)
    assert len(list(collections.contributions(collection))) == 5
    world.result(collection)
    assert list(collections.contributions(collection)) == []


@pytest.mark.parametrize("who", ["cloud", "patient"])
def test_everybody_may_demand_more_contributors(who):
    world = World(**({"least": 6} if who == "cloud" else {}))
    if who == "cloud":
        _, frame = world.physician.collect("cloud", "steps", length=4, bound=9, least=5)
        with pytest.raises(DowngradeError):
            world.cloud.answer(frame)
        with pytest.raises(RefusedError):
            world.physician.confirm(world.cloud.refuse(frame))
    else:
        careful = world.party(Patient, "p0", least=6)
        with pytest.raises(DowngradeError):
            careful.accept(world.physician.invite(world.begin(), "p0"))
        careful.accept(world.physician.invite(world.begin(least=6), "p0"))


def test_a_physician_cannot_tell_patients_of_more_than_the_cloud(world):
    collection = world.begin(least=5)
    own = world.physician._own[collection]
    frame = sent_by(world.physician, "p0", Invitation(replace(own.terms, least=9), own.key))
    patient = world.patients[0]
    assert patient.accept(frame).least == 9
    contribution = patient.contribute(collection, [1, 2, 3, 4])
    with pytest.raises(ContextMismatchError, match="other terms"):
        world.cloud.answer(contribution)
    # And not of two kinds of terms.
    with pytest.raises(ContextMismatchError, match="another collection"):
        patient.accept(world.physician.invite(collection, "p0"))


def test_threads_that_ask_at_once_get_one_result(world):
    collection, rows = world.filled(5)
    requests = [world.physician.ask(collection) for _ in range(4)]
    answers = []
    threads = [
        threading.Thread(target=lambda each=each: answers.append(world.cloud.answer(each)))
        for each in requests
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [world.physician.read(answer) for answer in answers]
    assert len({each.parts for each in found}) == 1
    assert found[0].values[0].tolist() == rows.sum((0, 1)).tolist()


def test_a_result_of_another_length_is_refused(world):
    collection, _ = world.filled(5)
    found = world.result(collection)
    context = found.secret.context
    good = Ciphertext.from_bytes(found.parts[0], context)
    for length in (LENGTH - 1, LENGTH + 1):
        told = Ciphertext(context, good.rows, good.noise, good.bound, length, good.depth)
        bad = Aggregate(found.terms, 5, (told.to_bytes(),), found.secret)
        with pytest.raises(RangeError):
            assert bad.values
    with pytest.raises(FramingError):
        assert Aggregate(found.terms, 5, (found.parts[0][:-1],), found.secret).values


def test_a_hospital_contributes_under_the_identity_that_it_has(world):
    hospital = world.party(Hospital, "h0")
    contributor = HospitalContributor(**keys_of(hospital), directory=hospital.directory,
                                      clock=world.clock)  # fmt: skip
    collection, rows = world.filled(4)
    world.hand_in(collection, contributor, [1, 1, 1, 1])
    assert hospital.public == contributor.public
    assert world.result(collection).values[0].tolist() == (rows.sum((0, 1)) + 1).tolist()


# --- who may do what


def test_only_the_physician_of_a_collection_asks(world):
    collection, _ = world.filled(5)
    for who, error in (
        (world.other, RoleError),
        (world.patients[0], RoleError),
        (world.hospitals[0], RoleError),
        (world.user, RoleError),
    ):
        with pytest.raises(error):
            world.cloud.answer(sent_by(who, "cloud", AggregateRequest(collection, "", ())))
    # Nothing happened by that.
    world.hand_in(collection, world.patients[5], [0, 0, 0, 1])


def test_a_collection_is_begun_by_its_physician_alone(world):
    collection = world.begin()
    own = world.physician._own[collection]
    with pytest.raises(ContextMismatchError, match="other parties"):
        world.cloud.answer(sent_by(world.other, "cloud", Collection(own.terms, own.key)))
    stolen = replace(own.terms, physician="dr-who")
    with pytest.raises(ContextMismatchError, match="taken"):
        world.cloud.answer(sent_by(world.other, "cloud", Collection(stolen, own.key)))
    for who in (world.patients[0], world.hospitals[0], world.user):
        with pytest.raises(RoleError):
            world.cloud.answer(sent_by(who, "cloud", Collection(own.terms, own.key)))
    invitation = sent_by(world.other, "p0", Invitation(own.terms, own.key))
    with pytest.raises(ContextMismatchError, match="another physician"):
        world.patients[0].accept(invitation)


def test_terms_that_contradict_themselves(world, foreign):
    own = world.physician._own[world.begin()]
    public = foreign.public.to_bytes()
    for number, (changes, key, error) in enumerate(
        (
            ({"function": "own code"}, own.key, ContextMismatchError),
            ({"least": 4}, own.key, DowngradeError),
            ({"most": 4}, own.key, RangeError),
            ({"bound": 2**40}, own.key, RangeError),
            ({"length": 8193}, own.key, RangeError),
            ({"function": "dot"}, own.key, RangeError),
            ({"cloud": "another"}, own.key, ContextMismatchError),
            ({}, public, ContextMismatchError),
            ({}, own.key[:-1], ContextMismatchError),
        )
    ):
        terms = replace(own.terms, collection=bytes([number]) * 16, **changes)
        with pytest.raises(error):
            world.cloud.answer(
                sent_by(world.physician, "cloud", Collection(terms, key), number, b"t" * 16)
            )
    cut = own.key[:-1]
    terms = replace(own.terms, collection=b"x" * 16, key=hashlib.sha256(cut).digest())
    with pytest.raises(FramingError):
        world.cloud.answer(sent_by(world.physician, "cloud", Collection(terms, cut)))


def test_revoked_patients_and_strangers_contribute_nothing(world, tmp_path):
    collection = world.begin()
    patient = world.patients[0]
    patient.accept(world.physician.invite(collection, "p0"))
    frame = patient.contribute(collection, [1, 1, 1, 1])
    # The physician knows her, the cloud does not.
    own = Directory(clock=world.clock)
    for name in ("dr-lee", "cloud"):
        own.register(everybody().directory.get(name), everybody().roles[name])
    stranger = Patient(Identity.generate("zoe"), directory=own, clock=world.clock)
    stranger.accept(invited(world.physician, collection, stranger))
    with pytest.raises(UnknownKeyError):
        world.cloud.answer(stranger.contribute(collection, [1, 1, 1, 1]))
    with Registry(tmp_path / "registry.db", clock=world.clock) as registry:
        registry.admit(everybody().directory.get("p0"), "patient")
        careful = AggregateCloud(
            **everybody().options("cloud", world.clock, registry),
            collections=world.cloud._collections,
        )
        careful.check_header(Frame.decode(frame, Kind.CONTRIBUTION).header)
        registry.revoke("p0", "lost")
        with pytest.raises(RevokedKeyError):
            careful.answer(frame)


# --- contributions that are none


def test_contributions_of_other_keys_forms_and_terms(world, foreign):
    collection = world.begin()
    own = world.physician._own[collection]
    public = own.secret.public
    good = encrypt(public, [1, 2, 3, 4], bound=BOUND)
    evaluator = Evaluator(public)
    noisy = Ciphertext(good.context, good.rows, good.noise - 5, BOUND, LENGTH)
    alien = encrypt(foreign.public, [1, 2, 3, 4], bound=BOUND)
    digest = own.terms.digest()
    for number, (parts, error) in enumerate(
        (
            ([good, good], FramingError),
            ([alien], ContextMismatchError),
            ([noisy], RangeError),
            ([evaluator.add(good, good)], RangeError),
            ([evaluator.finish(good)], RangeError),
            ([encrypt(public, [1, 2, 3, 4, 5], bound=BOUND)], RangeError),
            ([encrypt(public, [1, 2, 3, 4], bound=BOUND - 1)], RangeError),
        )
    ):
        body = Contribution(collection, digest, tuple(part.to_bytes() for part in parts))
        with pytest.raises(error):
            world.cloud.answer(sent_by(world.patients[0], "cloud", body, number))
    encoded = good.to_bytes()
    for data in (b"", b"\x00", encoded[:-1], encoded + b"\x00", b"\xff" * len(encoded)):
        with pytest.raises(OmpdError):
            world.cloud.answer(
                sent_by(world.patients[0], "cloud", Contribution(collection, digest, (data,)), 99)
            )
    for body in (
        Contribution(b"z" * 16, digest, (encoded,)),
        Contribution(collection, b"z" * 32, (encoded,)),
    ):
        with pytest.raises(ContextMismatchError):
            world.cloud.answer(sent_by(world.patients[0], "cloud", body, 98))
    # Nothing of all that was kept.
    with pytest.raises(ContributorsError):
        world.cloud.answer(world.physician.ask(collection))


def test_values_are_checked_before_they_are_hidden(world):
    collection = world.begin()
    patient = world.patients[0]
    patient.accept(world.physician.invite(collection, "p0"))
    for values, error in (
        ([[1, 2, 3]], FeatureError),
        ([[1, 2, 3, 4, 5]], FeatureError),
        ([[[1, 2, 3, 4]]], FeatureError),
        ([[1.0, 2.0, 3.0, 4.0]], FeatureError),
        ([["a"] * 4], FeatureError),
        ([], FeatureError),
        ([[1] * 4, [1] * 4], FeatureError),
        ([[BOUND + 1, 0, 0, 0]], DomainError),
        ([[0, -BOUND - 1, 0, 0]], DomainError),
        ([np.array([2**63 + 5, 0, 0, 0], dtype=np.uint64)], DomainError),
        ([np.array([-(2**63), 0, 0, 0])], DomainError),
    ):
        with pytest.raises(error) as caught:
            patient.contribute(collection, *values)
        assert str(BOUND + 1) not in str(caught.value)
    with pytest.raises(ContextMismatchError):
        patient.contribute(b"q" * 16, [1, 2, 3, 4])
    patient.contribute(collection, [BOUND, -BOUND, 0, 1])


def test_who_hides_too_much_spoils_the_result_and_no_more(world):
    collection, _ = world.filled(4)
    own = world.physician._own[collection]
    good = encrypt(own.secret.public, [1, 1, 1, 1], bound=BOUND)
    # All residues at random: noise without bounds, under an honest header.
    rng = np.random.default_rng(1)
    primes = np.array(own.secret.context.parameters.primes)
    rows = rng.integers(0, primes[:, np.newaxis], good.rows.shape).astype(float)
    spoilt = Ciphertext(good.context, rows, good.noise, BOUND, LENGTH)
    body = Contribution(collection, own.terms.digest(), (spoilt.to_bytes(),))
    world.cloud.answer(sent_by(world.patients[4], "cloud", body))
    answer = world.cloud.answer(world.physician.ask(collection))
    found = world.physician.read(answer)
    with pytest.raises(Bottom):
        assert found.values
    # The cloud cannot tell: it has answered as always, and hears nothing any more.
    world.clock.now += 1
    assert len(world.cloud.answer(world.physician.ask(collection))) == len(answer)


# --- frames that come again, late, changed or to somebody else


def test_the_same_frame_gets_the_same_answer(world):
    collection, _ = world.filled(5)
    patient = world.patients[5]
    patient.accept(world.physician.invite(collection, "p5"))
    first = patient.contribute(collection, [5, 5, 5, 5])
    receipt = world.cloud.answer(first)
    assert world.cloud.answer(first) == receipt
    second = patient.contribute(collection, [6, 6, 6, 6])
    world.cloud.answer(second)
    # The first one, played again, takes nothing's place.
    assert world.cloud.answer(first) == receipt
    request = world.physician.ask(collection)
    answer = world.cloud.answer(request)
    assert world.cloud.answer(request) == answer
    total = world.physician.read(answer).values[0]
    assert (
        world.physician.read(world.cloud.answer(world.physician.ask(collection))).values[0].tolist()
        == total.tolist()
    )
    with pytest.raises(OmpdError):
        world.physician.read(answer)
    world.clock.now += 121
    for old in (first, second, request):
        with pytest.raises((ExpiredError, ReplayError)):
            world.cloud.answer(old)
    with pytest.raises(ExpiredError):
        patient.confirm(receipt)


def test_an_invitation_can_be_read_for_a_day(world):
    invitation = world.physician.invite(world.begin(), "p0")
    world.clock.now += 86_000
    world.patients[0].accept(invitation)
    world.clock.now += 1000
    with pytest.raises(ExpiredError):
        world.patients[0].accept(invitation)


def test_frames_of_others_and_answers_to_nothing(world):
    collection, _ = world.filled(5)
    answer = world.cloud.answer(world.physician.ask(collection))
    for reader in (world.other.read, world.other.confirm, world.patients[0].confirm):
        with pytest.raises(OmpdError):
            reader(answer)
    invitation = world.physician.invite(collection, "p0")
    with pytest.raises(OmpdError):
        world.patients[1].accept(invitation)
    # From the cloud, but to no request.
    for body in (
        AggregateResult(collection, 5, (b"x",)),
        Refusal(),
        CollectionReceipt(collection),
    ):
        frame = sent_by(world.cloud, "dr-lee", body)
        with pytest.raises(OmpdError):
            world.physician.read(frame)
        with pytest.raises(OmpdError):
            world.physician.confirm(frame)


def test_a_cloud_that_answers_another_question(world):
    collection, _ = world.filled(5)
    request = world.physician.ask(collection)
    header = Frame.decode(request, Kind.AGGREGATE_REQUEST).header
    for change in (
        {"collection": b"z" * 16},
        {"contributors": 4},
        {"contributors": 21},
        {"parts": (b"x", b"x")},
    ):
        fields = {"collection": collection, "contributors": 5, "parts": (b"x",)} | change
        lie = post_of(world.cloud).send(
            "dr-lee", AggregateResult(**fields), nonce=header.nonce, sequence=header.sequence
        )
        with pytest.raises(ContextMismatchError):
            world.physician.read(lie)
    # The request is still open, and the honest answer counts.
    assert world.physician.read(world.cloud.answer(request)).contributors == 5


@pytest.mark.parametrize("changes", [36, *long(1500)])
def test_changed_frames_change_nothing(world, changes):
    collection, _ = world.filled(5)
    patient = world.patients[5]
    patient.accept(world.physician.invite(collection, "p5"))
    frames = [
        (world.cloud.answer, patient.contribute(collection, [1, 1, 1, 1])),
        (world.cloud.answer, world.physician.ask(collection)),
        (world.cloud.answer, world.physician.collect("cloud", "x", length=1, bound=1)[1]),
        (patient.accept, world.physician.invite(collection, "p5")),
    ]
    rng = np.random.default_rng(4)
    for number in range(changes):
        receive, good = frames[number % len(frames)]
        bad = bytearray(good)
        kind = number // len(frames) % 3
        place = int(rng.integers(0, min(len(bad), 200) if number % 2 else len(bad)))
        if kind == 0:
            bad[place] ^= int(rng.integers(1, 256))
        elif kind == 1:
            del bad[place:]
        else:
            bad[place:place] = rng.bytes(3)
        with pytest.raises(OmpdError):
            receive(bytes(bad))
    assert world.result(collection).contributors == 5


@pytest.mark.parametrize("changes", [24, *long(250)])
def test_changed_bodies_are_refused_by_type(world, changes):
    """Whoever has a patient's keys can sign anything."""
    collection = world.begin()
    own = world.physician._own[collection]
    good = encrypt(own.secret.public, [1, 1, 1, 1], bound=BOUND).to_bytes()
    rng = np.random.default_rng(5)
    accepted = 0
    for number in range(changes):
        bad = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(0, 60 if number % 2 else len(bad)))
            bad[place] ^= 1 << int(rng.integers(0, 8))
        body = Contribution(collection, own.terms.digest(), (bytes(bad),))
        try:
            world.cloud.answer(sent_by(world.patients[0], "cloud", body, number))
            accepted += 1
        except OmpdError:
            pass
    # What is inside is random to everybody: changes of residues cannot be seen.
    assert 0 < accepted < changes


# --- a cloud that ends, and one that is full


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def durable(tmp_path):
    """A world whose cloud is on disk, and what makes the next process of it."""

    def start(world=None):
        options = {
            "collections": Collections(tmp_path / "collections.db"),
            "replays": DurableReplayGuard(tmp_path / "frames.db", window=120.0),
        }
        if world is None:
            world = World(**options)
        else:
            world.cloud = world.party(AggregateCloud, "cloud", **options)
        stores[:] = options.values()
        return world

    def end():
        for each in stores:
            each.close()

    stores = []
    world = start()
    world.restart = lambda: (end(), start(world))
    yield world
    end()


def killing(monkeypatch, owner, name, *, before=False):
    """Let the process end before or after it does something."""
    plain = getattr(owner, name)

    def ending(*arguments, **options):
        if not before:
            plain(*arguments, **options)
        raise Killed

    monkeypatch.setattr(owner, name, ending)


@pytest.mark.parametrize("before", [False, *long(True)])
def test_killed_between_keeping_a_contribution_and_its_receipt(durable, monkeypatch, before):
    world = durable
    collection, rows = world.filled(4)
    patient = world.patients[4]
    patient.accept(world.physician.invite(collection, "p4"))
    frame = patient.contribute(collection, [1, 2, 3, 4])
    with monkeypatch.context() as patch:
        killing(patch, Collections, "put", before=before)
        with pytest.raises(Killed):
            world.cloud.answer(frame)
    world.restart()
    # The same frame gets no second chance: it is told, and another one is made.
    with pytest.raises(ReplayError):
        world.cloud.answer(frame)
    with pytest.raises(RefusedError):
        patient.confirm(world.cloud.refuse(frame))
    patient.confirm(world.cloud.answer(patient.contribute(collection, [1, 2, 3, 4])))
    found = world.result(collection)
    assert found.contributors == 5
    assert found.values[0].tolist() == np.add(rows.sum((0, 1)), [1, 2, 3, 4]).tolist()


@pytest.mark.parametrize("step", ["close_collection", "keep_result", "send"])
@pytest.mark.parametrize("before", [False, *long(True)])
def test_killed_between_request_and_answer(durable, monkeypatch, step, before):
    world = durable
    collection, rows = world.filled(5)
    request = world.physician.ask(collection)
    with monkeypatch.context() as patch:
        owner = type(post_of(world.cloud)) if step == "send" else Collections
        killing(patch, owner, step, before=before)
        with pytest.raises(Killed):
            world.cloud.answer(request)
    world.restart()
    with pytest.raises(RefusedError):
        world.physician.read(world.cloud.refuse(request))
    # However it ended: one set of contributors, one result.
    late = world.patients[5]
    late.accept(world.physician.invite(collection, "p5"))
    frame = late.contribute(collection, [9, 9, 9, 9])
    if (step, before) != ("close_collection", True):
        with pytest.raises(ContextMismatchError):
            world.cloud.answer(frame)
    found = world.result(collection)
    assert found.contributors == 5
    assert found.values[0].tolist() == rows.sum((0, 1)).tolist()


def test_a_restarted_cloud_goes_on(durable):
    world = durable
    collection, rows = world.filled(3)
    world.restart()
    for who in world.patients[3:5]:
        world.hand_in(collection, who, [1, 1, 1, 1])
    world.restart()
    first = world.result(collection)
    assert first.values[0].tolist() == (rows.sum((0, 1)) + 2).tolist()
    world.restart()
    assert world.result(collection).parts == first.parts


def test_a_restarted_cloud_that_knows_fewer_functions(durable):
    world = durable
    collection, rows = world.filled(5)
    every = world.cloud._functions
    world.restart()
    world.cloud._functions = {}
    frame = world.patients[0].contribute(collection, rows[0][0])
    for request in (frame, world.physician.ask(collection)):
        with pytest.raises(ContextMismatchError, match="not known here any more"):
            world.cloud.answer(request)
    world.cloud._functions = every
    assert world.result(collection).contributors == 5


def test_a_full_disk_refuses_and_goes_on(durable):
    world = durable
    collection, rows = world.filled(4)
    database = world.cloud._collections._database._connection
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 1}")
    patient = world.patients[4]
    patient.accept(world.physician.invite(collection, "p4"))
    frame = patient.contribute(collection, [1, 1, 1, 1])
    with pytest.raises(StoreError, match="full"):
        world.cloud.answer(frame)
    with pytest.raises(RefusedError):
        patient.confirm(world.cloud.refuse(frame))
    database.execute("PRAGMA max_page_count = 1000000")
    world.hand_in(collection, patient, [1, 1, 1, 1])
    assert world.result(collection).values[0].tolist() == (rows.sum((0, 1)) + 1).tolist()


def test_quotas_are_refused_like_all_else(world, monkeypatch):
    collection, _ = world.filled(5)
    monkeypatch.setattr(collections_module, "MOST_BYTES", 1000)
    frame = world.patients[0].contribute(collection, [1, 1, 1, 1])
    with pytest.raises(QuotaError):
        world.cloud.answer(frame)
    with pytest.raises(RefusedError):
        world.patients[0].confirm(world.cloud.refuse(frame))
    monkeypatch.setattr(collections_module, "MOST_COLLECTIONS", 1)
    _, frame = world.physician.collect("cloud", "x", length=1, bound=1)
    with pytest.raises(QuotaError):
        world.cloud.answer(frame)
    # What was there before is not hit.
    assert world.result(collection).contributors == 5


def test_more_contributors_than_agreed(world):
    collection = world.begin(most=5)
    for who in world.patients[:5]:
        world.hand_in(collection, who, [1, 1, 1, 1])
    world.patients[5].accept(world.physician.invite(collection, "p5"))
    with pytest.raises(TooLargeError):
        world.cloud.answer(world.patients[5].contribute(collection, [1, 1, 1, 1]))
    assert world.result(collection).contributors == 5


def test_old_collections_end():
    world = World(lifetime=1000.0)
    collection = world.begin()
    world.clock.now += 1001
    world.begin()
    with pytest.raises(ContextMismatchError, match="none of this id"):
        world.cloud.answer(world.physician.ask(collection))


# --- functions of one contributor


class Counted:
    """A quota that allows two requests."""

    def __init__(self):
        self.digests = []

    def take(self, patient, epoch, digest):
        assert patient.startswith("p")
        assert epoch == 1_800_000_000 // 2_592_000
        if digest not in self.digests:
            if len(self.digests) == 2:
                raise QuotaError("request: as many as may be")
            self.digests.append(digest)


def scaled(public, contributions, operands):
    """Multiply what one contributor sent with a number of the request."""
    ((part,),) = contributions
    evaluator = Evaluator(public)
    factor = int.from_bytes(operands[0], "big")
    product = evaluator.multiply_plain(
        Ciphertext.from_bytes(part, public.context), [factor], bound=255
    )
    return [evaluator.finish(product).to_bytes()]


SCALED = Function(
    "scaled", 1, 1, "coefficients", check_fresh, scaled, operands=1, pooled=False, most=2**20
)


def test_a_function_of_one_contributor():
    quota = Counted()
    functions = (*FUNCTIONS, SCALED)
    world = World(functions=functions, quota=quota)
    world.physician = world.party(Physician, "dr-lee", functions=functions)
    patient = world.party(Patient, "p0", functions=functions)
    collection = world.begin("scaled", least=1)
    world.hand_in(collection, patient, [1, 2, 3, 4])

    def ask(factor, contributor="p0"):
        frame = world.physician.ask(collection, contributor=contributor, operands=[bytes([factor])])
        return world.physician.read(world.cloud.answer(frame))

    found = ask(3)
    assert found.contributors == 1
    assert found.values[0].tolist() == [3, 6, 9, 12]
    ask(3)
    ask(4)
    assert len(quota.digests) == 2
    with pytest.raises(QuotaError):
        ask(5)
    with pytest.raises(ContextMismatchError, match="nothing of this"):
        ask(3, "p1")
    # It goes on taking contributions, and those who do not know the function give it nothing.
    world.hand_in(collection, patient, [2, 2, 2, 2])
    with pytest.raises(ContextMismatchError, match="known here"):
        world.patients[1].accept(world.physician.invite(collection, "p1"))
    for options in ({}, {"contributor": "p0"}, {"operands": [b"1"]}):
        with pytest.raises(ParameterError):
            world.physician.ask(collection, **options)
    for contributor, operands in (("", (b"1",)), ("p0", ()), ("p0", (b"1", b"1"))):
        body = AggregateRequest(collection, contributor, operands)
        with pytest.raises(FramingError):
            world.cloud.answer(sent_by(world.physician, "cloud", body))
    with pytest.raises(ParameterError, match="quota"):
        world.party(AggregateCloud, "cloud", functions=functions)


# --- arguments


@pytest.mark.parametrize(
    "options",
    [
        {"length": 0}, {"length": 1.5}, {"length": 2**17}, {"length": 20_000}, {"bound": 0},
        {"bound": 2**40}, {"bound": True}, {"least": 0}, {"least": 21}, {"most": 2**21},
        {"function": "mode"}, {"function": None}, {"about": ""}, {"about": "x" * 256},
        {"function": "dot", "bound": 10_000},
    ],
)  # fmt: skip
def test_collections_that_cannot_be(world, options):
    given = {"about": "steps", "length": 4, "bound": 9, "least": 5, "most": 20} | options
    with pytest.raises(ParameterError):
        world.physician.collect("cloud", **given)
    with pytest.raises(UnknownKeyError):
        world.physician.collect("nowhere", "steps", length=4, bound=9)


def test_parties_that_cannot_be(world):
    for least in (0, -1, 1.5, True, 2**21):
        with pytest.raises(ParameterError, match="least"):
            world.party(Patient, "p0", least=least)
        with pytest.raises(ParameterError, match="least"):
            world.party(AggregateCloud, "cloud", least=least)
    for lifetime in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ParameterError, match="lifetime"):
            world.party(AggregateCloud, "cloud", lifetime=lifetime)


def test_nothing_shows_values_or_keys(world):
    collection, _ = world.filled(5)
    found = world.result(collection)
    for each in (found, world.physician, world.patients[0], world.cloud, found.secret):
        assert "[" not in repr(each)
        assert len(repr(each)) < 100
    with pytest.raises(TypeError):
        pickle.dumps(found)
    assert type(world.patients[0].public_key(collection)) is PublicKey
    assert decrypt(
        found.secret,
        encrypt(world.physician.public_key(collection), [7], bound=9),
    ).tolist() == [7]
