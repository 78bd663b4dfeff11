"""The contract of `OrderStore`: two servers of MongoDB's protocol, the fake and the simulated store run it.

A subclass gives the fixture `bench`. The core creates all orders, as it does for the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
from msgspec import structs

from payment.core.account import BoundAccount, StripeAccount
from payment.core.attempts import payment_id_of
from payment.core.decide import decide
from payment.core.messages import (
    Authentication,
    CardDeclined,
    ChargeFacts,
    ChargeRefunded,
    ChargeRequested,
    Context,
    EventPublished,
    Failure,
    Instrument,
    InstrumentKind,
    IntentSucceeded,
    Message,
    OrderCancelled,
    OrderCreated,
)
from payment.core.order import FORMAT, Order, Writer
from payment.core.schedule import LONGEST_DELAY, LONGEST_RECHECK
from payment.ports.store import Committed, CorruptDocument, DeadLetter, OrderStore
from tests.unit.core.builders import of_kind

T0 = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
CONTEXT = Context(T0, "web-1#run1", "2026-01-01", "payment-service")
WRITTEN, CONFLICT, REJECTED_DOCUMENT = Committed.WRITTEN, Committed.CONFLICT, Committed.REJECTED_DOCUMENT


class Bench(Protocol):
    """A database under test, empty at first."""

    finds_upper_case_ids: bool
    """nx-27017 never finds an `_id` of 24 hexadecimal digits that has a capital among them. MongoDB does."""

    compares_dates_to: timedelta
    """How exactly the server compares dates. nx-27017 cuts them to the second, and finds an order that much early."""

    def store(self) -> OrderStore:
        """Returns another store on the database, as another process would have. The bench closes it."""

    def insert(self, document: dict[str, Any]) -> None:
        """Insert any document among the orders, as an operator could."""

    def delete(self, order_id: str) -> None:
        """Delete a document."""

    def dead_letters(self) -> list[bytes]:
        """Returns the bytes of every stored dead letter."""


def order(order_id: str, *messages: Message, at: datetime = T0, rev: int = 1) -> Order:
    """Returns an order that was created and then decided these messages, as revision `rev`."""
    created = OrderCreated(order_id, 3, "user-1", at + timedelta(days=1), 1999, "usd")
    made: Order | None = None
    for message in (created, *messages):
        made = decide(made, message, structs.replace(CONTEXT, now=at)).order
    assert made is not None
    return structs.replace(made, rev=rev, writer=Writer("web-1#run1", rev))


def charging(order_id: str, at: datetime = T0, *, rev: int = 1) -> Order:
    """Returns an order with a charge in flight: due a lease after `at`, held by web-1."""
    return order(order_id, request(order_id, "tok_1"), at=at, rev=rev)


def payment_of(order_id: str) -> str:
    return payment_id_of(CONTEXT.queue_group, order_id)


def request(order_id: str, token: str) -> ChargeRequested:
    instrument = Instrument(InstrumentKind.TOKEN, token)
    return ChargeRequested(order_id, "user-1", instrument, Authentication(return_url="https://shop.example/back"))


def rich(order_id: str) -> Order:
    """Returns an order that was declined, then paid, then cancelled and refunded, so that every field is in use."""
    failure = Failure("card_declined", "insufficient_funds", "Zu wenig Geld, \u00fc\u2713 \U0001f600")
    made = order(
        order_id,
        request(order_id, "tok_1"),
        CardDeclined(order_id, 1, 1, "pi_1", failure),
        request(order_id, "tok_2"),
        IntentSucceeded(order_id, 1, "pi_1", ChargeFacts("ch_1")),
        EventPublished(order_id, f"payment:created:{payment_of(order_id)}"),
        OrderCancelled(order_id, 2**53 - 1),
        ChargeRefunded(order_id, "ch_1", "re_1"),
    )
    assert made.intent is not None
    assert len(made.outbox) == 2
    return made


def names(found: list[Order | CorruptDocument]) -> list[str]:
    """Returns the ids of found orders."""
    return [each.id for each in found if isinstance(each, Order)]


def bound(account_id: str | None, *, live: bool | None = False, at: datetime = T0) -> BoundAccount:
    return BoundAccount(StripeAccount(account_id, live, f"key of {account_id}"), at, "web-1")


def due_at(made: Order, due: datetime, holder: str | None = None) -> Order:
    return structs.replace(made, due=due, holder=holder)


def recheck_at(made: Order, recheck: datetime) -> Order:
    return structs.replace(made, recheck=recheck, format=FORMAT)


class StoreContract:
    """Each test has its own database."""

    @pytest.fixture
    async def store(self, bench: Bench) -> AsyncIterator[OrderStore]:
        store = bench.store()
        await store.prepare()
        yield store
        await store.close()

    @pytest.fixture
    async def other(self, bench: Bench) -> AsyncIterator[OrderStore]:
        store = bench.store()
        yield store
        await store.close()

    async def test_preparing_twice_is_preparing_once(self, store: OrderStore, other: OrderStore) -> None:
        """Each process prepares at its start, and again after each outage."""
        await store.prepare()
        await other.prepare()
        assert await store.commit([order("o1")]) == [WRITTEN]

    async def test_ping_describes_the_store(self, store: OrderStore) -> None:
        """`--check` prints it."""
        assert len(await store.ping()) > 5

    async def test_a_probe_proves_that_it_can_be_used_and_leaves_the_orders_alone(
        self, store: OrderStore, other: OrderStore
    ) -> None:
        """F52: repeatedly, by several processes of one client id, and beside documents of any revision."""
        await store.commit([order("o1")])
        for _ in range(3):
            await store.probe()
            await other.probe()
        assert await store.load(["o1"]) == {"o1": order("o1")}
        assert await store.due(T0 + timedelta(days=400), None, 10) == []

    async def test_once_prepared_no_index_is_missing(self, store: OrderStore, other: OrderStore) -> None:
        """Another process need not create them again."""
        assert await store.missing_indexes() == ()
        assert await other.missing_indexes() == ()

    async def test_results_are_those_of_the_places_in_which_orders_were_given(self, store: OrderStore) -> None:
        """F02: in any order of sending."""
        await store.commit([order("b"), order("d")])
        batch = [order("e"), order("d"), order("c"), order("b"), order("a")]
        results = await store.commit(batch)
        assert [results[1], results[3]] == [CONFLICT, CONFLICT]
        # Where a server fails a batch as a whole, documents that it had written before are recognised by their
        # `writer`.
        assert {results[0], results[2], results[4]} <= {WRITTEN, CONFLICT}
        assert set(await store.load([made.id for made in batch])) == {"a", "b", "c", "d", "e"}

    async def test_two_orders_may_hold_the_same_payment_id(self, store: OrderStore) -> None:
        """A unique index would forbid sharding `orders`; a payment's id is a function of its order's, so nothing
        depends on the index.
        """
        made = charging("o1")
        assert await store.commit([made, structs.replace(made, id="o2")]) == [WRITTEN, WRITTEN]

    async def test_an_order_written_by_one_process_is_read_by_all(self, store: OrderStore, other: OrderStore) -> None:
        """Every field comes back equal: times, unicode, nested attempts, 53-bit versions, revision and writer."""
        made = rich("o1")
        assert await store.commit([made, charging("o2")]) == [WRITTEN, WRITTEN]
        assert await other.load(["o1", "o2", "o3", "o1"]) == {"o1": made, "o2": charging("o2")}
        assert await store.load([]) == {}
        assert await store.commit([]) == []

    async def test_an_order_that_only_a_cancel_announced_comes_back(self, store: OrderStore) -> None:
        """F22: most fields are absent."""
        made = decide(None, OrderCancelled("o1", 1), CONTEXT).order
        assert made is not None
        made = structs.replace(made, rev=1)
        await store.commit([made])
        assert await store.load(["o1"]) == {"o1": made}

    async def test_only_the_next_revision_is_written(self, store: OrderStore, other: OrderStore) -> None:
        """F34, the fence: a stale, a repeated and a skipping revision are conflicts; the stored one stays."""
        first, second = order("o1"), charging("o1", rev=2)
        assert await store.commit([first]) == [WRITTEN]
        assert await store.commit([second]) == [WRITTEN]
        for stale in (first, second, order("o1", rev=2), order("o1", rev=4)):
            assert await other.commit([stale]) == [CONFLICT]
        assert await other.load(["o1"]) == {"o1": second}

    async def test_each_conflict_is_returned_at_its_index(self, store: OrderStore) -> None:
        """The others of the batch are written. (A conflict with the same write counts as written: `writer` shows
        it.)
        """
        await store.commit([order("o2"), order("o4")])
        batch = [order("o1"), charging("o2"), charging("o3"), charging("o4"), order("o5")]
        results = await store.commit(batch)
        stored = await store.load([made.id for made in batch])
        assert [results[1], results[3]] == [CONFLICT, CONFLICT]
        assert (stored["o2"], stored["o4"]) == (order("o2"), order("o4"))
        for place in (0, 2, 4):
            assert stored[batch[place].id] == batch[place]
            assert results[place] in (WRITTEN, CONFLICT)
        assert WRITTEN in results

    async def test_one_of_two_concurrent_inserts_wins(self, store: OrderStore, other: OrderStore) -> None:
        """F01, F02: exactly one for each of twenty orders."""
        ids = [f"race{number}" for number in range(20)]
        for order_id in ids:
            mine, theirs = order(order_id), charging(order_id)
            results = await asyncio.gather(store.commit([mine]), other.commit([theirs]))
            assert sorted(result.value for (result,) in results) == ["conflict", "written"]
            winner = mine if results[0] == [WRITTEN] else theirs
            assert await store.load([order_id]) == {order_id: winner}

    async def test_one_of_two_concurrent_replacements_wins(self, store: OrderStore, other: OrderStore) -> None:
        """F02: both have read revision 1."""
        await store.commit([order(f"o{number}") for number in range(10)])
        mine = [charging(f"o{number}", rev=2) for number in range(10)]
        theirs = [order(f"o{number}", OrderCancelled(f"o{number}", 9), rev=2) for number in range(10)]
        results = await asyncio.gather(store.commit(mine), other.commit(theirs))
        for pair in zip(*results, strict=True):
            assert sorted(result.value for result in pair) == ["conflict", "written"]

    async def test_a_document_that_can_not_be_written_fails_alone(self, store: OrderStore) -> None:
        """F41: too large a number, a lone surrogate; the other documents are written."""
        huge = structs.replace(order("huge"), amount=2**70)
        torn = structs.replace(order("torn"), currency="\ud800")
        assert await store.commit([order("o1"), huge, torn, order("o2")]) == [
            WRITTEN,
            REJECTED_DOCUMENT,
            REJECTED_DOCUMENT,
            WRITTEN,
        ]
        assert set(await store.load(["o1", "huge", "torn", "o2"])) == {"o1", "o2"}

    async def test_an_id_that_can_not_be_encoded_is_not_there(self, store: OrderStore) -> None:
        """F41: a read of it is no error, and returns the others."""
        await store.commit([charging("o1")])
        assert await store.load(["\ud800", "o1"]) == {"o1": charging("o1")}
        assert set(await store.load_by_payment(["\ud800", payment_of("o1")])) == {payment_of("o1")}

    @pytest.mark.parametrize(
        "order_id",
        [
            "5f1f1f1f1f1f1f1f1f1f1f1f",
            "5F1F1F1F1F1F1F1F1F1F1F1F",
            "5f1f1f1f1F1F1F1F1F1F1F1F",
            "5",
            "$where",
            "a.b",
            "nul\0nul",
            "\u00e4\u2713" * 50,
            "x" * 255,
        ],
    )
    async def test_an_id_is_always_text(self, bench: Bench, store: OrderStore, order_id: str) -> None:
        """Written, read, changed and refused like any other."""
        if len(order_id) == 24 and order_id != order_id.lower() and not bench.finds_upper_case_ids:
            pytest.xfail("the server does not find such an id")
        assert await store.commit([order(order_id)]) == [WRITTEN]
        assert await store.load([order_id]) == {order_id: order(order_id)}
        assert await store.commit([charging(order_id, rev=2)]) == [WRITTEN]
        assert await store.commit([charging(order_id, rev=2)]) == [CONFLICT]
        assert await store.load([order_id]) == {order_id: charging(order_id, rev=2)}

    async def test_ids_that_differ_by_case_are_two(self, bench: Bench, store: OrderStore) -> None:
        """A read never returns the other order, not even from a server that confuses them."""
        lower, upper = "abcdefabcdefabcdefabcdef", "ABCDEFABCDEFABCDEFABCDEF"
        assert await store.commit([order(lower), charging(upper)]) == [WRITTEN, WRITTEN]
        assert await store.load([lower]) == {lower: order(lower)}
        assert upper not in (await store.load([lower]))
        assert lower not in {
            name for name, made in (await store.load([upper])).items() if isinstance(made, Order) and made.id == upper
        }
        if not bench.finds_upper_case_ids:
            pytest.xfail("the server does not find the one in capitals")
        assert await store.load([upper]) == {upper: charging(upper)}
        assert await store.load([lower, upper]) == {lower: order(lower), upper: charging(upper)}

    async def test_payments_are_found_by_their_ids(self, store: OrderStore) -> None:
        """Orders without a payment are not; unknown ids are left out."""
        await store.commit([charging("o1"), rich("o2"), order("o3")])
        found = await store.load_by_payment(
            [
                payment_of("o2"),
                payment_of("o1"),
                payment_of("o3"),
                "",
            ]
        )
        assert {payment_id: made.id for payment_id, made in found.items() if isinstance(made, Order)} == {
            payment_of("o1"): "o1",
            payment_of("o2"): "o2",
        }

    async def test_due_orders_come_earliest_first_up_to_the_limit(self, bench: Bench, store: OrderStore) -> None:
        """To the millisecond; orders without a deadline never."""
        now, step = T0.replace(microsecond=0), bench.compares_dates_to
        times = {"late": -step, "later": -60 * step, "now": 0 * step, "not yet": step, "tomorrow": timedelta(days=1)}
        orders = [due_at(order(name), now + after) for name, after in times.items()]
        await store.commit([*orders, order("never")])
        # Tomorrow is later than the longest delay there is. Each look is complete, whatever an earlier one did.
        for _ in range(2):
            assert names(await store.due(now, None, 10)) == ["later", "late", "now", "tomorrow"]
        assert names(await store.due(now, None, 2))[:2] == ["later", "late"]

    async def test_an_absurd_deadline_is_due(self, store: OrderStore) -> None:
        """F38: a clock was wrong; the longest valid delay is not absurd."""
        horizon = T0 + LONGEST_DELAY
        await store.commit(
            [
                due_at(order("next year"), T0 + timedelta(days=365)),
                due_at(order("horizon"), horizon - timedelta(seconds=2)),
                due_at(order("beyond"), horizon + timedelta(seconds=2)),
            ]
        )
        assert set(names(await store.due(T0, None, 10))) == {"next year", "beyond"}

    async def test_due_rechecks_are_found_by_a_query_of_their_own(self, bench: Bench, store: OrderStore) -> None:
        """F44: earliest first, no more than asked, to the millisecond; and by no sweep over what is due."""
        now, step = T0.replace(microsecond=0), bench.compares_dates_to
        times = {"late": -step, "later": -60 * step, "now": 0 * step, "not yet": step, "in a month": timedelta(days=30)}
        orders = [recheck_at(order(name), now + after) for name, after in times.items()]
        await store.commit([*orders, order("never"), due_at(order("due"), now - timedelta(hours=1))])
        assert [of_kind(Order, made).id for made in await store.rechecks(now, 10)] == ["later", "late", "now"]
        assert [of_kind(Order, made).id for made in await store.rechecks(now, 2)] == ["later", "late"]
        assert [of_kind(Order, made).id for made in await store.due(now, None, 10)] == ["due"]
        await store.commit([order("now", rev=2)])
        assert [of_kind(Order, made).id for made in await store.rechecks(now, 10)] == ["later", "late"]

    async def test_an_absurd_recheck_is_due(self, store: OrderStore) -> None:
        """F38: a clock was wrong; thirty days are not absurd."""
        await store.commit(
            [
                recheck_at(order("next year"), T0 + timedelta(days=365)),
                recheck_at(order("horizon"), T0 + LONGEST_RECHECK - timedelta(seconds=2)),
                recheck_at(order("beyond"), T0 + LONGEST_RECHECK + timedelta(seconds=2)),
            ]
        )
        assert {of_kind(Order, made).id for made in await store.rechecks(T0, 10)} == {"next year", "beyond"}

    async def test_a_holder_finds_every_order_that_it_holds(self, store: OrderStore) -> None:
        """F04: by its client id, due or not; no order of another holder."""
        lease = T0 + timedelta(minutes=1)
        await store.commit(
            [
                due_at(order("mine"), lease, "web-1"),
                due_at(order("overdue"), T0 - timedelta(days=1), "web-1"),
                due_at(order("theirs"), T0 - timedelta(days=1), "web-2"),
                due_at(order("without-holder"), T0 - timedelta(days=1)),
            ]
        )
        assert names(await store.due(T0, "web-1", 10)) == ["overdue", "mine"]
        assert names(await store.due(T0, "web-1", 1)) == ["overdue"]
        assert await store.due(T0, "web-3", 10) == []

    async def test_a_finished_order_is_no_longer_due(self, store: OrderStore) -> None:
        """The replacement removes the field."""
        await store.commit([charging("o1")])
        assert len(await store.due(T0 + timedelta(minutes=2), None, 10)) == 1
        await store.commit([order("o1", rev=2)])
        assert await store.due(T0 + timedelta(minutes=2), None, 10) == []

    async def test_the_backlog_holds_orders_with_something_pending(self, store: OrderStore, other: OrderStore) -> None:
        """Due or not, and of any holder; each page is small, and there are no more than requested."""
        far = due_at(charging("far"), T0 + timedelta(minutes=55), "web-2")
        many = [charging(f"o{number:03d}") for number in range(250)]
        for some in (many, [far, order("done"), rich("with history")]):
            assert await store.commit(some) == [WRITTEN] * len(some)
        pages = [page async for page in other.backlog(1_000)]
        found = {made.id: made for page in pages for made in page}
        assert found.keys() == {made.id for made in (*many, far, rich("with history"))}
        assert structs.replace(found["far"], history=far.history) == far
        assert sum([len(page) async for page in other.backlog(120)]) == 120

    async def test_dead_letters_are_counted(self, store: OrderStore) -> None:
        """For a gauge: all stored dead letters, of any process."""
        assert await store.dead_letters_kept() == 0
        dead_letter = DeadLetter("orders:1", "order:created", b"x", "not JSON", T0)
        assert await store.add_dead_letter(dead_letter)
        assert await store.add_dead_letter(structs.replace(dead_letter, identity="orders:2"))
        assert await store.dead_letters_kept() == 2

    async def test_a_dead_letter_is_kept_once_and_whole(self, store: OrderStore, other: OrderStore) -> None:
        """F30: however often it is delivered, to any process."""
        data = bytes(range(256)) * 40
        dead_letter = DeadLetter("orders:1", "order:created", data, "not JSON: \u2713", T0)
        assert await store.add_dead_letter(dead_letter)
        assert await other.add_dead_letter(dead_letter)
        assert await store.add_dead_letter(structs.replace(dead_letter, identity="orders:2", data=b'{"$date": 1}'))

    async def test_another_event_with_the_identity_of_a_kept_one_is_kept_beside_it(
        self, store: OrderStore, other: OrderStore, bench: Bench
    ) -> None:
        """F30: for a broker that counts from 1 again; however often it comes, only an equal event counts as the
        same.
        """
        first = DeadLetter("orders:1", "order:created", b"first", "not JSON", T0)
        second = structs.replace(first, data=b"second")
        cancelled = structs.replace(first, subject="order:cancelled")
        for dead_letter in (first, second, cancelled, second, cancelled, first):
            assert await store.add_dead_letter(dead_letter)
            assert await other.add_dead_letter(dead_letter)
        assert sorted(bench.dead_letters()) == [b"first", b"first", b"second"]

    async def test_a_corrupt_document_is_no_missing_one(self, bench: Bench, store: OrderStore) -> None:
        """F50: by each read; the other orders are read, and no commit of a new order overwrites it."""
        good = charging("good")
        await store.commit([good])
        bench.insert({"_id": "bad", "rev": 1, "status": "perhaps", "payment": {"id": "p1"}, "due": T0})
        found = await store.load(["good", "bad", "none"])
        assert (found["good"], set(found)) == (good, {"good", "bad"})
        assert isinstance(found["bad"], CorruptDocument)
        by_payment = await store.load_by_payment([payment_of("good"), "p1", "p2"])
        assert {name: type(each) for name, each in by_payment.items()} == {
            payment_of("good"): Order,
            "p1": CorruptDocument,
        }
        assert await store.commit([order("bad")]) == [CONFLICT]
        bench.delete("bad")
        assert await store.load(["good", "bad"]) == {"good": good}

    async def test_however_many_of_them_are_due_an_order_is_found(self, bench: Bench, store: OrderStore) -> None:
        """F50: more than the limit, due earlier; some of them with ids that are no text."""
        await store.commit([due_at(charging("good"), T0 + timedelta(seconds=30))])
        for number in range(60):
            due = T0 + timedelta(seconds=number / 10)
            name = f"bad{number}" if number % 3 else number + 1
            other = {} if number % 4 else {"expiresAt": "soon"}
            bench.insert({"_id": name, "rev": 1, "status": "perhaps", "due": due} | other)
        now, met = T0 + timedelta(minutes=1), []
        for _ in range(3):
            met += await store.due(now, None, 5)
            now += timedelta(seconds=1)
        assert "good" in {each.id for each in met if isinstance(each, Order)}
        assert any(isinstance(each, CorruptDocument) for each in met)

    async def test_a_hundred_orders_go_in_one_commit(self, store: OrderStore) -> None:
        """And one read returns them."""
        batch = [charging(f"o{number}") for number in range(100)]
        assert await store.commit(batch) == [WRITTEN] * 100
        assert await store.load([made.id for made in batch]) == {made.id: made for made in batch}

    # --------------------------------------------------------------------------------------------------------- account

    async def test_the_account_that_is_kept_first_stands(self, store: OrderStore, other: OrderStore) -> None:
        """F48: it is inserted once, and every process reads the same."""
        mine, theirs = bound("acct_1"), bound(None, live=None)
        assert await store.accounts.read() is None
        assert await store.accounts.bind(mine) == mine
        assert await other.accounts.bind(theirs) == mine
        assert await other.accounts.read() == mine

    async def test_of_two_accounts_that_are_kept_at_once_one_stands(self, store: OrderStore, other: OrderStore) -> None:
        """F48: both processes get the same one."""
        await other.prepare()
        mine, theirs = bound("acct_1"), bound("acct_2", live=True)
        one, another = await asyncio.gather(store.accounts.bind(mine), other.accounts.bind(theirs))
        assert one == another
        assert one in (mine, theirs)
        assert await store.accounts.read() == one

    async def test_an_account_is_replaced_only_where_it_is_the_one_that_was_read(
        self, store: OrderStore, other: OrderStore
    ) -> None:
        """F48: against two operators at once, or a process that has found the id of its account."""
        unknown, known, moved = bound(None), bound("acct_1"), bound("acct_2", at=T0 + timedelta(hours=1))
        assert not await store.accounts.replace(unknown, known)
        await store.accounts.bind(unknown)
        assert await store.accounts.replace(unknown, known)
        assert not await other.accounts.replace(unknown, moved)
        assert await other.accounts.replace(known, moved)
        assert await store.accounts.read() == moved
