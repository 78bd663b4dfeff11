"""Every effect in the Stripe actor from its release to its end, and which step it takes next: the actor without calls.

An entry sleeps, is ready (in the queue of its step), stands aside (refused repeatedly), or has a call in flight.
Every move between these happens within one turn of the event loop. Nothing here waits: the actor is asked to wake an
entry later, and sends each end to the ledger.

The scheduler must never lose an entry: each ends once, and so does an effect released under the same id meanwhile.
Change together: `payment.actors.stripe.outcomes`, which says what each outcome leads to.
"""

import math
from collections.abc import Callable
from datetime import datetime

from msgspec import structs

from payment.actors.messages import EffectCompleted
from payment.actors.queue_estimate import QueueEstimate
from payment.actors.runtime.position_queue import Position
from payment.actors.stripe.outcomes import (
    REFUSALS,
    SETTLING,
    CallStep,
    EffectProgress,
    End,
    Outcome,
    result_of,
    to_be_written,
    undone,
)
from payment.actors.stripe.queues import Entry, Queue, Queues
from payment.core.effects import CancelIntent, ConfirmIntent, CreateIntent, IntentEffect, StripeEffect
from payment.core.schedule import CLOCK_TOLERANCE, KEY_LIFE
from payment.ports.cards import NotYet, Obstacle, Unclear
from payment.ports.clock import Clock

AGAIN_AFTER_S = 0.25
LONGEST_AGAIN_AFTER_S = 5.0
"""Before a call that did nothing, or is safe to repeat, is made again: it doubles from the one to the other."""

OPERATOR_AGAIN_AFTER_S = 30.0
"""Before a call is repeated that fails until an operator changes something."""

ASIDE_AFTER_REFUSALS = 2
"""Refusals in a row after which an entry lets others go first, to see whether Stripe refuses it alone."""

ALONE_AGAIN_AFTER_S = 1.0
ALONE_AGAIN_FACTOR = 4.0
LONGEST_ALONE_AGAIN_AFTER_S = 60.0
"""Before an entry that is refused alone is tried again: 1, 4, 16, then 60 s. A hundred of them then take less than two
of the 25 requests a second of their endpoint, and a permission that is granted is noticed within a minute."""

QUEUE_WAITS = (Obstacle.RATE_LIMITED, Obstacle.KEY_REFUSED, Obstacle.UNREACHABLE)
"""Obstacles that all requests meet alike: the entry is first in its queue again, and the queue itself waits."""

PREPARING_SINCE = math.inf
"""The place, after all others, of a create ahead of its order's first request: it leaves when no other create waits."""

WakeLater = Callable[[Entry, int, float], None]

WantCheck = Callable[[Entry], None]
"""Is asked to find out whether Stripe refuses every call of the kind that this entry was refused."""


class StripeScheduler:
    """One entry for each effect, its queue, and its share in the queue estimate."""

    def __init__(
        self,
        queues: Queues,
        estimate: QueueEstimate,
        clock: Clock,
        wake_later: WakeLater,
        send_end: Callable[[EffectCompleted], None],
        want_check: WantCheck,
        away_s: Callable[[], float],
    ) -> None:
        """`wake_later(entry, sleep, delay_s)` is to call `woken(entry, sleep)` after the delay, `want_check(entry)`
        is to call `checked` later. `away_s()` is for how many seconds Stripe has been away in all.
        """
        self.held = True
        """Nothing may leave: the database is not known to belong to our key's account (F48)."""
        self.closed = False
        """Nothing may leave any more: each effect that comes is given back."""
        self._queues = queues
        self._estimate = estimate
        self._clock = clock
        self._wake_later = wake_later
        self._send_end = send_end
        self._want_check = want_check
        self._away_s = away_s
        self._entries: dict[str, Entry] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._entries)

    def released(self, effect: StripeEffect) -> None:
        """The ledger releases an effect. If it is here already, the newer release counts."""
        entry = self._entries.get(effect.id)
        if entry is None:
            self._begin(effect)
        elif entry.in_flight:
            if entry.newer is not None:
                self._shares_a_turn(entry.newer)
            entry.newer, entry.cancelled = effect, False
        else:
            self._queues.of(entry).remove(entry)
            self._renew(entry, effect)
            self._enter(entry)

    def cancelled(self, effect_id: str) -> None:
        """An effect is pending no longer: a call that was not sent yet is not sent."""
        entry = self._entries.get(effect_id)
        if entry is None:
            return  # it has just ended, and the ledger is about to receive that
        if entry.in_flight:
            entry.cancelled = True
        else:
            self._give_back(entry)

    def woken(self, entry: Entry, sleep: int) -> None:
        """An entry's delay is over. It may have ended meanwhile, or a newer release may have its own way in."""
        if self._entries.get(entry.effect.id) is entry and entry.sleeps == sleep:
            entry.waited(self._clock.monotonic(), self._away_s())
            self._queues.of(entry).add(entry)

    def may_leave(self, entry: Entry) -> bool:
        """Asked immediately before each call."""
        if self.closed or self.held or entry.cancelled:
            return False
        now = self._clock.now()
        return not (self._too_late(entry, now) or _early_s(entry, now) > 0 or _must_list(entry, now))

    def took(self, entry: Entry, now: float) -> None:
        """An entry has its turn. The estimate counts each charge once in each stage."""
        entry.sent_at = now
        entry.sleeps += 1
        entry.waited(now, self._away_s())
        if entry.step in (CallStep.CREATE, CallStep.CONFIRM):
            self._count(entry, past_confirm=entry.step is CallStep.CONFIRM)
            self.rates_changed()

    def rates_changed(self) -> None:
        """A rate limiter that charges go by has changed its rate."""
        self._estimate.creates_per_s, self._estimate.confirms_per_s = self._queues.charge_rates()

    def not_sent(self, entry: Entry) -> None:
        """At its turn an entry could not leave: it was too early, or it ends here."""
        self._go_on(entry, 0.0)

    def call_ended(self, queue: Queue, entry: Entry, outcome: Outcome) -> None:
        """A call of an entry, in flight no longer, has ended: the entry ends too, goes on, or is repeated."""
        entry.away_s_seen = self._away_s()
        if _answered(outcome):
            entry.answered()
            queue.refused_last = None
            self._judge_aside(queue, alone=True)
        result = result_of(entry.effect, entry.progress, outcome)
        match result:
            case End():
                self._end(entry, result)
            case EffectProgress():
                entry.goes_on(result)
                self._go_on(entry, 0.0)
            case _:
                self._repeat(queue, entry, result)

    def tick(self) -> None:
        """End effects that it is too late to send. Called about once a second."""
        for entry in list(self._entries.values()):
            if not entry.in_flight and self._too_late(entry, self._clock.now()):
                self._give_back(entry)
        for queue in self._queues:
            if queue.aside and not (queue or queue.in_flight):
                self._want_check(queue.aside[0][0])

    def checked(self, queue: Queue, *, answered: bool) -> None:
        """A check has shown whether Stripe deals with calls of this queue at all."""
        self._judge_aside(queue, alone=answered)

    def close(self) -> None:
        """From now on no call may leave, and waiting effects are given back."""
        self.closed = True
        for entry in list(self._entries.values()):
            if not entry.in_flight:
                self._give_back(entry)

    # ------------------------------------------------------------------------------------------------------- repeated

    def _repeat(self, queue: Queue, entry: Entry, not_yet: NotYet | None) -> None:
        entry.tries += 1
        delay_s = _backoff_s(entry.tries)
        if entry.step is CallStep.CREATE and entry.progress.listed:
            # It may be made hours later: the list before it has to be as late.
            entry.progress = structs.replace(entry.progress, listed=False)
        if not_yet is None:
            self._back_off(entry, delay_s)
        elif not_yet.alarm:
            self._back_off(entry, max(OPERATOR_AGAIN_AFTER_S, not_yet.retry_after_s or 0.0))
        elif not_yet.obstacle not in QUEUE_WAITS or _one_permission(entry, not_yet) or entry.alone:
            if not_yet.obstacle is Obstacle.KEY_IN_USE and entry.step is CallStep.CONFIRM:
                entry.progress = _maybe_sent(entry.progress)
            if not_yet.obstacle in REFUSALS:
                entry.refusals += 1
                delay_s = _alone_backoff_s(entry.refusals)
            self._back_off(entry, max(delay_s, not_yet.retry_after_s or 0.0))
        else:
            self._wait_with_others(queue, entry, not_yet)

    def _wait_with_others(self, queue: Queue, entry: Entry, not_yet: NotYet) -> None:
        """It is first in its queue again; unless it was refused repeatedly, for that may be about this entry alone.

        A refusal of another entry decides nothing: that one may be refused alone too.
        """
        entry.refusals = entry.refusals + 1 if not_yet.obstacle in REFUSALS else 0
        entry.retry_after_s = not_yet.retry_after_s or 0.0
        if entry.refusals < ASIDE_AFTER_REFUSALS or entry.newer is not None or self._ends_here(entry):
            self._go_on(entry, entry.retry_after_s)
            return
        queue.aside.append((entry, entry.sleeps))
        if not queue and queue.in_flight == 0:
            self._want_check(entry)

    def _judge_aside(self, queue: Queue, *, alone: bool) -> None:
        """Those aside are refused alone, as Stripe has answered another call; or all are, and they go first again."""
        aside, queue.aside = queue.aside, []
        for entry, sleep in aside:
            if self._entries.get(entry.effect.id) is not entry or entry.sleeps != sleep:
                continue
            entry.refusals, entry.alone = int(alone), alone
            if not alone:
                self._go_on(entry, entry.retry_after_s)
                continue
            if entry.acquitted(self._clock.monotonic()):
                self.rates_changed()
            self._back_off(entry, max(_alone_backoff_s(entry.refusals), entry.retry_after_s))

    def _back_off(self, entry: Entry, delay_s: float) -> None:
        """It waits by itself: no charge behind it waits longer for that, so the estimate counts it no more."""
        self._count(entry, past_confirm=True)
        self._go_on(entry, delay_s)

    def _go_on(self, entry: Entry, delay_s: float) -> None:
        """An entry's next call, of the same step or the next, comes after a delay; unless it may not be made at all."""
        if entry.newer is not None:
            self._renew(entry, entry.newer)
        if self._ends_here(entry):
            self._give_back(entry)
        elif (created := to_be_written(entry.effect, entry.progress)) is not None:
            self._end(entry, End(created))
        else:
            self._enter(entry, delay_s)

    def _ends_here(self, entry: Entry) -> bool:
        return self.closed or entry.cancelled or self._too_late(entry, self._clock.now())

    # ---------------------------------------------------------------------------------------------- beginning and end

    def _begin(self, effect: StripeEffect) -> None:
        entry = self._entries[effect.id] = Entry(effect, self._place(effect), self._clock.monotonic())
        entry.away_s_seen = self._away_s()
        if self.closed:
            self._give_back(entry)
        else:
            self._enter(entry)

    def _place(self, effect: StripeEffect) -> Position:
        self._arrivals += 1
        match effect:
            case ConfirmIntent():
                return effect.issued_at.timestamp(), self._arrivals
            case CreateIntent():
                return PREPARING_SINCE, self._arrivals
            case _:
                return 0.0, self._arrivals

    def _renew(self, entry: Entry, effect: StripeEffect) -> None:
        self._shares_a_turn(entry.effect)
        entry.becomes(effect, self._clock.monotonic())

    def _enter(self, entry: Entry, at_least_s: float = 0.0) -> None:
        """Put an entry into its queue, after a delay if it has to wait first."""
        now = self._clock.now()
        entry.sleeps += 1
        entry.waited(self._clock.monotonic(), self._away_s())
        if _must_list(entry, now):
            entry.progress = structs.replace(entry.progress, must_list=True)
        if entry.step not in (CallStep.LIST, CallStep.CREATE):
            self._count(entry, past_confirm=False)
        # Looked at again after a while: the clock may have jumped back, and forward again (F38).
        delay_s = max(at_least_s, min(LONGEST_AGAIN_AFTER_S, _early_s(entry, now)))
        if delay_s > 0:
            entry.slept_from = self._clock.monotonic()
            self._wake_later(entry, entry.sleeps, delay_s)
        else:
            self._queues.of(entry).add(entry)

    def _give_back(self, entry: Entry) -> None:
        """End an entry that has no call in flight, undone."""
        self._queues.of(entry).remove(entry)
        self._end(entry, End(undone(entry.effect, entry.progress)))

    def _end(self, entry: Entry, end: End) -> None:
        """The effect is completed. A newer release of it begins now, if there is need for it."""
        del self._entries[entry.effect.id]
        self._count(entry, past_confirm=True)
        entry.waited(self._clock.monotonic(), self._away_s())
        self._send_end(EffectCompleted(entry.effect.id, end.message, entry.call_ms, end.handover, entry.away_ms))
        if entry.newer is None:
            return
        if isinstance(end.message, SETTLING):
            self._shares_a_turn(entry.newer)
            return
        self._begin(entry.newer)
        if entry.cancelled:
            self.cancelled(entry.newer.id)

    # ------------------------------------------------------------------------------------------------- time and counts

    def _too_late(self, entry: Entry, now: datetime) -> bool:
        """Whether it may not be sent any more, also after a pause of the process or a jump of its clock (F34, F38)."""
        effect, step = entry.effect, entry.step
        held_s = self._clock.monotonic() - entry.received_at
        match effect:
            case ConfirmIntent() if step is not CallStep.RETRIEVE:
                return _out_of_time(effect, now) or held_s >= KEY_LIFE.total_seconds()
            case CreateIntent():
                return now >= effect.not_after or held_s >= KEY_LIFE.total_seconds()
            case _:
                return False

    def _count(self, entry: Entry, *, past_confirm: bool) -> None:
        """Count a charge in the estimate, once, as past its create; with `past_confirm` as past its confirm too."""
        if not isinstance(entry.effect, ConfirmIntent):
            return
        self._estimate.created += not entry.past_create
        entry.past_create = True
        if past_confirm:
            self._estimate.confirmed += not entry.past_confirm
            entry.past_confirm = True

    def _shares_a_turn(self, effect: StripeEffect) -> None:
        """Count an effect that gets no turn of its own as past both stages: it has a position in the estimate."""
        if isinstance(effect, ConfirmIntent):
            self._estimate.created += 1
            self._estimate.confirmed += 1


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


def _out_of_time(effect: ConfirmIntent, now: datetime) -> bool:
    return now >= effect.not_after or now < effect.issued_at - CLOCK_TOLERANCE


def _one_permission(entry: Entry, not_yet: NotYet) -> bool:
    """Whether our key lacks a permission for an endpoint that no charge needs: its queue goes on with other entries."""
    return not_yet.obstacle is Obstacle.KEY_REFUSED and entry.step not in (CallStep.CREATE, CallStep.CONFIRM)


def _maybe_sent(progress: EffectProgress) -> EffectProgress:
    return structs.replace(progress, confirm_maybe_sent=True)


def _answered(outcome: Outcome) -> bool:
    """Whether Stripe dealt with the request itself."""
    if isinstance(outcome, NotYet):
        return outcome.obstacle not in QUEUE_WAITS
    return not isinstance(outcome, Unclear) or outcome.stored


def _alone_backoff_s(refusals: int) -> float:
    return min(LONGEST_ALONE_AGAIN_AFTER_S, ALONE_AGAIN_AFTER_S * ALONE_AGAIN_FACTOR ** min(refusals - 1, 10))


def _backoff_s(tries: int) -> float:
    doublings = min(tries - 1, 10)
    return min(LONGEST_AGAIN_AFTER_S, AGAIN_AFTER_S * 2.0**doublings)
