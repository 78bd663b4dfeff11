"""Lanes: each order's letters one after another, others meanwhile."""

from payment.actors.ledger.order_queues import LETTERS_IN_A_FOLD_LIMIT, Lane, Lanes
from payment.actors.messages import EffectEnded
from payment.core.messages import Due
from tests.support.fakes.clock import FakeClock


def lanes_with(*order_ids: str) -> Lanes:
    lanes = Lanes(FakeClock())
    for order_id in order_ids:
        lanes.add(order_id, Due(order_id))
    return lanes


def ids(lanes: list[Lane]) -> list[str]:
    return [lane.order_id for lane in lanes]


class TestTurns:
    def test_lanes_are_taken_in_the_order_of_their_oldest_letter(self) -> None:
        """As many as one commit takes; the rest stay ready."""
        lanes = lanes_with("a", "b", "a", "c")
        assert ids(lanes.take_ready(2)) == ["a", "b"]
        assert lanes.any_ready
        assert ids(lanes.take_ready(5)) == ["c"]
        assert not lanes.any_ready

    def test_what_was_begun_is_finished_before_more_is_begun(self) -> None:
        """F39: under ten times the load, outcomes would else wait behind everybody who has just come."""
        lanes = lanes_with("a", "b", "c", "d")
        for order_id in ("e", "c"):
            lanes.add(order_id, EffectEnded("charge", Due(order_id)))
        assert ids(lanes.take_ready(3)) == ["e", "c", "a"]
        lanes.add("c", EffectEnded("charge", Due("c")))
        assert ids(lanes.take_ready(1)) == ["b"]

    def test_a_lane_that_has_begun_and_ended_work_is_taken_once(self) -> None:
        """F34: two writes of one order under way at a time would be decided on one and the same revision."""
        lanes = lanes_with("a", "b")
        lanes.add("b", EffectEnded("charge", Due("b")))
        assert ids(lanes.take_ready(10)) == ["b", "a"]
        assert ids(lanes.take_ready(10)) == []

    def test_an_end_moves_a_lane_forward_that_was_done_before(self) -> None:
        """A lane whose write is done is like any other that waits."""
        lanes = lanes_with("a")
        (lane,) = lanes.take_ready(1)
        lane.take()
        lanes.add("b", Due("b"))
        lanes.add("a", Due("a"))
        lanes.done(lane)
        lanes.add("a", EffectEnded("charge", Due("a")))
        assert ids(lanes.take_ready(5)) == ["a", "b"]

    def test_a_lane_that_got_an_end_meanwhile_goes_first_once_it_is_done(self) -> None:
        """Its letters keep their order all the same."""
        lanes = lanes_with("a", "b")
        (lane,) = lanes.take_ready(1)
        lane.take()
        lanes.add("a", Due("a"))
        lanes.add("a", EffectEnded("charge", Due("a")))
        lanes.done(lane)
        assert ids(lanes.take_ready(5)) == ["a", "b"]
        assert [type(letter) for letter in lane.take()] == [Due, EffectEnded]

    def test_a_lane_under_way_keeps_its_later_letters(self) -> None:
        """F31: it is ready again only when its write is done, and stands behind those that came meanwhile."""
        lanes = lanes_with("a")
        (lane,) = lanes.take_ready(1)
        first = lane.take()
        lanes.add("a", Due("a"))
        lanes.add("b", Due("b"))
        assert ids(lanes.take_ready(5)) == ["b"]
        lanes.done(lane)
        assert ids(lanes.take_ready(5)) == ["a"]
        assert len(first) == len(lane.take()) == 1

    def test_a_lane_that_is_done_and_empty_is_forgotten(self) -> None:
        """F39: memory is bounded by what waits."""
        lanes = lanes_with("a")
        (lane,) = lanes.take_ready(1)
        lane.take()
        assert "a" in lanes
        lanes.done(lane)
        assert ("a" in lanes, len(lanes), lanes.any_ready) == (False, 0, False)

    def test_one_fold_takes_a_bounded_number_of_letters(self) -> None:
        """F31: a hot order must not hold up its batch."""
        lanes = lanes_with(*["hot"] * (LETTERS_IN_A_FOLD_LIMIT + 1))
        (lane,) = lanes.take_ready(1)
        assert len(lane.take()) == LETTERS_IN_A_FOLD_LIMIT
        lanes.done(lane)
        (lane,) = lanes.take_ready(1)
        assert len(lane.take()) == 1

    def test_letters_are_taken_singly_once_one_of_them_is_bad(self) -> None:
        """F41: put back in front of those that came meanwhile."""
        lane = Lane("a")
        letters = [Due("a"), Due("a"), Due("a")]
        lane.letters.extend(letters)
        taken = lane.take()
        lane.letters.append(Due("late"))
        lane.singly = True
        lane.put_back(taken)
        assert [letter.order_id for letter in lane.letters] == ["a", "a", "a", "late"]
        assert lane.take() == [Due("a")]


class TestBehind:
    """How long the next beginning has waited: what says that people come faster than they can be taken in (F39)."""

    async def test_it_is_the_age_of_the_lane_that_is_next(self) -> None:
        """From when it became ready, whatever came to it since; and the next one's once it is taken."""
        clock = FakeClock()
        lanes = Lanes(clock)
        assert lanes.behind_s() == 0
        lanes.add("a", Due("a"))
        await clock.advance(2)
        lanes.add("b", Due("b"))
        lanes.add("a", Due("a"))
        await clock.advance(1)
        assert lanes.behind_s() == 3
        (a,) = lanes.take_ready(1)
        assert lanes.behind_s() == 1
        lanes.take_ready(1)
        lanes.done(a)
        assert lanes.behind_s() == 0, "it has waited no longer than since its write"

    async def test_what_has_ended_waits_before_everybody_and_tells_nothing(self) -> None:
        """Ends are few, and first in any case."""
        clock = FakeClock()
        lanes = Lanes(clock)
        lanes.add("a", EffectEnded("charge", Due("a")))
        await clock.advance(5)
        assert (lanes.behind_s(), lanes.ready) == (0, 1)


class TestDrop:
    def test_dropped_letters_leave_no_empty_lane_ready(self) -> None:
        """Neither an order that nobody asks about any more, nor a turn for it."""
        lanes = lanes_with("a", "b", "b")
        kept = lanes.waiting()[-1]
        gone = {id(letter) for letter in lanes.waiting() if letter is not kept}
        lanes.drop(gone)
        assert lanes.waiting() == [kept]
        assert ("a" in lanes, len(lanes)) == (False, 1), "a drain would wait for it"
        assert ids(lanes.take_ready(5)) == ["b"]

    def test_a_lane_that_was_under_way_once_goes_with_its_letters(self) -> None:
        """Its write is done: nothing keeps it any more."""
        lanes = lanes_with("a")
        (lane,) = lanes.take_ready(1)
        lane.take()
        lanes.add("a", Due("a"))
        lanes.done(lane)
        lanes.drop({id(letter) for letter in lanes.waiting()})
        assert (len(lanes), lanes.any_ready) == (0, False)

    def test_a_lane_under_way_outlives_its_dropped_letters(self) -> None:
        """It is given back with `done` in any case."""
        lanes = lanes_with("a")
        (lane,) = lanes.take_ready(1)
        lanes.drop({id(letter) for letter in lanes.waiting()})
        assert (lane.take(), "a" in lanes) == ([], True)
        lanes.done(lane)
        assert len(lanes) == 0
