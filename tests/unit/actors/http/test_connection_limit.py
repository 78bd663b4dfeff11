"""`payment.actors.http.connection_limit`: clients never take the descriptors that a charge needs."""

import pytest

from payment.actors.http.connection_limit import (
    ACCEPTED_MAX,
    CONNECTIONS_LEAST,
    CONNECTIONS_MAX,
    OTHER_DESCRIPTORS,
    SPARED_S,
    STORE_DESCRIPTORS,
    ConnectionLimit,
    IdleConnections,
    connection_limit_within,
)

STRIPE_CONNECTIONS = 301
"""What `payment.actors.stripe.queues` asks for."""


@pytest.mark.parametrize("descriptors", [64, 256, 512, 1_024, 2_560, 4_096, 10_240, 32_768, 65_536, 2**30])
def test_what_stripe_and_the_store_need_is_left(descriptors: int) -> None:
    """F51: their reserve, or half of all where there are few."""
    room = connection_limit_within(descriptors, STRIPE_CONNECTIONS)
    left = descriptors - room.connections - room.accepted
    assert left >= min(STRIPE_CONNECTIONS + STORE_DESCRIPTORS + OTHER_DESCRIPTORS, descriptors // 2)
    assert CONNECTIONS_LEAST <= room.connections <= CONNECTIONS_MAX
    assert 1 <= room.accepted <= ACCEPTED_MAX


def test_as_many_as_are_wanted_fit_into_the_limit_that_is_asked_for() -> None:
    """What `payment.process.file_limit` raises it to."""
    assert connection_limit_within(32_768, STRIPE_CONNECTIONS) == ConnectionLimit(CONNECTIONS_MAX, 8_073)


class Socket:
    """A connection that notes when it is closed."""

    def __init__(self, closed: list[str], name: str) -> None:
        self.closed, self.name = closed, name

    def force_close(self) -> None:
        self.closed.append(self.name)


class Times:
    """An event loop's clock."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s


class Idle:
    """Connections by name, and those that were closed."""

    def __init__(self) -> None:
        self.times = Times()
        self.closed: list[str] = []
        self.idle = IdleConnections(self.times)  # type: ignore[arg-type]

    def connection(self, name: str) -> Socket:
        made = Socket(self.closed, name)
        self.idle.opened(made)
        return made


def test_one_that_never_sent_a_request_is_closed_first() -> None:
    """Then the one that has been idle longest; one with a request under way never."""
    here = Idle()
    busy, old, new = (here.connection(name) for name in ("busy", "old", "new"))
    here.connection("silent")
    for each in (busy, old, new):
        here.idle.busy(each)
    for each in (old, new):
        here.idle.answered(each)
    here.times.now_s += SPARED_S
    assert [here.idle.close_one() for _ in range(4)] == [True, True, True, False]
    assert here.closed == ["silent", "old", "new"]


def test_one_that_waits_for_its_turn_is_closed_last() -> None:
    """After those for which nothing waits; not once its turn has come."""
    here = Idle()
    waits, handled = here.connection("waits"), here.connection("handled")
    for each in (waits, handled):
        here.idle.awaits_turn(each)
    here.idle.busy(handled)
    here.connection("silent")
    here.times.now_s += SPARED_S
    assert [here.idle.close_one() for _ in range(3)] == [True, True, False]
    assert here.closed == ["silent", "waits"]


def test_a_connection_is_spared_for_a_moment() -> None:
    """The first request of a new client is on its way; what was idle before it goes first."""
    here = Idle()
    old = here.connection("old")
    here.idle.busy(old)
    here.idle.answered(old)
    here.times.now_s += SPARED_S
    here.connection("new")
    assert [here.idle.close_one() for _ in range(2)] == [True, False]
    assert here.closed == ["old"]
    here.times.now_s += SPARED_S
    assert here.idle.close_one()
    assert here.closed == ["old", "new"]


def test_one_that_asks_again_is_last() -> None:
    """Between two requests its time begins anew."""
    here = Idle()
    first, second = here.connection("first"), here.connection("second")
    for each in (first, second, first):
        here.idle.busy(each)
        here.idle.answered(each)
    here.times.now_s += SPARED_S
    here.idle.close_one()
    assert here.closed == ["second"]
