"""Requests whose outcome is not known yet: each is answered by its order's next written document that settles it.

A request is told `Pending` (202) when its deadline has come, and at once when it is clear that the outcome won't be
known by then: the queue at Stripe is longer than that, or nobody will look again before.
"""

import math
from collections.abc import Callable, Collection
from datetime import datetime

from msgspec import Struct, field

from payment.actors.ledger.in_flight import Hands
from payment.actors.messages import Answer, ChargeAsked
from payment.core.order import AttemptState, Order, TaskKind
from payment.core.replies import (
    Conflict,
    Pending,
    Reply,
    RequiresAction,
    Start,
    Unavailability,
    Unavailable,
    reply_to,
)
from payment.core.schedule import LOOKS_APART
from payment.ports.cards import Handover
from payment.ports.clock import Clock

UNKNOWN_RETRY_AFTER_S = 2
"""When to ask again about an outcome that depends on an answer we have no estimate for."""


class _Waiting(Struct, eq=False):
    """The requests that wait for one order, and the newest revision by which all of them were judged."""

    rev: int
    letters: list[ChargeAsked] = field(default_factory=list)


class Waiters:
    """The requests that wait, by order. Answers each exactly once."""

    def __init__(self, clock: Clock, hands: Hands, again: Callable[[ChargeAsked], None]) -> None:
        """`again` has a request decided once more, after another card's intent is known canceled."""
        self._clock = clock
        self._hands = hands
        self._again = again
        self._waiting: dict[str, _Waiting] = {}
        self._look_wanted: set[str] = set()
        """Orders with a request that waits for a client secret: only a look at the intent brings that."""

    def add(self, order: Order, letter: ChargeAsked, handover: Handover | None = None) -> None:
        """A request's attempt, or one that it joins, is written as unsettled: let it wait, if that makes sense."""
        if not self._answered(order, letter, handover):
            self._waiting.setdefault(order.id, _Waiting(order.rev)).letters.append(letter)

    def written(self, order: Order, handover: Handover | None = None) -> None:
        """The order was written, or read afresh: answer the requests whose outcome it shows.

        `handover` came with the look that led to this document. A read that is older than the last write is ignored: it
        may lack a new attempt. By a revision that was judged before, only requests whose time is up are judged again:
        thousands may wait for one order (F31).
        """
        waiting = self._waiting.get(order.id)
        if waiting is None or order.rev < waiting.rev:
            return
        now = self._clock.monotonic()
        news = order.rev > waiting.rev
        waiting.rev = order.rev
        if news:
            self._look_wanted.discard(order.id)
        waiting.letters = [
            letter
            for letter in waiting.letters
            if not ((news or now >= letter.deadline) and self._answered(order, letter, handover))
        ]
        if not waiting.letters:
            del self._waiting[order.id]

    def _answered(self, order: Order, letter: ChargeAsked, handover: Handover | None) -> bool:
        now, at = self._clock.monotonic(), self._clock.now()
        late = now >= letter.deadline
        reply = reply_to(order, letter.request, at)
        match reply:
            case Start.AFTER_CANCEL if letter.supersedes:
                if late:
                    tell(letter, Conflict.UNDER_WAY)
                return late
            case Start() if letter.supersedes:
                letter.write_sent = False
                self._again(letter)
            case Start():
                # Its attempt is not in the document: a store that lost a confirmed write. Nothing is known for sure.
                tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN))
            case RequiresAction() if handover is not None:
                tell(letter, reply, retry_after_s=UNKNOWN_RETRY_AFTER_S, handover=handover)
            case RequiresAction() if late:
                tell(letter, Pending(reply.payment_id, reply.order_id), retry_after_s=UNKNOWN_RETRY_AFTER_S)
            case RequiresAction():
                self._look_wanted.add(order.id)
                return False
            case Pending():
                known_in_s = self._known_in_s(order, at)
                if now + known_in_s <= letter.deadline and not late:
                    return False
                tell(
                    letter,
                    reply,
                    retry_after_s=max(
                        1, math.ceil(known_in_s if known_in_s < math.inf else LOOKS_APART.total_seconds())
                    ),
                )
            case _:
                tell(letter, reply)
        return True

    def _known_in_s(self, order: Order, at: datetime) -> float:
        """When the outcome may be known at the earliest, in seconds from now; 0 where that can't be estimated.

        Infinite for an intent that awaits its customer: a request that can't let the customer authenticate does not
        wait for that.
        """
        queued_s = self._hands.wait_s(order.id)
        if queued_s is not None:
            return queued_s
        attempt = order.unsettled
        task = attempt.task if attempt and attempt.task else order.intent.task if order.intent else None
        if task is None or task.kind is not TaskKind.WATCH:
            return 0.0
        if attempt is not None and attempt.state is AttemptState.AWAITING:
            return math.inf
        return max(0.0, (task.due - at).total_seconds())

    def want_looks(self) -> list[str]:
        """The orders whose intents must be looked at before their requests can be answered."""
        self._look_wanted &= self._waiting.keys()
        return list(self._look_wanted)

    def expired(self) -> list[str]:
        """The orders that somebody has waited for until the deadline."""
        now = self._clock.monotonic()
        return [
            order_id
            for order_id, waiting in self._waiting.items()
            if any(now >= letter.deadline for letter in waiting.letters)
        ]

    def elsewhere(self) -> list[str]:
        """The orders that somebody waits for while nothing of theirs is in our hands: another process works on them."""
        return [order_id for order_id in self._waiting if not self._hands.holds(order_id)]

    def give_up(self, order_ids: Collection[str]) -> None:
        """The last look failed: whoever's time is up hears that the outcome is unknown, which it is."""
        now = self._clock.monotonic()
        for order_id in order_ids:
            waiting = self._waiting.get(order_id)
            if waiting is None:
                continue
            for letter in waiting.letters:
                if now >= letter.deadline:
                    tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S))
            waiting.letters = [letter for letter in waiting.letters if not letter.answer.done()]
            if not waiting.letters:
                del self._waiting[order_id]

    def fail_order(self, order_id: str) -> None:
        """Answering the requests of one order went wrong: their attempts are written, and no outcome is known."""
        for letter in self._waiting.pop(order_id, _Waiting(0)).letters:
            tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN))

    def fail(self, retry_after_s: int = 1) -> None:
        """The ledger ends, or can write nothing: every request that waits has a written attempt, and no outcome."""
        for waiting in self._waiting.values():
            for letter in waiting.letters:
                tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN, retry_after_s))
        self._waiting.clear()

    def __len__(self) -> int:
        return sum(len(waiting.letters) for waiting in self._waiting.values())


def tell(
    letter: ChargeAsked,
    reply: Reply | Unavailable,
    retry_after_s: int | None = None,
    handover: Handover | None = None,
) -> None:
    """Answer a request, unless nobody waits for the answer any more."""
    if not letter.answer.done():
        letter.answer.set_result(Answer(reply, retry_after_s, handover))


def turn_away(letter: ChargeAsked, reason: Unavailability) -> None:
    """Tell a request that it came to nothing; or, once it has entered a write, that nobody knows."""
    tell(letter, Unavailable(Unavailability.WRITE_UNKNOWN if letter.write_sent else reason))
