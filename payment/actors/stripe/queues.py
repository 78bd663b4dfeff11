"""The queues of the Stripe actor: one for each endpoint, first come first served, each with its own rate limiter.

A queue never calls Stripe. It knows which entry is next and when it may go; the Stripe actor does the rest.
"""

import asyncio
from collections.abc import Iterator

from payment.actors.runtime.position_queue import Position, PositionQueue
from payment.actors.stripe.outcomes import CallStep, EffectProgress, carried_over, first_progress, step_of
from payment.actors.stripe.rate_limiter import ACCOUNT_START_PER_S, Fall, RateLimiter
from payment.core.effects import StripeEffect

CREATE_IN_FLIGHT_LIMIT = 50
CONFIRM_IN_FLIGHT_LIMIT = 150
"""Requests. 100 a second are 40 at 400 ms, and 100 where the bank takes a second; a Stripe that hangs must not hold
more connections than this."""

OTHERS_IN_FLIGHT_LIMIT = 25
"""Requests of each other endpoint: no customer waits for most of them."""

CONNECTIONS_LIMIT = CREATE_IN_FLIGHT_LIMIT + CONFIRM_IN_FLIGHT_LIMIT + 4 * OTHERS_IN_FLIGHT_LIMIT + 1
"""Connections to Stripe that all endpoints can use at once, and one for the check."""


class Entry:
    """One effect, from its arrival until its end is sent to the ledger. It keeps its place through all of its calls.

    The place is the time of the decision, then a count of arrivals. Two commits may be under way at once and be
    confirmed in either order: the later one's effects must not overtake a long queue.
    """

    __slots__ = (
        "_progress",
        "alarmed",
        "alone",
        "away_ms",
        "away_s_seen",
        "call_ms",
        "cancelled",
        "effect",
        "falls",
        "newer",
        "past_confirm",
        "past_create",
        "place",
        "received_at",
        "refusals",
        "retry_after_s",
        "sent_at",
        "sleeps",
        "slept_from",
        "step",
        "tries",
    )

    def __init__(self, effect: StripeEffect, place: Position, received_at: float) -> None:
        self.effect = effect
        self.place = place
        self.received_at = received_at
        """When it arrived here, in monotonic seconds: jumps of the wall clock don't change its age."""
        self.progress = first_progress(effect)
        self.sent_at: float | None = None
        """Monotonic seconds, while a call of it is in flight; None while it waits."""
        self.past_create = False
        self.past_confirm = False
        """Whether the queue estimate has counted it as past this stage."""
        self.cancelled = False
        self.alarmed = False
        """An alarm was given: not again for each repetition."""
        self.tries = 0
        """Calls of the present step."""
        self.refusals = 0
        """Refusals in a row of the present step, for the rate or for our key."""
        self.retry_after_s = 0.0
        """What Stripe asked for with the last of them, in seconds."""
        self.falls: list[tuple[RateLimiter, Fall]] = []
        """The falls of rates that its refusals for the rate are blamed for."""
        self.alone = False
        """Stripe refused this entry repeatedly and then answered another one: what it is refused for concerns this
        entry only. It backs off by itself, and no other entry waits because of it."""
        self.sleeps = 0
        """How often it was delayed or queued: a delay that is not its last one must not queue it again."""
        self.call_ms = 0.0
        """Time at Stripe, of all its calls, in milliseconds."""
        self.away_ms = 0.0
        """Time between its calls in which Stripe was away, or that it slept because of what Stripe answered."""
        self.away_s_seen = 0.0
        """The seconds that Stripe had been away in all when that was last added up."""
        self.slept_from: float | None = None
        """Monotonic seconds, while it sleeps."""
        self.newer: StripeEffect | None = None
        """The same effect, released again meanwhile: done after this one, unless this one settles it."""

    @property
    def progress(self) -> EffectProgress:
        """How far its effect has come. `step` follows: the step that comes next, or whose call is in flight."""
        return self._progress

    @progress.setter
    def progress(self, progress: EffectProgress) -> None:
        self._progress = progress
        self.step = step_of(self.effect, progress)

    @property
    def in_flight(self) -> bool:
        """Whether a call of it is in flight. What that does at Stripe can't be undone."""
        return self.sent_at is not None

    def becomes(self, effect: StripeEffect, received_at: float) -> None:
        """The newer release of the same effect replaces it."""
        progress = carried_over(self.progress, self.effect, effect)
        self.effect = effect
        self.progress = progress
        self.received_at = received_at
        self.newer = None

    def goes_on(self, progress: EffectProgress) -> None:
        """A step is done, and the next one begins."""
        self.progress = progress
        self.tries = self.refusals = 0
        self.retry_after_s = 0.0
        self.alone = False

    def waited(self, now: float, away_s: float) -> None:
        """It has waited until now: `away_s` is how long Stripe has been away in all. What it slept was for Stripe."""
        waited_s = away_s - self.away_s_seen if self.slept_from is None else now - self.slept_from
        self.away_ms += waited_s * 1_000
        self.slept_from, self.away_s_seen = None, away_s

    def refused_for_the_rate(self, limiter: RateLimiter) -> None:
        """A refusal for the rate of this limiter was counted."""
        fall = limiter.blame(self.effect.id)
        if fall is not None and (limiter, fall) not in self.falls:
            self.falls.append((limiter, fall))

    def answered(self) -> None:
        """Stripe has dealt with it at last: what it was refused for was the rate."""
        for _, fall in self.falls:
            fall.right = True
        self.falls.clear()

    def acquitted(self, now: float) -> bool:
        """It is refused alone: the rate was not the reason. Returns whether a rate has risen again."""
        risen = [limiter.acquit(fall, self.effect.id, now) for limiter, fall in self.falls]
        self.falls.clear()
        return any(risen)


class Queue:
    """The entries of one endpoint that are ready, and the rate at which they go."""

    def __init__(self, kind: str, limiter: RateLimiter, in_flight_limit: int) -> None:
        self.kind = kind
        self.limiter = limiter
        self.in_flight_limit = in_flight_limit
        self.in_flight = 0
        self.changed = asyncio.Event()
        self.last_taken_at = limiter.started_at
        self.aside: list[tuple[Entry, int]] = []
        """Entries refused repeatedly, until another call is answered or a check shows if Stripe refuses all, and their
        `sleeps` at that time: an entry whose `sleeps` has changed since is no longer aside."""
        self.refused_last: Entry | None = None
        """The entry that was refused for the rate last, with no answer to another one since."""
        self._ready: PositionQueue[Entry] = PositionQueue()

    def add(self, entry: Entry) -> None:
        """The entry may have its turn from now on."""
        self._ready.add(entry.place, entry)
        self.changed.set()

    def take(self, now: float) -> Entry:
        """The first entry has its turn."""
        entry = self._ready.take()
        self.in_flight += 1
        self.last_taken_at = now
        self.limiter.took(now)
        if self._ready:
            self.limiter.queued(now)
        else:
            self.limiter.idle(now)
        return entry

    def returned(self) -> None:
        """A call of this queue has ended."""
        self.in_flight -= 1
        self.changed.set()

    def remove(self, entry: Entry) -> None:
        """Take an entry out, if it is in the queue."""
        self._ready.remove(entry.place)

    @property
    def may_go(self) -> bool:
        """Whether an entry is ready, and one more call may be in flight."""
        return bool(self._ready) and self.in_flight < self.in_flight_limit

    def __len__(self) -> int:
        return len(self._ready)


class Queues:
    """The queue of each endpoint, and the rate limiter of the account as a whole."""

    def __init__(self, ceiling_per_s: float, now: float) -> None:
        """`ceiling_per_s` bounds each endpoint; and the account, where it is more than every live account has."""
        self.account = RateLimiter(max(ACCOUNT_START_PER_S, ceiling_per_s), now, ACCOUNT_START_PER_S)
        self.create, self.confirm, retrieve, cancel, listing, refund = self._all = tuple(
            Queue(kind, RateLimiter(ceiling_per_s, now), limit)
            for kind, limit in (
                ("create", CREATE_IN_FLIGHT_LIMIT),
                ("confirm", CONFIRM_IN_FLIGHT_LIMIT),
                ("retrieve", OTHERS_IN_FLIGHT_LIMIT),
                ("cancel", OTHERS_IN_FLIGHT_LIMIT),
                ("list", OTHERS_IN_FLIGHT_LIMIT),
                ("refund", OTHERS_IN_FLIGHT_LIMIT),
            )
        )
        self._of_step = {
            CallStep.CREATE: self.create,
            CallStep.CONFIRM: self.confirm,
            CallStep.RETRIEVE: retrieve,
            CallStep.CANCEL: cancel,
            CallStep.LIST: listing,
            CallStep.REFUND: refund,
            CallStep.FIND_REFUND: refund,
        }

    def of(self, entry: Entry) -> Queue:
        """Returns the queue of an entry's step."""
        return self._of_step[entry.step]

    def of_kind(self, kind: str) -> Queue:
        """Returns the queue of this kind of endpoint."""
        return next(queue for queue in self._all if queue.kind == kind)

    def take(self, queue: Queue, now: float) -> Entry:
        """The first entry of a queue has its turn, by the account's rate limiter too."""
        entry = queue.take(now)
        self.account.took(now)
        if any(self):
            self.account.queued(now)
        else:
            self.account.idle(now)
        return entry

    def charge_rates(self) -> tuple[float, float]:
        """Returns creates and confirms a second, as things stand: while both wait they share the account's rate."""
        share_per_s = self.account.per_s / 2 if self.create else self.account.per_s
        return min(self.create.limiter.per_s, share_per_s), min(self.confirm.limiter.per_s, share_per_s)

    def __iter__(self) -> Iterator[Queue]:
        return iter(self._all)
