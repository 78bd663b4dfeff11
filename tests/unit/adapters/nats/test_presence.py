"""Two living processes with one client id over JetStream: both report it, and a restart is no clash, on a real
server.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from payment.adapters.system import SystemClock
from tests.unit.adapters.nats.broker_world import jetstream, over
from tests.unit.adapters.nats.test_publish_refused import guarded, nats_server

pytestmark = [pytest.mark.servers, pytest.mark.slow]

TIMES = 20.0


class Fast(SystemClock):
    """The machine's clock, TIMES as fast: the network is not faster."""

    def monotonic(self) -> float:
        return super().monotonic() * TIMES

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / TIMES)


async def test_both_processes_report_the_clash_and_the_remaining_one_recovers(tmp_path: Path) -> None:
    """F34: each would take over the work of the other."""
    async with nats_server(tmp_path) as server, over(jetstream(server.url, "payment.1", clock=Fast())) as one:
        await one.ready()
        async with over(jetstream(server.url, "payment.1", clock=Fast())) as two:
            for each in (one, two):
                await each.degraded("another living process has the client id 'payment.1'", "NATS_CLIENT_ID", "DYNO")
        await one.ready()


async def test_another_client_id_is_no_clash(tmp_path: Path) -> None:
    """Each dyno has its own: a minute beside another one is silent."""
    async with (
        nats_server(tmp_path) as server,
        over(jetstream(server.url, "payment-web-1", clock=Fast())) as one,
        over(jetstream(server.url, "payment-web-2", clock=Fast())) as two,
    ):
        await one.ready()
        await two.ready()
        await asyncio.sleep(80 / TIMES)
        assert one.up == two.up == [True]


async def test_processes_that_follow_one_another_are_no_clash(tmp_path: Path) -> None:
    """A restart: the old one drains for half a minute while the new one starts; and so again."""
    async with nats_server(tmp_path) as server, over(jetstream(server.url, "payment", clock=Fast())) as one:
        await one.ready()
        for _ in range(3):
            async with over(jetstream(server.url, "payment", clock=Fast())) as two:
                await two.ready()
                await asyncio.sleep(30 / TIMES)
        assert one.up == [True]


@pytest.mark.parametrize("direction", ["publish", "subscribe"])
async def test_a_denied_presence_subject_is_noticed_once(tmp_path: Path, direction: str) -> None:
    """Nothing else is affected: the service is ready, and there is one remark."""
    async with (
        nats_server(tmp_path, guarded("_payment.>", direction)) as server,
        over(jetstream(server.url_for("pay", "pay-pass"), clock=Fast())) as one,
    ):
        await one.until(lambda: one.alarms("broker_notice"), "it is noticed")
        await one.ready()
        await asyncio.sleep(30 / TIMES)
        (notice,) = one.alarms("broker_notice")
        assert "permission denied" in notice["reason"]
        assert notice["log_level"] == "info"
