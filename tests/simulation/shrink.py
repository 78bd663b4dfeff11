"""A smaller plan that still breaks the same law: fewer faults, orders, requests, events and processes.

Greedy and deterministic: it removes the largest parts first, and begins anew until nothing more can go. Each try is one
simulation, so the number of tries is bounded. Must never return a plan that breaks another law. Change together with:
`plan`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import structs

from tests.simulation.plan import OrderPlan, Plan

TRIES_MAX = 400
"""Simulations at most: some seconds. A plan has some thirty parts, and each round tries all of them."""

Fails = Callable[[Plan], bool]


def shrunk(plan: Plan, fails: Fails, tries_max: int = TRIES_MAX) -> Plan:
    """The smallest plan found that still fails."""
    tries = 0
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            if tries >= tries_max:
                return plan
            tries += 1
            if fails(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Every plan that is one step smaller, from the largest step to the smallest."""
    if len(plan.strikes) > 3:
        half = len(plan.strikes) // 2
        yield structs.replace(plan, strikes=plan.strikes[:half])
        yield structs.replace(plan, strikes=plan.strikes[half:])
    for orders in _without_each(plan.orders):
        if orders:
            yield structs.replace(plan, orders=orders)
    for strikes in _without_each(plan.strikes):
        yield structs.replace(plan, strikes=strikes)
    for processes in range(1, plan.processes):
        yield structs.replace(plan, processes=processes)
    for number, order in enumerate(plan.orders):
        for less in _smaller_orders(order):
            yield structs.replace(plan, orders=(*plan.orders[:number], less, *plan.orders[number + 1 :]))


def _smaller_orders(order: OrderPlan) -> Iterator[OrderPlan]:
    for presses in _without_each(order.presses):
        yield structs.replace(order, presses=presses)
    for events in _without_each(order.events):
        yield structs.replace(order, events=events)
    for number, event in enumerate(order.events):
        if event.copies > 1:
            yield structs.replace(order, events=_with(order.events, number, structs.replace(event, copies=1)))
    for number, press in enumerate(order.presses):
        for name in ("retries", "reads"):
            if getattr(press, name) > 0:
                less = structs.replace(press, **{name: 0})
                yield structs.replace(order, presses=_with(order.presses, number, less))


def _without_each(parts: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    return (parts[:number] + parts[number + 1 :] for number in range(len(parts)))


def _with(parts: tuple[Any, ...], number: int, part: object) -> tuple[Any, ...]:
    return (*parts[:number], part, *parts[number + 1 :])
