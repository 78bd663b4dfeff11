"""A process of the service: it starts, dies, pauses, wakes, stops, and starts again under the same client id.

Each start is a new incarnation: a new owner of handles, a new `Service`, new ports. A killed process leaves behind only
what it has sent: nothing else of it acts any more. Its wall clock is the machine's, and outlives it.
"""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from payment.ops.metrics import Metrics
from payment.ops.secret import Secret
from payment.service import MailboxLimits, Ports, Service
from payment.settings.environment import Settings
from tests.simulation.bus import GROUP, SimTransport
from tests.simulation.clock import SimClock, SimIds
from tests.simulation.journal import Exited, Killed, Paused, Started, Stopping, Woken
from tests.simulation.loop import Owner
from tests.simulation.network import HostListening
from tests.simulation.store import SimStore
from tests.simulation.stripe import SimCards

if TYPE_CHECKING:
    from contextvars import Context

    from tests.simulation.world import World

JWT_KEY = "a secret of 32 bytes: simulated!"
CHARGE_WAIT_S = 6.0
"""Shorter than in production: an idle second costs a simulation as much as a busy one."""
DEPLOY_S = 1.5
"""How long an operator takes to start a process with another key, in seconds: the old one's requests have landed by
then."""
CRASHED = 1
"""The exit code of a process with an uncaught exception."""


class _Uncounted:
    """Any metric, with any labels."""

    def __call__(self, *_labels: str) -> "_Uncounted":
        return self

    def inc(self, _amount: float = 1) -> None:
        """Count nothing."""

    def set(self, _value: float) -> None:
        """As above."""

    observe = set


class _NoMetrics(Metrics):
    """No code decides by metrics, and no client requests them from a simulated process."""

    def _counter(self, *_: object, **_by_name: object) -> Any:
        return _UNCOUNTED

    _counters = _gauge = _gauges = _histogram = _histograms = _counter


_UNCOUNTED = _Uncounted()
_NO_METRICS = _NoMetrics()


class Process:
    """One process. `name` is its client id and its address."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.clock = SimClock(world.loop)
        self.owner = Owner(name)
        self.owner.alive = False
        self.incarnation = 0
        self.limits: MailboxLimits | None = None
        self.service: Service | None = None
        self.running_since_s = 0.0
        """Since when the process runs without a break, in virtual seconds."""
        self.other_key = False
        """The `STRIPE_KEY` is another account's, from the next start on (F48)."""
        self._stop = asyncio.Event()

    @property
    def alive(self) -> bool:
        return self.owner.alive

    @property
    def paused(self) -> bool:
        return self.owner.paused

    @property
    def context(self) -> "Context":
        return self.owner.context

    def start(self) -> None:
        if self.alive or self.world.halted:
            return
        self.incarnation += 1
        self.service, self.running_since_s = None, self.world.now_s
        self.owner = Owner(self.name)
        self.world.journal.add(Started(self.world.now_s, self.name, self.incarnation))
        running = self.world.loop.start(self.owner, self._run())
        running.add_done_callback(self._ended, context=self.world.loop.world.context)

    def kill(self) -> None:
        if self.alive:
            self.world.journal.add(Killed(self.world.now_s, self.name))
            self._gone()

    def use_right_key(self) -> None:
        """Restart the process with the key of the database's account, as an operator who has noticed does."""
        if self.other_key:
            self.other_key = False
            self.kill()
            self.world.later(DEPLOY_S, self.start)

    def pause(self) -> None:
        if self.alive and not self.paused:
            self.world.journal.add(Paused(self.world.now_s, self.name))
            self.world.loop.pause(self.owner)

    def wake(self) -> None:
        if self.alive and self.paused and not self.world.halted:
            self.world.journal.add(Woken(self.world.now_s, self.name))
            self.running_since_s = self.world.now_s
            self.world.loop.wake(self.owner)

    def stop(self) -> None:
        """SIGTERM."""
        if self.alive:
            self.world.journal.add(Stopping(self.world.now_s, self.name))
            self.world.loop.call_soon(self._stop.set, context=self.context)

    def jump(self, seconds: float) -> None:
        """Move its wall clock by `seconds`, forward or back."""
        self.clock.offset += timedelta(seconds=seconds)

    async def _run(self) -> int:
        self._stop = asyncio.Event()
        world = self.world
        ports = Ports(
            store=SimStore(world, self),
            transport=lambda: SimTransport(world, self),
            cards=lambda: SimCards(world, self),
            clock=self.clock,
            ids=SimIds(world.chances, self.name, self.incarnation),
            listening=HostListening(world.network, self.name),
        )
        service = Service(settings_of(self.name, world.plan.prepare), ports, self.limits, _NO_METRICS)
        self.service = service
        return await service.run(self._stop, asyncio.Event())

    def _ended(self, running: "asyncio.Task[int]") -> None:
        if running.cancelled() or (error := running.exception()) is not None:
            code = CRASHED
            if not running.cancelled() and error is not None:
                self.world.uncaught({"message": "the process", "exception": error}, self.name)
        else:
            code = running.result()
        self.world.journal.add(Exited(self.world.now_s, self.name, code))
        self._gone()
        self.world.exited(self)

    def _gone(self) -> None:
        self.world.loop.kill(self.owner)
        self.world.network.drop(self.owner)
        self.world.bus.drop(self)


def settings_of(name: str, prepare: bool = False) -> Settings:
    made = _SETTINGS.get((name, prepare))
    if made is None:
        made = _SETTINGS[name, prepare] = Settings(
            nats_url=(Secret("nats://bus:4222", "nats://bus:4222"),),
            nats_cluster_id=None,
            nats_client_id=name,
            queue_group_name=GROUP,
            mongo_url=Secret("mongodb://store/payment"),
            jwt_key=Secret(JWT_KEY),
            stripe_key=Secret("sk_test_simulated"),
            port=80,
            host=name,
            stripe_api_base=None,
            currency="usd",
            charge_wait_s=CHARGE_WAIT_S,
            stripe_rate_per_s=100,
            stripe_prepare=prepare,
            nats_stream="ticketing",
            log_level="info",
        )
    return made


_SETTINGS: dict[tuple[str, bool], Settings] = {}
