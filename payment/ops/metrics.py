"""Every metric of the service, on a registry of its own.

Names begin with `payment_` and end in their unit. docs/log-and-metrics.md is generated from `table()`. No other module
makes a metric. No label value may come unchecked from outside: routes are templates, subjects are the contract's, and
every family has a limit of label sets all the same.

    metrics.charges("paid").inc()
    metrics.stripe_call_seconds("confirm").observe(took_s)

Change together: a new label value that is known beforehand, and `payment.known_labels`.
"""

from typing import Generic, NamedTuple, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

LABEL_SETS = 200
"""Most label sets of one family: more than all routes times all statuses. Further sets count as `other`."""
OTHER = "other"

OF_THE_DATABASE = "Read from the database, the same in each process: take the maximum, not the sum."

_CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)
"""From a round trip on this machine to the timeout of a platform's router."""
_COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 10.0)
"""From a journaled write on a local disk to the write concern's timeout."""
_BATCH_DOCUMENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""From an idle service to the largest group commit."""

# A `…_created` series for each counter doubles the exposition, and all of them hold the process's start.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


M = TypeVar("M", bound=MetricWrapperBase)


class Family(Generic[M]):
    """A metric with labels. Call it with their values: each child is made once and then looked up in a dictionary."""

    def __init__(self, metric: M) -> None:
        self.metric = metric
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *values: str) -> M:
        child = self._children.get(values)
        return self._make(values) if child is None else child

    def _make(self, values: tuple[str, ...]) -> M:
        if len(self._children) >= LABEL_SETS:
            values = (OTHER,) * len(values)
        child = self._children[values] = self.metric.labels(*values)
        return child


class MetricDescription(NamedTuple):
    """A metric as the documents list it. `name` is that of its samples: a counter's ends in `_total`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    """All metrics. Each attribute is one. Those with labels are called with their values, in the order given here."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._rows: list[MetricDescription] = []
        ProcessCollector(registry=self.registry)

        # HTTP.
        self.http_requests = self._counters(
            "payment_http_requests_total", "Requests answered, by the route's template and status.", "route", "status"
        )
        self.http_request_seconds = self._histograms(
            "payment_http_request_seconds", "Time from a request's head to its answer.", _CALL_SECONDS, "route"
        )

        self.refusals = self._counters(
            "payment_refusals_total", "Requests answered with an error, by its `code`.", "code"
        )

        # Charges.
        self.charges = self._counters("payment_charges_total", "Charges that ended, by outcome.", "outcome")
        self.charge_seconds = self._histogram(
            "payment_charge_seconds", "Time from the first request for a charge to its end.", _CALL_SECONDS
        )
        self.charge_time_seconds = self._counters(
            "payment_charge_time_seconds_total",
            "Time of ended charges by part: stripe (its calls), stripe_away (it did not answer, refused our key or "
            "asked us to wait), mongo, customer (at the bank), waiting (our own queues and the rate).",
            "where",
        )
        self.stray_charges = self._counter(
            "payment_stray_charges_total", "Succeeded charges that an order does not keep. Alert on any."
        )
        self.alarms = self._counters("payment_alarms_total", "Alarms, by the event that was logged.", "event")

        # Refunds.
        self.refunds = self._counters(
            "payment_refunds_total",
            "Refunds by outcome: refunded, blocked, failed (after it succeeded), charged_back.",
            "outcome",
        )
        self.refunds_blocked = self._state(
            "payment_refunds_blocked",
            "Refunds that Stripe blocks: failed, pending, disputed. Above 0 an operator has to act.",
        )

        # Stripe.
        self.stripe_calls = self._counters(
            "payment_stripe_calls_total", "Calls to Stripe, by kind of endpoint and by outcome.", "kind", "ending"
        )
        self.stripe_call_seconds = self._histograms(
            "payment_stripe_call_seconds", "Time of one call to Stripe.", _CALL_SECONDS, "kind"
        )
        self.stripe_pace_per_s = self._gauges(
            "payment_stripe_pace_per_s",
            "Requests a second that our rate limiters allow, by kind of endpoint, and for the account.",
            "kind",
        )
        self.stripe_waiting = self._gauges("payment_stripe_waiting", "Requests that wait for their turn.", "kind")

        # The ledger.
        self.ledger_batch_documents = self._histogram(
            "payment_ledger_batch_documents", "Documents written in one group commit.", _BATCH_DOCUMENTS
        )
        self.ledger_commit_seconds = self._histogram(
            "payment_ledger_commit_seconds", "Time of one group commit.", _COMMIT_SECONDS
        )
        self.ledger_commits = self._counters(
            "payment_ledger_commits_total",
            "Documents sent by result: written, conflict, refused, unknown or unwritable.",
            "result",
        )
        self.orders_set_aside = self._gauge(
            "payment_orders_set_aside",
            "Orders that this process has set aside: corrupt documents, unexpected exceptions.",
        )
        self.sweep_due = self._gauge("payment_sweep_due", "Orders that the last sweep found due.")

        # Events.
        self.events_received = self._counters(
            "payment_events_received_total", "Inbound events: applied, stale or dead_letter.", "subject", "outcome"
        )
        self.events_published = self._counters(
            "payment_events_published_total", "Events that the broker has stored.", "subject"
        )
        self.events_waiting = self._gauges(
            "payment_events_waiting", "Events of ours that the broker has not stored yet.", "subject"
        )
        self.dead_letters = self._counters(
            "payment_dead_letters_total", "Bad events stored whole in `dead_letters`.", "subject"
        )

        # Unsettled matters of the whole database.
        self.orders_pending = self._gauges(
            "payment_orders_pending", f"Unsettled matters of all orders, by matter. {OF_THE_DATABASE}", "matter"
        )
        self.orders_pending_oldest_seconds = self._gauges(
            "payment_orders_pending_oldest_seconds",
            f"Age of the oldest unsettled matter, 0 where there is none. {OF_THE_DATABASE}",
            "matter",
        )
        self.orders_stuck = self._state(
            "payment_orders_stuck", "Charges, refunds and events that have not been settled for a minute."
        )
        self.events_unpublished = self._state(
            "payment_events_unpublished", "Events of ours that the broker has not stored yet."
        )
        self.dead_letters_left = self._state("payment_dead_letters_left", "Dead letters in the database, old or new.")
        self.backlog_read_timestamp_seconds = self._gauge(
            "payment_backlog_read_timestamp_seconds",
            "Time of the last read of the gauges of the whole database, in seconds since 1970.",
        )

        # The process.
        self.actor_mailbox = self._gauges("payment_actor_mailbox_messages", "Messages that wait, by actor.", "actor")
        self.actor_restarts = self._counters(
            "payment_actor_restarts_total", "Restarts after a crash or a hang, by actor.", "actor"
        )
        self.dependency_up = self._gauges(
            "payment_dependency_up", "1 where a dependency is up, 0 where it is not.", "dependency"
        )

    def render(self) -> bytes:
        """Returns the metrics in Prometheus' text format, to be sent as `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def table(self) -> tuple[MetricDescription, ...]:
        """Returns a description of every metric of ours, in the order above."""
        return tuple(self._rows)

    def _counter(self, name: str, text: str) -> Counter:
        self._rows.append(MetricDescription(name, "counter", (), text))
        return Counter(name, text, registry=self.registry)

    def _counters(self, name: str, text: str, *labels: str) -> Family[Counter]:
        self._rows.append(MetricDescription(name, "counter", labels, text))
        return Family(Counter(name, text, labels, registry=self.registry))

    def _gauge(self, name: str, text: str) -> Gauge:
        self._rows.append(MetricDescription(name, "gauge", (), text))
        return Gauge(name, text, registry=self.registry)

    def _state(self, name: str, text: str) -> Gauge:
        """A gauge that is read from the database: NaN until the first read."""
        gauge = self._gauge(name, f"{text} {OF_THE_DATABASE}")
        gauge.set(float("nan"))
        return gauge

    def _gauges(self, name: str, text: str, *labels: str) -> Family[Gauge]:
        self._rows.append(MetricDescription(name, "gauge", labels, text))
        return Family(Gauge(name, text, labels, registry=self.registry))

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        self._rows.append(MetricDescription(name, "histogram", (), text))
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def _histograms(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family[Histogram]:
        self._rows.append(MetricDescription(name, "histogram", labels, text))
        return Family(Histogram(name, text, labels, buckets=buckets, registry=self.registry))
