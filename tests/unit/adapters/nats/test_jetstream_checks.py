"""A consumer's progress by its counts at successive checks: whether it delivers what its stream holds."""

from __future__ import annotations

import pytest

from payment.adapters.nats.jetstream.api import Consumer, Delivered
from payment.adapters.nats.jetstream.checks import CHECK_EVERY_S, REMOVED_AGAIN_AFTER_S, STUCK_AFTER_S, ConsumerProgress
from tests.support.fakes.clock import FakeClock


def state(pending: int, delivered: int = 0, unacknowledged: int = 0, floor: int = 0, created: str = "t") -> Consumer:
    """Returns a consumer with this many events to deliver, after this many deliveries."""
    config = {"max_ack_pending": 100}
    counts = Delivered(consumer_seq=delivered)
    return Consumer("s", "c", config, created, pending, unacknowledged, False, counts, Delivered(consumer_seq=floor))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def progress(clock: FakeClock) -> ConsumerProgress:
    return ConsumerProgress(clock)


async def note_states(progress: ConsumerProgress, clock: FakeClock, *states: Consumer) -> None:
    for each in states:
        progress.note(each)
        await clock.advance(CHECK_EVERY_S)


async def test_events_that_are_delivered_are_not_missed(progress: ConsumerProgress, clock: FakeClock) -> None:
    """Ten wait, four are delivered, one is new: none is missing, and the consumer makes progress."""
    await note_states(progress, clock, state(10), state(7, delivered=4), state(0, delivered=11), state(0, delivered=14))
    assert (progress.removed(), progress.stuck()) == (0, None)


async def test_events_that_leave_without_being_delivered_are_counted(
    progress: ConsumerProgress, clock: FakeClock
) -> None:
    """L4: the count is a lower bound; it is reported at once, then in sum after a minute."""
    await note_states(progress, clock, state(10), state(2, delivered=3))
    assert progress.removed() == 5
    await note_states(progress, clock, state(0, delivered=3))
    assert progress.removed() == 0
    await clock.advance(REMOVED_AGAIN_AFTER_S)
    assert progress.removed() == 2
    assert progress.removed() == 0


async def test_a_consumer_that_was_made_again_counts_anew(progress: ConsumerProgress, clock: FakeClock) -> None:
    """Its counts begin at 0, which does not mean that events left the stream."""
    await note_states(progress, clock, state(10, delivered=50), state(0, created="later"))
    assert progress.removed() == 0


async def test_events_that_wait_undelivered_are_reported(progress: ConsumerProgress, clock: FakeClock) -> None:
    """F54: heartbeats prove that it answers, not that it delivers; the next delivery ends the trouble."""
    while progress.stuck() is None:
        await note_states(progress, clock, state(3, delivered=7))
        assert clock.monotonic() < FakeClock().monotonic() + 4 * STUCK_AFTER_S
    assert "events wait, and its consumer has delivered none" in str(progress.stuck())
    await note_states(progress, clock, state(3, delivered=8))
    assert progress.stuck() is None


async def test_redeliveries_alone_are_no_progress_of_a_full_consumer(
    progress: ConsumerProgress, clock: FakeClock
) -> None:
    """F30: events that can't be applied fill it and are redelivered again and again; later ones wait."""
    for number in range(5):
        await note_states(progress, clock, state(3, delivered=100 + 50 * number, unacknowledged=100))
    assert "no more comes before one of 100 events is acknowledged" in str(progress.stuck())
    await note_states(progress, clock, state(3, delivered=400, unacknowledged=100, floor=1))
    assert progress.stuck() is None


async def test_an_idle_consumer_is_not_stuck(progress: ConsumerProgress, clock: FakeClock) -> None:
    """Nothing waits."""
    for _ in range(10):
        await note_states(progress, clock, state(0, delivered=7, unacknowledged=2))
    assert progress.stuck() is None
