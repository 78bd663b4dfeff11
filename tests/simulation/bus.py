"""The bus, and a process's connection to it: `payment.ports.transport.EventTransport` over a `FakeBroker`.

The fake keeps stored events, what each queue group has received, ack waits and the duplicate window, on true time. Here
the bus delivers each event to any free member of the group; no member polls.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from payment.actors.nats.event_payloads import INCOMING_SUBJECTS
from payment.ports.transport import (
    DeliveryHandler,
    PublishRefused,
    PublishUnanswered,
    TransportListener,
    TransportUnavailable,
)
from tests.simulation.calls import Reply
from tests.simulation.journal import Acked, Delivered, EventRejected, Postponed, Stored
from tests.support.fakes.transport import FakeBroker
from tests.support.fakes.transport import Stored as Kept

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

GROUP = "payment-service"
PUBLISH_TIMEOUT_S = 5.0
"""How long a publish waits for the broker's answer, in seconds."""
AWAY = "the bus is away"


def refuses(subject: str) -> str:
    """The condition under which the bus rejects a subject's events."""
    return f"bus refuses {subject}"


class SimBus:
    """The broker and the members of our queue group."""

    def __init__(self, world: World, ack_wait_s: float) -> None:
        self.broker = FakeBroker(world.clock, ack_wait_s=ack_wait_s)
        self._world = world
        self._members: list[SimTransport] = []

    @property
    def unsettled(self) -> bool:
        """Whether an incoming event has not been acknowledged yet."""
        return any(
            self.broker.unacknowledged(GROUP, subject) or self.broker.undelivered(GROUP, subject)
            for subject in INCOMING_SUBJECTS
        )

    def next_s(self) -> list[float]:
        """When the bus redelivers unacknowledged events; now where an event has not been delivered yet."""
        now_s = self._world.now_s
        dues = [now_s + self.broker.due_in_s(GROUP, subject) for subject in INCOMING_SUBJECTS]
        new = [now_s for subject in INCOMING_SUBJECTS if self.broker.undelivered(GROUP, subject)]
        return [at_s for at_s in dues if at_s != math.inf] + new

    def put(self, who: str, subject: str, data: bytes, message_id: str = "") -> None:
        before = self.broker.stored(subject)
        self.broker.put(subject, data, message_id)
        dropped = self.broker.stored(subject) == before
        self._world.journal.add(Stored(self._world.now_s, who, subject, before - dropped, data, message_id, dropped))
        self.pump(subject)

    def go_away(self) -> None:
        self.broker.go_away(AWAY)
        self._report_to_members()

    def come_back(self) -> None:
        self.broker.come_back()
        self._report_to_members()
        for subject in INCOMING_SUBJECTS:
            self.pump(subject)

    def join(self, member: SimTransport) -> None:
        """A member receives nothing before it is connected; then it asks for deliveries itself."""
        self._members.append(member)

    def leave(self, member: SimTransport) -> None:
        if member in self._members:
            self._members.remove(member)

    def drop(self, process: Process) -> None:
        """Remove a process that has died."""
        self._members = [each for each in self._members if each.process is not process]

    def pump(self, subject: str) -> None:
        """Deliver every event that a member can take."""
        while free := [each for each in self._members if each.takes(subject)]:
            event = self.broker.take(GROUP, subject)
            if event is None:
                return
            self._world.later(self.broker.ack_wait_s, self.pump, subject)
            self._deliver(free[int(self._world.chances.next("member") * len(free))], event)

    def _deliver(self, member: SimTransport, event: Kept) -> None:
        world = self._world
        call = world.happens("bus.deliver", member.process)
        nth = self.broker.delivered_before(GROUP, event) + 1
        world.journal.add(Delivered(world.now_s, member.process.name, event.subject, event.sequence, nth))
        if call.copies > 1:
            self.broker.postpone(GROUP, event, 0.0)
        if call.loses_request:
            return
        member.busy[event.subject] = None
        latency_s = world.chances.latency_s("delivery") + call.late_s
        world.loop.call_later(latency_s, member.arrived, event, nth, context=member.process.context)

    def acked(self, who: str, event: Kept) -> None:
        self.broker.acknowledge(GROUP, event)
        lost = self.broker.away is not None
        self._world.journal.add(Acked(self._world.now_s, who, event.subject, event.sequence, lost))

    def postponed(self, who: str, event: Kept, delay_s: float) -> None:
        self.broker.postpone(GROUP, event, delay_s)
        self._world.journal.add(Postponed(self._world.now_s, who, event.subject, event.sequence, delay_s))
        self._world.later(max(delay_s, 0.0), self.pump, event.subject)

    def _report_to_members(self) -> None:
        for each in self._members:
            self._world.loop.call_soon(each.reported, context=each.process.context)


class SimDelivery:
    """One delivery to one process."""

    def __init__(self, world: World, process: Process, event: Kept, nth: int) -> None:
        self.subject = event.subject
        self.data = event.data
        self.identity = f"{event.subject}:{event.sequence + 1}:{event.nth}"
        self.redelivered = nth - 1
        self._world, self._process, self._event = world, process, event

    async def ack(self) -> None:
        """Without the bus the ack is lost and the bus delivers the event again; nothing raises."""
        call = self._world.happens("bus.ack", self._process)
        who = self._process.name
        if call.loses_request or self._world.bus.broker.away is not None:
            event = self._event
            self._world.journal.add(Acked(self._world.now_s, who, event.subject, event.sequence, True))
            return
        latency_s = self._world.chances.latency_s("ack") + call.late_s
        self._world.later(latency_s, self._world.bus.acked, who, self._event)

    async def retry(self, delay_s: float) -> None:
        if self._world.bus.broker.away is None:
            latency_s = self._world.chances.latency_s("ack")
            self._world.later(latency_s, self._world.bus.postponed, self._process.name, self._event, delay_s)


class SimTransport:
    """One process's membership, from `run` to `close`."""

    def __init__(self, world: World, process: Process) -> None:
        self.process = process
        self.busy: dict[str, None] = {}
        self._world = world
        self._handlers: Mapping[str, DeliveryHandler] = {}
        self._listener: TransportListener | None = None
        self._consuming = False
        self._connected = False
        self._handling: dict[asyncio.Task[None], None] = {}
        self._failed: asyncio.Future[None] | None = None

    def takes(self, subject: str) -> bool:
        return self._consuming and self._connected and subject in self._handlers and subject not in self.busy

    async def run(self, subscriptions: Mapping[str, DeliveryHandler], listener: TransportListener) -> None:
        self._handlers, self._listener = subscriptions, listener
        self._consuming = True
        self._failed = asyncio.get_running_loop().create_future()
        await asyncio.sleep(self._world.chances.latency_s("connect"))
        self._world.bus.join(self)
        self.reported()
        try:
            await self._failed
        finally:
            self._leave()
            for task in list(self._handling):
                task.cancel()

    def reported(self) -> None:
        """Report whether the bus is reachable. Called in the process's context."""
        up = self._world.bus.broker.away is None
        if self._listener is None or (up and self._connected):
            return
        self._connected = up
        if up:
            self._listener.connected()
            for subject in self._handlers:
                self._world.later(0.0, self._world.bus.pump, subject)
        else:
            self._listener.disconnected(AWAY)
            for task in list(self._handling):
                task.cancel()

    def arrived(self, event: Kept, nth: int) -> None:
        """Handle a delivered event. Called in the process's context."""
        if not self._consuming or not self._connected:
            self.busy.pop(event.subject, None)
            return
        delivery = SimDelivery(self._world, self.process, event, nth)
        task = asyncio.ensure_future(self._handle(delivery))
        self._handling[task] = None
        task.add_done_callback(partial(self._handled, event.subject))

    async def _handle(self, delivery: SimDelivery) -> None:
        await self._handlers[delivery.subject](delivery)

    def _handled(self, subject: str, task: asyncio.Task[None]) -> None:
        """Called however the task ended: a task that is cancelled before it begins runs none of its `finally`
        blocks."""
        self.busy.pop(subject, None)
        self._world.later(0.0, self._world.bus.pump, subject)
        self._handling.pop(task, None)
        if task.cancelled() or self._failed is None or self._failed.done():
            return
        if (error := task.exception()) is not None:
            self._failed.set_exception(error)

    async def publish(self, subject: str, data: bytes, message_id: str) -> None:
        world = self._world
        call = world.happens("bus.publish", self.process)
        if not self._connected or world.bus.broker.away is not None:
            raise TransportUnavailable("not connected")

        def act(reply: Reply[None]) -> None:
            if world.bus.broker.away is not None:
                reply(TransportUnavailable(AWAY))  # type: ignore[arg-type]
            elif call.refused or world.is_on(refuses(subject)):
                world.journal.add(EventRejected(world.now_s, self.process.name, subject))
                reply(PublishRefused("maximum messages exceeded"))  # type: ignore[arg-type]
            else:
                world.bus.put(self.process.name, subject, data, message_id)
                reply(None)

        def lost() -> Exception:
            return PublishUnanswered("no answer")

        await world.carrier.travel(call, act, lost, PUBLISH_TIMEOUT_S)

    async def stop_consuming(self) -> None:
        self._consuming = False

    async def close(self) -> None:
        self._connected = False
        self._leave()

    async def check(self) -> str:
        if self._world.bus.broker.away is not None:
            raise TransportUnavailable(AWAY)
        return "a simulated bus"

    def _leave(self) -> None:
        self._consuming = False
        self._world.bus.leave(self)
