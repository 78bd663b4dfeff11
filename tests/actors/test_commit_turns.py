"""A group commit shares the event loop with whoever else has work: neither starves the other."""

import asyncio
from typing import Any

import pytest

from payment.actors.commit import WORKS_IN_A_TURN, Work
from payment.actors.mongo import COMMITS_UNDER_WAY_LIMIT, ORDERS_IN_A_COMMIT_LIMIT
from tests.actors.ledger_world import world

DECIDING_S = 0.001
"""What deciding on one order costs in these tests, where time passes by nothing else but others' work."""

TURNS_MAX = 1_000


class Others:
    """Whoever else has work, while a full commit is under way: each time for so many seconds."""

    def __init__(self) -> None:
        self.turns = 0
        self.works_since = 0
        """Works decided or finished since they last ran."""
        self.works_most = 0

    def work(self) -> None:
        self.works_since += 1
        self.works_most = max(self.works_most, self.works_since)


async def others_during_a_commit(they_take_s: float, *, read_first: bool = False) -> Others:
    """How others fare while as many orders as a commit may hold are decided, written and finished."""
    others = Others()
    async with world() as house:
        ledger = await house.ledger()
        clock, desk = house.clock, ledger.actor.desk
        moment, finished = desk.moment, desk.finished

        def slow_moment() -> Any:
            others.work()
            clock.oversleep(DECIDING_S)
            return moment()

        def counted_finished(work: Work) -> None:
            others.work()
            finished(work)

        async def run() -> None:
            while True:
                await asyncio.sleep(0)
                others.works_since = 0
                if desk.letters_under_way():
                    others.turns += 1
                    clock.oversleep(they_take_s)

        desk.moment = slow_moment  # type: ignore[method-assign]
        desk.finished = counted_finished  # type: ignore[method-assign]
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
async def test_others_run_after_every_few_works(*, read_first: bool) -> None:
    """F39: 200 works in a row, to decide, to decide once they are read, or to finish, would keep every request waiting.

    Two commits may be under way, and each has its turn.
    """
    others = await others_during_a_commit(0.0, read_first=read_first)
    assert WORKS_IN_A_TURN <= others.works_most <= WORKS_IN_A_TURN * COMMITS_UNDER_WAY_LIMIT


async def test_a_commit_has_as_much_time_as_the_others_take() -> None:
    """F39: with the time of 16 works between each thousand refusals, a commit would take ten seconds."""
    others = await others_during_a_commit(4 * WORKS_IN_A_TURN * DECIDING_S)
    assert others.turns <= ORDERS_IN_A_COMMIT_LIMIT // WORKS_IN_A_TURN
