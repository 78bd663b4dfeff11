"""The metrics, as Prometheus reads them."""

import math
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from payment.ops.metrics import CONTENT_TYPE, LABEL_SETS, MetricDescription, Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Each sample's value under its name and its labels' values."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_counted_values_are_exposed(metrics: Metrics) -> None:
    """Counters, gauges and histograms are exposed under the names of the table."""
    metrics.charges("paid").inc()
    metrics.charges("paid").inc()
    metrics.http_requests("/api/v1/payments", "201").inc()
    metrics.stripe_pace_per_s("charge").set(25)
    metrics.charge_seconds.observe(0.3)
    found = samples(metrics)
    assert found["payment_charges_total", "paid"] == 2
    assert found["payment_http_requests_total", "/api/v1/payments", "201"] == 1
    assert found["payment_stripe_pace_per_s", "charge"] == 25
    assert found["payment_charge_seconds_count",] == 1
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_every_metric_is_in_the_table_and_the_exposition() -> None:
    """The documents are made from the table, so it must list every metric."""
    metrics = Metrics()
    names = {row.name for row in metrics.table()}
    exposed = set(re.findall(r"^# TYPE (payment_\w+)", metrics.render().decode(), re.MULTILINE))
    assert exposed == names
    assert len(names) == len(metrics.table())


@pytest.mark.parametrize("row", Metrics().table(), ids=lambda row: row.name)
def test_names_have_a_unit_and_a_meaning(row: MetricDescription) -> None:
    """A counter ends in `_total`, a histogram in its unit, and each has a sentence."""
    assert re.fullmatch(r"payment(_[a-z]+)+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    assert row.kind != "histogram" or row.name.endswith(("_seconds", "_documents"))
    assert row.help.endswith(".")


def test_a_child_is_made_once(metrics: Metrics) -> None:
    """The hot path finds its child in a dictionary."""
    assert metrics.stripe_calls("charge", "charged") is metrics.stripe_calls("charge", "charged")


def test_label_sets_are_bounded(metrics: Metrics) -> None:
    """F39: with any number of label values memory stays bounded, and the sum is complete."""
    for number in range(LABEL_SETS + 50):
        metrics.events_published(f"subject {number}").inc()
    found = [value for name, value in samples(metrics).items() if name[0] == "payment_events_published_total"]
    assert len(found) == LABEL_SETS + 1
    assert sum(found) == LABEL_SETS + 50


def test_two_services_in_one_process_share_no_metric() -> None:
    """Each has a registry of its own: the simulation runs several services."""
    one, other = Metrics(), Metrics()
    one.dependency_up("nats").set(1)
    assert ("payment_dependency_up", "nats") not in samples(other)


def test_a_state_is_no_number_before_it_was_read(metrics: Metrics) -> None:
    """0 would claim that nothing is blocked before the database was read."""
    for name in ("refunds_blocked", "orders_stuck", "events_unpublished", "dead_letters_left"):
        assert math.isnan(samples(metrics)[f"payment_{name}",])
