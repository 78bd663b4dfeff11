"""What is asked of Stripe, each thing from its hand-over to its end: the Stripe actor's books, without its calls.

An entry is at one of three places: it sleeps (on the books alone), it is ready (in its line too), or it is on the wire.
Every step between them happens within one turn of the event loop. Nothing here waits for anything: the actor is asked
to wake an entry later, and is handed each end.

The desk must never forget an entry: each is ended once, and so is what was asked for under the same name meanwhile.
Change together: `payment.actors.stripe_outcomes`, which says what the ledger is told.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import assert_never

from payment.actors.forecast import Forecast
from payment.actors.letters import EffectEnded
from payment.actors.place_queue import Place
from payment.actors.stripe_lines import Entry, Line
from payment.actors.stripe_outcomes import SETTLING, undone
from payment.core.effects import ChargeCard, FindCharges, FindRefund, RefundCharge, StripeEffect
from payment.core.messages import Message
from payment.core.schedule import CLOCK_TOLERANCE, KEY_LIFE
from payment.ports.cards import NotYet, Obstacle
from payment.ports.clock import Clock

AGAIN_AFTER_S = 0.25
LONGEST_AGAIN_AFTER_S = 5.0
"""Before the repetition of a request that did nothing or is safe to repeat: it doubles from the one to the other."""

THE_LINE_WAITS = (Obstacle.RATE_LIMITED, Obstacle.KEY_REFUSED, Obstacle.UNREACHABLE)
"""Obstacles that stand before all requests alike: the entry is first in its line again, and the line itself waits."""

WakeLater = Callable[[Entry, StripeEffect, float], None]


class StripeDesk:
    """One entry for each thing that is owed, its line, and its place in the forecast."""

    def __init__(
        self,
        charges: Line,
        lookups: Line,
        refunds: Line,
        forecast: Forecast,
        clock: Clock,
        wake_later: WakeLater,
        tell: Callable[[EffectEnded], None],
    ) -> None:
        """`wake_later` is to call `woken` with an entry and its effect after so many seconds."""
        self.closed = False
        """Nothing may leave any more: whatever comes is given back."""
        self._charges = charges
        self._lookups = lookups
        self._refunds = refunds
        self._forecast = forecast
        self._clock = clock
        self._wake_later = wake_later
        self._tell = tell
        self._entries: dict[str, Entry] = {}
        self._came = 0

    def __len__(self) -> int:
        return len(self._entries)

    def asked(self, effect: StripeEffect) -> None:
        """Something is owed. If it has been asked for already, the newer word counts."""
        entry = self._entries.get(effect.id)
        if entry is None:
            self._begin(effect)
        elif entry.on_wire:
            if entry.newer is not None:
                self._shares_a_turn(entry.newer)
            entry.newer, entry.withdrawn = effect, False
        else:
            self._line(effect).remove(entry)
            self._renew(entry, effect)
            self._enter(entry)

    def withdrawn(self, effect_id: str) -> None:
        """Something is owed no longer: what was not sent yet never is."""
        entry = self._entries.get(effect_id)
        if entry is None:
            return  # it has just ended, and the ledger is about to hear so
        if entry.on_wire:
            entry.withdrawn = True
        else:
            self.give_back(entry)

    def woken(self, entry: Entry, effect: StripeEffect) -> None:
        """An entry has slept out its delay."""
        # It may have been handed back meanwhile; or a newer word took its place, and has its own way into the line.
        if self._entries.get(effect.id) is entry and entry.effect is effect:
            self._line(effect).add(entry)

    def may_leave(self, entry: Entry) -> bool:
        """Asked immediately before each send."""
        return not (self.closed or entry.withdrawn or self._too_late(entry))

    def took(self, entry: Entry, now: float) -> None:
        """An entry has its turn. The forecast counts each charge once."""
        entry.sent_at = now
        self._pass(entry)

    def again(self, entry: Entry, not_yet: NotYet | None) -> None:
        """A call did nothing, or (None) is safe to repeat: it is made again, unless nobody wants it any more."""
        entry.tries += 1
        delay_s = _backoff_s(entry.tries)
        if not_yet is not None:
            entry.maybe_sent |= not_yet.obstacle is Obstacle.KEY_IN_USE
            # A key that is refused for look-ups or refunds alone is no reason for a line to stand still at its head.
            one_permission = not_yet.obstacle is Obstacle.KEY_REFUSED and not isinstance(entry.effect, ChargeCard)
            line_waits = not_yet.obstacle in THE_LINE_WAITS and not one_permission
            delay_s = 0.0 if line_waits else max(delay_s, not_yet.retry_after_s or 0.0)
        if entry.newer is not None:
            self._renew(entry, entry.newer)
        if self.closed or entry.withdrawn:
            self.give_back(entry)
        else:
            self._enter(entry, delay_s)

    def give_back(self, entry: Entry) -> None:
        """End an entry that is not on the wire, undone."""
        self._line(entry.effect).remove(entry)
        self.end(entry, undone(entry.effect, maybe_sent=entry.maybe_sent))

    def give_back_late(self) -> None:
        """End what waited until it is too late to send: its order may be told so now."""
        for entry in list(self._entries.values()):
            if not entry.on_wire and self._too_late(entry):
                self.give_back(entry)

    def close(self) -> None:
        """From now on nothing may leave, and what waits is given back."""
        self.closed = True
        for entry in list(self._entries.values()):
            if not entry.on_wire:
                self.give_back(entry)

    def end(self, entry: Entry, message: Message, call_ms: float = 0.0) -> None:
        """Out of our hands. What was asked for meanwhile under the same name begins now, if there is need for it."""
        del self._entries[entry.effect.id]
        self._pass(entry)
        self._tell(EffectEnded(entry.effect.id, message, call_ms))
        if entry.newer is None:
            return
        if isinstance(message, SETTLING):
            self._shares_a_turn(entry.newer)
            return
        self._begin(entry.newer)
        if entry.withdrawn:
            self.withdrawn(entry.newer.id)

    def _begin(self, effect: StripeEffect) -> None:
        entry = self._entries[effect.id] = Entry(effect, self._place(effect), self._clock.monotonic())
        if self.closed:
            self.give_back(entry)
        else:
            self._enter(entry)

    def _place(self, effect: StripeEffect) -> Place:
        self._came += 1
        return effect.issued_at.timestamp() if isinstance(effect, ChargeCard) else 0.0, self._came

    def _renew(self, entry: Entry, effect: StripeEffect) -> None:
        self._shares_a_turn(entry.effect)
        entry.becomes(effect, self._clock.monotonic())

    def _enter(self, entry: Entry, at_least_s: float = 0.0) -> None:
        """Let an entry into its line, after a while if it has to wait first."""
        delay_s = max(at_least_s, self._early_s(entry.effect))
        if delay_s > 0:
            self._wake_later(entry, entry.effect, delay_s)
        else:
            self._line(entry.effect).add(entry)

    def _early_s(self, effect: StripeEffect) -> float:
        """How long a charge has to wait before it may be sent. Bounded, for the clock may have jumped back (F38)."""
        if not isinstance(effect, ChargeCard):
            return 0.0
        return min(LONGEST_AGAIN_AFTER_S, (effect.not_before - self._clock.now()).total_seconds())

    def _too_late(self, entry: Entry) -> bool:
        """The process may have slept with this in its hand, or its clock jumped (F34, F38)."""
        effect = entry.effect
        if not isinstance(effect, ChargeCard):
            return False
        now = self._clock.now()
        age = timedelta(seconds=self._clock.monotonic() - entry.received_at)
        return now >= effect.not_after or now < effect.issued_at - CLOCK_TOLERANCE or age >= KEY_LIFE

    def _pass(self, entry: Entry) -> None:
        if isinstance(entry.effect, ChargeCard) and not entry.served:
            self._forecast.passed += 1
            self._forecast.per_s = self._charges.pace.per_s
        entry.served = True

    def _shares_a_turn(self, effect: StripeEffect) -> None:
        """An effect that has no turn to itself had a place of its own in the forecast all the same."""
        self._forecast.passed += isinstance(effect, ChargeCard)

    def _line(self, effect: StripeEffect) -> Line:
        match effect:
            case ChargeCard():
                return self._charges
            case FindCharges():
                return self._lookups
            case RefundCharge() | FindRefund():
                return self._refunds
            case _:
                assert_never(effect)


def _backoff_s(tries: int) -> float:
    doublings = min(tries - 1, 10)
    return min(LONGEST_AGAIN_AFTER_S, AGAIN_AFTER_S * 2.0**doublings)
