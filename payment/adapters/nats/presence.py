"""Whether another living process has this one's client id, over plain NATS: JetStream itself does not look at it.

Owns: the subject on which processes of one client id show themselves. Must never: take a restart for a second process:
the old one may drain while the new one starts. Change together with: `payment.adapters.nats.jetstream.transport`.

Why it matters: what an earlier run under our client id left is taken over at once, without waiting for its lease to
end. Two living processes with one id would take one another's work. NATS Streaming refuses the second by itself.
"""

import re

from nats.aio.msg import Msg

from payment.adapters.nats.connection import NatsConnection, PermissionDenied
from payment.adapters.nats.transport_health import TransportHealth
from payment.ports.clock import Clock

SHOW_EVERY_S = 10.0
GONE_AFTER_S = 25.0
"""A process that was not seen for so long, two shows missed, is no more."""
BOTH_ALIVE_S = 40.0
"""RequestContext over such a time, another process is no predecessor that drains: SIGKILL comes 30 s after SIGTERM."""
INSTANCES_MAX = 100
"""Processes remembered. Above what one id can have by mistake; each shows a name of NAME_BYTES_MAX at most."""
NAME_BYTES_MAX = 100
PRESENCE = "_payment.presence"
ABOUT = "client id"


class Presence:
    """One process's, over all its connections. `instance` is a name that no other process has."""

    def __init__(self, connection: NatsConnection, client_id: str, instance: str, clock: Clock) -> None:
        self._connection = connection
        self._client_id = client_id
        self._subject = f"{PRESENCE}.{re.sub(r'[^A-Za-z0-9_-]', '_', client_id)}"
        self._instance = instance.encode()
        self._clock = clock
        self._announced_at: dict[bytes, tuple[float, float]] = {}
        """When each other process was seen first and last, in monotonic seconds."""
        self._noticed = False

    async def announce(self, health: TransportHealth) -> None:
        """Show this process and look for others, for as long as the connection lives.

        Where permissions forbid it, that is noticed once, and this returns. Raises TransportUnavailable.
        """
        try:
            await self._connection.subscribe(self._subject, self._on_message)
            while True:
                await self._connection.send(self._subject, self._instance)
                await self._clock.sleep(SHOW_EVERY_S)
                if self._connection.denied(self._subject):
                    raise PermissionDenied(f"permission denied to publish to {self._subject}")
                self._judge(health)
        except PermissionDenied as denied:
            if not self._noticed:
                self._noticed = True
                health.noticed(f"whether another process has our client id can't be seen: {denied}", alarm=False)

    async def _on_message(self, message: Msg) -> None:
        name, now = message.data, self._clock.monotonic()
        if name == self._instance or not 0 < len(name) <= NAME_BYTES_MAX:
            return
        if name not in self._announced_at and len(self._announced_at) >= INSTANCES_MAX:
            return
        first, last = self._announced_at.get(name, (now, now))
        self._announced_at[name] = (now if now - last > GONE_AFTER_S else first, now)

    def _judge(self, health: TransportHealth) -> None:
        now = self._clock.monotonic()
        self._announced_at = {
            name: times for name, times in self._announced_at.items() if now - times[1] <= GONE_AFTER_S
        }
        if any(last - first >= BOTH_ALIVE_S for first, last in self._announced_at.values()):
            health.failed(
                ABOUT,
                f"another living process has the client id '{self._client_id}': each would take over the other's work. "
                "Stop it, or give this process another NATS_CLIENT_ID (each needs its own; where there is DYNO, it is "
                "appended)",
            )
        else:
            health.well(ABOUT)
