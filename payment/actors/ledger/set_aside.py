"""Orders that are set aside: something about one of them went wrong, and that must not touch any other.

A document that is no order, or an unexpected exception while one order is decided about, shown or released, ends no
actor and fails no other order. Each is reported with its order and its reason, once and then once an hour; sweeps leave
it alone for a minute at a time, and it is back by itself when that has passed and all is well. An event for such an
order may be applied later: another release may know the document, or lack the bug. It is delivered again for some
minutes, and then it goes to the dead letters.

Owns what is known of such orders, and which of their events are postponed. It owns nothing of the orders themselves:
requests, events and effects are given up by their owners. Must never decide anything: an order is as its document says
whenever that can be read.
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import TypeVarTuple

from msgspec import Struct

from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import EventReceived
from payment.ports.clock import Clock
from payment.ports.store import CorruptDocument

REST_S = 60.0
"""Seconds until an order that was set aside is taken up again: what is wrong waits for an operator or a release."""

ALARM_AGAIN_AFTER_S = 3_600.0
"""Seconds between two alarms of one order. One that was not met for so long is forgotten: it is well, or gone."""

REMEMBERED_LIMIT = 20_000
"""Orders. Beyond it those that were met longest ago are forgotten, and their alarms come again when they are met."""

READ_AGAIN_LIMIT = 50
"""Orders read again each second: all that are remembered in seven minutes."""

LINES_LIMIT = 500
LINES_WITHIN_S = 10.0
"""Alarms logged within so many seconds: what is not logged for this reason is logged when the order is met again."""

DELIVERIES_LIMIT = 60
"""Deliveries of one event. They come 5 s apart, so that is five minutes: longer than a rolling deployment takes to
bring a process of the newer release up."""

POSTPONED_LIMIT = 200
"""Events postponed at once, by one process. A broker delivers a bounded number of events that are not acknowledged
(JetStream 1,000 by default): those that are postponed by several processes together must never stop their subject."""

FORGOTTEN_AFTER_S = 30.0
"""Seconds after which an event that did not come back is another process's: six times the wait between deliveries."""

Args = TypeVarTuple("Args")


class _Aside(Struct):
    """One order. Times are monotonic seconds."""

    rests_until: float
    met_at: float
    alarm_at: float | None = None
    failed: bool = False
    """An exception set it aside, not its document."""
    well: bool = False
    """Its document was read, and decided about, since. It stays known so that no alarm is repeated too soon."""


class SetAside:
    """The orders that are set aside, as far as this process has met them."""

    def __init__(self, telemetry: LedgerTelemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._known: OrderedDict[str, _Aside] = OrderedDict()
        self._count = 0
        self._lines = 0
        self._lines_since = clock.monotonic()

    def corrupt(self, document: CorruptDocument) -> None:
        """What is stored under an order's id is no order."""
        if self._met(document.order_id, failed=False):
            self._telemetry.corrupt(document.order_id, document.reason)

    def failed(self, order_id: str, error: Exception) -> None:
        """An unexpected exception came of this order."""
        if self._met(order_id, failed=True):
            self._telemetry.failed(order_id, error)

    def contain(self, order_id: str, act: Callable[[*Args], object], *args: *Args) -> bool:
        """Do something for one order. False: it raised, which is reported, and the order is set aside."""
        try:
            act(*args)
        except Exception as error:  # one order's bug is one order's: the others go on
            self.failed(order_id, error)
            return False
        return True

    def rests(self, order_id: str) -> bool:
        """Whether the order is to be left alone for now."""
        aside = self._known.get(order_id)
        return aside is not None and not aside.well and self._clock.monotonic() < aside.rests_until

    def failed_lately(self, order_id: str) -> bool:
        """Whether a sweep is to leave the order alone for now. One whose document was corrected is taken up at once."""
        aside = self._known.get(order_id)
        return aside is not None and aside.failed and self.rests(order_id)

    def well(self, order_id: str) -> None:
        """The order was read, decided about and released."""
        aside = self._known.get(order_id)
        if aside is not None and not aside.well:
            aside.well = True
            self._count -= 1

    def legible(self, order_id: str) -> None:
        """The order's document is one again, or is gone."""
        aside = self._known.get(order_id)
        if aside is not None and not aside.failed:
            self.well(order_id)

    def unmet(self) -> list[str]:
        """Corrupt orders that nothing has met for `REST_S`: they may have been corrected or deleted since."""
        now = self._clock.monotonic()
        corrupt = ((order_id, aside) for order_id, aside in self._known.items() if not (aside.well or aside.failed))
        found = (order_id for order_id, aside in corrupt if now >= aside.rests_until)
        return list(islice(found, READ_AGAIN_LIMIT))

    def forget(self) -> None:
        """To be called now and then: forget orders that were not met for long, and set the gauge of those set aside."""
        long_ago = self._clock.monotonic() - ALARM_AGAIN_AFTER_S
        while self._known and next(iter(self._known.values())).met_at <= long_ago:
            self._drop_oldest()
        self._telemetry.set_aside(self._count)

    def _met(self, order_id: str, *, failed: bool) -> bool:
        """Note it. True where it is to be logged."""
        now = self._clock.monotonic()
        aside = self._known.get(order_id)
        if aside is None:
            if len(self._known) >= REMEMBERED_LIMIT:
                self._drop_oldest()
            aside = self._known[order_id] = _Aside(now, now, well=True)
        self._known.move_to_end(order_id)
        self._count += aside.well
        aside.well, aside.failed, aside.met_at, aside.rests_until = False, failed, now, now + REST_S
        if (aside.alarm_at is not None and now < aside.alarm_at + ALARM_AGAIN_AFTER_S) or not self._may_log(now):
            return False
        aside.alarm_at = now
        return True

    def _may_log(self, now: float) -> bool:
        if now >= self._lines_since + LINES_WITHIN_S:
            self._lines, self._lines_since = 0, now
        self._lines += 1
        return self._lines <= LINES_LIMIT

    def _drop_oldest(self) -> None:
        _, aside = self._known.popitem(last=False)
        self._count -= not aside.well

    def __len__(self) -> int:
        """How many orders are set aside, as far as is known."""
        return self._count


class PostponedEvents:
    """Which events were postponed, and when, in monotonic seconds: the oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: OrderedDict[str, float] = OrderedDict()

    def allows(self, event: EventReceived) -> bool:
        """Whether the event may be delivered once more. If so it is noted."""
        now = self._clock.monotonic()
        self._since.pop(event.identity, None)
        while self._since and next(iter(self._since.values())) <= now - FORGOTTEN_AFTER_S:
            self._since.popitem(last=False)
        if event.redelivered >= DELIVERIES_LIMIT or len(self._since) >= POSTPONED_LIMIT:
            return False
        self._since[event.identity] = now
        return True
