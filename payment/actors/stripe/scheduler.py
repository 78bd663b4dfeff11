"""Which effect may be sent to Stripe now, and what follows when its call has ended: the Stripe actor without calls.

An entry is one effect from its release to its end. It sleeps, is ready (in the queue of its step), is aside (refused
repeatedly), or has a call in flight. Every endpoint has a queue with its own rate limiter, and the account as a whole
has one more. Every move of an entry happens within one turn of the event loop. Nothing here waits: the actor wakes an
entry after a delay, and sends each end to the ledger.

It owns the entries, the queues and the counts of the queue estimate, which it publishes at each change. It must never
lose an entry: each ends once, and so does an effect that is released under the same id meanwhile. Change together:
`payment.actors.stripe.outcomes`, which says what each outcome leads to.
"""

import asyncio
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec import structs

from payment.actors.messages import EffectCompleted
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.stripe.outcomes import (
    REFUSALS,
    SETTLING,
    CallStep,
    EffectProgress,
    End,
    Outcome,
    carried_over,
    first_progress,
    result_of,
    step_of,
    to_be_written,
    undone,
)
from payment.actors.stripe.rate_limiter import ACCOUNT_START_PER_S, Fall, RateLimiter
from payment.backoff import Backoff
from payment.core.effects import CancelIntent, ConfirmIntent, CreateIntent, IntentEffect, StripeEffect
from payment.core.schedule import CLOCK_TOLERANCE, KEY_LIFE
from payment.ports.cards import NotYet, Obstacle, Unclear
from payment.ports.clock import Clock

CREATE_IN_FLIGHT_LIMIT = 50
CONFIRM_IN_FLIGHT_LIMIT = 150
"""Requests. 100 a second are 40 at 400 ms, and 100 where the bank takes a second; a Stripe that hangs must not hold
more connections than this."""

OTHERS_IN_FLIGHT_LIMIT = 25
"""Requests of each other endpoint: no customer waits for most of them."""

QUEUE_LIMITS = (
    ("create", CREATE_IN_FLIGHT_LIMIT),
    ("confirm", CONFIRM_IN_FLIGHT_LIMIT),
    ("retrieve", OTHERS_IN_FLIGHT_LIMIT),
    ("cancel", OTHERS_IN_FLIGHT_LIMIT),
    ("list", OTHERS_IN_FLIGHT_LIMIT),
    ("refund", OTHERS_IN_FLIGHT_LIMIT),
)
"""The queue of each kind of endpoint, and how many of its requests may be in flight."""

CONNECTIONS_LIMIT = sum(limit for _, limit in QUEUE_LIMITS) + 1
"""Connections to Stripe that all endpoints can use at once, and one for the check."""

AGAIN = Backoff(first_s=0.25, longest_s=5.0)
"""Before a call that did nothing, or is safe to repeat, is made again."""

OPERATOR_AGAIN_AFTER_S = 30.0
"""Before a call is repeated that fails until an operator changes something."""

ASIDE_AFTER_REFUSALS = 2
"""Refusals in a row after which an entry lets others go first, which shows whether Stripe refuses it alone."""

ALONE_AGAIN = Backoff(first_s=1.0, longest_s=60.0, factor=4.0)
"""Before an entry that is refused alone is tried again: 1, 4, 16, then 60 s. A hundred of them then take less than two
of the 25 requests a second of their endpoint, and a permission that is granted is noticed within a minute."""

RETRY_AFTER_OF_ONE_S = 1.0
"""For how long a whole endpoint obeys the Retry-After of a single entry's refusal, in seconds: that may be about this
entry alone, which waits as long as Stripe asks. A second entry's is obeyed by all."""

QUEUE_WAITS = (Obstacle.RATE_LIMITED, Obstacle.KEY_REFUSED, Obstacle.UNREACHABLE)
"""Obstacles that all requests meet alike: the entry is first in its queue again, and the queue itself waits."""

KEY_LIFE_S = KEY_LIFE.total_seconds()
"""How long an entry may be held here and still be sent, whatever the wall clock says (F34, F38)."""

PREPARING_SINCE = math.inf
"""Priority, after all others, of a create ahead of its order's first request: it leaves when no other create waits."""

GONE_PRIORITIES_KEPT = 64
"""Priorities of entries that have left a queue before their turn, beyond the number that is left: then the heap is
built anew."""

Priority = tuple[float, int]
"""The lowest goes first: the time of the decision, in seconds, then a count of arrivals. Two commits may be in flight
at once and be confirmed in either order: the later one's effects must not overtake a long queue."""

WakeLater = Callable[["Entry", int, float], None]

WantCheck = Callable[["Entry"], None]
"""Asks for a check whether Stripe refuses every call of the kind that this entry was refused."""


@dataclass(slots=True, eq=False)
class Entry:
    """One effect, from its arrival until its end is sent to the ledger. Its priority is the same for all of its calls.

    The scheduler alone changes it, but for `alarmed`.
    """

    effect: StripeEffect
    priority: Priority
    received_at: float
    """When it arrived here, in monotonic seconds: jumps of the wall clock don't change its age."""
    id: str = field(init=False)
    order_id: str = field(init=False)
    progress: EffectProgress = field(init=False)
    """How far its effect has come."""
    step: CallStep = field(init=False)
    """The step that follows from its progress: the one that comes next, or whose call is in flight."""
    in_flight_since: float | None = None
    """Monotonic seconds, while a call of it is in flight, which can't be undone; None while it waits."""
    past_create: bool = False
    past_confirm: bool = False
    """Whether the queue estimate has counted it as past this stage."""
    cancelled: bool = False
    alarmed: bool = False
    """An alarm was given: not again for each repetition."""
    tries: int = 0
    """Calls of the present step."""
    refusals: int = 0
    """Refusals in a row of the present step, for the rate or for our key."""
    retry_after_s: float = 0.0
    """The Retry-After of the last of them, in seconds."""
    falls: list[tuple[RateLimiter, Fall]] = field(default_factory=list)
    """The falls of rates that its refusals for the rate are blamed for."""
    alone: bool = False
    """Stripe refused this entry repeatedly and then answered another one: what it is refused for concerns this entry
    only. It backs off by itself, and no other entry waits because of it."""
    sleeps: int = 0
    """How often it was delayed or queued: a delay that is not its last one must not queue it again."""
    call_ms: float = 0.0
    """Time at Stripe, of all its calls, in milliseconds."""
    away_ms: float = 0.0
    """Time between its calls in which Stripe was away, or that it slept because of what Stripe answered."""
    away_s_counted: float = 0.0
    """How long Stripe had been away in all, in seconds, when that was last added up."""
    slept_from: float | None = None
    """Monotonic seconds, while it sleeps."""
    newer: StripeEffect | None = None
    """The same effect, released again meanwhile: done after this one, unless this one settles it."""

    def __post_init__(self) -> None:
        effect = self.effect
        self.id, self.order_id = effect.id, effect.order_id
        self.progress = first_progress(effect)
        self.step = step_of(effect, self.progress)

    def set_progress(self, progress: EffectProgress) -> None:
        """The effect has come this far."""
        self.progress = progress
        self.step = step_of(self.effect, progress)

    def becomes(self, effect: StripeEffect, received_at: float) -> None:
        """The newer release of the same effect replaces it."""
        progress = carried_over(self.progress, self.effect, effect)
        self.effect = effect
        self.set_progress(progress)
        self.received_at = received_at
        self.newer = None

    def next_step(self, progress: EffectProgress) -> None:
        """A step is done, and the next one begins."""
        self.set_progress(progress)
        self.tries = self.refusals = 0
        self.retry_after_s = 0.0
        self.alone = False

    def blame(self, limiter: RateLimiter) -> None:
        """A refusal of it for the rate of this limiter was counted."""
        fall = limiter.blame(self.id)
        if fall is not None and (limiter, fall) not in self.falls:
            self.falls.append((limiter, fall))

    def acquit(self, now: float) -> bool:
        """It is refused alone: the rate was not the reason. Returns whether a rate has risen again."""
        risen = [limiter.acquit(fall, self.id, now) for limiter, fall in self.falls]
        self.falls.clear()
        return any(risen)


class AwayTime:
    """For how long no charge could be made at Stripe, since the actor's start. Times are monotonic seconds.

    `payment.actors.stripe.telemetry` writes it; the scheduler reads it, to separate an entry's wait for Stripe from its
    wait for its turn.
    """

    def __init__(self, now: float) -> None:
        self.since: float | None = now
        """When Stripe went, or the actor's start; None while charges can be made."""
        self._ended_s = 0.0

    def total_s(self, now: float) -> float:
        """Returns the time in all until now, in seconds."""
        return self._ended_s if self.since is None else self._ended_s + now - self.since

    def end(self, now: float) -> None:
        """Charges can be made again."""
        self._ended_s, self.since = self.total_s(now), None


class Queue:
    """The entries of one endpoint that are ready, in the order of their priorities, and the rate at which they go.

    To leave before one's turn costs the same however long the queue is: at a drain thousands leave at once.
    """

    def __init__(self, kind: str, limiter: RateLimiter, in_flight_limit: int) -> None:
        self.kind = kind
        self.limiter = limiter
        self.in_flight_limit = in_flight_limit
        self.in_flight = 0
        self.may_go = asyncio.Event()
        """Set exactly while an entry is ready and one more call may be in flight."""
        self.last_taken_at = limiter.started_at
        self.aside: list[tuple[Entry, int]] = []
        """Entries refused repeatedly, until another call is answered or a check shows if Stripe refuses all, and their
        `sleeps` at that time: an entry whose `sleeps` has changed since is no longer aside."""
        self.refused_last: Entry | None = None
        """The entry that was refused for the rate last, with no answer to another one since."""
        self.ready: dict[Priority, Entry] = {}
        self._heap: list[Priority] = []
        """The priorities of `ready`, and of some entries that have left before their turn."""

    def add(self, entry: Entry) -> None:
        """The entry may have its turn from now on."""
        self.ready[entry.priority] = entry
        heapq.heappush(self._heap, entry.priority)
        self._update()

    def take(self) -> Entry:
        """The first entry has its turn: a call of it is in flight from now on. There must be one."""
        entry = None
        while entry is None:
            entry = self.ready.pop(heapq.heappop(self._heap), None)
        if not self.ready:
            self._heap.clear()
        self.in_flight += 1
        self._update()
        return entry

    def returned(self) -> None:
        """A call has ended."""
        self.in_flight -= 1
        self._update()

    def remove(self, entry: Entry) -> None:
        """Take an entry out before its turn, if it is in the queue."""
        self.ready.pop(entry.priority, None)
        if len(self._heap) > 2 * len(self.ready) + GONE_PRIORITIES_KEPT:
            self._heap = sorted(self.ready)
        self._update()

    def _update(self) -> None:
        if self.ready and self.in_flight < self.in_flight_limit:
            self.may_go.set()
        else:
            self.may_go.clear()

    def __len__(self) -> int:
        return len(self.ready)


class StripeScheduler:
    """One entry for each effect, the queue of each endpoint, and the account's rate limiter."""

    def __init__(
        self,
        rate_ceiling_per_s: float,
        estimate: PublishedEstimate,
        passed: int,
        clock: Clock,
        wake_later: WakeLater,
        send_end: Callable[[EffectCompleted], None],
        want_check: WantCheck,
        away: AwayTime,
    ) -> None:
        """`rate_ceiling_per_s` bounds each endpoint; and the account, where it is more than every live account has.

        `passed` messages were received by a former instance: the ledger releases their effects again, at new positions.
        `wake_later(entry, sleep, delay_s)` is to call `wake(entry, sleep)` after the delay, `want_check(entry)` is to
        call `checked` later.
        """
        self.held = True
        """Nothing may leave: the database is not known to belong to our key's account (F48)."""
        self.closed = False
        """Nothing may leave any more: each effect that comes is given back."""
        self.in_flight: dict[str, Entry] = {}
        """The entries with a call in flight, the oldest call first, by effect id."""
        now = clock.monotonic()
        self.account = RateLimiter(max(ACCOUNT_START_PER_S, rate_ceiling_per_s), now, ACCOUNT_START_PER_S)
        self.queues = tuple(Queue(kind, RateLimiter(rate_ceiling_per_s, now), limit) for kind, limit in QUEUE_LIMITS)
        self.create, self.confirm, retrieve, cancel, listing, refund = self.queues
        self.queue_of = {
            CallStep.CREATE: self.create,
            CallStep.CONFIRM: self.confirm,
            CallStep.RETRIEVE: retrieve,
            CallStep.CANCEL: cancel,
            CallStep.LIST: listing,
            CallStep.REFUND: refund,
            CallStep.FIND_REFUND: refund,
        }
        self._estimate = estimate
        self._received = self._created = self._confirmed = passed
        self._clock = clock
        self._wake_later = wake_later
        self._send_end = send_end
        self._want_check = want_check
        self._away = away
        self._entries: dict[str, Entry] = {}
        self._arrivals = 0
        self._publish()

    def __len__(self) -> int:
        return len(self._entries)

    # ---------------------------------------------------------------------------------------------- from the ledger

    def release(self, effect: StripeEffect) -> None:
        """The ledger releases an effect. If it is here already, the newer release counts."""
        self._received += 1
        if isinstance(effect, ConfirmIntent):
            self._publish()
        else:
            self._gets_no_turn()
        entry = self._entries.get(effect.id)
        if entry is None:
            self._begin(effect)
        elif entry.in_flight_since is not None:
            if isinstance(entry.newer, ConfirmIntent):
                self._gets_no_turn()
            entry.newer, entry.cancelled = effect, False
        else:
            self.queue_of[entry.step].remove(entry)
            self._renew(entry, effect)
            self._enter(entry, self._clock.now())

    def cancel(self, effect_id: str) -> None:
        """The ledger cancels an effect, which is pending no longer: a call that was not sent yet is not sent."""
        self._received += 1
        self._gets_no_turn()
        self._cancel(effect_id)

    # -------------------------------------------------------------------------------------------------- turns and ends

    def wake(self, entry: Entry, sleep: int) -> None:
        """An entry's delay is over. It may have ended meanwhile, or have been released again and queued by that."""
        if self._entries.get(entry.id) is entry and entry.sleeps == sleep:
            self._add_up_wait(entry)
            self.queue_of[entry.step].add(entry)

    def take(self, queue: Queue, now: float) -> Entry:
        """The first entry of a queue has its turn, by the rate limiters of its endpoint and of the account."""
        entry = queue.take()
        queue.last_taken_at = now
        waiting = [each for each in self.queues if each.ready]
        queue.limiter.took(now, more_wait=queue in waiting)
        self.account.took(now, more_wait=bool(waiting))
        self.in_flight[entry.id] = entry
        entry.in_flight_since = now
        entry.sleeps += 1
        self._add_up_wait(entry)
        if entry.step is CallStep.CREATE or entry.step is CallStep.CONFIRM:
            self._count(entry, past_confirm=entry.step is CallStep.CONFIRM)
        return entry

    def may_send(self, entry: Entry) -> bool:
        """Returns whether the entry's call may be made. Asked immediately before each call (F34)."""
        if self.closed or self.held or entry.cancelled:
            return False
        now = self._clock.now()
        return not (self._too_late(entry, now) or _early_s(entry, now) > 0 or _must_list(entry, now))

    def put_back(self, queue: Queue, entry: Entry) -> None:
        """At its turn an entry was not sent: it was too early and waits again, or it ends here."""
        self._returned(queue, entry)
        self._go_on(entry, 0.0)

    def call_ended(self, queue: Queue, entry: Entry, outcome: Outcome, call_s: float) -> None:
        """An entry's call has ended after `call_s` seconds: the entry ends too, takes its next step, or is repeated."""
        self._returned(queue, entry)
        entry.call_ms += call_s * 1_000
        entry.away_s_counted = self._away.total_s(self._clock.monotonic())
        if _answered(outcome):
            for _, fall in entry.falls:  # what it was refused for before was the rate
                fall.right = True
            entry.falls.clear()
            queue.refused_last = None
            if queue.aside:
                self._judge_aside(queue, alone=True)
        result = result_of(entry.effect, entry.progress, outcome)
        match result:
            case End():
                self._end(entry, result)
            case EffectProgress():
                entry.next_step(result)
                self._go_on(entry, 0.0)
            case _:
                self._repeat(queue, entry, result)

    def slow_down(self, queue: Queue, entry: Entry, left_at: float, refusal: NotYet) -> RateLimiter | None:
        """Stripe refused a request for its rate: the limiter whose limit it was falls. Returns it, if it fell now.

        The request left at `left_at` (monotonic seconds).
        """
        limiter = self.account if refusal.account else queue.limiter
        retry_after_s = refusal.retry_after_s
        if retry_after_s is not None and not refusal.account and queue.refused_last in (None, entry):
            retry_after_s = min(retry_after_s, RETRY_AFTER_OF_ONE_S)
        queue.refused_last = entry
        fell = limiter.refused(self._clock.monotonic(), left_at, retry_after_s)
        if fell:
            self._publish()
        entry.blame(limiter)
        return limiter if fell else None

    def tick(self) -> None:
        """End effects that it is too late to send, so that their clients get an answer. Called about once a second."""
        now = self._clock.now()
        for entry in list(self._entries.values()):
            if entry.in_flight_since is None and self._too_late(entry, now):
                self._give_back(entry)
        for queue in self.queues:
            if queue.aside and not (queue.ready or queue.in_flight):
                self._want_check(queue.aside[0][0])

    def checked(self, kind: str, *, answered: bool) -> None:
        """A check has shown whether Stripe deals with calls of this kind of endpoint at all."""
        self._judge_aside(next(queue for queue in self.queues if queue.kind == kind), alone=answered)

    def close(self) -> None:
        """From now on no call may leave, and waiting effects are given back."""
        self.closed = True
        for entry in list(self._entries.values()):
            if entry.in_flight_since is None:
                self._give_back(entry)

    # ------------------------------------------------------------------------------------------------------- repeated

    def _repeat(self, queue: Queue, entry: Entry, not_yet: NotYet | None) -> None:
        """A call did nothing, or (`not_yet` is None) is safe to repeat: it is made again, alone or with its queue."""
        entry.tries += 1
        delay_s = AGAIN.pause_s(entry.tries)
        if entry.step is CallStep.CREATE and entry.progress.listed:
            # It may be made hours later: the list before it has to be as late.
            entry.set_progress(structs.replace(entry.progress, listed=False))
        if not_yet is None:
            self._back_off(entry, delay_s)
        elif not_yet.alarm:
            self._back_off(entry, max(OPERATOR_AGAIN_AFTER_S, not_yet.retry_after_s or 0.0))
        elif not_yet.obstacle not in QUEUE_WAITS or _one_permission(entry, not_yet) or entry.alone:
            if not_yet.obstacle is Obstacle.KEY_IN_USE and entry.step is CallStep.CONFIRM:
                entry.set_progress(structs.replace(entry.progress, confirm_maybe_sent=True))
            if not_yet.obstacle in REFUSALS:
                entry.refusals += 1
                delay_s = ALONE_AGAIN.pause_s(entry.refusals)
            self._back_off(entry, max(delay_s, not_yet.retry_after_s or 0.0))
        else:
            self._wait_with_others(queue, entry, not_yet)

    def _wait_with_others(self, queue: Queue, entry: Entry, not_yet: NotYet) -> None:
        """It is first in its queue again; unless it was refused repeatedly, for that may be about this entry alone.

        A refusal of another entry decides nothing: that one may be refused alone too.
        """
        entry.refusals = entry.refusals + 1 if not_yet.obstacle in REFUSALS else 0
        entry.retry_after_s = not_yet.retry_after_s or 0.0
        if (
            entry.refusals < ASIDE_AFTER_REFUSALS
            or entry.newer is not None
            or self._ends_here(entry, self._clock.now())
        ):
            self._go_on(entry, entry.retry_after_s)
            return
        queue.aside.append((entry, entry.sleeps))
        if not queue.ready and queue.in_flight == 0:
            self._want_check(entry)

    def _judge_aside(self, queue: Queue, *, alone: bool) -> None:
        """Those aside are refused alone, as Stripe has answered another call; or all are, and they go first again."""
        aside, queue.aside = queue.aside, []
        for entry, sleep in aside:
            if self._entries.get(entry.id) is not entry or entry.sleeps != sleep:
                continue
            entry.refusals, entry.alone = int(alone), alone
            if not alone:
                self._go_on(entry, entry.retry_after_s)
                continue
            if entry.acquit(self._clock.monotonic()):
                self._publish()
            self._back_off(entry, max(ALONE_AGAIN.pause_s(entry.refusals), entry.retry_after_s))

    def _back_off(self, entry: Entry, delay_s: float) -> None:
        """It waits by itself: no charge behind it waits longer for that, so the estimate counts it no more."""
        self._count(entry, past_confirm=True)
        self._go_on(entry, delay_s)

    def _go_on(self, entry: Entry, delay_s: float) -> None:
        """An entry's next call, of the same step or the next, comes after a delay; unless it may not be made at all."""
        if entry.newer is not None:
            self._renew(entry, entry.newer)
        now = self._clock.now()
        if self._ends_here(entry, now):
            self._give_back(entry)
        elif (created := to_be_written(entry.effect, entry.progress)) is not None:
            self._end(entry, End(created))
        else:
            self._enter(entry, now, delay_s)

    def _ends_here(self, entry: Entry, now: datetime) -> bool:
        return self.closed or entry.cancelled or self._too_late(entry, now)

    # ---------------------------------------------------------------------------------------------- beginning and end

    def _begin(self, effect: StripeEffect) -> None:
        self._arrivals += 1
        match effect:
            case ConfirmIntent():
                decided_at = effect.issued_at.timestamp()
            case CreateIntent():
                decided_at = PREPARING_SINCE
            case _:
                decided_at = 0.0
        now = self._clock.monotonic()
        entry = Entry(effect, (decided_at, self._arrivals), now, away_s_counted=self._away.total_s(now))
        self._entries[entry.id] = entry
        if self.closed:
            self._give_back(entry)
        else:
            self._enter(entry, self._clock.now())

    def _renew(self, entry: Entry, effect: StripeEffect) -> None:
        if isinstance(entry.effect, ConfirmIntent):
            self._gets_no_turn()
        entry.becomes(effect, self._clock.monotonic())

    def _enter(self, entry: Entry, now: datetime, at_least_s: float = 0.0) -> None:
        """Put an entry into the queue of its step, after a delay if it has to wait first."""
        entry.sleeps += 1
        if _must_list(entry, now):
            entry.set_progress(structs.replace(entry.progress, must_list=True))
        if entry.step not in (CallStep.LIST, CallStep.CREATE):
            self._count(entry, past_confirm=False)
        # Judged again after a while: the clock may have jumped back, and forward again (F38).
        delay_s = max(at_least_s, min(AGAIN.longest_s, _early_s(entry, now)))
        if delay_s > 0 or entry.slept_from is not None:
            self._add_up_wait(entry)
        if delay_s > 0:
            entry.slept_from = self._clock.monotonic()
            self._wake_later(entry, entry.sleeps, delay_s)
        else:
            self.queue_of[entry.step].add(entry)

    def _cancel(self, effect_id: str) -> None:
        entry = self._entries.get(effect_id)
        if entry is None:
            return  # it has just ended, and the ledger is about to receive that
        if entry.in_flight_since is not None:
            entry.cancelled = True
        else:
            self._give_back(entry)

    def _give_back(self, entry: Entry) -> None:
        """End an entry that has no call in flight, undone."""
        self.queue_of[entry.step].remove(entry)
        self._add_up_wait(entry)
        self._end(entry, End(undone(entry.effect, entry.progress)))

    def _returned(self, queue: Queue, entry: Entry) -> None:
        """The entry has no call in flight any more: its queue may send another one."""
        queue.returned()
        del self.in_flight[entry.id]
        entry.in_flight_since = None

    def _end(self, entry: Entry, end: End) -> None:
        """The effect is completed. A newer release of it begins now, if there is need for it."""
        del self._entries[entry.id]
        self._count(entry, past_confirm=True)
        self._send_end(EffectCompleted(entry.id, end.message, entry.call_ms, end.handover, entry.away_ms))
        if entry.newer is None:
            return
        if isinstance(end.message, SETTLING):
            if isinstance(entry.newer, ConfirmIntent):
                self._gets_no_turn()
            return
        self._begin(entry.newer)
        if entry.cancelled:
            self._cancel(entry.id)

    # ------------------------------------------------------------------------------------------------- time and counts

    def _too_late(self, entry: Entry, now: datetime) -> bool:
        """Whether it may not be sent any more, also after a pause of the process or a jump of its clock (F34, F38)."""
        effect = entry.effect
        if isinstance(effect, ConfirmIntent):
            if entry.step is CallStep.RETRIEVE:
                return False
            over = now >= effect.not_after or now < effect.issued_at - CLOCK_TOLERANCE
        elif isinstance(effect, CreateIntent):
            over = now >= effect.not_after
        else:
            return False
        return over or self._clock.monotonic() - entry.received_at >= KEY_LIFE_S

    def _add_up_wait(self, entry: Entry) -> None:
        """It has waited until now: for Stripe while it slept, and while it was queued and Stripe was away."""
        now = self._clock.monotonic()
        away_s = self._away.total_s(now)
        if entry.slept_from is None:
            entry.away_ms += (away_s - entry.away_s_counted) * 1_000
        else:
            entry.away_ms += (now - entry.slept_from) * 1_000
        entry.slept_from, entry.away_s_counted = None, away_s

    def _count(self, entry: Entry, *, past_confirm: bool) -> None:
        """Count a charge in the estimate, once, as past its create; with `past_confirm` as past its confirm too."""
        if (
            not isinstance(entry.effect, ConfirmIntent)
            or entry.past_confirm
            or (entry.past_create and not past_confirm)
        ):
            return
        self._created += not entry.past_create
        self._confirmed += past_confirm
        entry.past_create, entry.past_confirm = True, past_confirm
        self._publish()

    def _gets_no_turn(self) -> None:
        """Count a message that gets no turn of its own as past both stages: it has a position in the estimate."""
        self._created += 1
        self._confirmed += 1
        self._publish()

    def _publish(self) -> None:
        """Publish the estimate as it is now. While creates and confirms both wait they share the account's rate."""
        share_per_s = self.account.per_s / 2 if self.create.ready else self.account.per_s
        creates_per_s = min(self.create.limiter.per_s, share_per_s)
        confirms_per_s = min(self.confirm.limiter.per_s, share_per_s)
        estimate = QueueEstimate(creates_per_s, confirms_per_s, self._received, self._created, self._confirmed)
        self._estimate.publish(estimate)


def _early_s(entry: Entry, now: datetime) -> float:
    """Returns how long an entry has to wait before it may be sent, in seconds."""
    effect = entry.effect
    if not isinstance(effect, ConfirmIntent | CancelIntent) or entry.step is CallStep.RETRIEVE:
        return 0.0
    return (effect.not_before - now).total_seconds()


def _must_list(entry: Entry, now: datetime) -> bool:
    """Whether a create may not leave yet, however long ago it was released: its key may be forgotten by now."""
    effect = entry.effect
    if not isinstance(effect, IntentEffect) or entry.step is not CallStep.CREATE or entry.progress.listed:
        return False
    return now >= effect.intent.list_after


def _one_permission(entry: Entry, not_yet: NotYet) -> bool:
    """Whether our key lacks a permission for an endpoint that no charge needs: its queue goes on with other entries."""
    return not_yet.obstacle is Obstacle.KEY_REFUSED and entry.step not in (CallStep.CREATE, CallStep.CONFIRM)


def _answered(outcome: Outcome) -> bool:
    """Whether Stripe dealt with the request itself."""
    if isinstance(outcome, NotYet):
        return outcome.obstacle not in QUEUE_WAITS
    return not isinstance(outcome, Unclear) or outcome.stored
