"""The four roles in hidden mode: every byte and round, and frames that must be refused."""

from __future__ import annotations

import time

import numpy as np
import pytest

from ompd.errors import (
    ContextMismatchError,
    FramingError,
    ImageError,
    MaterialError,
    ParameterError,
    RangeError,
    ReplayError,
    SignatureError,
    SpentMaterialError,
)
from ompd.images.hidden.layout import hidden_geometry
from ompd.images.hidden.material import HiddenPlan
from ompd.images.hidden.own import own_features
from ompd.images.rounds import round_bytes
from ompd.roles.imaging import deliver
from ompd.wire import ImageFeatures, ImageRequest, ImageRound, Kind
from tests.images.hidden.runs import run
from tests.images.parties import IMAGE_KINDS, NAMES, Frame, Line, Parties
from tests.images.runs import texture
from tests.roles.conftest import post_of

IMAGE = texture(40, 44, 1, smooth=1)
SIZE = hidden_geometry(*IMAGE.shape)
#: Rounds that each cloud sends; "left" leads.
SENT = {"left": (1, 2, 3, 4, 5, 6, 8), "right": (1, 2, 3, 4, 5, 7)}


def begun(image=IMAGE, disclose=True):
    parties = Parties()
    parties.deal(image, "hidden")
    return parties, parties.patient.submit(image, disclose=disclose)


def features_like(found, image):
    """Those that are found without frames, but for some that hang on a last place."""
    expected = run(image).places
    pixel = 0.5 * 2.0 ** expected[:, 0]
    there = set(zip(expected[:, 3] * pixel, expected[:, 2] * pixel, strict=True))
    same = [tuple(each) in there for each in found.points[:, :2].tolist()]
    assert len(same) > 10
    assert np.mean(same) > 0.85
    assert np.allclose(np.linalg.norm(found.descriptors, axis=1), 1)


@pytest.mark.parametrize("disclosed", [True, False])
def test_every_byte_and_round(disclosed):
    parties, requests = begun(disclose=disclosed)
    deliver(requests, *parties.all, watch=parties.watch)
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

    for cloud in ("left", "right"):
        check(Kind.IMAGE_KEY, "dealer", cloud, 0)
    check(Kind.IMAGE_MATERIAL, "dealer", "right", HiddenPlan(SIZE).size)
    for recipient in ("pat", "doc"):
        check(Kind.IMAGE_TICKET, "dealer", recipient, 0)
    for mine, other in (("left", "right"), ("right", "left")):
        check(Kind.IMAGE_REQUEST, "pat", mine, 0)
        check(Kind.IMAGE_SEED, mine, "pat", 16)
        check(Kind.MASKED_IMAGE, "pat", mine, 8 * IMAGE.size)
        check(Kind.IMAGE_ROUND, mine, other, *(round_bytes(SIZE, n) for n in SENT[mine]))
    if disclosed:
        features = parties.physician.features()
        features_like(features, IMAGE)
        for cloud in ("left", "right"):
            check(Kind.IMAGE_FEATURES, cloud, "doc", len(features) * (4 + 512))
    else:
        with pytest.raises(ContextMismatchError, match="not here"):
            parties.physician.features()
        parties.physician.drop(parties.physician.sessions[0])
        assert not parties.physician.sessions
    assert not found
    assert not parties.left._sessions
    assert not parties.right._sessions


def test_what_is_opened():
    """Every number that a cloud gets: how many there are, and of how many bits.

    Masked but for the last round's bits, which are as many as slots; those set are the features.
    """
    found = run(IMAGE)
    size = found.size
    lanes, gradients, slots = size.lanes, 64 * size.site_blocks, size.slots
    bits = [0, 0, 3 * 5 * lanes, 3 * lanes]
    bits[0] = lanes * sum(plane.comparator.opened for plane in size.planes) + 8 * 2 * gradients
    bits[1] = lanes * 62 + 8 * gradients
    assert len(size.planes) == 62
    assert [plane.comparator.opened for plane in size.planes].count(4) == 12 + 20 + 24
    # A word per site and eight for what lies around; a byte per slot; slots with their numbers.
    bits.append(32 * 9 * gradients + 8 * slots)
    words = 64 * -(-slots // 64)
    bits += [32 * 129 * slots + words, 32 * 129 * slots + 2 * words, words]
    for number, (expected, sent) in enumerate(zip(bits, found.rounds, strict=True), start=1):
        for arrays in filter(None, sent):
            assert 8 * sum(each.nbytes for each in arrays) == expected
            assert round_bytes(size, number) == expected // 8
    assert [[i for i in (0, 1) if sent[i] is None] for sent in found.rounds] == [
        [], [], [], [], [], [1], [0], [1]
    ]  # fmt: skip
    last = found.rounds[6][1][2] ^ found.rounds[7][0][0]
    assert int(np.bitwise_count(last).sum()) == len(found.sums) > 10


def test_over_tcp():
    parties = Parties()
    ports = {}
    physician = parties.physician

    def finished():
        return any(each.features for each in physician._readings.values())

    lines = [Line(each, ports) for each in parties.all[:-1]]
    lines.append(Line(physician, ports, finished))
    dealing = Line(parties.authority, ports)
    dealing.put(parties.authority.deal(*IMAGE.shape, **NAMES))
    deadline = time.monotonic() + 60
    while not (parties.patient._tickets and physician._readings):
        assert time.monotonic() < deadline
        assert not any(line.errors for line in lines)
        time.sleep(0.01)
    lines[0].put(parties.patient.submit(IMAGE, disclose=True))
    assert lines[-1].done.wait(60)
    assert not any(line.errors for line in lines)
    features_like(physician.features(), IMAGE)
    for line in (*lines, dealing):
        line.server.close()


def test_sixteen_bits_and_nothing():
    parties, requests = begun(texture(40, 44, 3, np.uint16, smooth=1))
    deliver(requests, *parties.all)
    assert len(parties.physician.features()) > 10
    parties, requests = begun(np.full((32, 33), 7, np.uint8))
    deliver(requests, *parties.all)
    assert len(parties.physician.features()) == 0


def test_material_of_one_mode_is_none_of_the_other():
    parties = Parties()
    parties.deal(IMAGE, "hidden")
    with pytest.raises(MaterialError, match="nothing was dealt"):
        parties.patient.submit(IMAGE, mode="extract")
    session = parties.physician.sessions[0]
    for cloud in (parties.left, parties.right):
        body = ImageRequest(*IMAGE.shape, 8, "extract", False)
        frame = post_of(parties.patient).send(cloud.id, body, nonce=session, sequence=0)
        with pytest.raises(ContextMismatchError, match="other mode"):
            cloud.receive(frame)
    # Nothing was spent by that.
    deliver(parties.patient.submit(IMAGE, disclose=True), *parties.all)
    assert len(parties.physician.features()) > 10
    parties.deal(IMAGE, "extract")
    with pytest.raises(MaterialError, match="nothing was dealt"):
        parties.patient.submit(IMAGE)
    with pytest.raises(ParameterError, match="mode"):
        parties.authority.deal(*IMAGE.shape, mode="open", **NAMES)


def test_material_is_used_once():
    parties, requests = begun()
    session = parties.physician.sessions[0]
    deliver(requests, *parties.all)
    body = ImageRequest(*IMAGE.shape, 8, "hidden", True)
    again = post_of(parties.patient).send("right", body, nonce=session, sequence=7)
    with pytest.raises(SpentMaterialError):
        parties.right.receive(again)


STEPS = [(Kind.IMAGE_ROUND, sender, number) for sender, all_ in SENT.items() for number in all_]
STEPS += [(Kind.IMAGE_FEATURES, "left", 0)]


def until(parties, outgoing, kind, sender, number):
    """Deliver until a frame comes next; returns its party, the frame, its header and the rest."""
    rest = list(outgoing)
    while True:
        party, frame, waiting = parties.until(rest, kind, sender)
        header = Frame.decode(frame, *IMAGE_KINDS).header
        if header.sequence == number:
            return party, frame, header, waiting
        rest = list(waiting) + party.receive(frame)


@pytest.mark.parametrize(("kind", "sender", "number"), STEPS)
def test_altered_repeated_reordered_and_wrong_frames(kind, sender, number):
    parties, requests = begun()
    party, frame, header, rest = until(parties, requests, kind, sender, number)
    post = post_of({each.id: each for each in parties.all}[sender])

    def forged(body, sequence=number, session=header.nonce):
        return post.send(party.id, body, nonce=session, sequence=sequence)

    altered = bytearray(frame)
    altered[-150] ^= 1
    wrong = [(bytes(altered), SignatureError), (frame[:-1], FramingError)]
    if kind is Kind.IMAGE_ROUND:
        size = round_bytes(SIZE, number)
        body = ImageRound(number, bytes(size))
        following = 7 if number == 8 else number + 1
        wrong += [
            (forged(ImageRound(number, bytes(size - 1))), FramingError),
            (forged(ImageRound(number, bytes(size + 8))), FramingError),
            (forged(ImageRound(following, bytes(size))), ContextMismatchError),
            (forged(ImageRound(following, bytes(size)), following), ContextMismatchError),
            (forged(body, session=b"s" * 16), ContextMismatchError),
        ]
    else:
        wrong += [
            (forged(ImageFeatures(bytes(4), bytes(511))), FramingError),
            (forged(ImageFeatures(bytes(3), bytes(512))), FramingError),
            (forged(ImageFeatures(b"", b""), session=b"s" * 16), ContextMismatchError),
        ]
    for each, error in wrong:
        with pytest.raises(error):
            party.receive(each)
    rest.extend(party.receive(frame))
    with pytest.raises(ReplayError):
        party.receive(frame)
    # Nothing of this kept the image from being read.
    deliver(rest, *parties.all)
    features = parties.physician.features()
    assert len(features) > 10
    assert np.allclose(np.linalg.norm(features.descriptors, axis=1), 1)


def test_features_of_clouds_that_do_not_agree():
    parties, requests = begun()
    party, frame, header, rest = until(parties, requests, Kind.IMAGE_FEATURES, "left", 0)
    rest.extend(party.receive(frame))
    _, second, waiting = parties.until(rest, Kind.IMAGE_FEATURES, "right")
    post = post_of(parties.right)
    (share,) = party._readings[header.nonce].shares.values()
    count = len(share[0])
    # With the other's share this is no lane, or one at the border.
    for false in (np.uint32(2**32 - 1) - share[0], -share[0]):
        body = ImageFeatures(false.tobytes(), bytes(512 * count))
        with pytest.raises(RangeError, match="lanes"):
            party.receive(post.send("doc", body, nonce=header.nonce, sequence=0))
    lanes = (np.flatnonzero(SIZE.sites_of >= 0)[:count] - share[0]).astype(np.uint32)
    for body, error in (
        (ImageFeatures(bytes(4), bytes(512)), ContextMismatchError),
        (ImageFeatures(lanes.tobytes(), bytes(512 * count - 4)), FramingError),
    ):
        with pytest.raises(error):
            party.receive(post.send("doc", body, nonce=header.nonce, sequence=0))
    deliver([("doc", second), *waiting], *parties.all)
    assert len(parties.physician.features()) == count


@pytest.mark.parametrize("early", ["left", "right"])
def test_a_cloud_that_is_faster_than_the_patient(early):
    """The other cloud's first round waits for the image, once; anything else does not."""
    parties, requests = begun()
    slow = parties.right if early == "left" else parties.left
    images = []
    rest = list(requests)
    while len(images) < 2:
        party, frame, waiting = parties.until(rest, Kind.MASKED_IMAGE)
        images.append((party, frame))
        rest = list(waiting)
    assert not rest
    for party, frame in sorted(images, key=lambda each: each[0] is slow):
        if party is slow:
            rest += slow.receive(rest.pop()[1])
        rest += party.receive(frame)
    deliver(rest, *parties.all)
    assert len(parties.physician.features()) > 10


@pytest.mark.parametrize("image", [IMAGE, texture(36, 40, 3, np.uint16, smooth=1)], ids=["8", "16"])
def test_matches_of_what_nobody_sees(image):
    """The clouds count how many features match those of another exposure, or of nothing alike."""
    depth = 8 * image.itemsize
    parties, requests = begun(image, disclose=False)
    (session,) = parties.physician.sessions
    deliver(requests, *parties.all)
    rng = np.random.default_rng(1)
    white = np.iinfo(image.dtype).max
    noisy = np.clip(image + rng.normal(0, 0.01 * white, image.shape), 0, white).astype(image.dtype)
    counts = []
    for other in (noisy, texture(*image.shape, 9, image.dtype.type, smooth=1)):
        templates = own_features(other).descriptors
        assert len(templates) > 5
        name, uploads = parties.physician.upload_templates(templates, NAMES["clouds"])
        deliver(uploads, *parties.all)
        deliver(parties.authority.deal_match(60, len(templates), depth, **NAMES), *parties.all)
        deliver(parties.physician.match(session, name, depth), *parties.all)
        counts.append(parties.physician.matches())
    expected = len(own_features(image))
    assert 0.5 * expected <= counts[0] <= expected + 5
    assert counts[1] < 0.35 * counts[0]


def test_features_of_an_own_image():
    found = own_features(IMAGE)
    features_like(found, IMAGE)
    for false in (IMAGE.astype(float), IMAGE[None], None):
        with pytest.raises(ImageError, match="image: expected"):
            own_features(false)
    with pytest.raises(ParameterError, match="height"):
        own_features(IMAGE[:9])
