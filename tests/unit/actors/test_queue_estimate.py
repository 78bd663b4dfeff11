"""How long a charge will wait for its confirm: two stages, the slower of which counts."""

from payment.actors.queue_estimate import QueueEstimate


def test_the_first_in_an_empty_queue_does_not_wait() -> None:
    estimate = QueueEstimate()
    assert estimate.wait_s(estimate.enter()) == 0.0
    assert estimate.queued == 1


def test_the_wait_is_that_of_the_slower_stage() -> None:
    """Charges ahead, by the rate of the stage that they have yet to pass."""
    estimate = QueueEstimate(creates_per_s=20.0, confirms_per_s=10.0, entered=100)
    position = estimate.enter()
    assert estimate.wait_s(position) == 10.0
    estimate.confirms_per_s = 50.0
    assert estimate.wait_s(position) == 5.0
    estimate.created = 100
    assert estimate.wait_s(position) == 2.0
    estimate.confirmed = 100
    assert estimate.wait_s(position) == 0.0


def test_a_position_that_has_passed_waits_no_more() -> None:
    estimate = QueueEstimate(entered=5, created=5, confirmed=5)
    assert estimate.wait_s(3) == 0.0
    assert estimate.queued == 0
