"""The fake clock keeps the port's contract, on which other tests depend."""

import asyncio
from datetime import timedelta

import pytest

from payment.ports.clock import Clock
from tests.support.fakes.clock import FakeClock


async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    """Each wakes at its own instant, and may sleep again within the same advance."""
    clock: FakeClock = FakeClock(monotonic_s=0)
    woke: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep(nap)
            woke.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(*args)) for args in (("a", 3), ("b", 1, 1), ("c", 2))]
    await clock.advance(2.5)
    assert woke == [("b", 1), ("c", 2), ("b", 2)]
    assert (clock.monotonic(), clock.sleepers) == (2.5, 1)
    await clock.advance(0.5)
    assert woke[-1] == ("a", 3.0)
    await asyncio.gather(*tasks)


async def test_many_small_steps_make_a_whole() -> None:
    """Ten times 0.1 s is exactly a second, without float errors."""
    clock = FakeClock(monotonic_s=0)
    nap = asyncio.create_task(clock.sleep(1))
    for _ in range(10):
        assert not nap.done()
        await clock.advance(0.1)
    await nap


async def test_a_jump_moves_the_wall_clock_alone() -> None:
    """F38: it does not affect elapsed time and sleepers."""
    clock = FakeClock()
    before, elapsed = clock.now(), clock.monotonic()
    clock.jump(timedelta(days=-365))
    assert (clock.now() - before, clock.monotonic()) == (timedelta(days=-365), elapsed)
    await clock.advance(0.0019)
    assert clock.now() - before == timedelta(days=-365, milliseconds=1)


async def test_driving_work_takes_just_its_time() -> None:
    """A wait for an impossible condition fails instead of hanging."""
    clock: Clock = FakeClock(monotonic_s=0)
    assert isinstance(clock, FakeClock)
    assert await clock.drive(asyncio.sleep(0, "done")) == "done"
    await clock.drive(clock.sleep(7))
    assert clock.monotonic() == 7
    with pytest.raises(AssertionError, match="nothing is asleep"):
        await clock.drive(asyncio.Event().wait())
    with pytest.raises(AssertionError, match="after 5 s"):
        await clock.drive(clock.sleep(6), limit_s=5)
