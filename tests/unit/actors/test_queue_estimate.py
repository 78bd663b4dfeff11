"""How long a charge will wait for its confirm: two stages, the slower of which counts."""

import pytest
from msgspec.structs import replace

from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate


def test_the_first_in_an_empty_queue_does_not_wait() -> None:
    """Its position is the next one."""
    estimate = QueueEstimate(25.0, 25.0)
    assert estimate.wait_s(estimate.received + 1) == 0.0
    assert replace(estimate, received=1).queued == 1


def test_the_wait_is_that_of_the_slower_stage() -> None:
    """Charges ahead, by the rate of the stage that they have yet to pass."""
    estimate, position = QueueEstimate(creates_per_s=20.0, confirms_per_s=10.0, received=101), 101
    assert estimate.wait_s(position) == 10.0
    estimate = replace(estimate, confirms_per_s=50.0)
    assert estimate.wait_s(position) == 5.0
    estimate = replace(estimate, created=100)
    assert estimate.wait_s(position) == 2.0
    estimate = replace(estimate, confirmed=100)
    assert estimate.wait_s(position) == 0.0


def test_a_position_that_has_passed_waits_no_more() -> None:
    """A charge that is being confirmed waits for Stripe, not for its turn."""
    estimate = QueueEstimate(25.0, 25.0, received=5, created=5, confirmed=5)
    assert estimate.wait_s(3) == 0.0
    assert estimate.queued == 0


def test_readers_see_the_snapshot_that_was_published_last_and_keep_their_own() -> None:
    """A snapshot never changes: what a reader holds is as it was."""
    published = PublishedEstimate(QueueEstimate(25.0, 25.0))
    before = published.latest
    published.publish(QueueEstimate(25.0, 25.0, received=1))
    assert (before.queued, published.latest.queued) == (0, 1)
    with pytest.raises(AttributeError):
        before.received = 2  # type: ignore[misc]
