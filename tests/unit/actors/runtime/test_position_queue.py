"""`payment.actors.runtime.position_queue`: the first position is taken first, and what has left takes no memory."""

from payment.actors.runtime.position_queue import STALE_POSITIONS_MAX, PositionQueue


def test_the_first_position_is_taken_first_whenever_it_came() -> None:
    """A member may leave, and come back to its position."""
    queue: PositionQueue[str] = PositionQueue()
    for number, name in ((2, "b"), (3, "c"), (1, "a")):
        queue.add((0.0, number), name)
    assert queue.remove((0.0, 1)) == "a"
    assert queue.remove((0.0, 1)) is None
    queue.add((0.0, 1), "a")
    assert queue.first() == (0.0, 1)
    assert [queue.take() for _ in range(len(queue))] == ["a", "b", "c"]


def test_members_that_have_left_take_no_memory() -> None:
    """F39: positions are kept for few members that have left, and for none once all have."""
    queue: PositionQueue[int] = PositionQueue()
    for number in range(10):
        queue.add((0.0, number), number)
    for number in range(10, 1_000):
        queue.add((0.0, number), number)
        queue.remove((0.0, number))
    assert (len(queue), len(queue._positions) < 20 + 2 * STALE_POSITIONS_MAX) == (10, True)
    assert [queue.take() for _ in range(10)] == list(range(10))
    assert queue._positions == []
