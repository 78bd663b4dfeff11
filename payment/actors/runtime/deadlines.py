"""Waiting with an end, on the clock that was passed in.

`asyncio.wait_for` and `asyncio.timeout` read the event loop's own time, which a test or a simulation can't move. Both
also wait without end for work that ignores its cancellation; here that wait is bounded too. Work that is
started here is cancelled and awaited here, also when the caller is cancelled.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from payment.ports.clock import Clock

R = TypeVar("R")

CANCEL_GRACE_S = 1.0
"""How long cancelled work may take to end. Clean-up after a cancellation closes sockets, it does not wait for peers."""


class DeadlineExceeded(Exception):
    """The work was not done in time. It was cancelled; what it did before stays done."""


class Lingering(DeadlineExceeded):
    """The work was not done in time, nor has it ended since it was cancelled: it may still act."""


class WorkCancelled(Exception):
    """The work ended as cancelled though nobody here cancelled it: a thing that it waited for had been."""


async def within(
    clock: Clock, limit_s: float, work: Coroutine[Any, Any, R], *, name: str = "work", grace_s: float = CANCEL_GRACE_S
) -> R:
    """Await the work for at most `limit_s`. An answer that is there in the last instant counts.

    Raises:
        DeadlineExceeded: it took longer and has been cancelled.
        Lingering: it is still going on `grace_s` after its cancellation, be that for the limit or the caller's own.
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
    """Wait until all the tasks are done, for at most `limit_s`. Cancels none of them, reads no result."""
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
    """Cancel what is not done and wait for its end. False: something is still going after `grace_s`."""
    for task in tasks:
        if not task.done():
            task.cancel()
    return await done_within(clock, grace_s, *tasks)


async def first_of(*works: Coroutine[Any, Any, object]) -> None:
    """Run all of them until one has ended, then cancel the others. An error of any of them is raised.

    For waits that end when they are cancelled: this one has no bound of its own.
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
