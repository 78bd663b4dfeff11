"""Waiting with an end: the answer, the deadline, or the caller's cancellation, and nothing left running."""

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
    """The deadline leaves no trace on work that meets it."""
    clock = FakeClock()
    assert await clock.drive(within(clock, 2, answer_after(clock, 1))) == "answer"
    await clock.settle()
    assert clock.sleepers == 0
    assert not others()


async def test_an_error_in_time_is_raised() -> None:
    """The work's own error is nobody else's."""
    clock = FakeClock()
    with pytest.raises(Boom):
        await clock.drive(within(clock, 2, boom()))


async def test_work_that_takes_too_long_is_cancelled_and_named() -> None:
    """The error says which work it was, and the work is over when it is raised."""
    clock = FakeClock()
    with pytest.raises(DeadlineExceeded, match=r"setup: not done in 2 s"):
        await clock.drive(within(clock, 2, for_ever(), name="setup"))
    await clock.settle()
    assert not others()
    assert clock.monotonic() == 1_002


async def test_work_that_ignores_its_cancellation_is_told_from_work_that_is_over() -> None:
    """F32: waiting for a loser is bounded too, and the caller learns that it may still act."""
    clock = FakeClock()
    heard = asyncio.Event()
    with pytest.raises(Lingering):
        await clock.drive(within(clock, 2, deaf_until(heard), grace_s=3))
    assert clock.monotonic() == 1_005
    heard.set()
    await clock.settle()


async def test_an_answer_given_as_the_deadline_strikes_counts() -> None:
    """Work that answers while it is being cancelled has answered."""

    async def reluctant() -> str:
        try:
            await for_ever()
        except asyncio.CancelledError:
            return "done after all"
        raise AssertionError

    clock = FakeClock()
    assert await clock.drive(within(clock, 2, reluctant())) == "done after all"


async def test_work_cancelled_from_within_does_not_look_like_the_callers_cancellation() -> None:
    """A caller that saw CancelledError would end without a word."""

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    clock = FakeClock()
    with pytest.raises(WorkCancelled):
        await clock.drive(within(clock, 2, cancels_itself()))


async def test_cancelling_the_caller_ends_the_work() -> None:
    """Neither the work nor its timer outlives who waited."""
    clock = FakeClock()
    caller = asyncio.create_task(within(clock, 2, for_ever()))
    await clock.settle()
    caller.cancel()
    await clock.settle()
    assert caller.cancelled()
    assert not others()


async def test_done_within_cancels_nobody() -> None:
    """It only looks, until all are done or the time is over."""
    clock = FakeClock()
    quick = asyncio.create_task(answer_after(clock, 1))
    slow = asyncio.create_task(answer_after(clock, 3))
    assert await clock.drive(done_within(clock, 2, quick, slow)) is False
    assert quick.done()
    assert await clock.drive(done_within(clock, 2, quick, slow)) is True
    assert await done_within(clock, 2, quick, slow) is True


async def test_cancel_and_wait_says_whether_all_have_ended() -> None:
    """Done, cancellable and deaf tasks together."""
    clock = FakeClock()
    heard = asyncio.Event()
    tasks = [asyncio.create_task(work) for work in (asyncio.sleep(0), for_ever(), deaf_until(heard))]
    await clock.settle()
    assert await clock.drive(cancel_and_wait(clock, 1, *tasks)) is False
    assert [task.done() for task in tasks] == [True, True, False]
    heard.set()
    assert await clock.drive(cancel_and_wait(clock, 1, *tasks)) is True


async def test_first_of_ends_the_others_and_raises_their_errors() -> None:
    """One end is the end of all, and an error is never lost among them."""
    clock = FakeClock()
    await clock.drive(first_of(answer_after(clock, 1), for_ever()))
    with pytest.raises(Boom):
        await clock.drive(first_of(for_ever(), boom()))
    assert not others()
