"""Requests whose outcome is not known yet: each is answered by its order's next written document that settles it.

A request is told `Pending` (202) when its deadline has come, and at once when it is clear that the outcome won't be
known by then: the queue at Stripe is longer than that, or nobody will look again before.
"""

import math
from collections.abc import Collection
from datetime import datetime

from payment.actors.hands import Hands
from payment.actors.letters import Answer, ChargeAsked, Unavailability, Unavailable
from payment.core.order import Order, TaskKind
from payment.core.replies import Pending, Reply, Start, reply_to
from payment.ports.clock import Clock

UNKNOWN_RETRY_AFTER_S = 2
"""When to ask again about an outcome that depends on an answer we have no estimate for."""


class Waiters:
    """The requests that wait, by order. Answers each exactly once."""

    def __init__(self, clock: Clock, hands: Hands) -> None:
        self._clock = clock
        self._hands = hands
        self._waiting: dict[str, list[ChargeAsked]] = {}

    def add(self, order: Order, letter: ChargeAsked) -> None:
        """A request's intent, or one that it joins, is on paper as pending: let it wait, if that makes sense."""
        self._waiting.setdefault(order.id, []).append(letter)
        self.written(order)

    def written(self, order: Order) -> None:
        """The order was written, or read afresh: answer everybody whom it tells the outcome."""
        letters = self._waiting.get(order.id)
        if letters is None:
            return
        now, at = self._clock.monotonic(), self._clock.now()
        waiting = [letter for letter in letters if not self._answered(order, letter, now, at)]
        if waiting:
            self._waiting[order.id] = waiting
        else:
            del self._waiting[order.id]

    def _answered(self, order: Order, letter: ChargeAsked, now: float, at: datetime) -> bool:
        reply = reply_to(order, letter.request, at)
        if isinstance(reply, Start):
            # Its attempt is on paper no longer: a store that lost a confirmed write. Nobody may guess about that.
            tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN))
        elif not isinstance(reply, Pending):
            tell(letter, reply)
        else:
            known_in_s = self._known_in_s(order, at)
            if now + known_in_s <= letter.deadline and now < letter.deadline:
                return False
            tell(letter, reply, retry_after_s=max(1, math.ceil(known_in_s)))
        return True

    def _known_in_s(self, order: Order, at: datetime) -> float:
        """When the outcome may be known at the earliest, in seconds from now, as far as anything is known of that."""
        queued_s = self._hands.wait_s(order.id)
        if queued_s is not None:
            return queued_s
        task = order.unsettled.task if order.unsettled else None
        if task is not None and task.kind is TaskKind.WATCH:
            return max(0.0, (task.due - at).total_seconds())
        return 0.0

    def expired(self) -> list[str]:
        """The orders that somebody has waited for until the deadline."""
        now = self._clock.monotonic()
        return [
            order_id for order_id, letters in self._waiting.items() if any(now >= letter.deadline for letter in letters)
        ]

    def elsewhere(self) -> list[str]:
        """The orders that somebody waits for while nothing of theirs is in our hands: another process works on them."""
        return [order_id for order_id in self._waiting if not self._hands.holds(order_id)]

    def give_up(self, order_ids: Collection[str]) -> None:
        """The last look failed: whoever's time is up hears that the outcome is unknown, which it is."""
        now = self._clock.monotonic()
        for order_id in order_ids:
            for letter in self._waiting.get(order_id, []):
                if now >= letter.deadline:
                    tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S))
        self._forget_answered()

    def fail(self) -> None:
        """The ledger ends: every request that still waits has an intent on paper, and no outcome."""
        for letters in self._waiting.values():
            for letter in letters:
                tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN))
        self._waiting.clear()

    def _forget_answered(self) -> None:
        for order_id, letters in list(self._waiting.items()):
            waiting = [letter for letter in letters if not letter.answer.done()]
            if waiting:
                self._waiting[order_id] = waiting
            else:
                del self._waiting[order_id]

    def __len__(self) -> int:
        return sum(len(letters) for letters in self._waiting.values())


def tell(letter: ChargeAsked, reply: Reply | Unavailable, retry_after_s: int | None = None) -> None:
    """Answer a request, unless nobody waits for the answer any more."""
    if not letter.answer.done():
        letter.answer.set_result(Answer(reply, retry_after_s))
