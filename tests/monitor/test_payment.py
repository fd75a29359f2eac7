"""Tokens are neither lost nor used twice: kills, threads, processes, and copies put back."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import signal
import sqlite3
import threading
import traceback

import msgspec
import pytest

from ompd.errors import (
    ContextMismatchError,
    CreditError,
    EpochError,
    IdentityPointError,
    ParameterError,
    PointDecodingError,
    ProofError,
    QuotaError,
    SignatureError,
    SpentError,
    StoreError,
    TokenError,
    UnknownProgramError,
)
from ompd.monitor import Purse, walk
from ompd.share import EPOCH_SECONDS
from ompd.stores import Till, Wallet
from ompd.stores.database import Database
from ompd.wire.payments import PaymentReceipt, Registration, check_chain
from tests.marks import long
from tests.monitor.shop import EPOCH, PROGRAM, SIGNING, Clock, Shop, tried

BACKEND = SIGNING.backend
PAID = 6


def verify(message, signature):
    BACKEND.verify(SIGNING.public_key, message, signature)


def totals(till):
    """Tokens by what they were paid, bought, used or given back for."""
    found = dict.fromkeys(("deposit", "purchase", "redemption", "refund"), 0)
    for content in till.receipts():
        receipt = PaymentReceipt.from_bytes(content)
        found[receipt.what] += receipt.tokens
    return found


def check_books(shop, account="alice"):
    """Nothing was lost or made: every token that was paid is somewhere, once."""
    check_chain(shop.till.receipts(), verify)
    found = totals(shop.till)
    assert shop.till.credit(account) == found["deposit"] - found["purchase"] + found["refund"]
    assert found["purchase"] == found["redemption"] + found["refund"] + shop.purse.ready


@pytest.fixture
def shop(tmp_path):
    shop = Shop(tmp_path)
    shop.till.deposit("alice", b"p" * 16, PAID)
    yield shop
    shop.close()


def test_from_money_to_advice(shop):
    content, card = shop.publish()
    shop.buy(3)
    assert shop.purse.ready == 3
    assert shop.purse.outputs(card, 0, 150) is None
    for attribute, index in ((0, 150), (1, 9)):
        shop.send(shop.purse.use(card, [(attribute, index)]))
    outputs = {0: shop.purse.outputs(card, 0, 150), 1: shop.purse.outputs(card, 1, 9)}
    assert walk(card, content, outputs) == ("high", -1)
    assert shop.purse.ready == 1
    assert shop.till.credit("alice") == 3
    check_books(shop)
    _, returned = shop.purse.give_back(1)
    shop.purse.given_back(shop.counter.answer("alice", returned).matter)
    assert shop.purse.ready == 0
    assert shop.till.credit("alice") == 4
    check_books(shop)
    assert len(shop.wallet.receipts()) == 4


def test_two_values_at_once(shop):
    content, card = shop.publish()
    shop.buy(2)
    shop.send(shop.purse.use(card, [(0, 101), (1, 7)]))
    outputs = {0: shop.purse.outputs(card, 0, 101), 1: shop.purse.outputs(card, 1, 7)}
    assert walk(card, content, outputs) == ("middle", -1)


# --- kills


def scenario(shop):
    """All that changes a file; each part is done once, however often this is called."""
    shop.till.deposit("alice", b"p" * 16, PAID)
    _, card = shop.publish()
    shop.resume()
    found = totals(shop.till)
    if not found["purchase"]:
        shop.buy(4)
    for value in ((0, 150), (1, 9)):
        if shop.purse.outputs(card, *value) is None:
            shop.send(shop.purse.use(card, [value]))
    if not totals(shop.till)["refund"]:
        _, returned = shop.purse.give_back(1)
        shop.purse.given_back(shop.counter.answer("alice", returned).matter)


def child(action):
    """Do something in a process of its own; returns its status."""
    process = os.fork()
    if not process:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitpid(process, 0)[1]


def kill_at(file, moment):
    """Let this process die at that moment, of those before, within and after transactions."""
    whole = Database.writing
    moments = itertools.count()

    def step(database):
        if database._path.name == file and next(moments) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def writing(self, **options):
        step(self)
        with whole(self, **options) as connection:
            yield connection
            step(self)
        step(self)

    Database.writing = writing


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork")
@pytest.mark.parametrize("file", ["till.sqlite", "wallet.sqlite"])
@pytest.mark.parametrize("moments", [(1, 9, 17), *long(range(24))], ids=str)
def test_kills_neither_lose_nor_double(tmp_path, file, moments):
    for moment in moments:
        folder = tmp_path / str(moment)
        folder.mkdir()

        def until_killed(folder=folder, moment=moment):
            kill_at(file, moment)
            scenario(Shop(folder))

        assert child(until_killed) == signal.SIGKILL, "died at another moment, or not"

        def afterwards(folder=folder):
            shop = Shop(folder)
            scenario(shop)
            assert totals(shop.till) == {
                "deposit": PAID,
                "purchase": 4,
                "redemption": 2,
                "refund": 1,
            }
            assert shop.purse.ready == 1
            assert shop.purse.unanswered() == ([], [], [])
            check_books(shop)

        assert child(afterwards) == 0


# --- at the same time


def test_threads_spend_each_token_once(shop):
    _, card = shop.publish()
    shop.buy(2)
    # Thirty-two copies of one wallet, each of which takes all tokens for its own.
    requests = []
    for number in range(32):
        copy = copied(shop, f"copy-{number}")
        purse = shop.purse_of(copy)
        for index in range(2):
            name = purse.use(card, [(0, 1000 * number + index)])
            requests.append((number, purse.request(name, b"k" * 33)))
        copy.close()
    accepted = []

    def spend(mine):
        for number, request in requests:
            if number == mine and shop.counter.evaluate(request).receipt:
                accepted.append(request.tokens)

    threads = [threading.Thread(target=spend, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == len(set(accepted)) == 2
    assert totals(shop.till)["redemption"] == 2
    check_chain(shop.till.receipts(), verify)


def copied(shop, name):
    """A copy of the wallet, as from a backup."""
    source = sqlite3.connect(shop.wallet._database._path)
    path = shop.wallet._database._path.with_name(name)
    shutil.copy(shop.wallet._database._path, path)
    with contextlib.closing(sqlite3.connect(path)) as target, contextlib.closing(source):
        source.backup(target)
    return Wallet(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_share_a_wallet(tmp_path):
    def prepare():
        shop = Shop(tmp_path)
        shop.till.deposit("alice", b"p" * 16, 12)
        shop.publish()
        shop.buy(12)
        shop.close()

    assert child(prepare) == 0
    readers = []
    for number in range(2):
        reader, writer = os.pipe()
        process = os.fork()
        if not process:
            status = 1
            try:
                shop = Shop(tmp_path)
                _, card = shop.publish()
                used = 0
                with contextlib.suppress(CreditError):
                    for index in range(12):
                        shop.send(shop.purse.use(card, [(0, 100 * number + index)]))
                        used += 1
                os.write(writer, bytes([used]))
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        readers.append((process, reader))
    used = [os.read(reader, 1)[0] for _, reader in readers]
    assert [os.waitpid(process, 0)[1] for process, _ in readers] == [0, 0]
    assert sum(used) == 12

    def afterwards():
        shop = Shop(tmp_path)
        assert totals(shop.till)["redemption"] == 12
        check_books(shop)

    assert child(afterwards) == 0


def test_a_copy_put_back_spends_nothing_twice(shop):
    _, card = shop.publish()
    shop.buy(4)
    old = copied(shop, "backup")
    for index in (1, 2):
        shop.send(shop.purse.use(card, [(0, index)]))
    restored = shop.purse_of(old)
    assert restored.ready == 4
    good = 0
    while restored.ready:
        good += tried(shop.send, restored.use(card, [(0, 50 + good)]), restored)
    assert good == 2
    assert totals(shop.till)["redemption"] == 4
    # Nor is what was used given back.
    older = shop.purse_of(copied(shop, "again"))
    _, returned = older.give_back(2)
    with pytest.raises(SpentError):
        older.given_back(shop.counter.answer("alice", returned).matter)
    assert older.ready == 0
    assert shop.till.credit("alice") == PAID - 4


def test_a_token_given_back_is_spent(shop):
    _, card = shop.publish()
    shop.buy(2)
    old = shop.purse_of(copied(shop, "backup"))
    _, returned = shop.purse.give_back(2)
    shop.purse.given_back(shop.counter.answer("alice", returned).matter)
    with pytest.raises(SpentError):
        shop.send(old.use(card, [(0, 5)]), old)
    assert shop.till.credit("alice") == PAID
    check_books(shop)


def test_of_a_request_with_one_spent_token_nothing_is_spent(shop):
    _, card = shop.publish()
    shop.buy(3)
    old = shop.purse_of(copied(shop, "backup"))
    shop.send(shop.purse.use(card, [(0, 1)]))
    assert not tried(shop.send, old.use(card, [(0, 2), (1, 2), (0, 3)]), old)
    assert old.ready == 2
    assert tried(shop.send, old.use(card, [(0, 2), (1, 2)]), old)


# --- the same again, and what is refused


def test_the_same_request_gets_the_same_answer(shop):
    _, card = shop.publish()
    order = shop.purse.order(2)
    first, second = (shop.counter.answer("alice", order) for _ in range(2))
    assert first == second
    shop.purse.fill(first.matter)
    with pytest.raises(ContextMismatchError):
        shop.purse.fill(second.matter)
    assert shop.till.credit("alice") == PAID - 2
    name = shop.purse.use(card, [(0, 5)])
    request = shop.purse.request(name, b"k" * 33)
    again = msgspec.structs.replace(request, reply_key=b"other")
    answers = [shop.counter.evaluate(each) for each in (request, again)]
    assert answers[0].receipt == answers[1].receipt
    # Other elements for the same token are another request.
    moved = request.elements[32:] + request.elements[:32]
    other = shop.counter.evaluate(msgspec.structs.replace(request, elements=moved))
    assert (other.receipt, other.answer, other.spent) == (b"", b"", b"\1")
    shop.purse.used(name, answers[1])
    check_books(shop)


def test_an_account_cannot_pay_more_than_it_has(shop):
    with pytest.raises(CreditError):
        shop.counter.answer("alice", shop.purse.order(PAID + 1))
    with pytest.raises(CreditError):
        shop.counter.answer("bob", shop.purse.order(1))
    with pytest.raises(CreditError):
        shop.purse.give_back(1)
    assert shop.till.credit("alice") == PAID
    check_books(shop)


def test_a_payment_counts_once(shop):
    first = shop.till.deposit("alice", b"p" * 16, PAID)
    assert shop.till.deposit("alice", b"p" * 16, PAID) == first
    assert shop.till.credit("alice") == PAID
    with pytest.raises(ContextMismatchError):
        shop.till.deposit("alice", b"p" * 16, PAID + 1)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ParameterError):
            shop.till.deposit("alice", b"q" * 16, wrong)


def request_of(shop, card):
    return shop.purse.request(shop.purse.use(card, [(0, 5)]), b"k" * 33)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda r: {"epoch": r.epoch - 1}, EpochError),
        (lambda r: {"epoch": r.epoch + 1}, EpochError),
        (lambda r: {"purchased": r.purchased - 1}, TokenError),
        (lambda r: {"purchased": r.purchased - 2}, EpochError),
        (lambda r: {"purchased": r.purchased + 1}, EpochError),
        (lambda r: {"program": bytes(16)}, UnknownProgramError),
        (lambda r: {"elements": r.elements[32:]}, ParameterError),
        (lambda r: {"elements": r.elements + r.elements[:32]}, ParameterError),
        (lambda r: {"elements": r.elements[:-1]}, ParameterError),
        (lambda r: {"elements": bytes(32) + r.elements[32:]}, IdentityPointError),
        (lambda r: {"elements": b"\xff" * 32 + r.elements[32:]}, PointDecodingError),
        (lambda r: {"elements": b"\1" + bytes(31) + r.elements[32:]}, PointDecodingError),
        (lambda r: {"tokens": r.tokens * 2, "elements": r.elements * 2}, ParameterError),
        (lambda r: {"tokens": bytes(32) + r.tokens[32:]}, TokenError),
        (lambda r: {"tokens": r.tokens[:32] + b"\xc0" + bytes(95)}, TokenError),
    ],
)
def test_bad_requests_spend_nothing(shop, change, error):
    _, card = shop.publish()
    shop.buy(1)
    request = request_of(shop, card)
    with pytest.raises(error):
        shop.counter.evaluate(msgspec.structs.replace(request, **change(request)))
    assert totals(shop.till)["redemption"] == 0
    assert shop.counter.evaluate(request).receipt


def test_altered_answers_are_refused_and_can_come_again(shop):
    _, card = shop.publish()
    shop.buy(1)
    name = shop.purse.use(card, [(0, 5)])
    answer = shop.counter.evaluate(shop.purse.request(name, b"k" * 33))
    elements = answer.answer[64:]
    swapped = answer.answer[:64] + elements[32:64] + elements[:32] + elements[64:]
    for altered in (swapped, b"\0" + answer.answer[1:], answer.answer[:-32], b""):
        with pytest.raises(ProofError):
            shop.purse.used(name, msgspec.structs.replace(answer, answer=altered))
    zero = answer.answer[:64] + bytes(32) + elements[32:]
    zero = msgspec.structs.replace(answer, answer=zero)
    with pytest.raises(IdentityPointError):
        shop.purse.used(name, zero)
    receipt = PaymentReceipt.from_bytes(answer.receipt)
    forged = msgspec.structs.replace(receipt, number=receipt.number + 1).to_bytes()
    with pytest.raises(SignatureError):
        shop.purse.used(name, msgspec.structs.replace(answer, receipt=forged))
    for empty in (b"", b"\0", b"\1\1"):
        with pytest.raises(ContextMismatchError):
            shop.purse.used(name, msgspec.structs.replace(answer, receipt=b"", spent=empty))
    shop.purse.used(name, answer)
    assert shop.purse.outputs(card, 0, 5) is not None


def test_a_marked_token_is_not_taken(shop, tmp_path):
    order = shop.purse.order(1)
    other = tmp_path / "other"
    other.mkdir()
    elsewhere = Shop(other)
    elsewhere.till.deposit("alice", b"p" * 16, 1)
    answer = elsewhere.counter.answer("alice", order).matter
    with pytest.raises(TokenError):
        shop.purse.fill(answer)
    shop.purse.fill(shop.counter.answer("alice", order).matter)
    elsewhere.close()


def test_tokens_end_an_epoch_after_their_own(tmp_path):
    clock = Clock()
    shop = Shop(tmp_path, clock)
    shop.till.deposit("alice", b"p" * 16, 3)
    _, card = shop.publish()
    shop.buy(3)
    name = shop.purse.use(card, [(0, 5)])
    clock.now += EPOCH_SECONDS
    with pytest.raises(EpochError):
        shop.send(name)
    with pytest.raises(EpochError):
        shop.purse.use(card, [(0, 6)])
    # The program has a new key; tokens of the epoch before still count.
    shop.purse.abandon(name)
    assert shop.purse.ready == 3
    _, returned = shop.purse.give_back(3)
    clock.now += EPOCH_SECONDS
    with pytest.raises(EpochError):
        shop.counter.answer("alice", returned)
    assert shop.purse.ready == 0
    assert not shop.wallet.ready("ta", EPOCH)
    shop.close()


def test_what_was_spent_is_forgotten_once_it_cannot_be_spent_again(tmp_path):
    clock = Clock()
    shop = Shop(tmp_path, clock)
    shop.till.deposit("alice", b"p" * 16, 4)
    _, card = shop.publish()
    shop.buy(3)
    old = shop.purse_of(copied(shop, "backup"))
    name = shop.purse.use(card, [(0, 5)])
    request = shop.purse.request(name, b"k" * 33)
    shop.send(name)
    clock.now += 2 * EPOCH_SECONDS
    shop.buy(1)
    assert shop.wallet.ready("ta", EPOCH) == 0
    assert shop.wallet.ready("ta", EPOCH + 2) == 1
    assert shop.purse.outputs(card, 0, 5) is None
    # Even for a counter whose clock goes back, and that was started anew.
    clock.now -= 2 * EPOCH_SECONDS
    with pytest.raises(EpochError):
        shop.counter.evaluate(request)
    with pytest.raises(EpochError):
        shop.send(old.use(card, [(0, 6)]), old)
    shop.close()


def test_a_company_has_so_many_programs(shop, monkeypatch):
    monkeypatch.setattr("ompd.stores.till.MOST_PROGRAMS", 2)
    for number in range(2):
        shop.counter.answer("acme", Registration(bytes([number]) * 16, EPOCH))
    with pytest.raises(QuotaError):
        shop.counter.answer("acme", Registration(b"\2" * 16, EPOCH))
    assert not shop.till.is_registered(b"\2" * 16)
    shop.counter.answer("acme", Registration(b"\1" * 16, EPOCH))
    shop.counter.answer("other", Registration(b"\3" * 16, EPOCH))


def test_programs_belong_to_who_registered_them(shop):
    first = shop.counter.answer("acme", Registration(PROGRAM, EPOCH)).matter
    assert shop.counter.answer("acme", Registration(PROGRAM, EPOCH)).matter == first
    later = shop.counter.answer("acme", Registration(PROGRAM, EPOCH + 1)).matter
    assert later.seed != first.seed
    with pytest.raises(ContextMismatchError):
        shop.counter.answer("rival", Registration(PROGRAM, EPOCH))
    for epoch in (EPOCH - 1, EPOCH + 2):
        with pytest.raises(EpochError):
            shop.counter.answer("acme", Registration(PROGRAM, epoch))


def test_a_chain_of_receipts_breaks_where_it_is_changed(shop):
    shop.buy(1)
    receipts = list(shop.till.receipts())
    assert check_chain(receipts, verify) == (2, hashlib.sha256(receipts[-1]).digest())
    for wrong in (receipts[1:], receipts[::-1], [receipts[0], receipts[0]]):
        with pytest.raises(ContextMismatchError):
            check_chain(wrong, verify)
    changed = msgspec.structs.replace(PaymentReceipt.from_bytes(receipts[0]), tokens=PAID + 1)
    with pytest.raises(SignatureError):
        check_chain([changed.to_bytes()], verify)


def test_books_do_not_link_purchases_to_uses(shop):
    _, card = shop.publish()
    shop.buy(1)
    shop.send(shop.purse.use(card, [(0, 5)]))
    used = [PaymentReceipt.from_bytes(each) for each in shop.till.receipts()][-1]
    assert (used.what, used.account) == ("redemption", "")
    path = shop.till._database._path
    shop.close()
    # What was bought, as the counter saw it, is nowhere in its file; nor is who used what.
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (spent,) = connection.execute("SELECT token, request FROM spent").fetchall()
        orders = connection.execute("SELECT * FROM orders").fetchall()
    assert not any(part in spent for order in orders for part in order)


# --- several authorities, and receipts that are worth something


def test_tokens_of_one_authority_are_nothing_to_another(shop):
    """Else a rival would be sent tokens that it can spend, and a purse would show them."""
    _, card = shop.publish()
    shop.buy(2)
    _, returned = shop.purse.give_back(1)
    rival = Purse(
        shop.wallet, "alice", "rival", shop.counter.tokens, SIGNING.public_key, shop.clock
    )
    assert (shop.purse.ready, rival.ready) == (1, 0)
    with pytest.raises(CreditError):
        rival.use(msgspec.structs.replace(card, authority="rival"), [(0, 5)])
    with pytest.raises(CreditError):
        rival.give_back(1)
    order = shop.purse.order(1)
    assert rival.unanswered() == ([], [], [])
    # It answers orders and returns that it never got.
    answer = shop.counter.answer("alice", order).matter
    with pytest.raises(ContextMismatchError):
        rival.fill(answer)
    with pytest.raises(ContextMismatchError):
        rival.given_back(shop.counter.answer("alice", returned).matter)
    shop.purse.fill(answer)


def test_a_receipt_of_another_order_is_none(shop):
    """Signed by the authority, and of the same kind and number of tokens."""
    _, card = shop.publish()
    first, second = shop.purse.order(2), shop.purse.order(2)
    told = shop.counter.answer("alice", first).matter
    other = shop.counter.answer("alice", second).matter
    with pytest.raises(ContextMismatchError):
        shop.purse.fill(msgspec.structs.replace(other, receipt=told.receipt))
    theirs = shop.counter.answer("alice", second).matter
    shop.till.deposit("bell", b"q" * 16, 2)
    receipt = shop.counter.answer("bell", second).matter.receipt
    with pytest.raises(ContextMismatchError):
        shop.purse.fill(msgspec.structs.replace(theirs, receipt=receipt))
    shop.purse.fill(told)
    shop.purse.fill(other)
    names = [shop.purse.use(card, [(0, value)]) for value in (5, 6)]
    answers = [shop.counter.evaluate(shop.purse.request(name, b"k" * 33)) for name in names]
    with pytest.raises(ContextMismatchError):
        shop.purse.used(names[1], msgspec.structs.replace(answers[1], receipt=answers[0].receipt))
    shop.purse.used(names[1], answers[1])
    backs = [shop.purse.give_back(1)[1] for _ in range(2)]
    given = [shop.counter.answer("alice", each).matter for each in backs]
    with pytest.raises(ContextMismatchError):
        shop.purse.given_back(msgspec.structs.replace(given[1], receipt=given[0].receipt))
    for each in given:
        shop.purse.given_back(each)


def test_what_no_authority_takes_is_let_go_of(tmp_path):
    """And does not stand in the way of what is sent again."""
    clock = Clock()
    shop = Shop(tmp_path, clock)
    shop.till.deposit("alice", b"p" * 16, 9)
    _, card = shop.publish()
    shop.buy(3)
    shop.purse.order(1)
    shop.purse.use(card, [(0, 5)])
    shop.purse.give_back(1)
    clock.now += EPOCH_SECONDS
    # The program's epoch is over, not that of its token.
    orders, returns, requests = shop.purse.unanswered()
    assert (len(orders), len(returns), requests) == (1, 1, [])
    assert shop.purse.ready == 2
    clock.now += EPOCH_SECONDS
    assert shop.purse.unanswered() == ([], [], [])
    shop.resume()
    shop.buy(1)
    assert shop.purse.ready == 1
    shop.close()


# --- older books


def test_books_that_are_an_older_copy_are_refused(tmp_path):
    def till():
        return Till(tmp_path / "till.sqlite", SIGNING.sign)

    def saved():
        return (tmp_path / "till.sqlite").read_bytes()

    def put_back(content):
        (tmp_path / "till.sqlite").write_bytes(content)

    with till() as books:
        books.deposit("alice", b"p" * 16, 5)
    old = saved()
    with till() as books:
        books.purchase("alice", b"o" * 16, bytes(32), 2)
        books.redeem([b"t" * 32], b"r" * 32, EPOCH)
    new = saved()
    put_back(old)
    with pytest.raises(StoreError, match="older copy"):
        till()
    # As does another history of the same length.
    head = tmp_path / "till.sqlite.head"
    kept = head.read_bytes()
    assert head.stat().st_mode & 0o777 == 0o600
    head.write_bytes(kept[:7] + b"\1" + kept[8:])
    with pytest.raises(StoreError, match="older copy"):
        till()
    head.write_bytes(kept)
    put_back(new)
    with till() as books:
        assert books.credit("alice") == 3
        # The same order again is no new receipt; and one is added after it.
        books.redeem([b"t" * 32], b"r" * 32, EPOCH)
        books.purchase("alice", b"o" * 16, bytes(32), 2)
        assert head.read_bytes() == kept
        books.redeem([b"u" * 32], b"s" * 32, EPOCH)
        assert head.read_bytes() != kept
    # A note that lags behind, as after a kill, is no older copy; nor is one that is torn or new.
    for content in (kept, b"", kept[:20]):
        head.write_bytes(content)
        till().close()
