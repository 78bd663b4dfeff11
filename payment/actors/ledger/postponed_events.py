"""Events that can't be applied now, and perhaps later: another release may know their order's document, or lack a bug.

Each is delivered again for some minutes, and then it goes to the dead letters.

Owns how many wait so. A broker delivers no more than so many events that are not acknowledged (JetStream 1,000 by
default): those that are put off must never be what stops their subject.
"""

from collections import OrderedDict

from payment.actors.messages import EventReceived
from payment.ports.clock import Clock

DELIVERIES_LIMIT = 60
"""Deliveries of one event. They come 5 s apart, so that is five minutes: longer than a rolling deployment takes to
bring a process of the newer release up."""

WAITING_LIMIT = 200
"""Events put off at once, by one process. Several processes together stay below what a broker allows."""

FORGOTTEN_AFTER_S = 30.0
"""Seconds after which an event that did not come back is another process's: six times the wait between deliveries."""


class EventsPutOff:
    """Which events were put off, and when, in monotonic seconds: the oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: OrderedDict[str, float] = OrderedDict()

    def allows(self, event: EventReceived) -> bool:
        """Whether the event may be delivered once more. If so it is noted."""
        now = self._clock.monotonic()
        self._since.pop(event.identity, None)
        while self._since and next(iter(self._since.values())) <= now - FORGOTTEN_AFTER_S:
            self._since.popitem(last=False)
        if event.redelivered >= DELIVERIES_LIMIT or len(self._since) >= WAITING_LIMIT:
            return False
        self._since[event.identity] = now
        return True
