"""Matches between the roles: every byte and round, and frames that must be refused."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ompd.errors import (
    BusyError,
    ContextMismatchError,
    FrameError,
    FramingError,
    MaterialError,
    ParameterError,
    RangeError,
    ReplayError,
    RoleError,
    SignatureError,
    SpentMaterialError,
    UnknownKeyError,
)
from ompd.images.features import SharedFeatures, template_integers
from ompd.images.match_plan import match_plan
from ompd.roles.imaging import Physician, deliver
from ompd.roles.imaging.matching import MOST_KEPT
from ompd.wire import (
    Frame,
    ImageRequest,
    Kind,
    MatchCount,
    MatchRequest,
    MatchRound,
    Templates,
)
from tests.images.matches import UNIT, clear, spread
from tests.images.parties import IMAGE_KINDS, NAMES, Line, Parties
from tests.images.runs import texture
from tests.roles.conftest import post_of

IMAGE = b"i" * 16
ROWS = 9


class Matched(Parties):
    """All five, features of an image at the clouds, and templates of the physician."""

    def __init__(self, features=20, templates=ROWS, **stocks):
        super().__init__(**stocks)
        rng = np.random.default_rng(features + templates)
        self.rows = spread(rng, templates)
        integers = template_integers(self.rows)
        x = np.rint(spread(rng, features) * 300).astype(np.int64)
        x[: features // 2] += integers[rng.integers(0, templates, features // 2)]
        self.expected = clear(x, integers)
        sums = (x * UNIT[8]).astype(np.uint32)
        self.halves = [rng.integers(0, 2**32, sums.shape, np.uint32)]
        self.halves.append(sums - self.halves[0])
        self.keep()
        self.templates = self.upload()

    def keep(self):
        for cloud, half in zip((self.left, self.right), self.halves, strict=True):
            cloud.matches.keep(IMAGE, "pat", "doc", SharedFeatures(8, half))

    def upload(self):
        name, sent = self.physician.upload_templates(self.rows, NAMES["clouds"])
        deliver(sent, *self.all, watch=self.watch)
        return name

    def deal_match(self, features=30, templates=ROWS, **changes):
        frames = self.authority.deal_match(features, templates, **NAMES | changes)
        deliver(frames, *self.all, watch=self.watch)

    def ask(self):
        self.deal_match()
        return self.physician.match(IMAGE, self.templates)

    def finish(self, outgoing):
        deliver(outgoing, *self.all, watch=self.watch)
        assert self.physician.matches() == self.expected > 3

    def again(self):
        """Nothing that was refused keeps a match from being counted."""
        self.finish(self.ask())


def test_from_an_image_to_a_count():
    """The features that two clouds kept of an image, with those of a noisy one as templates."""
    parties = Parties()
    image = texture(48, 48, 1, smooth=1)
    noise = np.random.default_rng(1).normal(0, 3, image.shape)
    known = parties.extract(np.clip(image + noise, 0, 255).astype(np.uint8))
    before = set(parties.left.matches._features)
    found = parties.extract(image)
    (session,) = set(parties.left.matches._features) - before
    name, sent = parties.physician.upload_templates(known.descriptors, NAMES["clouds"])
    deliver(sent, *parties.all)
    deliver(parties.authority.deal_match(len(found), len(known), **NAMES), *parties.all)
    deliver(parties.physician.match(session, name), *parties.all)
    count = parties.physician.matches()
    squares = np.sort(2 - 2 * found.descriptors @ known.descriptors.T, axis=1)
    # Templates are clipped as OpenCV does, features are not: some matches fewer.
    expected = (squares[:, 0] < 0.64 * squares[:, 1]).sum()
    assert 0.6 * expected < count <= len(found)
    assert expected > 0.4 * len(found) > 10


@pytest.mark.parametrize(("features", "templates"), [(20, 9), (70, 60)])
def test_every_byte_and_round(features, templates):
    parties = Matched(features, templates)
    parties.deal_match(features + 10, templates)
    parties.finish(parties.physician.match(IMAGE, parties.templates))
    plan = match_plan(features + 10, templates)
    assert plan.rounds == (10 if templates == 9 else 14)
    found = {}
    for kind, sender, recipient, length, _ in parties.sent:
        found.setdefault((kind, sender, recipient), []).append(length)
    # Of each frame: header, signature, envelope and what surrounds the content.
    most = 420

    def check(kind, sender, recipient, *contents):
        lengths = found.pop((kind, sender, recipient))
        assert len(lengths) == len(contents), kind
        for length, content in zip(lengths, contents, strict=True):
            assert content < length < content + most, kind

    check(Kind.IMAGE_MATERIAL, "dealer", "right", plan.size)
    check(Kind.MATCH_TICKET, "dealer", "doc", 0)
    for mine, other in (("left", "right"), ("right", "left")):
        check(Kind.MATCH_KEY, "dealer", mine, 0)
        check(Kind.TEMPLATES, "doc", mine, 512 * templates)
        check(Kind.MATCH_REQUEST, "doc", mine, 32)
        sizes = [sum(each.size for each in some) for some in plan.openings(features)]
        check(Kind.MATCH_ROUND, mine, other, *sizes)
        check(Kind.MATCH_COUNT, mine, "doc", 4)
    assert not found


def test_the_sizes_of_the_design():
    """At 140 features and templates; the dealer's part is streamed, 8 MiB at a time."""
    plan = match_plan(140, 140)
    assert plan.rounds == 14
    assert plan.size < 6.6e6
    assert sum(each.size for some in plan.openings(140) for each in some) < 0.5e6


@pytest.mark.parametrize(("features", "templates"), [(0, 9), (5, 1), (5, 0)])
def test_nothing_to_match(features, templates):
    parties = Matched(20, 9)
    rows = np.zeros((features, 128), np.uint32)
    for cloud in (parties.left, parties.right):
        cloud.matches.keep(b"j" * 16, "pat", "doc", SharedFeatures(8, rows))
    name, sent = parties.physician.upload_templates(parties.rows[:templates], NAMES["clouds"])
    deliver(sent, *parties.all)
    parties.deal_match(features, templates)
    deliver(parties.physician.match(b"j" * 16, name), *parties.all, watch=parties.watch)
    assert parties.physician.matches() == 0
    assert not any(kind is Kind.MATCH_ROUND for kind, *_ in parties.sent)


def test_an_image_without_features_takes_as_many_rounds():
    parties = Matched(20, 9)
    for cloud in (parties.left, parties.right):
        cloud.matches.keep(b"j" * 16, "pat", "doc", SharedFeatures(8, np.zeros((0, 128), "<u4")))
    parties.deal_match()
    # The other cloud's first round is there before the physician asks.
    first, second = parties.physician.match(b"j" * 16, parties.templates)
    deliver([first], *parties.all, watch=parties.watch)
    deliver([second], *parties.all, watch=parties.watch)
    assert parties.physician.matches() == 0
    kinds = [kind for kind, *_ in parties.sent]
    assert kinds.count(Kind.MATCH_ROUND) == 2 * match_plan(30, ROWS).rounds


def test_over_tcp():
    parties = Matched()
    ports = {}
    physician = parties.physician
    lines = [Line(each, ports) for each in parties.all[:-1]]
    lines.append(
        Line(physician, ports, lambda: any(each.done for each in physician._counts._asked.values()))
    )
    dealing = Line(parties.authority, ports)
    dealing.put(parties.authority.deal_match(30, ROWS, **NAMES))
    while not physician._counts._tickets:
        time.sleep(0.01)
    lines[-1].put(physician.match(IMAGE, parties.templates))
    done = lines[-1].done.wait(30)
    assert [line.errors for line in lines] == [[]] * 4
    assert done
    assert physician.matches() == parties.expected
    for line in (*lines, dealing):
        line.server.close()


@pytest.mark.parametrize("first", [0, 1])
def test_a_cloud_that_is_asked_late(first):
    """It keeps the other one's first round, and only that."""
    parties = Matched()
    requests = parties.ask()
    clouds = [parties.left, parties.right]
    (_, frame), *_ = early = clouds[first].receive(requests[first][1])
    late = clouds[1 - first]
    assert late.receive(frame) == []
    with pytest.raises(ReplayError):
        late.receive(frame)
    head = Frame.decode(frame, *IMAGE_KINDS).header
    body = MatchRound(1, IMAGE, parties.templates, bytes(30 * 512))
    for sequence in (1, 2):
        again = post_of(clouds[first]).send(late.id, body, nonce=head.nonce, sequence=sequence)
        with pytest.raises((ContextMismatchError, ReplayError)):
            late.receive(again)
    assert len(early) == 1
    parties.finish(late.receive(requests[1 - first][1]))


def test_two_matches_at_a_time():
    parties = Matched()
    other = parties.upload()
    parties.deal_match()
    parties.deal_match()
    requests = parties.physician.match(IMAGE, parties.templates)
    requests += parties.physician.match(IMAGE, other)
    first, second = parties.physician.asked
    deliver(requests, *parties.all)
    assert parties.physician.matches(second) == parties.physician.matches(first)
    with pytest.raises(ContextMismatchError):
        parties.physician.matches(first)


def test_material_is_used_once():
    parties = Matched()
    requests = parties.ask()
    session = parties.physician.asked[0]
    parties.finish(requests)
    body = MatchRequest(IMAGE, parties.templates)
    for cloud in (parties.left, parties.right):
        again = post_of(parties.physician).send(cloud.id, body, nonce=session, sequence=7)
        with pytest.raises(SpentMaterialError):
            cloud.receive(again)
    with pytest.raises(MaterialError, match="nothing was dealt"):
        parties.physician.match(IMAGE, parties.templates)


def test_material_of_images_is_none_of_matches_nor_the_other_way_round():
    parties = Matched()
    image = texture(40, 44, 1, smooth=1)
    parties.deal(image)
    parties.deal_match()
    (image_session,) = parties.physician.sessions
    (match_session,) = parties.physician._counts._tickets
    body = MatchRequest(IMAGE, parties.templates)
    frame = post_of(parties.physician).send("left", body, nonce=image_session, sequence=0)
    with pytest.raises(ContextMismatchError, match="another kind than match key"):
        parties.left.receive(frame)
    body = ImageRequest(*image.shape, 8, "extract", False)
    frame = post_of(parties.patient).send("left", body, nonce=match_session, sequence=0)
    with pytest.raises(ContextMismatchError, match="another kind than image key"):
        parties.left.receive(frame)
    parties.finish(parties.physician.match(IMAGE, parties.templates))
    deliver(parties.submit(image), *parties.all)
    assert len(parties.physician.features()) > 10


def test_a_dealer_that_ends_early():
    parties = Matched(90, 150)
    frames = list(parties.authority.deal_match(250, 150, **NAMES))
    assert len([each for each in frames if len(each[1]) > 1 << 16]) > 1
    assert len(frames) == 5
    deliver(frames[:2] + frames[-1:], *parties.all)
    left, right = parties.physician.match(IMAGE, parties.templates)
    rest = parties.left.receive(left[1])
    for place, error in ((None, "not complete"), (3, "next part")):
        with pytest.raises(MaterialError, match=error):
            parties.right.receive(right[1] if place is None else frames[place][1])
    deliver(frames[2:4], *parties.all)
    parties.finish([*rest, right])


def test_a_lost_round_loses_the_match_and_no_more():
    parties = Matched()
    party, frame, rest = parties.until(parties.ask(), Kind.MATCH_ROUND, "right")
    lost = parties.physician.asked[0]
    with pytest.raises(ContextMismatchError, match="what comes next"):
        deliver(rest, *parties.all)
    with pytest.raises(ContextMismatchError, match="count is not here"):
        parties.physician.matches()
    party.drop(lost)
    with pytest.raises(SpentMaterialError):
        party.receive(frame)
    parties.keep()
    parties.deal_match()
    deliver(parties.physician.match(IMAGE, parties.templates), *parties.all)
    assert parties.physician.matches() == parties.expected


@pytest.mark.parametrize(
    ("kind", "sender"),
    [
        (Kind.MATCH_REQUEST, "doc"),
        (Kind.MATCH_ROUND, "left"),
        (Kind.MATCH_ROUND, "right"),
        (Kind.MATCH_COUNT, "left"),
    ],
)
def test_altered_and_repeated_frames(kind, sender):
    parties = Matched()
    party, frame, rest = parties.until(parties.ask(), kind, sender)
    altered = bytearray(frame)
    altered[-150] ^= 1
    with pytest.raises(SignatureError):
        party.receive(bytes(altered))
    with pytest.raises(FramingError):
        party.receive(frame[:-1])
    others = [each for each in parties.all if each is not party]
    with pytest.raises(FrameError):
        others[0].receive(frame)
    rest.extend(party.receive(frame))
    with pytest.raises(ReplayError):
        party.receive(frame)
    parties.finish(rest)


def test_altered_and_repeated_templates_and_deals():
    parties = Matched()
    _, sent = parties.physician.upload_templates(parties.rows, NAMES["clouds"])
    dealt = list(parties.authority.deal_match(30, ROWS, **NAMES))
    known = {each.id: each for each in parties.all}
    for recipient, frame in [*sent, *dealt]:
        altered = bytearray(frame)
        altered[-150] ^= 1
        with pytest.raises(SignatureError):
            known[recipient].receive(bytes(altered))
        with pytest.raises(FrameError):
            parties.patient.receive(frame)
        known[recipient].receive(frame)
        with pytest.raises((ReplayError, MaterialError)):
            known[recipient].receive(frame)
    parties.finish(parties.physician.match(IMAGE, parties.templates))


OTHER = b"o" * 16
FALSE = [
    (Kind.MATCH_REQUEST, "doc", lambda p: MatchRequest(OTHER, p.templates), {}),
    (Kind.MATCH_REQUEST, "doc", lambda p: MatchRequest(IMAGE, OTHER), {}),
    (Kind.MATCH_REQUEST, "doc", lambda p: MatchRequest(IMAGE, p.templates), {"session": OTHER}),
    (Kind.MATCH_ROUND, "left", lambda p: MatchRound(2, IMAGE, p.templates, b""), {}),
    (Kind.MATCH_ROUND, "left", lambda p: MatchRound(1, OTHER, p.templates, b""), {}),
    (Kind.MATCH_ROUND, "left", lambda p: MatchRound(1, IMAGE, OTHER, bytes(30 * 512)), {}),
    (Kind.MATCH_ROUND, "left", lambda p: MatchRound(1, IMAGE, p.templates, b"\0" * 8), {}),
    (
        Kind.MATCH_ROUND,
        "left",
        lambda p: MatchRound(2, IMAGE, p.templates, bytes(39 * 512)),
        {"sequence": 2},
    ),
    (
        Kind.MATCH_ROUND,
        "left",
        lambda p: MatchRound(1, IMAGE, p.templates, bytes(30 * 512)),
        {"session": OTHER},
    ),
    (Kind.MATCH_COUNT, "left", lambda p: MatchCount(0), {"session": OTHER}),
]


@pytest.mark.parametrize(("kind", "sender", "body", "changes"), FALSE)
def test_wrong_frames_change_nothing(kind, sender, body, changes):
    parties = Matched()
    party, frame, rest = parties.until(parties.ask(), kind, sender)
    header = Frame.decode(frame, *IMAGE_KINDS).header
    post = post_of({each.id: each for each in parties.all}[sender])
    false = post.send(
        party.id,
        body(parties),
        nonce=changes.get("session", header.nonce),
        sequence=changes.get("sequence", header.sequence),
    )
    with pytest.raises((ContextMismatchError, FramingError, MaterialError)):
        party.receive(false)
    rest.extend(party.receive(frame))
    parties.finish(rest)


def test_clouds_that_were_asked_for_different_matches():
    """Each is asked for other templates: what they open would fit, and mean nothing."""
    parties = Matched()
    other = parties.upload()
    parties.deal_match()
    left, _ = parties.physician.match(IMAGE, parties.templates)
    session = parties.physician.asked[0]
    body = MatchRequest(IMAGE, other)
    false = post_of(parties.physician).send("right", body, nonce=session, sequence=0)
    (to_right,) = parties.left.receive(left[1])
    parties.right.receive(false)
    with pytest.raises(ContextMismatchError, match="another match"):
        parties.right.receive(to_right[1])
    # The same where the round comes first.
    parties.deal_match()
    left, _ = parties.physician.match(IMAGE, parties.templates)
    session = parties.physician.asked[1]
    false = post_of(parties.physician).send("right", body, nonce=session, sequence=0)
    parties.right.receive(parties.left.receive(left[1])[0][1])
    with pytest.raises(ContextMismatchError, match="another match"):
        parties.right.receive(false)


def test_a_count_that_cannot_be():
    parties = Matched()
    party, frame, rest = parties.until(parties.ask(), Kind.MATCH_COUNT)
    party.receive(frame)
    header = Frame.decode(frame, *IMAGE_KINDS).header
    other = parties.right if header.sender == "left" else parties.left
    share = parties.physician._counts._asked[header.nonce].shares[header.sender]
    body = MatchCount((31 - share) % 2**32)
    false = post_of(other).send("doc", body, nonce=header.nonce, sequence=3)
    with pytest.raises(RangeError, match="more than there are"):
        party.receive(false)
    parties.finish(rest)


def test_strangers_and_wrong_numbers():
    parties = Matched()
    eve = Physician.create("eve")
    for cloud in (parties.left, parties.right):
        eve.meet(cloud.public, "cloud")
    parties.deal_match()
    (session,) = parties.physician._counts._tickets
    body = MatchRequest(IMAGE, parties.templates)
    with pytest.raises(UnknownKeyError):
        parties.left.receive(post_of(eve).send("left", body, nonce=session, sequence=0))
    parties.left.meet(eve.public, "physician")
    with pytest.raises(RoleError, match="another physician"):
        parties.left.receive(post_of(eve).send("left", body, nonce=session, sequence=0))
    with pytest.raises(RoleError):
        parties.left.receive(post_of(parties.patient).send("left", body, nonce=session, sequence=0))
    parties.finish(parties.physician.match(IMAGE, parties.templates))
    # Dealt for fewer features, for another depth, for another patient.
    for numbers in ((19, ROWS, 8), (30, ROWS, 16)):
        deliver(parties.authority.deal_match(*numbers, **NAMES), *parties.all)
        requests = parties.physician.match(IMAGE, parties.templates, numbers[2])
        with pytest.raises(ContextMismatchError, match="dealt for"):
            deliver(requests, *parties.all)
    with pytest.raises(MaterialError, match="nothing was dealt"):
        parties.physician.match(IMAGE, parties.templates)
    with pytest.raises(ContextMismatchError, match="was uploaded"):
        parties.physician.match(IMAGE, OTHER)
    # Of another patient, or another physician's, at both clouds: each refuses by itself.
    features = SharedFeatures(8, np.zeros((3, 128), np.uint32))
    for owners in (("another", "doc"), ("pat", "another")):
        for cloud in (parties.left, parties.right):
            cloud.matches.keep(OTHER, *owners, features)
        parties.deal_match()
        requests = parties.physician.match(OTHER, parties.templates)
        for request in requests:
            with pytest.raises(ContextMismatchError, match="no features"):
                deliver([request], *parties.all)
    parties.again()


def test_how_much_a_cloud_keeps():
    parties = Matched()
    parties.left.drop(IMAGE)
    parties.deal_match()
    with pytest.raises(ContextMismatchError, match="no features"):
        deliver(parties.physician.match(IMAGE, parties.templates), *parties.all)
    parties.keep()
    names = [parties.upload() for _ in range(MOST_KEPT - 1)]
    with pytest.raises(BusyError, match="collections"):
        parties.upload()
    for cloud in (parties.left, parties.right):
        cloud.matches.drop_templates("doc", names[0])
    parties.upload()
    for i in range(MOST_KEPT):
        assert IMAGE in parties.left.matches._features
        none = SharedFeatures(8, np.zeros((0, 128), np.uint32))
        parties.left.matches.keep(i.to_bytes(16, "big"), "pat", "doc", none)
    assert len(parties.left.matches._features) == MOST_KEPT
    assert IMAGE not in parties.left.matches._features


def test_templates_of_another_form():
    parties = Matched()
    for content, error in ((bytes(511), FramingError), (bytes(512 * 4097), RangeError)):
        frame = post_of(parties.physician).send("left", Templates(content), nonce=OTHER, sequence=0)
        with pytest.raises(error):
            parties.left.receive(frame)
    body = Templates(bytes(512))
    for error in (None, ContextMismatchError):
        frame = post_of(parties.physician).send(
            "left", body, nonce=OTHER, sequence=int(error is not None)
        )
        if error is None:
            parties.left.receive(frame)
            continue
        with pytest.raises(error, match="of this name"):
            parties.left.receive(frame)
    with pytest.raises(RangeError, match="clouds"):
        parties.physician.upload_templates(parties.rows, ("left", "left"))
    for numbers in ((-1, 3), (3, 4097)):
        with pytest.raises(ParameterError):
            parties.authority.deal_match(*numbers, **NAMES)
    with pytest.raises(ParameterError, match="one place only"):
        parties.authority.deal_match(3, 3, **NAMES | {"patient": "doc"})
