"""Who waits for a turn at Stripe: a line for each kind of request, first come first served, at a pace of its own.

A line never talks to Stripe. It knows which entry is next and when it may go; the Stripe actor does the rest.
"""

import asyncio

from payment.actors.pace import Pace
from payment.actors.place_queue import Place, PlaceQueue
from payment.core.effects import StripeEffect


class Entry:
    """One effect, from its arrival until its end is told. Its place stays its own however often it has to go again.

    That is when it was decided, then the count of those that came: of two commits under way at once either may be
    confirmed first, and who came a moment later must not pass a long line by that.
    """

    __slots__ = (
        "alarmed",
        "effect",
        "maybe_sent",
        "newer",
        "place",
        "received_at",
        "sent_at",
        "served",
        "tries",
        "withdrawn",
    )

    def __init__(self, effect: StripeEffect, place: Place, received_at: float) -> None:
        self.effect = effect
        self.place = place
        self.received_at = received_at
        """Monotonic seconds: the age of a request in our hand, whatever the wall clock says meanwhile."""
        self.sent_at: float | None = None
        """Monotonic seconds, from its turn on; None while it waits."""
        self.served = False
        """It has had its turn once."""
        self.maybe_sent = False
        """Stripe spoke of an earlier request with its key: this send can't be called never made."""
        self.withdrawn = False
        self.alarmed = False
        """Somebody was called to look: not again for each repetition."""
        self.tries = 0
        self.newer: StripeEffect | None = None
        """The same thing was asked for again meanwhile: done after this one, unless this one settles it."""

    @property
    def on_wire(self) -> bool:
        """It is having its turn: what it does to the world can't be called back."""
        return self.sent_at is not None

    def becomes(self, effect: StripeEffect, received_at: float) -> None:
        """The newer word for the same thing takes its place."""
        self.effect = effect
        self.received_at = received_at
        self.newer = None


class Line:
    """The entries of one kind that are ready, and the pace at which they go."""

    def __init__(self, kind: str, pace: Pace, under_way_limit: int) -> None:
        self.kind = kind
        self.pace = pace
        self.under_way_limit = under_way_limit
        self.under_way = 0
        self.woken = asyncio.Event()
        self.last_taken_at = pace.started_at
        self._ready: PlaceQueue[Entry] = PlaceQueue()

    def add(self, entry: Entry) -> None:
        """The entry may have its turn from now on."""
        self._ready.add(entry.place, entry)
        self.woken.set()

    def take(self, now: float) -> Entry:
        """The first entry has its turn."""
        entry = self._ready.take()
        self.under_way += 1
        self.last_taken_at = now
        self.pace.took(now)
        if self._ready:
            self.pace.queued(now)
        else:
            self.pace.idle(now)
        return entry

    def left(self) -> None:
        """A request of this line has come back."""
        self.under_way -= 1
        self.woken.set()

    def remove(self, entry: Entry) -> None:
        """Take an entry out, if it stands in the line."""
        self._ready.remove(entry.place)

    @property
    def may_go(self) -> bool:
        """Whether an entry is ready, and a request more may be under way."""
        return bool(self._ready) and self.under_way < self.under_way_limit

    def __len__(self) -> int:
        return len(self._ready)
