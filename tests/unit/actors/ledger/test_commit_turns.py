"""A commit shares the event loop with other tasks: neither starves the other, or changes the order of requests."""

import asyncio
from collections.abc import Callable

import pytest

from payment.actors.ledger.actor import COMMITS_UNDER_WAY_LIMIT, ORDERS_IN_A_COMMIT_LIMIT
from payment.actors.ledger.commit import DECIDED_AS_OF_ITS_BEGINNING_S, ITEMS_IN_A_TURN, BatchItem
from payment.core.messages import Context
from tests.unit.actors.ledger.ledger_world import Ledger, world

DECIDING_S = 0.001
"""The time to decide one order in these tests, in which only work makes time pass."""

TURNS_MAX = 1_000


class Others:
    """The other tasks, while a full commit is under way. Each of their turns takes the same time."""

    def __init__(self) -> None:
        self.turns = 0
        self.works_since = 0
        """Works decided or finished since they last ran."""
        self.works_most = 0

    def item(self) -> None:
        self.works_since += 1
        self.works_most = max(self.works_most, self.works_since)


def decides_slowly(ledger: Ledger, noted: Callable[[], None] = lambda: None) -> None:
    """From now on each order that the ledger decides about takes its time, and is noted."""
    commits, decide = ledger.actor.commits, ledger.actor.commits._decide

    def slowly_decided(item: BatchItem, context: Context, *, just_read: bool) -> bool:
        noted()
        ledger.clock.oversleep(DECIDING_S)
        return decide(item, context, just_read=just_read)

    commits._decide = slowly_decided  # type: ignore[method-assign]


async def others_during_a_commit(they_take_s: float, *, read_first: bool = False) -> Others:
    """How others fare while as many orders as a commit may hold are decided, written and finished."""
    others = Others()
    async with world() as stack:
        ledger = await stack.ledger()
        clock, commits = stack.clock, ledger.actor.commits
        finish = commits._finish

        def counted_finished(item: BatchItem) -> None:
            others.item()
            finish(item)

        async def run() -> None:
            while True:
                await asyncio.sleep(0)
                others.works_since = 0
                if commits.messages_under_way():
                    others.turns += 1
                    clock.oversleep(they_take_s)

        decides_slowly(ledger, others.item)
        commits._finish = counted_finished  # type: ignore[method-assign]
        for number in range(ORDERS_IN_A_COMMIT_LIMIT):
            ledger.mailbox.offer(ledger.arrived(ledger.created(f"o{number}"), redelivered=read_first))
        running = asyncio.create_task(run())
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            if len(ledger.settled) == ORDERS_IN_A_COMMIT_LIMIT:
                break
        running.cancel()
        assert len(ledger.settled) == ORDERS_IN_A_COMMIT_LIMIT
    return others


@pytest.mark.parametrize("read_first", [False, True])
async def test_others_run_after_every_few_orders(*, read_first: bool) -> None:
    """F39: 200 works in a row, to decide, to decide once they are read, or to finish, would keep every request waiting.

    Two commits may be under way, and each has its turn.
    """
    others = await others_during_a_commit(0.0, read_first=read_first)
    assert ITEMS_IN_A_TURN <= others.works_most <= ITEMS_IN_A_TURN * COMMITS_UNDER_WAY_LIMIT


async def test_a_commit_has_as_much_time_as_the_others_take() -> None:
    """F39: with the time of 16 works between each thousand refusals, a commit would take ten seconds."""
    others = await others_during_a_commit(4 * ITEMS_IN_A_TURN * DECIDING_S)
    assert others.turns <= ORDERS_IN_A_COMMIT_LIMIT // ITEMS_IN_A_TURN


def in_line(ledger: Ledger) -> list[str]:
    """The orders of all charges that were handed over, as they stand in line at Stripe."""
    return [charge.order_id for charge in sorted(ledger.to_stripe(), key=lambda charge: charge.issued_at)]


async def test_two_commits_in_turns_keep_the_order_of_asking() -> None:
    """F39: the second begins while the first is still deciding. The first request is first at Stripe all the same."""
    orders = [f"o{number}" for number in range(ORDERS_IN_A_COMMIT_LIMIT)]
    async with world() as stack:
        ledger = await stack.ledger(stripe_room=len(orders))
        await ledger.order(*orders)
        decides_slowly(ledger)
        before = ledger.store.calls["commit"]
        await ledger.send(*map(ledger.asked, orders))
        assert ledger.store.calls["commit"] - before > 1
        assert in_line(ledger) == orders


async def test_an_order_that_is_read_first_keeps_its_place() -> None:
    """F39: another process had taken it in. A later request, for a cached order, does not pass it."""
    async with world() as stack:
        ledger = await stack.ledger()
        await ledger.order("read")
        await ledger.restart()
        await ledger.order("at hand")
        ledger.store.stall("load")
        await ledger.send(ledger.asked("read"), ledger.asked("at hand"))
        stack.clock.oversleep(DECIDED_AS_OF_ITS_BEGINNING_S / 2)
        ledger.store.go_on()
        await stack.clock.settle()
        assert in_line(ledger) == ["read", "at hand"]


async def test_an_order_that_took_long_to_read_is_decided_as_of_now() -> None:
    """F38: a moment that has passed is none to judge by: a lease would be over before it begins."""
    async with world() as stack:
        ledger = await stack.ledger()
        await ledger.order()
        await ledger.restart()
        ledger.store.stall("load")
        await ledger.send(ledger.asked())
        stack.clock.oversleep(DECIDED_AS_OF_ITS_BEGINNING_S)
        ledger.store.go_on()
        await stack.clock.settle()
        assert ledger.one_to_stripe().issued_at == stack.clock.now()


async def test_an_order_that_is_read_first_is_decided_as_of_the_beginning() -> None:
    """F39: a request that came earlier has the earlier position at Stripe, though its order was not cached."""
    async with world() as stack:
        ledger = await stack.ledger()
        await ledger.order()
        await ledger.restart()
        ledger.store.stall("load")
        began = stack.clock.now()
        await ledger.send(ledger.asked())
        stack.clock.oversleep(DECIDED_AS_OF_ITS_BEGINNING_S / 2)
        ledger.store.go_on()
        await stack.clock.settle()
        assert ledger.one_to_stripe().issued_at == began
