"""Shrinking finds a small plan by itself, and never one that breaks another law."""

from __future__ import annotations

from msgspec import structs

from tests.simulation.draw import draw
from tests.simulation.plan import Plan, Strike
from tests.simulation.planted import PLAN
from tests.simulation.shrink import shrunk

GUILTY = Strike("process killed", at_s=2.0, who="p2")


def big() -> Plan:
    strikes = tuple(strike for seed in range(40) for strike in draw(seed).strikes)[:20]
    return structs.replace(PLAN, processes=3, strikes=(*strikes[:7], GUILTY, *strikes[7:]))


def test_parts_without_effect_are_removed() -> None:
    """One strike of twenty-one and one order of three are left, and nothing else that could go."""

    def fails(plan: Plan) -> bool:
        return GUILTY in plan.strikes and plan.processes >= 2 and any(order.id == "o2" for order in plan.orders)

    small = shrunk(big(), fails)
    assert small.strikes == (GUILTY,)
    assert [order.id for order in small.orders] == ["o2"]
    assert small.processes == 2
    assert small.orders[0].presses == ()
    assert small.orders[0].events == ()


def test_a_plan_that_can_lose_nothing_stays() -> None:
    """Where every part matters the plan itself is the smallest."""
    plan = big()
    assert shrunk(plan, lambda smaller: smaller == plan) == plan


def test_tries_are_bounded() -> None:
    """However large the plan is, and however easily it shrinks."""
    tried: list[Plan] = []

    def fails(plan: Plan) -> bool:
        tried.append(plan)
        return True

    shrunk(big(), fails, tries_max=5)
    assert len(tried) == 5


def test_shrinking_is_the_same_every_time() -> None:
    """A seed has one smallest transcript, on every run."""

    def fails(plan: Plan) -> bool:
        return len(plan.strikes) >= 3

    assert shrunk(big(), fails) == shrunk(big(), fails)
