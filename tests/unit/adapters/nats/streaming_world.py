"""Members of one queue group over NATS Streaming, in this process or in their own; clocks that run fast or jump."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from tests.contract.transport_contract import Member
from tests.e2e.waiting import eventually
from tests.support.servers.nats_streaming import CLUSTER_ID, QUICK_HEARTBEATS, NatsStreamingServer
from tests.support.servers.process import ServerProcess

ROOT = Path(__file__).parents[4]
NEVER_S = 600
"""An ack wait in seconds that is longer than every test: a redelivery has another reason."""


class Skipping(SystemClock):
    """The machine's clock, which a test can set forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Hurried(SystemClock):
    """The machine's clock with sleeps of a tenth of their length: pings and pauses, not the network's time limits."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 10)


class MemberProcess(ServerProcess):
    """A member in its own process: `lines` returns the output of all its runs."""

    def __init__(self, folder: Path, url: str, name: str, ack_wait_s: int = NEVER_S, ack_mode: str = "ack") -> None:
        command = [
            sys.executable,
            "-m",
            "tests.unit.adapters.nats.streaming_member",
            url,
            name,
            str(ack_wait_s),
            ack_mode,
        ]
        log = folder / f"{name}.log"
        super().__init__(command, port=0, log=log, ready=self._is_up, cwd=ROOT)

    def lines(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def got(self) -> list[str]:
        return [line["got"] for line in self.lines() if "got" in line]

    def acked(self) -> list[str]:
        return [line["acked"] for line in self.lines() if "acked" in line]

    def reported(self) -> list[str]:
        return [line["reported"] for line in self.lines() if "reported" in line]

    def start(self, deadline_s: float = 15.0) -> None:
        self._earlier = len(self.reported())
        super().start(deadline_s)

    def _is_up(self) -> bool:
        return "connected" in self.reported()[self._earlier :]


class StreamingStack:
    """Members of one group, in this process or in their own, and the server."""

    def __init__(self, server: NatsStreamingServer, folder: Path) -> None:
        self.server = server
        self._folder = folder
        self._members: list[Member] = []
        self._processes: list[MemberProcess] = []

    def transport(
        self, name: str, ack_wait_s: int = NEVER_S, clock: SystemClock | None = None, cluster_id: str = CLUSTER_ID
    ) -> StreamingTransport:
        clock = clock or SystemClock()
        servers = [self.server.url]
        return StreamingTransport(
            servers, cluster_id, name, "payment-service", RandomIds(), clock, ack_wait_s=ack_wait_s
        )

    async def member(self, name: str, *subjects: str, handle: Any = None, up: bool = True, **more: Any) -> Member:
        member = Member(self.transport(name, **more), handle)
        self._members.append(member)
        await member.start(*subjects)
        return await member.up() if up else member

    async def process(self, name: str, **more: Any) -> MemberProcess:
        process = MemberProcess(self._folder, self.server.url, name, **more)
        self._processes.append(process)
        await asyncio.to_thread(process.start)
        return process

    async def restart(self) -> None:
        self.server.kill()
        await asyncio.to_thread(self.server.start)

    async def end(self) -> None:
        for process in self._processes:
            process.kill()
        for member in self._members:
            await member.stop()


async def until(met: Callable[[], bool], what: str, deadline_s: float = 15.0) -> None:
    async def holds() -> bool:
        return met()

    await eventually(holds, what, deadline_s)


def words(member: Member) -> list[str]:
    return [each.split(":")[0] for each in member.reported]


@pytest.fixture(params=["file"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[NatsStreamingServer]:
    server = NatsStreamingServer(tmp_path, memory=request.param == "memory", options=QUICK_HEARTBEATS)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture
async def stack(server: NatsStreamingServer, tmp_path: Path) -> AsyncIterator[StreamingStack]:
    stack = StreamingStack(server, tmp_path)
    yield stack
    await stack.end()
