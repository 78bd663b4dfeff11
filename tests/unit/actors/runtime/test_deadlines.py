"""Waits with a deadline end by the answer, the deadline or the caller's cancellation, and leave no task."""

import asyncio

import pytest

from payment.actors.runtime.deadlines import (
    DeadlineExceeded,
    Lingering,
    WorkCancelled,
    cancel_and_wait,
    done_within,
    first_of,
    within,
)
from tests.support.fakes.clock import FakeClock
from tests.unit.actors.runtime.scripted import Boom, deaf_until, for_ever


async def answer_after(clock: FakeClock, seconds: float) -> str:
    await clock.sleep(seconds)
    return "answer"


async def boom() -> None:
    raise Boom


def others() -> set[asyncio.Task[object]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def test_an_answer_in_time_is_returned() -> None:
    """Work that meets its deadline is not affected by it."""
    clock = FakeClock()
    assert await clock.drive(within(clock, 2, answer_after(clock, 1))) == "answer"
    await clock.settle()
    assert clock.sleepers == 0
    assert not others()


async def test_an_error_in_time_is_raised() -> None:
    """The caller receives the work's own error."""
    clock = FakeClock()
    with pytest.raises(Boom):
        await clock.drive(within(clock, 2, boom()))


async def test_work_that_takes_too_long_is_cancelled_and_named() -> None:
    """The error names the work, which has ended when the error is raised."""
    clock = FakeClock()
    with pytest.raises(DeadlineExceeded, match=r"setup: not done in 2 s"):
        await clock.drive(within(clock, 2, for_ever(), name="setup"))
    await clock.settle()
    assert not others()
    assert clock.monotonic() == 1_002


async def test_work_that_ignores_its_cancellation_raises_another_error() -> None:
    """F32: the wait for cancelled work is bounded too, and its own error shows that the work may still act."""
    clock = FakeClock()
    released = asyncio.Event()
    with pytest.raises(Lingering):
        await clock.drive(within(clock, 2, deaf_until(released), grace_s=3))
    assert clock.monotonic() == 1_005
    released.set()
    await clock.settle()


async def test_an_answer_given_as_the_deadline_strikes_counts() -> None:
    """Work that returns while it is being cancelled has answered."""

    async def reluctant() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "done after all"
        raise AssertionError

    clock = FakeClock()
    assert await clock.drive(within(clock, 2, reluctant())) == "done after all"


async def test_work_cancelled_from_within_does_not_look_like_the_callers_cancellation() -> None:
    """A caller that received CancelledError would end without an error."""

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    clock = FakeClock()
    with pytest.raises(WorkCancelled):
        await clock.drive(within(clock, 2, cancels_itself()))


async def test_cancelling_the_caller_ends_the_work() -> None:
    """Neither the work nor its timer outlives the caller."""
    clock = FakeClock()
    caller = asyncio.create_task(within(clock, 2, for_ever()))
    await clock.settle()
    caller.cancel()
    await clock.settle()
    assert caller.cancelled()
    assert not others()


async def test_done_within_cancels_no_task() -> None:
    """It only waits, until all tasks are done or the time is over."""
    clock = FakeClock()
    quick = asyncio.create_task(answer_after(clock, 1))
    slow = asyncio.create_task(answer_after(clock, 3))
    assert await clock.drive(done_within(clock, 2, quick, slow)) is False
    assert quick.done()
    assert await clock.drive(done_within(clock, 2, quick, slow)) is True
    assert await done_within(clock, 2, quick, slow) is True


async def test_cancel_and_wait_returns_whether_all_have_ended() -> None:
    """Tasks that are done, that can be cancelled and that ignore it, together."""
    clock = FakeClock()
    released = asyncio.Event()
    tasks = [asyncio.create_task(work) for work in (asyncio.sleep(0), for_ever(), deaf_until(released))]
    await clock.settle()
    assert await clock.drive(cancel_and_wait(clock, 1, *tasks)) is False
    assert [task.done() for task in tasks] == [True, True, False]
    released.set()
    assert await clock.drive(cancel_and_wait(clock, 1, *tasks)) is True


async def test_first_of_ends_the_others_and_raises_their_errors() -> None:
    """When one ends the others are cancelled, and an error of any of them is raised."""
    clock = FakeClock()
    await clock.drive(first_of(answer_after(clock, 1), for_ever()))
    with pytest.raises(Boom):
        await clock.drive(first_of(for_ever(), boom()))
    assert not others()
