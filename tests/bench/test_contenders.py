"""Each contender pays orders through the stand-in for Stripe."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.bench import Bench
from bench.contender import INTENTS, LIMIT, OBVIOUS, OURS, PREPARED, new_orders
from bench.load import Job
from bench.progress import Progress

pytestmark = [pytest.mark.servers, pytest.mark.slow]
ORDERS = 3


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder), Progress({}), quick=True) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "endpoints"),
    [
        (LIMIT, {"charge"}),
        (OBVIOUS, {"charge"}),
        (INTENTS, {"create"}),
        (OURS, {"create", "confirm"}),
        (PREPARED, {"create", "confirm"}),
    ],
)
def test_a_contender_charges_each_order_once(bench: Bench, name: str, endpoints: set[str]) -> None:
    """It makes as many calls to Stripe as the bench declares for it."""
    contender = bench.contender(name)
    bench.stripe()
    orders = new_orders(ORDERS)
    contender.take_in(orders)
    before = bench.audit()
    found = bench.load(Job(port=contender.port, orders=orders, clients=1))
    after = bench.audit()
    bench.dismiss(contender)
    assert found.status == [201] * ORDERS
    assert sum(len(each) for each in after["charges"].values()) == ORDERS
    assert set(after["requests"]) == endpoints
    calls = sum(after["requests"].values()) - sum(before["requests"].values())
    assert calls == ORDERS * contender.calls_a_charge
