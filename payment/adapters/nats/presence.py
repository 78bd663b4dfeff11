"""Detects another living process with the same client id, over plain NATS: JetStream itself does not check client ids.

Owns: the subject on which processes of one client id announce themselves. Must never: report a restart as a second
process, since the old process may drain while the new one starts. Change together with:
`payment.adapters.nats.jetstream.transport`.

Why it matters: a process takes over the work of an earlier run under its client id at once, before the lease ends. Two
living processes with one id would take over each other's work. NATS Streaming itself refuses the second one.
"""

import re

from nats.aio.msg import Msg

from payment.adapters.nats.connection import NatsConnection, PermissionDenied
from payment.adapters.nats.transport_health import TransportHealth
from payment.ports.clock import Clock

SHOW_EVERY_S = 10.0
GONE_AFTER_S = 25.0
"""A process that was silent for this time, in seconds, two announcements, counts as gone."""
BOTH_ALIVE_S = 40.0
"""A process that announces itself over this time, in seconds, is no draining predecessor: SIGKILL comes 30 s after
SIGTERM.
"""
INSTANCES_MAX = 100
"""Processes that are remembered: more than one id can have by mistake. Each announces a name of NAME_BYTES_MAX at most.
"""
NAME_BYTES_MAX = 100
PRESENCE = "_payment.presence"
ABOUT = "client id"


class Presence:
    """The presence of one process, over all its connections. `instance` is a name that no other process has."""

    def __init__(self, connection: NatsConnection, client_id: str, instance: str, clock: Clock) -> None:
        self._connection = connection
        self._client_id = client_id
        self._subject = f"{PRESENCE}.{re.sub(r'[^A-Za-z0-9_-]', '_', client_id)}"
        self._instance = instance.encode()
        self._clock = clock
        self._announced_at: dict[bytes, tuple[float, float]] = {}
        """The first and the last announcement of each other process, in monotonic seconds."""
        self._noticed = False

    async def announce(self, health: TransportHealth) -> None:
        """Announce this process and watch for others until the connection is lost.

        Where the server's permissions forbid it, this is reported once, and the call returns. Raises
        TransportUnavailable.
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
                health.noticed(f"another process with our client id can't be detected: {denied}", alarm=False)

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
                f"another living process has the client id '{self._client_id}': each would take over the work "
                "of the other. "
                "Stop it, or give this process another NATS_CLIENT_ID (each needs its own; where there is DYNO, it is "
                "appended)",
            )
        else:
            health.well(ABOUT)
