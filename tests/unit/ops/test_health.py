"""The body of `/readyz`, and the two log lines of an outage."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from payment.ops.health import ORDERS_REMEMBERED_LIMIT, SILENCE_S, Dependency, Health, Phase, Status
from payment.ops.redaction import MASK, Redactor
from tests.unit.ops.capture import Log

START = datetime(2024, 5, 1, 12, tzinfo=UTC)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed_s)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def health(clock: HandClock, log: Log) -> Health:
    """Every dependency is up."""
    health = Health(clock)
    for dependency in Dependency:
        health.mark_up(dependency)
    health.ready()
    return health


def test_all_up_and_ready_is_ready(health: Health) -> None:
    """200, ready, and each dependency with its time."""
    view = health.view()
    assert (view.status, view.http_status, view.phase) == (Status.READY, 200, Phase.READY)
    assert list(view.dependencies) == ["http", "mongodb", "nats", "stripe"]
    assert view.dependencies["nats"].since == "2024-05-01T12:00:00.000Z"
    assert view.dependencies["nats"].why is None


def test_starting_and_stopping_are_unavailable(clock: HandClock, health: Health) -> None:
    """No charge is accepted before every actor runs, nor after a SIGTERM."""
    starting = Health(clock)
    assert (starting.status, starting.view().http_status) == (Status.UNAVAILABLE, 503)
    assert starting.view().dependencies["stripe"].why == "not reached yet"
    health.stopping()
    assert health.view().http_status == 503


def test_without_mongodb_no_charge_is_taken(health: Health) -> None:
    """F25: 503, and it names the one that is missing, with the reason."""
    health.mark_down(Dependency.MONGODB, "no primary")
    view = health.view()
    assert (view.status, view.http_status) == (Status.UNAVAILABLE, 503)
    assert view.dependencies["mongodb"].why == "no primary"
    assert view.dependencies["nats"].up


def test_without_nats_charges_are_taken_and_events_wait(health: Health) -> None:
    """F28: 200 and degraded."""
    health.mark_down(Dependency.NATS, "connection refused")
    assert (health.status, health.view().http_status) == (Status.DEGRADED, 200)


def test_a_note_degrades_what_is_up_and_is_shown_with_it(health: Health) -> None:
    """F52: while an index is made charges are accepted, and `/readyz` shows what waits and why, without credentials."""
    health.note(Dependency.MONGODB, "an index is missing at mongodb://u:hunter2@h/db")
    shown = health.view()
    assert (shown.status, shown.http_status) == (Status.DEGRADED, 200)
    assert shown.dependencies["mongodb"].up
    assert "an index is missing" in (shown.dependencies["mongodb"].why or "")
    assert "hunter2" not in str(shown)
    health.mark_down(Dependency.MONGODB, "gone")
    assert health.view().dependencies["mongodb"].why == "gone"
    health.mark_up(Dependency.MONGODB)
    health.note(Dependency.MONGODB, None)
    assert (health.status, health.view().dependencies["mongodb"].why) == (Status.READY, None)


def test_a_refused_key_stops_charges_until_an_answer(health: Health) -> None:
    """F36: 503 while Stripe refuses our key; a lost answer in between changes nothing."""
    health.mark_down(Dependency.STRIPE, "401: invalid key", blocks_charges=True)
    health.mark_silent(Dependency.STRIPE, "timed out")
    assert (health.status, health.view().dependencies["stripe"].why) == (Status.UNAVAILABLE, "401: invalid key")
    health.mark_up(Dependency.STRIPE)
    assert health.status is Status.READY


def test_stripe_is_away_once_it_was_silent_for_ten_seconds(clock: HandClock, health: Health, log: Log) -> None:
    """One lost answer is no outage; ten seconds without any are, counted from the first lost one."""
    health.mark_silent(Dependency.STRIPE, "timed out")
    clock.elapsed_s += SILENCE_S - 1
    before = health.status
    clock.elapsed_s += 1
    assert (before, health.status) == (Status.READY, Status.DEGRADED)
    assert health.view().dependencies["stripe"].why == "timed out"
    clock.elapsed_s += 5
    health.mark_up(Dependency.STRIPE)
    assert log.events == ["dependency_lost", "dependency_back"]
    assert log.lines[1]["gone_ms"] == 15_000


def test_an_answer_ends_a_silence(clock: HandClock, health: Health) -> None:
    """The ten seconds begin anew after each answer."""
    health.mark_silent(Dependency.STRIPE, "timed out")
    clock.elapsed_s += SILENCE_S - 1
    health.mark_up(Dependency.STRIPE)
    health.mark_silent(Dependency.STRIPE, "timed out")
    clock.elapsed_s += SILENCE_S - 1
    assert health.is_up(Dependency.STRIPE)


def test_an_outage_is_two_lines_however_often_it_is_retried(clock: HandClock, health: Health, log: Log) -> None:
    """One line when it is lost, one when it is back with the length of the outage; none for a retry."""
    for attempt in range(20):
        health.mark_down(Dependency.NATS, f"try {attempt} failed")
        clock.elapsed_s += 0.5
    for _ in range(3):
        health.mark_up(Dependency.NATS)
    assert log.events == ["dependency_lost", "dependency_back"]
    assert log.lines[0]["dependency"] == "nats"
    assert log.lines[1]["gone_ms"] == 10_000


def test_the_reason_and_the_time_shown_are_the_latest_and_the_first(clock: HandClock, health: Health) -> None:
    """`since` is the begin of the outage; `why` is the last reason."""
    clock.elapsed_s = 1
    health.mark_down(Dependency.NATS, "refused")
    clock.elapsed_s = 5
    health.mark_down(Dependency.NATS, "no route")
    view = health.view().dependencies["nats"]
    assert (view.since, view.why) == ("2024-05-01T12:00:01.000Z", "no route")


def test_an_outage_that_begins_to_block_charges_is_logged_again(health: Health, log: Log) -> None:
    """Stripe is silent, then refuses our key: the second is logged too."""
    health.mark_down(Dependency.STRIPE, "no answer")
    health.mark_down(Dependency.STRIPE, "401", blocks_charges=True)
    health.mark_down(Dependency.STRIPE, "401", blocks_charges=True)
    assert [line["blocks_charges"] for line in log.lines] == [False, True]


def test_a_new_reason_is_logged_again(health: Health, log: Log) -> None:
    """F40: an outage that an operator must end is logged with what to do."""
    health.mark_down(Dependency.NATS, "connection reset", again=True)
    health.mark_down(Dependency.NATS, "another client has our id", again=True)
    assert [line["reason"] for line in log.lines] == ["connection reset", "another client has our id"]
    assert health.view().dependencies["nats"].why == "another client has our id"


def test_a_dependency_that_was_never_up_is_lost_once_and_then_back(clock: HandClock, log: Log) -> None:
    """A service that starts without its database logs that, and logs when the database is back."""
    health = Health(clock)
    health.mark_down(Dependency.MONGODB, "refused")
    health.mark_down(Dependency.MONGODB, "refused")
    clock.elapsed_s += 3
    health.mark_up(Dependency.MONGODB)
    assert log.events == ["dependency_lost", "dependency_back"]
    assert log.lines[1]["gone_ms"] == 3_000


def test_a_first_answer_is_no_recovery(clock: HandClock, log: Log) -> None:
    """A dependency that answers at the start was not lost, so no line says that it is back."""
    Health(clock).mark_up(Dependency.NATS)
    assert log.events == []


def test_no_credential_is_shown(health: Health) -> None:
    """A reason may quote an address with a password in it."""
    health.mark_down(Dependency.MONGODB, "mongodb://u:hunter2@db refused")
    assert "hunter2" not in repr(health.view())


def test_each_change_is_reported_once(clock: HandClock, log: Log) -> None:
    """`on_change` is called for changes, not for every report."""
    changes: list[tuple[Dependency, bool]] = []
    health = Health(clock, on_change=lambda dependency, up: changes.append((dependency, up)))
    for _ in range(2):
        health.mark_up(Dependency.NATS)
    for _ in range(2):
        health.mark_down(Dependency.NATS, "refused")
    assert changes == [(Dependency.NATS, True), (Dependency.NATS, False)]


def test_a_silence_begins_with_the_call_that_was_never_answered(health: Health, clock: HandClock) -> None:
    """A call without an answer for 8 s is 8 s of silence, but none of it lies before the last answer."""
    health.mark_up(Dependency.STRIPE)
    clock.elapsed_s += 8
    health.mark_silent(Dependency.STRIPE, "timed out", 8.0)
    clock.elapsed_s += 1.9
    assert health.is_up(Dependency.STRIPE)
    clock.elapsed_s += 0.2
    assert not health.is_up(Dependency.STRIPE)
    health.mark_up(Dependency.STRIPE)
    health.mark_silent(Dependency.STRIPE, "timed out", 8.0)
    clock.elapsed_s += 9
    assert health.is_up(Dependency.STRIPE)


def test_trouble_is_a_reason_and_a_time(health: Health, clock: HandClock) -> None:
    """The reason on the line of a stuck order is that of `/readyz`."""
    assert health.trouble(Dependency.NATS) is None
    clock.elapsed_s = 1
    health.mark_down(Dependency.NATS, "refused")
    assert health.trouble(Dependency.NATS) == "refused, since 2024-05-01T12:00:01.000Z"


def test_notes_of_orders_are_kept_scrubbed_and_bounded(clock: HandClock) -> None:
    """F31: for the line of a stuck order. The oldest are dropped first."""
    health = Health(clock, Redactor(["hunter2222"]))
    assert health.order_note(Dependency.STRIPE, "o1") is None
    health.note_order(Dependency.STRIPE, "o1", "no permission for hunter2222")
    assert health.order_note(Dependency.STRIPE, "o1") == f"no permission for {MASK}"
    assert health.order_note(Dependency.NATS, "o1") is None
    for number in range(ORDERS_REMEMBERED_LIMIT):
        health.note_order(Dependency.STRIPE, f"other {number}", "x")
    assert health.order_note(Dependency.STRIPE, "o1") is None
    health.note_order(Dependency.STRIPE, "other 5", None)
    assert health.order_note(Dependency.STRIPE, "other 5") is None


def test_a_dependency_without_a_report_is_not_known(clock: HandClock) -> None:
    """The start waits for the first result, whether good, bad or silence."""
    finds: tuple[Callable[[Health], None], ...] = (
        lambda health: health.mark_up(Dependency.STRIPE),
        lambda health: health.mark_down(Dependency.STRIPE, "refused"),
        lambda health: health.mark_silent(Dependency.STRIPE, "no answer"),
    )
    for find in finds:
        health = Health(clock)
        assert not health.is_known(Dependency.STRIPE)
        find(health)
        assert health.is_known(Dependency.STRIPE)


def test_an_answer_ends_a_silence_without_marking_it_up(health: Health, clock: HandClock) -> None:
    """A Stripe that refuses our key does answer."""
    health.mark_silent(Dependency.STRIPE, "no answer", 9.0)
    health.answered(Dependency.STRIPE)
    clock.elapsed_s += SILENCE_S
    assert health.is_up(Dependency.STRIPE)
