"""The calls of a transport's listener, as transcripts."""

from __future__ import annotations

import pytest

from payment.adapters.nats.transport_health import GRACE_S, NOTIFY_AGAIN_AFTER_S, TransportHealth
from tests.support.fakes.clock import FakeClock


class Listener:
    def __init__(self) -> None:
        self.received: list[str] = []
        self.shown: list[str] = []

    def connected(self) -> None:
        self.received.append("up")

    def disconnected(self, reason: str) -> None:
        self.received.append(reason)

    def reason_changed(self, reason: str) -> None:
        self.shown.append(reason)

    def noticed(self, text: str, *, alarm: bool) -> None:
        self.received.append(f"noticed: {text}")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(listener: Listener, clock: FakeClock) -> TransportHealth:
    return TransportHealth(("in", "out"), listener, clock)


def test_connected_is_reported_when_every_subject_works(health: TransportHealth, listener: Listener) -> None:
    """One subject is not enough, and the second success is not reported again."""
    health.well("in")
    assert listener.received == []
    health.well("out")
    health.well("out")
    assert listener.received == ["up"]


def test_a_loss_is_reported_once_however_many_tries_fail(health: TransportHealth, listener: Listener) -> None:
    """F28: a line for the change, none for a retry."""
    health.lost("gone")
    health.lost("refused")
    health.well("in")
    health.well("out")
    assert listener.received == ["gone", "up"]


def test_a_loss_that_needs_an_operator_is_reported_once_more(health: TransportHealth, listener: Listener) -> None:
    """F40: with what to do, and no third time in this loss; in the next one again."""
    health.persists("nothing is lost yet")
    for _ in range(2):
        health.lost("gone")
        health.persists("client id taken")
        health.persists("client id taken")
        health.well("in")
        health.well("out")
    assert listener.received == ["gone", "client id taken", "up"] * 2


async def test_a_short_trouble_is_not_reported(health: TransportHealth, listener: Listener, clock: FakeClock) -> None:
    """A consumer that was created again within GRACE_S is not reported."""
    health.well("in")
    health.well("out")
    health.failed("in", "consumer deleted")
    await clock.advance(GRACE_S / 2)
    health.failed("in", "consumer deleted")
    health.well("in")
    assert listener.received == ["up"]


async def test_one_subject_in_trouble_is_reported_once(
    health: TransportHealth, listener: Listener, clock: FakeClock
) -> None:
    """After GRACE_S, with its name and reason; its end is reported too."""
    health.well("in")
    for _ in range(5):
        health.failed("out", "no stream")
        await clock.advance(GRACE_S)
    health.well("out")
    assert listener.received == ["out: no stream", "up"]


async def test_a_connection_that_comes_back_with_trouble_is_reported_as_back_and_troubled(
    health: TransportHealth, listener: Listener, clock: FakeClock
) -> None:
    """Events that waited for the connection can go out, and the reported reason is the current one."""
    health.lost("gone")
    health.well("in")
    health.failed("out", "no stream")
    await clock.advance(GRACE_S)
    health.failed("out", "no stream")
    health.lost("gone again")
    assert listener.received == ["gone", "up", "out: no stream", "gone again"]


async def test_a_second_trouble_beside_the_first_is_reported_too(
    health: TransportHealth, listener: Listener, clock: FakeClock
) -> None:
    """F53: each once; subjects with one reason are grouped; the end of one trouble is shown and not reported."""
    health.failed("out", "full", "settings")
    for _ in range(3):
        health.failed("in", "no stream")
        await clock.advance(GRACE_S)
    health.failed("out", "no stream")
    await clock.advance(GRACE_S)
    health.failed("out", "no stream")
    assert listener.received == ["in: no stream; out: full"]
    assert listener.shown == ["in, out: no stream; out: full"]
    await clock.advance(NOTIFY_AGAIN_AFTER_S)
    health.failed("out", "no stream")
    assert listener.received == ["in: no stream; out: full", "in, out: no stream; out: full"]
    health.well("out", "settings")
    assert len(listener.received) == 2
    assert listener.shown[1:] == ["in, out: no stream"]
    health.well("in")
    health.well("out")
    assert listener.received[2:] == ["up"]


async def test_something_about_a_subject_does_not_make_it_tried(health: TransportHealth, listener: Listener) -> None:
    """F53: good settings are no evidence that events come."""
    health.well("in", "settings")
    health.well("out", "settings")
    assert listener.received == []


def test_another_reason_of_one_loss_is_shown(health: TransportHealth, listener: Listener) -> None:
    """F28: `/readyz` has the current reason, and the log has one line."""
    for reason in ("gone", "refused", "refused", "wrong password"):
        health.lost(reason)
    assert (listener.received, listener.shown) == (["gone"], ["refused", "wrong password"])
