"""The published scheme's weaknesses: with one master secret they are there, here they are not."""

from __future__ import annotations

import secrets

import msgspec
import pytest

from ompd.crypto.groups import group, inverse, random_scalar
from ompd.crypto.oprf import Evaluator, blind_all, finalize_all
from ompd.errors import ProgramError, ProofError
from ompd.monitor import BITS, Program, ProgramSecret, encrypt, walk
from ompd.monitor.attributes import prefix
from ompd.monitor.encrypted import _LEAF, _ROW_BYTES, _mark_and_pad, _opened, function_input
from ompd.wire.payments import Registration
from tests.marks import long
from tests.monitor import programs
from tests.monitor.shop import EPOCH, PROGRAM, SOURCE, Shop
from tests.monitor.test_payment import totals

CURVE = group()


class OneMaster:
    """The published scheme's authority: one secret for keys of companies and blind requests."""

    def __init__(self):
        self._secret = random_scalar()

    def key_of(self, name):
        return CURVE.encode(CURVE.multiply(self.hashed(name), self._secret))

    def blind(self, point):
        return CURVE.multiply(point, self._secret)

    @staticmethod
    def hashed(name):
        return CURVE.hash_to_g2(name, b"one master")


def test_one_master_secret_gives_away_the_companys_key():
    authority = OneMaster()
    factor = random_scalar()
    asked = CURVE.multiply(authority.hashed(b"company|cardio|7"), factor)
    stolen = CURVE.encode(CURVE.multiply(authority.blind(asked), inverse(factor)))
    assert stolen == authority.key_of(b"company|cardio|7")


def small(threshold):
    source = msgspec.json.decode(programs.text(SOURCE))
    source["nodes"]["r"]["at_most"] = threshold
    return Program.from_json(programs.text(source))


def bought(shop, card, messages):
    """What one token buys of somebody who asks for whatever they like."""
    shop.buy(1)
    name = shop.purse.use(card, [(0, 0)])
    blinds, elements = blind_all(messages)
    request = shop.purse.request(name, b"k" * 33)
    request = msgspec.structs.replace(request, elements=b"".join(elements))
    answer = shop.counter.evaluate(request)
    assert answer.receipt
    # The wallet has bound its token to another request, which is refused from now on.
    shop.wallet.release(name, b"\1")
    return finalize_all(messages, blinds, elements, answer.answer, card.function)


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.till.deposit("alice", b"p" * 16, 1000)
    yield shop
    shop.close()


def test_here_it_gives_nothing_of_another_program_or_epoch(shop):
    """The same blind requests, to the key of a program of the attacker's own, and of next epoch."""
    content, card = shop.publish()
    own = shop.counter.answer("rival", Registration(b"r" * 16, EPOCH)).matter
    later = shop.counter.answer("acme", Registration(PROGRAM, EPOCH + 1)).matter
    messages = [function_input(PROGRAM, EPOCH, 0, prefix(50, length)) for length in range(1, 17)]
    for seed in (own.seed, later.seed):
        secret = ProgramSecret(seed, PROGRAM, EPOCH)
        outputs = [secret.evaluator.output(each) for each in messages]
        with pytest.raises(ProgramError):
            walk(card, content, {0: outputs})
    # Nor is a seed the authority's secret: it is derived, and those of others are not from it.
    assert len({own.seed, later.seed, Evaluator(own.seed, b"x").public}) == 3
    # The control: with the program's own key, paid for, the walk goes on.
    outputs = bought(shop, card, messages)
    assert walk(card, content, {0: outputs}) == ("low", -1)


def matching(card, content, outputs):
    """Places among outputs that have a row in the first node."""
    plain = _opened(card, content, card.first, card.root)
    assert plain[0] != _LEAF
    marks = {plain[start : start + 16] for start in range(3, len(plain) - 33, _ROW_BYTES)}
    return [k for k, each in enumerate(outputs) if _mark_and_pad(each, card.first)[0] in marks]


def searched(shop, card, content):
    """The first node's threshold, by 16 prefixes of one length for each token."""
    known = 0
    for tokens, length in enumerate(range(4, BITS + 1, 4), 1):
        candidates = [(known << 4 | low) << (BITS - length) for low in range(16)]
        messages = [
            function_input(card.program, card.epoch, 0, prefix(each, length)) for each in candidates
        ]
        found = matching(card, content, bought(shop, card, messages))
        if length == BITS:
            # The threshold itself has a row, and its neighbour one as well.
            assert len(found) == 2
            pair = [candidates[k] for k in found]
            assert pair[0] ^ pair[1] == 1
            return pair, tokens
        assert len(found) == 1
        known = (candidates[found[0]] >> (BITS - length)) ^ 1
    raise AssertionError


@pytest.mark.parametrize("threshold", [100, *long(0, 4096, 65_534)])
def test_a_threshold_costs_four_tokens(shop, threshold):
    key = shop.counter.answer("acme", Registration(PROGRAM, EPOCH)).matter
    secret = ProgramSecret(key.seed, PROGRAM, EPOCH)
    parties = {"company": "acme", "authority": "ta", "cloud": "cloud"}
    content, card = encrypt(small(threshold), secret, tokens=key.tokens, **parties)
    pair, tokens = searched(shop, card, content)
    assert threshold in pair
    assert tokens == totals(shop.till)["redemption"] == 4
    # Seventeen outcomes are all that sixteen prefixes can have: three tokens cannot do it.
    assert 17**3 < 2**BITS <= 17**4


def test_a_spoiled_answer_tells_the_authority_nothing(shop):
    """Whichever element it spoils, the person refuses all of it: not only where it mattered."""
    _, card = shop.publish()
    shop.buy(1)
    name = shop.purse.use(card, [(0, 150)])
    answer = shop.counter.evaluate(shop.purse.request(name, b"k" * 33))
    other = Evaluator(secrets.token_bytes(32), b"x")
    elements = shop.purse.request(name, b"k").elements
    wrong = other.evaluate([elements[k : k + 32] for k in range(0, len(elements), 32)])
    reactions = []
    for place in range(64, len(wrong), 32):
        spoiled = answer.answer[:place] + wrong[place : place + 32] + answer.answer[place + 32 :]
        with pytest.raises(ProofError) as caught:
            shop.purse.used(name, msgspec.structs.replace(answer, answer=spoiled))
        reactions.append(str(caught.value))
    assert len(reactions) == BITS
    assert len(set(reactions)) == 1
    shop.purse.used(name, answer)
