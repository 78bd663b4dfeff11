"""What a transport's listener hears, as transcripts."""

from __future__ import annotations

import pytest

from payment.ports.transport_health import GRACE_S, TransportHealth
from tests.fakes.clock import FakeClock


class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []
        self.shown: list[str] = []

    def connected(self) -> None:
        self.heard.append("up")

    def disconnected(self, reason: str) -> None:
        self.heard.append(reason)

    def reason_changed(self, reason: str) -> None:
        self.shown.append(reason)

    def noticed(self, text: str, *, alarm: bool) -> None:
        self.heard.append(f"noticed: {text}")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def health(listener: Listener, clock: FakeClock) -> TransportHealth:
    return TransportHealth(("in", "out"), listener, clock)


def test_connected_is_told_when_every_subject_works(health: TransportHealth, listener: Listener) -> None:
    """One subject is not enough, and the second success is not told again."""
    health.well("in")
    assert listener.heard == []
    health.well("out")
    health.well("out")
    assert listener.heard == ["up"]


def test_a_loss_is_told_once_however_many_tries_fail(health: TransportHealth, listener: Listener) -> None:
    """F28: a line for the change, none for a retry."""
    health.lost("gone")
    health.lost("refused")
    health.well("in")
    health.well("out")
    assert listener.heard == ["gone", "up"]


def test_a_loss_that_needs_a_person_is_told_once_more(health: TransportHealth, listener: Listener) -> None:
    """F40: with what there is to do, and no third time in this loss; in the next one again."""
    health.persists("nothing is lost yet")
    for _ in range(2):
        health.lost("gone")
        health.persists("client id taken")
        health.persists("client id taken")
        health.well("in")
        health.well("out")
    assert listener.heard == ["gone", "client id taken", "up"] * 2


async def test_a_hiccup_is_not_told(health: TransportHealth, listener: Listener, clock: FakeClock) -> None:
    """A consumer that was made again within the grace is nobody's news."""
    health.well("in")
    health.well("out")
    health.failed("in", "consumer deleted")
    await clock.advance(GRACE_S / 2)
    health.failed("in", "consumer deleted")
    health.well("in")
    assert listener.heard == ["up"]


async def test_one_subject_in_trouble_is_told_once(
    health: TransportHealth, listener: Listener, clock: FakeClock
) -> None:
    """After the grace, with its name and reason; and the end of it is told."""
    health.well("in")
    for _ in range(5):
        health.failed("out", "no stream")
        await clock.advance(GRACE_S)
    health.well("out")
    assert listener.heard == ["out: no stream", "up"]


async def test_a_connection_that_comes_back_ailing_is_told_as_back_and_ailing(
    health: TransportHealth, listener: Listener, clock: FakeClock
) -> None:
    """What was held back for the connection can go, and the reason told is the one that holds now."""
    health.lost("gone")
    health.well("in")
    health.failed("out", "no stream")
    await clock.advance(GRACE_S)
    health.failed("out", "no stream")
    health.lost("gone again")
    assert listener.heard == ["gone", "up", "out: no stream", "gone again"]
