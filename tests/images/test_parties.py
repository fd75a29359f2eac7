"""The four roles: every byte and round, and frames that must be refused."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ompd.errors import (
    ContextMismatchError,
    FrameError,
    FramingError,
    ImageError,
    MaterialError,
    ParameterError,
    RangeError,
    ReplayError,
    RoleError,
    SignatureError,
    SpentMaterialError,
    UnknownKeyError,
)
from ompd.images.geometry import geometry
from ompd.images.material import Plan
from ompd.images.rounds import round_bytes
from ompd.roles.imaging import Patient, deliver
from ompd.roles.imaging.places import write_places
from ompd.wire import (
    ImageMaterial,
    ImagePoints,
    ImagePoses,
    ImageRequest,
    ImageRound,
    Kind,
    MaskedImage,
)
from tests.images.parties import NAMES, Line, Parties
from tests.images.runs import run, texture
from tests.roles.conftest import post_of

IMAGE = texture(40, 44, 1, smooth=1)


def features_like(found, image):
    """The same keypoints as without frames, but for those that hang on a last place."""
    expected = run(image).features
    gaps = np.abs(found.points[:, None, :2] - expected.points[None, :, :2]).max(axis=2)
    assert (gaps.min(axis=1) < 0.5).mean() > 0.9
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1)


def test_every_byte_and_round():
    parties = Parties()
    features = parties.extract(IMAGE)
    assert len(features) > 10
    features_like(features, IMAGE)
    size = geometry(*IMAGE.shape)
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

    plan = Plan(size)
    check(Kind.IMAGE_KEY, "dealer", "left", 0)
    check(Kind.IMAGE_KEY, "dealer", "right", 0)
    check(Kind.IMAGE_MATERIAL, "dealer", "right", plan.size)
    for recipient in ("pat", "doc"):
        check(Kind.IMAGE_TICKET, "dealer", recipient, 0)
    points = [parties.sent[i] for i in range(len(parties.sent))]
    candidates = next(each for each in points if each[0] is Kind.IMAGE_CANDIDATES)
    count = (candidates[3] - 400) // 1008 + 1
    for mine, other in (("left", "right"), ("right", "left")):
        check(Kind.IMAGE_REQUEST, "pat", mine, 0)
        check(Kind.IMAGE_SEED, mine, "pat", 16)
        check(Kind.MASKED_IMAGE, "pat", mine, 8 * IMAGE.size)
        rounds = [round_bytes(size, number) for number in range(1, 5)]
        check(Kind.IMAGE_ROUND, mine, other, *rounds)
        check(Kind.IMAGE_CANDIDATES, mine, "doc", 1008 * count)
        accepted = len(np.unique(features.points[:, :2], axis=0))
        lengths = found.pop((Kind.IMAGE_POINTS, "doc", mine))
        assert len(lengths) == 1
        assert lengths[0] < 16 * count + most
        assert lengths[0] > 16 * accepted
        check(Kind.IMAGE_POSES, "doc", mine, 40 * len(features))
        lengths = found.pop((Kind.IMAGE_SUMS, mine, "doc"))
        assert len(lengths) == 2
        assert lengths[0] < 144 * count + most
        assert 512 * len(features) < lengths[1] < 512 * len(features) + most
    assert not found


def test_over_tcp():
    parties = Parties()
    ports = {}
    physician = parties.physician

    def finished():
        return any(each.features for each in physician._readings.values())

    lines = [Line(each, ports) for each in parties.all[:-1]]
    lines.append(Line(physician, ports, finished))
    dealing = Line(parties.authority, ports)
    dealing.put(parties.authority.deal(*IMAGE.shape, mode="extract", **NAMES))
    while not parties.patient._tickets:
        time.sleep(0.01)
    lines[0].put(parties.submit(IMAGE))
    done = lines[3].done.wait(30)
    assert [line.errors for line in lines] == [[]] * 4
    assert done
    features_like(physician.features(), IMAGE)
    for line in (*lines, dealing):
        line.server.close()


def test_two_images_at_a_time():
    parties = Parties()
    other = texture(40, 44, 2, smooth=1)
    parties.deal(IMAGE)
    parties.deal(other)
    deliver(parties.submit(IMAGE) + parties.submit(other), *parties.all)
    first, second = parties.physician.sessions
    features_like(parties.physician.features(second), other)
    features_like(parties.physician.features(first), IMAGE)


def test_sixteen_bits():
    parties = Parties()
    image = texture(40, 44, 3, np.uint16, smooth=1)
    features_like(parties.extract(image), image)


def test_material_is_used_once():
    parties = Parties()
    parties.deal(IMAGE)
    requests = parties.submit(IMAGE)
    deliver(requests, *parties.all)
    session = parties.physician.sessions[0]
    body = ImageRequest(*IMAGE.shape, 8, "extract", False)
    again = post_of(parties.patient).send("left", body, nonce=session, sequence=7)
    with pytest.raises(SpentMaterialError):
        parties.left.receive(again)
    with pytest.raises(MaterialError, match="nothing was dealt"):
        parties.submit(IMAGE)


def test_a_dealer_that_ends_early():
    parties = Parties()
    large = texture(128, 128, 1)
    frames = list(parties.authority.deal(*large.shape, mode="extract", **NAMES))
    assert len([each for each in frames if len(each[1]) > 1 << 20]) > 7
    deliver(frames[:3] + frames[-2:], *parties.all)
    requests = parties.submit(large)
    with pytest.raises(MaterialError, match="not complete"):
        deliver(requests[1:], *parties.all)
    # A part is left out.
    with pytest.raises(MaterialError, match="next part"):
        deliver(frames[4:5], *parties.all)
    deliver(frames[3:-2], *parties.all)
    deliver(requests[1:], *parties.all)


@pytest.mark.parametrize(
    ("kind", "sender"),
    [
        (Kind.IMAGE_SEED, "left"),
        (Kind.MASKED_IMAGE, "pat"),
        (Kind.IMAGE_ROUND, "left"),
        (Kind.IMAGE_CANDIDATES, "right"),
        (Kind.IMAGE_POINTS, "doc"),
        (Kind.IMAGE_POSES, "doc"),
        (Kind.IMAGE_SUMS, "left"),
    ],
)
def test_altered_and_repeated_frames(kind, sender):
    parties = Parties()
    parties.deal(IMAGE)
    outgoing = parties.submit(IMAGE)
    party, frame, rest = parties.until(outgoing, kind, sender)
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
    # Nothing of this kept the image from being read.
    deliver(rest, *parties.all)
    assert len(parties.physician.features()) > 10


def forged(parties, kind, sender, body, *, session=None, sequence=None):
    """Stop before a frame, send another one in its place."""
    parties.deal(IMAGE)
    party, frame, rest = parties.until(parties.submit(IMAGE), kind, sender)
    from tests.images.parties import IMAGE_KINDS, Frame

    header = Frame.decode(frame, *IMAGE_KINDS).header
    post = post_of({each.id: each for each in parties.all}[sender])
    false = post.send(
        party.id,
        body,
        nonce=header.nonce if session is None else session,
        sequence=header.sequence if sequence is None else sequence,
    )
    return party, false, frame, rest


PLACE = np.array([[0, 1, 5, 5]], "<u2").tobytes()
SCALE = np.array([2.0], "<f8").tobytes()
POSE = np.array([2.0, 10, 0.98, 0.17], "<f8").tobytes()
FALSE = [
    (Kind.MASKED_IMAGE, "pat", MaskedImage(b"\0" * 8), FramingError, {}),
    (Kind.MASKED_IMAGE, "pat", MaskedImage(bytes(8 * IMAGE.size - 1)), FramingError, {}),
    (Kind.MASKED_IMAGE, "pat", MaskedImage(b""), ContextMismatchError, {"session": b"s" * 16}),
    (Kind.MASKED_IMAGE, "pat", MaskedImage(b""), ContextMismatchError, {"sequence": 5}),
    (Kind.IMAGE_ROUND, "left", ImageRound(1, b"\0" * 8), FramingError, {}),
    (Kind.IMAGE_ROUND, "left", ImageRound(2, b"\0" * 8), ContextMismatchError, {}),
    (Kind.IMAGE_ROUND, "left", ImageRound(2, b""), ContextMismatchError, {"sequence": 2}),
    (Kind.IMAGE_POINTS, "doc", ImagePoints(PLACE[:-1], SCALE), FramingError, {}),
    (Kind.IMAGE_POINTS, "doc", ImagePoints(PLACE, b""), FramingError, {}),
    (Kind.IMAGE_POINTS, "doc", ImagePoints(PLACE, SCALE), RangeError, {}),
    (Kind.IMAGE_POINTS, "doc", ImagePoints(bytes(8), SCALE), RangeError, {}),
    (Kind.IMAGE_POINTS, "doc", ImagePoints(PLACE, np.array([np.nan]).tobytes()), RangeError, {}),
    (Kind.IMAGE_POSES, "doc", ImagePoses(PLACE, POSE), RangeError, {}),
    (Kind.IMAGE_POSES, "doc", ImagePoses(PLACE, POSE[:-8]), FramingError, {}),
    (Kind.IMAGE_POSES, "doc", ImagePoses(b"", b""), ContextMismatchError, {"sequence": 3}),
]


@pytest.mark.parametrize(("kind", "sender", "body", "error", "changes"), FALSE)
def test_wrong_frames_change_nothing(kind, sender, body, error, changes):
    parties = Parties()
    party, false, frame, rest = forged(parties, kind, sender, body, **changes)
    with pytest.raises(error):
        party.receive(false)
    rest.extend(party.receive(frame))
    deliver(rest, *parties.all)
    assert len(parties.physician.features()) > 10


def test_sums_reach_no_further_than_was_asked_for():
    """Gradients are made as far as the points' blurs reach: a wider pose would read what is not."""
    parties = Parties()
    parties.deal(IMAGE)
    party, frame, rest = parties.until(parties.submit(IMAGE), Kind.IMAGE_POSES, "doc")
    ((session, reading),) = parties.physician._readings.items()
    places = write_places(reading.poses.places)
    post = post_of(parties.physician)
    for factor in (1 + 2**-20, 0.999):
        poses = reading.poses.poses.copy()
        row = np.abs(poses[:, 0] - 2.5).argmin()
        poses[row, 0] *= factor
        body = ImagePoses(places, poses.astype("<f8").tobytes())
        with pytest.raises(RangeError, match="asked for"):
            party.receive(post.send(party.id, body, nonce=session, sequence=1))
    rest.extend(party.receive(frame))
    deliver(rest, *parties.all)
    assert len(parties.physician.features()) > 10


def test_rounds_out_of_order_are_refused():
    parties = Parties()
    parties.deal(IMAGE)
    outgoing = parties.submit(IMAGE)
    party, first, rest = parties.until(outgoing, Kind.IMAGE_ROUND, "left")
    # The other cloud may be faster than the patient's image: its first round waits, once.
    assert party is parties.right
    body = ImageRound(1, bytes(round_bytes(geometry(*IMAGE.shape), 1)))
    second = post_of(parties.left).send(
        "right", body, nonce=parties.physician.sessions[0], sequence=1
    )
    rest.extend(party.receive(first))
    with pytest.raises(ReplayError):
        party.receive(second)
    deliver(rest, *parties.all)
    assert len(parties.physician.features()) > 10


def test_strangers_and_wrong_roles():
    parties = Parties()
    parties.deal(IMAGE)
    session = parties.physician.sessions[0]
    stranger = Patient.create("eve")
    stranger.meet(parties.left.public, "cloud")
    body = ImageRequest(*IMAGE.shape, 8, "extract", False)
    with pytest.raises(UnknownKeyError):
        parties.left.receive(post_of(stranger).send("left", body, nonce=session, sequence=0))
    parties.left.meet(stranger.public, "patient")
    with pytest.raises(RoleError, match="another patient"):
        parties.left.receive(post_of(stranger).send("left", body, nonce=session, sequence=0))
    with pytest.raises(RoleError):
        parties.left.receive(
            post_of(parties.physician).send("left", body, nonce=session, sequence=0)
        )
    part = ImageMaterial(0, b"x")
    with pytest.raises(MaterialError):
        parties.left.receive(
            post_of(parties.authority).send("left", part, nonce=session, sequence=0)
        )
    wrong = ImageRequest(IMAGE.shape[0], IMAGE.shape[1], 16, "extract", False)
    with pytest.raises(ContextMismatchError, match="size or depth"):
        parties.left.receive(
            post_of(parties.patient).send("left", wrong, nonce=session, sequence=9)
        )
    deliver(parties.submit(IMAGE), *parties.all)
    assert len(parties.physician.features()) > 10


@pytest.mark.parametrize(
    "image",
    [IMAGE.astype(np.int16), IMAGE.astype(float), IMAGE[None], IMAGE.tolist(), None],
    ids=["int16", "float", "three dimensions", "list", "none"],
)
def test_images_of_another_form(image):
    parties = Parties()
    parties.deal(IMAGE)
    with pytest.raises(ImageError, match="image: expected"):
        parties.submit(image)
    # Any order in memory will do.
    deliver(parties.submit(np.asfortranarray(IMAGE)), *parties.all)
    assert len(parties.physician.features()) > 10


def test_an_image_without_features():
    parties = Parties()
    assert len(parties.extract(np.full((32, 32), 7, np.uint8))) == 0


def test_deals_that_cannot_be():
    authority = Parties().authority
    for names in (
        NAMES | {"clouds": ("left", "left")},
        NAMES | {"patient": "doc"},
        NAMES | {"clouds": ("left", "dealer")},
    ):
        with pytest.raises(ParameterError, match="one place only"):
            authority.deal(32, 32, **names)
    with pytest.raises(ParameterError, match="height"):
        authority.deal(3, 32, **NAMES)
    with pytest.raises(UnknownKeyError):
        next(authority.deal(32, 32, **NAMES | {"clouds": ("nobody", "right")}))
    with pytest.raises(ContextMismatchError):
        Parties().physician.features()
