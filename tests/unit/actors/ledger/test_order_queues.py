"""Order queues: each order's messages one after another, others meanwhile."""

from payment.actors.ledger.order_queues import MESSAGES_IN_A_FOLD_LIMIT, OrderQueue, OrderQueues
from payment.actors.messages import EffectCompleted
from payment.core.messages import Due
from tests.support.fakes.clock import FakeClock
from tests.unit.core.builders import of_kind


def queues_with(*order_ids: str) -> OrderQueues:
    order_queues = OrderQueues(FakeClock())
    for order_id in order_ids:
        order_queues.add(order_id, Due(order_id))
    return order_queues


def ids(order_queues: list[OrderQueue]) -> list[str]:
    return [order_queue.order_id for order_queue in order_queues]


class TestTurns:
    def test_queues_are_taken_in_the_order_of_their_oldest_message(self) -> None:
        """As many as one commit takes; the rest stay ready."""
        order_queues = queues_with("a", "b", "a", "c")
        assert ids(order_queues.take_ready(2)) == ["a", "b"]
        assert order_queues.any_ready
        assert ids(order_queues.take_ready(5)) == ["c"]
        assert not order_queues.any_ready

    def test_orders_in_progress_come_before_new_ones(self) -> None:
        """F39: under ten times the load, outcomes would else wait behind all requests that have just come."""
        order_queues = queues_with("a", "b", "c", "d")
        for order_id in ("e", "c"):
            order_queues.add(order_id, EffectCompleted("charge", Due(order_id)))
        assert ids(order_queues.take_ready(3)) == ["e", "c", "a"]
        order_queues.add("c", EffectCompleted("charge", Due("c")))
        assert ids(order_queues.take_ready(1)) == ["b"]

    def test_a_queue_with_a_beginning_and_a_completion_is_taken_once(self) -> None:
        """F34: two writes of one order under way at a time would be decided on one and the same revision."""
        order_queues = queues_with("a", "b")
        order_queues.add("b", EffectCompleted("charge", Due("b")))
        assert ids(order_queues.take_ready(10)) == ["b", "a"]
        assert ids(order_queues.take_ready(10)) == []

    def test_a_completion_moves_a_queue_forward_that_was_done_before(self) -> None:
        """A queue whose write is done is like any other that waits."""
        order_queues = queues_with("a")
        (order_queue,) = order_queues.take_ready(1)
        order_queue.take()
        order_queues.add("b", Due("b"))
        order_queues.add("a", Due("a"))
        order_queues.done(order_queue)
        order_queues.add("a", EffectCompleted("charge", Due("a")))
        assert ids(order_queues.take_ready(5)) == ["a", "b"]

    def test_a_queue_that_got_a_completion_meanwhile_goes_first_once_it_is_done(self) -> None:
        """Its messages keep their order all the same."""
        order_queues = queues_with("a", "b")
        (order_queue,) = order_queues.take_ready(1)
        order_queue.take()
        order_queues.add("a", Due("a"))
        order_queues.add("a", EffectCompleted("charge", Due("a")))
        order_queues.done(order_queue)
        assert ids(order_queues.take_ready(5)) == ["a", "b"]
        assert [type(message) for message in order_queue.take()] == [Due, EffectCompleted]

    def test_a_queue_under_way_keeps_its_later_messages(self) -> None:
        """F31: it is ready again only when its write is done, and stands behind those that came meanwhile."""
        order_queues = queues_with("a")
        (order_queue,) = order_queues.take_ready(1)
        first = order_queue.take()
        order_queues.add("a", Due("a"))
        order_queues.add("b", Due("b"))
        assert ids(order_queues.take_ready(5)) == ["b"]
        order_queues.done(order_queue)
        assert ids(order_queues.take_ready(5)) == ["a"]
        assert len(first) == len(order_queue.take()) == 1

    def test_a_queue_that_is_done_and_empty_is_forgotten(self) -> None:
        """F39: memory is bounded by what waits."""
        order_queues = queues_with("a")
        (order_queue,) = order_queues.take_ready(1)
        order_queue.take()
        assert "a" in order_queues
        order_queues.done(order_queue)
        assert ("a" in order_queues, len(order_queues), order_queues.any_ready) == (False, 0, False)

    def test_one_write_takes_a_bounded_number_of_messages(self) -> None:
        """F31: a hot order must not hold up its batch."""
        order_queues = queues_with(*["hot"] * (MESSAGES_IN_A_FOLD_LIMIT + 1))
        (order_queue,) = order_queues.take_ready(1)
        assert len(order_queue.take()) == MESSAGES_IN_A_FOLD_LIMIT
        order_queues.done(order_queue)
        (order_queue,) = order_queues.take_ready(1)
        assert len(order_queue.take()) == 1

    def test_messages_are_taken_singly_once_one_of_them_is_bad(self) -> None:
        """F41: put back in front of those that came meanwhile."""
        order_queue = OrderQueue("a")
        messages = [Due("a"), Due("a"), Due("a")]
        order_queue.messages.extend(messages)
        taken = order_queue.take()
        order_queue.messages.append(Due("late"))
        order_queue.singly = True
        order_queue.put_back(taken)
        assert [of_kind(Due, message).order_id for message in order_queue.messages] == ["a", "a", "a", "late"]
        assert order_queue.take() == [Due("a")]


class TestBehind:
    """How long the next beginning has waited: it shows that requests come faster than they are decided (F39)."""

    async def test_it_is_the_age_of_the_queue_that_is_next(self) -> None:
        """From when it became ready, whatever came to it since; and the next one's once it is taken."""
        clock = FakeClock()
        order_queues = OrderQueues(clock)
        assert order_queues.behind_s() == 0
        order_queues.add("a", Due("a"))
        await clock.advance(2)
        order_queues.add("b", Due("b"))
        order_queues.add("a", Due("a"))
        await clock.advance(1)
        assert order_queues.behind_s() == 3
        (a,) = order_queues.take_ready(1)
        assert order_queues.behind_s() == 1
        order_queues.take_ready(1)
        order_queues.done(a)
        assert order_queues.behind_s() == 0, "it has waited no longer than since its write"

    async def test_completions_go_first_and_do_not_count(self) -> None:
        """They are few, and first in any case."""
        clock = FakeClock()
        order_queues = OrderQueues(clock)
        order_queues.add("a", EffectCompleted("charge", Due("a")))
        await clock.advance(5)
        assert (order_queues.behind_s(), order_queues.ready) == (0, 1)


class TestKeep:
    """Messages are taken out wherever they wait."""

    def test_a_queue_without_messages_is_not_ready(self) -> None:
        """Neither an order without messages is left, nor a turn for it."""
        order_queues = queues_with("a", "b", "b")
        kept = order_queues.waiting()[-1]
        order_queues.keep(lambda messages: [message for message in messages if message is kept])
        assert order_queues.waiting() == [kept]
        assert ("a" in order_queues, len(order_queues)) == (False, 1), "a drain would wait for it"
        assert ids(order_queues.take_ready(5)) == ["b"]

    def test_a_queue_that_was_under_way_once_goes_with_its_messages(self) -> None:
        """Its write is done: nothing keeps it any more."""
        order_queues = queues_with("a")
        (order_queue,) = order_queues.take_ready(1)
        order_queue.take()
        order_queues.add("a", Due("a"))
        order_queues.done(order_queue)
        order_queues.keep(lambda _: [])
        assert (len(order_queues), order_queues.any_ready) == (0, False)

    def test_a_queue_under_way_outlives_its_messages(self) -> None:
        """It is given back with `done` in any case."""
        order_queues = queues_with("a")
        (order_queue,) = order_queues.take_ready(1)
        order_queues.keep(lambda _: [])
        assert (order_queue.take(), "a" in order_queues) == ([], True)
        order_queues.done(order_queue)
        assert len(order_queues) == 0
