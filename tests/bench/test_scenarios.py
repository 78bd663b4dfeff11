"""The pure parts of the scenarios: the rows of a sale and of a count of writes, and the costs of release 0.1.0."""

from collections import Counter
from typing import Any

import pytest

from bench import before
from bench.contender import INTENTS, OBVIOUS, OURS, PREPARED
from bench.load import Result
from bench.pictures import PICTURE, draw
from bench.scenarios.cpu import COMING_IN, PAYING, row_of_writes
from bench.scenarios.on_sale import LEARNED, StripeCounts, Terms, coming, details, name_of, row_of_sale, summed_up
from bench.store_count import DOCUMENTS
from bench.table import Row

ORDERS = ["o0", "o1", "o2", "o3"]


@pytest.mark.parametrize(
    ("terms", "calls", "best_s"),
    [
        (Terms(customers=3_000, endpoint_per_s=100, account_per_s=100), 1, 30.0),
        (Terms(customers=3_000, endpoint_per_s=100, account_per_s=100), 2, 60.0),
        (Terms(customers=750, endpoint_per_s=25, account_per_s=100), 1, 30.0),
        (Terms(customers=750, endpoint_per_s=25, account_per_s=100), 2, 30.0),
    ],
)
def test_the_lower_of_stripes_two_limits_bounds_a_sale(terms: Terms, calls: int, best_s: float) -> None:
    """Create and confirm are two endpoints, but one account."""
    assert terms.at_best_s(calls) == best_s


def test_all_customers_come_within_the_second_and_in_the_same_way_each_time() -> None:
    """Two sales differ only by the service."""
    assert coming(100) == coming(100) == sorted(coming(100))
    assert 0 <= coming(100)[0] <= coming(100)[-1] <= 1


def sale_row(times: dict[str, list[float]], status: list[int], found_paid: int = 1, refused: int = 0) -> Row:
    result = Result(
        which=[0, 1, 2, 3],
        sent_at=[100.0, 100.1, 100.2, 100.3],
        took_s=[1.0, 1.0, 1.0, 20.0],
        status=status,
        places={"o3": "/api/v1/payments/p3"},
    )
    counts = StripeCounts(
        charges=times, requests=Counter(create=4, confirm=4 + refused), refused=Counter(confirm=refused)
    )
    return row_of_sale(summed_up("ours", ORDERS, result, counts, 30.0, found_paid), 1.3)


PAID = {order: [101.0 + place] for place, order in enumerate(ORDERS)}
ALL_ANSWERED = [201, 201, 201, 202]


def test_a_sale_meets_its_goal_where_all_are_charged_once_in_time_and_in_order() -> None:
    """A customer who got 202 counts where the payment was found paid afterwards."""
    row = sale_row(PAID, ALL_ANSWERED)
    assert row.met is True
    assert (row.detail["done_s"], row.detail["once"], row.detail["overtaken_most_s"]) == (4.0, 4, 0.0)
    assert row.detail["charged_at_s"] == [1.0, 2.0, 3.0, 4.0]
    assert row.detail["requests_to_stripe"] == {"create": 4, "confirm": 4}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(sale_row({**PAID, "o3": [140.0]}, ALL_ANSWERED), id="late"),
        pytest.param(sale_row({**PAID, "o3": [104.0, 105.0]}, ALL_ANSWERED), id="charged twice"),
        pytest.param(sale_row({**PAID, "o0": [109.0]}, ALL_ANSWERED), id="overtaken"),
        pytest.param(sale_row(PAID, ALL_ANSWERED, found_paid=0), id="202 and not paid"),
        pytest.param(sale_row(PAID, [201, 201, 503, 202]), id="refused"),
        pytest.param(sale_row(PAID, ALL_ANSWERED, refused=1), id="429"),
    ],
)
def test_a_sale_misses_its_goal_by_any_part_of_it(row: Row) -> None:
    """Each part of the goal is checked separately."""
    assert row.met is False


def test_a_picture_is_drawn_of_the_sales_of_a_run(tmp_path: Any) -> None:
    """The sales are found by name in any order of rows."""
    names = [INTENTS, name_of(OURS, LEARNED), name_of(PREPARED, LEARNED)]
    base = sale_row(PAID, ALL_ANSWERED)
    rows = [
        Row(scenario="on_sale", what="", goal="", measured="", met=None, rounds=1, detail=base.detail | {"name": name})
        for name in names
    ]
    assert list(details(rows)) == names
    assert draw(rows, tmp_path) == [tmp_path / PICTURE]
    assert (tmp_path / PICTURE).read_text().startswith("<svg")


def writes(documents: float, at_coming: float = 1.0) -> dict[str, dict[str, float]]:
    return {COMING_IN: {"update": 0.01, DOCUMENTS: at_coming}, PAYING: {"update": 0.1, DOCUMENTS: documents}}


@pytest.mark.parametrize(("ours", "prepared", "met"), [(3.0, 3.01, True), (4.0, 3.0, False), (3.0, 4.0, False)])
def test_each_of_our_forms_may_write_three_documents_a_charge(ours: float, prepared: float, met: bool) -> None:
    """The writes of the obvious service are no part of the goal."""
    row = row_of_writes({OBVIOUS: writes(9.0), OURS: writes(ours), PREPARED: writes(prepared, 2.0)})
    assert row.met is met
    assert "ours, prepared" in row.measured
    assert "(an order 2)" in row.measured


def test_the_results_of_release_0_1_0_hold_the_cost_of_a_charge() -> None:
    """Five rounds of its own bench, each beside the limit."""
    found = before.to_limit()
    assert [round(each, 2) for each in (found.median, found.least, found.most)] == [1.10, 0.99, 1.35]
