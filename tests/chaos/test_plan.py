"""A round is a function of its seed, and a few rounds in a row cover everything."""

from __future__ import annotations

from tests.chaos.plan import CHAOS_S, FAULT_RATES, LOAD_S, SERVERS, CancelAt, Style, Way, plan_of
from tests.chaos.record import RECORD, read
from tests.chaos.report import table

MANY = [plan_of(seed) for seed in range(200)]


def test_a_seed_is_always_the_same_plan() -> None:
    """A failed round must be played again by its seed alone."""
    assert plan_of(4711) == plan_of(4711)
    assert plan_of(4711) != plan_of(4719)


def test_eight_seeds_meet_every_broker_and_store() -> None:
    """The ten rounds of CI must not leave a broker out, whatever seed they begin with."""
    for first in range(20):
        met = {(plan.broker, plan.store) for plan in map(plan_of, range(first, first + 8))}
        assert met == set(SERVERS)


def test_two_hundred_seeds_meet_every_fault_strike_and_customer() -> None:
    """A fault that no plan draws would not be tested: two processes of three at a time, all of them, each fault."""
    strikes = {(strike.way, len(strike.targets), strike.targets[0][:7]) for plan in MANY for strike in plan.strikes}
    for way in (Way.KILL, Way.PAUSE):
        assert {(way, 1, "nats"), (way, 1, "mongo"), (way, 1, "stripe"), (way, 1, "service")} <= strikes
        assert (way, 2, "service") in strikes
    assert (Way.TERMINATE, 1, "service") in strikes
    assert FAULT_RATES.keys() <= {fault.name for plan in MANY for fault in plan.faults}
    customers = [customer for plan in MANY for customer in plan.customers]
    assert {customer.style for customer in customers} == set(Style)
    assert {customer.cancel for customer in customers} == set(CancelAt)
    assert {plan.final_blow for plan in MANY} == {True, False}
    assert any(plan.latest_landing_s > 8 for plan in MANY)


def test_a_plan_keeps_its_bounds() -> None:
    """A round must take less than half a minute, and not overload a small machine."""
    assert all(strike.at_s <= CHAOS_S and strike.for_s <= 5.0 for plan in MANY for strike in plan.strikes)
    assert all(customer.at_s <= LOAD_S for plan in MANY for customer in plan.customers)
    assert all(40 <= len(plan.customers) <= 80 for plan in MANY)


def test_two_processes_are_only_struck_together_where_a_third_is_left() -> None:
    """Two processes are killed at a time only of three: the third must take over their work."""
    doubles = [(plan, strike) for plan in MANY for strike in plan.strikes if len(strike.targets) == 2]
    assert {plan.processes for plan, _ in doubles} == {3}
    assert all(len(set(strike.targets)) == 2 for _, strike in doubles)


def test_the_record_can_be_shown() -> None:
    """The table in the documents is generated from the record, which must have every field that the table needs."""
    assert table(read(RECORD)["rounds"]).startswith("| | rounds |")
