"""Whether the store can be used, by evidence: losses, what ends them, how often, and the indexes (F25, F52)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from payment.actors.ledger.store_state import (
    HOLD,
    INDEXES_AGAIN_S,
    PROVED_FOR_S,
    REASON_AGAIN_S,
    STEADY_S,
    STORE_PROBE_EVERY_S,
    StoreState,
)
from payment.core.order import Order
from payment.ports.store import CorruptDocument, StoreUnavailable
from tests.support.fakes.store import FakeStore
from tests.unit.actors.ledger.ledger_world import Ledger, World, world
from tests.unit.ops.capture import Log
from tests.unit.ops.conftest import log_as_it_was

__all__ = ["log_as_it_was"]


class SlowSweep(FakeStore):
    """Reads every order for a sweep, and does not end in time."""

    async def due(self, now: datetime, holder: str | None, limit: int) -> list[Order | CorruptDocument]:
        self.calls["due"] += 1
        raise StoreUnavailable("timed out")


class Watched:
    """A ledger whose store's losses and returns are read off the log."""

    def __init__(self, stack: World, ledger: Ledger, log: Log) -> None:
        self.stack, self.ledger, self.log = stack, ledger, log
        self.store: FakeStore = stack.store
        self.state: StoreState = ledger.actor._state

    async def advance(self, seconds: float) -> None:
        await self.stack.clock.advance(seconds)

    def lines(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log.lines if line["event"] == event]

    @property
    def why(self) -> str:
        return self.ledger.health.view().dependencies["mongodb"].why or ""


@pytest.fixture
async def watched(log_as_it_was: None) -> AsyncIterator[Watched]:
    log = Log("info")
    async with world() as stack:
        yield Watched(stack, await stack.ledger(), log)


async def test_a_process_without_traffic_notices_that_writes_are_refused(watched: Watched) -> None:
    """F52: readiness is wrong for less than ten seconds, and has the store's own words."""
    await watched.advance(60)
    watched.store.refuses = "not enough disk space (OutOfDiskSpace, 14031)"
    await watched.advance(PROVED_FOR_S + STORE_PROBE_EVERY_S)
    assert not watched.ledger.up
    assert watched.why == "not enough disk space (OutOfDiskSpace, 14031)"


async def test_a_confirmed_write_is_proof_enough(watched: Watched) -> None:
    """No probe is made beside a steady traffic of writes."""
    await watched.advance(10)
    probes = watched.store.calls["probe"]
    for number in range(20):
        await watched.ledger.order(f"o{number}")
        await watched.advance(1.0)
    assert watched.store.calls["probe"] == probes


async def test_a_store_that_answers_pings_and_takes_no_writes_is_not_back(watched: Watched) -> None:
    """F52: back is believed when a probe was written, and not before."""
    watched.store.away = "gone"
    await watched.advance(5)
    watched.store.away, watched.store.refuses = None, "read only"
    await watched.advance(60)
    assert not watched.ledger.up
    assert watched.why == "read only"
    assert len(watched.lines("dependency_back")) == 0
    watched.store.refuses = None
    await watched.advance(1)
    assert watched.ledger.up


async def test_a_probe_that_passes_clears_a_lost_answer(watched: Watched) -> None:
    """F26: one lost answer is no outage."""
    watched.store.lose_answers = 1
    await watched.ledger.order()
    assert watched.ledger.up
    assert watched.lines("dependency_lost") == []


async def test_losses_and_returns_of_a_flapping_store_are_few(watched: Watched) -> None:
    """F52: it passes every probe and fails the rest: 600 pairs a second were logged. A minute makes some fifteen."""
    for _ in range(600):
        await watched.state.failed("no data")
        await watched.state.failed("no data")
        await watched.advance(0.1)
    lost, back = watched.lines("dependency_lost"), watched.lines("dependency_back")
    assert 10 < len(lost) <= 60 / HOLD.longest_s + 4
    assert abs(len(lost) - len(back)) <= 1


async def test_a_loss_and_the_next_return_are_half_a_second_apart(watched: Watched) -> None:
    """F52: though the probe passes; and after a steady time no longer than that."""
    await watched.advance(STEADY_S)
    watched.store.away = "gone"
    await watched.state.check()
    watched.store.away = None
    await watched.advance(STORE_PROBE_EVERY_S - 0.01)
    assert not watched.ledger.up
    await watched.advance(0.02)
    assert watched.ledger.up


async def test_a_commit_outweighs_a_probe_that_fails_beside_it(watched: Watched) -> None:
    """A store that is slow, and takes writes, is not away."""
    watched.store.stall("probe")
    await watched.advance(PROVED_FOR_S + 1)
    await watched.ledger.order()
    watched.store.probe_fails = "no answer within 4 s"
    watched.store.go_on()
    await watched.advance(0.01)
    assert watched.ledger.up


async def test_a_new_reason_of_one_outage_is_logged_and_no_more_often_than_needed(watched: Watched) -> None:
    """F52: the connection was lost, and the server that is back refuses writes: both stand in the log."""
    watched.store.away = "connection refused"
    await watched.advance(PROVED_FOR_S + 1)
    watched.store.away, watched.store.refuses = None, "read only"
    await watched.advance(REASON_AGAIN_S + 60)
    assert [line["reason"] for line in watched.lines("dependency_lost")] == ["connection refused", "read only"]


async def test_charges_are_taken_while_indexes_are_made(watched: Watched) -> None:
    """F52: their server may need minutes; the sweep goes on, more slowly."""
    stack = watched.stack
    stack.store.missing = ("due_ms", "payment")
    stack.store.stall("prepare")
    ledger = await stack.ledger("web-2")
    await ledger.order("o9")
    await ledger.ask("o9")
    assert ledger.one_to_stripe().order_id == "o9"
    shown = ledger.health.view().dependencies["mongodb"]
    assert (shown.up, "due_ms, payment" in (shown.why or "")) == (True, True)
    swept = stack.store.calls["due"]
    await stack.clock.advance(60)
    assert 6 <= stack.store.calls["due"] - swept - 60 <= 12, "one ledger sweeps each second, the other every ten"
    stack.store.go_on()
    await stack.clock.advance(1)
    assert ledger.health.view().dependencies["mongodb"].why is None


async def test_indexes_that_can_not_be_made_are_tried_again(watched: Watched) -> None:
    """F52: without the right to make them: degraded, with the reason; charges are taken, the store is up."""
    stack = watched.stack
    stack.store.missing, stack.store.index_fails = ("due_ms",), "not authorized"
    ledger = await stack.ledger("web-2")
    await stack.clock.advance(5)
    shown = ledger.health.view().dependencies["mongodb"]
    assert (shown.up, "not authorized" in (shown.why or "")) == (True, True)
    stack.store.index_fails = None
    await stack.clock.advance(INDEXES_AGAIN_S)
    assert ledger.health.view().dependencies["mongodb"].why is None
    assert [line["event"] for line in watched.log.lines if line["event"].startswith("indexes")] == [
        "indexes_missing",
        "indexes_failed",
        "indexes_missing",
        "indexes_made",
    ]


async def test_a_sweep_that_has_no_index_and_takes_too_long_is_no_outage(watched: Watched) -> None:
    """F52: 300,000 orders without an index: the sweep times out, and customers pay."""

    store = SlowSweep(watched.store.database)
    store.missing = ("due_ms",)
    store.stall("prepare")
    ledger = Ledger(store, watched.stack.clock, "web-3")
    watched.stack.ledgers.append(ledger)
    await ledger.start()
    await watched.advance(60)
    assert ledger.up
    assert store.calls["due"] < 12
    store.go_on()
    await watched.advance(20)
    assert not ledger.up or len(watched.lines("dependency_lost")) > 0, "with its index a failing sweep is an outage"


async def test_callers_that_fail_together_share_a_probe(watched: Watched) -> None:
    """A cut connection fails two commits and a read at once."""
    watched.store.stall("probe")
    probes = watched.store.calls["probe"]
    checks = [asyncio.create_task(watched.state.failed("cut")) for _ in range(3)]
    await watched.stack.clock.settle()
    watched.store.go_on()
    assert await asyncio.gather(*checks) == [True, True, True]
    assert watched.store.calls["probe"] - probes <= 2
    assert watched.ledger.up
