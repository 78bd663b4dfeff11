"""A group commit shares the event loop with whoever else has work: neither starves the other."""

import asyncio
from typing import Any

from payment.actors.commit import WORKS_IN_A_TURN
from payment.actors.mongo import ORDERS_IN_A_COMMIT_LIMIT
from tests.actors.ledger_world import world

DECIDING_S = 0.001
"""What deciding on one order costs in these tests, where time passes by nothing else but others' work."""

TURNS_MAX = 1_000


async def turns_of_others(they_take_s: float, *, read_first: bool = False) -> int:
    """How often others run while one full commit is under way, each time for so many seconds."""
    async with world() as house:
        ledger = await house.ledger()
        clock, desk = house.clock, ledger.actor.desk
        moment, turns = desk.moment, 0

        def slow_moment() -> Any:
            clock.oversleep(DECIDING_S)
            return moment()

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                if desk.letters_under_way():
                    turns += 1
                    clock.oversleep(they_take_s)

        desk.moment = slow_moment  # type: ignore[method-assign]
        for number in range(ORDERS_IN_A_COMMIT_LIMIT):
            ledger.mailbox.offer(ledger.arrived(ledger.created(f"o{number}"), redelivered=read_first))
        running = asyncio.create_task(others())
        for _ in range(TURNS_MAX):
            await asyncio.sleep(0)
            if len(ledger.settled) == ORDERS_IN_A_COMMIT_LIMIT:
                break
        running.cancel()
        assert len(ledger.settled) == ORDERS_IN_A_COMMIT_LIMIT
        return turns


async def test_others_run_after_every_few_works() -> None:
    """F39: 200 works in a row, to decide, to decide once they are read, or to finish, would keep every request waiting.

    The last few are not counted: they meet when next to nothing is left under way.
    """
    turns = ORDERS_IN_A_COMMIT_LIMIT // WORKS_IN_A_TURN
    assert await turns_of_others(0.0) >= 2 * turns - 4
    assert await turns_of_others(0.0, read_first=True) >= 3 * turns - 4


async def test_a_commit_has_as_much_time_as_the_others_take() -> None:
    """F39: with the time of 16 works between each thousand refusals, a commit would take ten seconds."""
    assert await turns_of_others(4 * WORKS_IN_A_TURN * DECIDING_S) <= ORDERS_IN_A_COMMIT_LIMIT // WORKS_IN_A_TURN
