"""A line gives turns in the order of places, whatever comes, goes and comes again."""

import time

from payment.actors.pace import Pace
from payment.actors.stripe_lines import Entry, Line

from tests.actors.stripe_world import finding


def a_line(limit: int = 100) -> Line:
    return Line("find", Pace(100.0, 0.0), limit)


def entry(place: int) -> Entry:
    return Entry(finding(str(place)), (0.0, place), 0.0)


def test_first_come_first_served_also_for_those_that_have_to_go_again() -> None:
    """F14: who was refused for the pace stands where it stood."""
    line = a_line()
    entries = {place: entry(place) for place in (3, 1, 2, 4)}
    for each in entries.values():
        line.add(each)
    first = line.take(0.0)
    assert (first.place[1], len(line)) == (1, 3)
    line.add(first)
    assert [line.take(0.0).place[1] for _ in range(4)] == [1, 2, 3, 4]
    assert not line.may_go


def test_what_was_taken_out_has_no_turn_unless_it_comes_again() -> None:
    """Taken out and put in again it has one turn, at its own place."""
    line = a_line()
    one, two = entry(1), entry(2)
    line.add(one)
    line.add(two)
    line.remove(one)
    line.remove(one)
    assert len(line) == 1
    line.add(one)
    assert [line.take(0.0).place[1], line.take(0.0).place[1]] == [1, 2]
    line.remove(two)
    assert (line.may_go, len(line)) == (False, 0)


def test_no_more_than_the_limit_are_under_way() -> None:
    """F39: a Stripe that hangs holds only so many connections."""
    line = a_line(limit=2)
    for place in range(3):
        line.add(entry(place))
    line.take(0.0)
    line.take(0.0)
    assert not line.may_go
    line.left()
    assert line.may_go


def test_thousands_may_leave_a_line_at_once() -> None:
    """F33: a drain of a full line takes a moment, and what is gone takes no room."""
    line, entries = a_line(), [entry(place) for place in range(12_000)]
    for each in entries:
        line.add(each)
    began = time.process_time()
    for each in reversed(entries):
        line.remove(each)
    assert time.process_time() - began < 1.0
    assert len(line) == 0
    assert len(line._ready._places) <= 64
