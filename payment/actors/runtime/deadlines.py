"""Waits with a deadline, on the clock that was passed in.

`asyncio.wait_for` and `asyncio.timeout` use the event loop's own time, which a test or a simulation can't move, and
they wait without end for work that ignores its cancellation. Here that wait has a limit too. Work that is started here
is cancelled and awaited here, also when the caller is cancelled.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from payment.ports.clock import Clock

R = TypeVar("R")

CANCEL_GRACE_S = 1.0
"""How long cancelled work may take to end. Its clean-up closes sockets, and does not wait for servers."""


class DeadlineExceeded(Exception):
    """The work was not done in time. It was cancelled; what it did before stays done."""


class Lingering(DeadlineExceeded):
    """The work was not done in time, and goes on after it was cancelled: it may still have effects."""


class WorkCancelled(Exception):
    """The work ended as cancelled, and its caller had not cancelled it: something that it awaited was cancelled."""


async def within(
    clock: Clock, limit_s: float, work: Coroutine[Any, Any, R], *, name: str = "work", grace_s: float = CANCEL_GRACE_S
) -> R:
    """Returns the result of the work if it is done within `limit_s`, also at the last instant.

    Raises:
        DeadlineExceeded: it took longer and has been cancelled.
        Lingering: it still runs `grace_s` after its cancellation, by the limit or by the caller's own cancellation.
        WorkCancelled: it was cancelled from within. The caller's own cancellation is raised as it is.
    """
    task = asyncio.create_task(work, name=name)
    try:
        await done_within(clock, limit_s, task)
    finally:
        if not await cancel_and_wait(clock, grace_s, task):
            raise Lingering(f"{name}: has not ended {grace_s:g} s after it was cancelled")
    if not task.cancelled():
        return task.result()
    if task.cancelling():
        raise DeadlineExceeded(f"{name}: not done in {limit_s:g} s")
    raise WorkCancelled(f"{name}: cancelled from within")


async def done_within(clock: Clock, limit_s: float, *tasks: asyncio.Task[Any]) -> bool:
    """Wait until all the tasks are done, for at most `limit_s`. Returns whether they are. It cancels none of them."""
    if not all(task.done() for task in tasks):
        await asyncio.sleep(0)  # most setups and cancellations end in one turn: they need no timer
    waiting = {task for task in tasks if not task.done()}
    if not waiting:
        return True
    timer = asyncio.create_task(clock.sleep(limit_s))
    try:
        while waiting and not timer.done():
            await asyncio.wait((*waiting, timer), return_when=asyncio.FIRST_COMPLETED)
            waiting = {task for task in waiting if not task.done()}
    finally:
        timer.cancel()
    return not waiting


async def cancel_and_wait(clock: Clock, grace_s: float, *tasks: asyncio.Task[Any]) -> bool:
    """Cancel the tasks that are not done and wait for their end. False: one still runs after `grace_s`."""
    for task in tasks:
        if not task.done():
            task.cancel()
    return await done_within(clock, grace_s, *tasks)


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run all coroutines until one has ended, then cancel the others. Raises the error of any of them.

    For waits that end when they are cancelled: this one has no limit of its own.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)  # most of them have ended with this turn
        if not all(task.done() for task in tasks):
            await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
