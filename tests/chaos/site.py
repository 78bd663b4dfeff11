"""The servers and processes of one round: each has a name by which it is struck, and its data in the round's folder.

Owns: the processes of a round, by their pids. Must never leave one of them behind. Change together with:
`tests.e2e.stack` and `tests.support.servers`, which it combines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.plan import Plan
from tests.e2e.stack import Servers, ServiceProcess, ServiceStack
from tests.e2e.streaming import StreamingServers
from tests.support.servers.mongo import MongoJavaServer, NxServer
from tests.support.servers.nats_streaming import CLUSTER_ID
from tests.support.servers.process import ServerFailedError, ServerProcess

STORES = {"nx": NxServer, "java": MongoJavaServer}
START_TRIES = 5  # another program may use the port for a moment, for a connection of its own
START_AGAIN_S = 0.5
READY_CHECK_S = 0.1
READY_WORDS = frozenset({"ready", "degraded"})
STOP_DEADLINE_S = 35.0  # a platform kills after 30 s; the rest is for a busy machine


class Victim(ServiceProcess):
    """A process of the service that counts as started at once: in a round its servers may be away."""

    def _is_ready(self) -> bool:
        return True

    @property
    def answers(self) -> bool:
        """Whether `/readyz` reports that charges are accepted."""
        found = self.readyz()
        return found is not None and found[1]["status"] in READY_WORDS


class Site:
    """`start`, strike, `stop`. `restarts` has the time until readiness of each start of a service's process, in
    seconds.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        kind = StreamingServers if plan.broker == "streaming" else Servers
        self.plan = plan
        self.servers = kind(folder, STORES[plan.store])
        self.stack = ServiceStack(self.servers, folder)
        self.services = [self._service() for _ in range(plan.processes)]
        self.ready_s: list[float] = []
        self.faults_on = False
        self._measurements: set[asyncio.Task[None]] = set()

    @property
    def all(self) -> Mapping[str, ServerProcess]:
        """Returns everything that can be struck, by the names of a plan."""
        services = {f"service-{number}": process for number, process in enumerate(self.services)}
        return {"nats": self.servers.nats, "mongo": self.servers.mongo, "stripe": self.servers.stripe} | services

    async def start(self) -> None:
        """Start all servers, then all processes of the service, until they are ready."""
        servers = (self.servers.nats, self.servers.mongo, self.servers.stripe)
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        for process in self.services:
            process.start()
        await asyncio.gather(*(self._until_ready(process, process.pid) for process in self.services))

    async def start_again(self, name: str) -> None:
        """Start a struck target again, on its port and its data. Raises ServerFailedError where it does not start."""
        server = self.all[name]
        for tries_left in reversed(range(START_TRIES)):
            try:
                await asyncio.to_thread(server.start)
                break
            except ServerFailedError:
                if not tries_left:
                    raise
                await asyncio.sleep(START_AGAIN_S)
        if isinstance(server, Victim):
            self._measure_start(server)
        elif name == "stripe" and self.faults_on:
            await self.turn_faults_on()

    async def turn_faults_on(self) -> None:
        """Set the plan's faults and limits; those of the sandbox end with its process."""
        self.faults_on = True
        await asyncio.to_thread(self._ask_for_faults)

    async def turn_faults_off(self) -> None:
        self.faults_on = False
        await asyncio.to_thread(self.servers.stripe.well)

    async def all_ready(self) -> None:
        """Return when every started process is ready."""
        if self._measurements:
            await asyncio.gather(*self._measurements)

    async def drain(self) -> list[int | None]:
        """Send SIGTERM to every process of the service, at rest; returns their exit codes."""
        stops = (asyncio.to_thread(process.stop, STOP_DEADLINE_S) for process in self.services)
        return list(await asyncio.gather(*stops))

    def stop(self) -> None:
        """Kill all processes of the round."""
        for measurement in self._measurements:
            measurement.cancel()
        self.stack.stop()
        for server in self.all.values():
            server.kill()

    def _service(self) -> Victim:
        streaming = {"NATS_CLUSTER_ID": CLUSTER_ID} if self.plan.broker == "streaming" else {}
        wait = {"CHARGE_WAIT_S": str(self.plan.charge_wait_s), "LOG_LEVEL": "debug"}
        number = len(self.stack.processes)
        victim = Victim(self.stack.environment(**streaming, **wait), self.stack.folder / f"service-{number}.log")
        self.stack.processes.append(victim)
        return victim

    def _ask_for_faults(self) -> None:
        stripe = self.servers.stripe
        stripe.settings(rate_per_s=self.plan.rate_per_s)
        for fault in self.plan.faults:
            stripe.fault(fault.name, fault.endpoint, None, probability=fault.probability, delay_ms=fault.delay_ms)

    def _measure_start(self, process: Victim) -> None:
        # The pid is read now: the next strike may have ended the process before the task takes its first step.
        measurement = asyncio.create_task(self._until_ready(process, process.pid))
        self._measurements.add(measurement)

    async def _until_ready(self, process: Victim, pid: int) -> None:
        """Note how long the start of `pid` took; a process that is struck again before it is ready is not counted."""
        began = time.monotonic()
        while process.runs_as(pid):
            if await asyncio.to_thread(lambda: process.answers):
                self.ready_s.append(time.monotonic() - began)
                return
            await asyncio.sleep(READY_CHECK_S)
