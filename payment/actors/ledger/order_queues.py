"""The ledger's lanes: one for each order that has letters waiting, so that each order's changes come one after another.

A lane whose write is under way keeps its later letters; other orders go on. Lanes are taken in the order in which
their oldest letter came, but those in which something has ended come first: what was begun is finished before more is
begun. Ends are few, for each is of something begun; so they hold up nobody for long, and a crowd does not hold up them.
"""

from collections import deque
from collections.abc import Iterable
from itertools import chain, islice

from payment.actors.messages import (
    ChargeAsked,
    EffectEnded,
    EventArrived,
)
from payment.core.messages import Due, LeaseRenewed, LookRequested
from payment.ports.clock import Clock

LETTERS_IN_A_FOLD_LIMIT = 64
"""Letters of one order folded into one write. A hot order must not hold up the batch that it is in (F31)."""

LaneLetter = ChargeAsked | EventArrived | EffectEnded | LookRequested | Due | LeaseRenewed


class Lane:
    """The letters of one order, oldest first."""

    __slots__ = ("letters", "order_id", "ready_since", "singly", "under_way")

    def __init__(self, order_id: str) -> None:
        self.order_id = order_id
        self.letters: deque[LaneLetter] = deque()
        self.under_way = False
        self.ready_since = 0.0
        """Monotonic seconds, while it is ready to begin something."""
        self.singly = False
        """One of its letters makes a document that can't be written: each is folded alone, to find out which."""

    def take(self) -> list[LaneLetter]:
        """Take the oldest letters out, as many as one write may fold."""
        count = min(len(self.letters), 1 if self.singly else LETTERS_IN_A_FOLD_LIMIT)
        return [self.letters.popleft() for _ in range(count)]

    def put_back(self, letters: Iterable[LaneLetter]) -> None:
        """Put letters that were taken out back to where they came from: before those that came meanwhile."""
        self.letters = deque((*letters, *self.letters))


class Lanes:
    """All lanes, and which of them are ready: they have letters, and no write under way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lanes: dict[str, Lane] = {}
        self._ready: dict[str, Lane] = {}
        self._ready_to_finish: dict[str, Lane] = {}

    def add(self, order_id: str, letter: LaneLetter) -> None:
        """Put a letter at the end of its order's lane."""
        lane = self._lanes.get(order_id)
        if lane is None:
            lane = self._lanes[order_id] = Lane(order_id)
        lane.letters.append(letter)
        if not lane.under_way:
            self._is_ready(lane, finishing=isinstance(letter, EffectEnded))

    def _is_ready(self, lane: Lane, *, finishing: bool) -> None:
        if finishing:
            self._ready.pop(lane.order_id, None)
            self._ready_to_finish[lane.order_id] = lane
        elif lane.order_id not in self._ready_to_finish and lane.order_id not in self._ready:
            lane.ready_since = self._clock.monotonic()
            self._ready[lane.order_id] = lane

    def take_ready(self, limit: int) -> list[Lane]:
        """Up to `limit` lanes, now under way; each must be given back with `done`."""
        lanes = list(islice(chain(self._ready_to_finish.values(), self._ready.values()), limit))
        for lane in lanes:
            lane.under_way = True
            self._is_not_ready(lane.order_id)
        return lanes

    def done(self, lane: Lane) -> None:
        """The lane's write is no longer under way."""
        lane.under_way = False
        if lane.letters:
            self._is_ready(lane, finishing=any(isinstance(letter, EffectEnded) for letter in lane.letters))
        else:
            del self._lanes[lane.order_id]

    def waiting(self) -> list[LaneLetter]:
        """Every letter that waits in a lane."""
        return [letter for lane in self._lanes.values() for letter in lane.letters]

    def drop(self, letters: set[int]) -> None:
        """Take out the letters with these identities (`id`), wherever they wait."""
        for order_id, lane in list(self._lanes.items()):
            lane.letters = deque(letter for letter in lane.letters if id(letter) not in letters)
            if not lane.letters and not lane.under_way:
                del self._lanes[order_id]
                self._is_not_ready(order_id)

    def _is_not_ready(self, order_id: str) -> None:
        self._ready.pop(order_id, None)
        self._ready_to_finish.pop(order_id, None)

    @property
    def any_ready(self) -> bool:
        return bool(self._ready or self._ready_to_finish)

    @property
    def ready(self) -> int:
        """How many lanes could be taken."""
        return len(self._ready) + len(self._ready_to_finish)

    def behind_s(self) -> float:
        """How long the lane that is next to begin something has been ready, in seconds: no such lane waits longer."""
        lane = next(iter(self._ready.values()), None)
        return self._clock.monotonic() - lane.ready_since if lane is not None else 0.0

    def __len__(self) -> int:
        return len(self._lanes)

    def __contains__(self, order_id: str) -> bool:
        return order_id in self._lanes
