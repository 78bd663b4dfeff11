"""Requests whose outcome is not known yet: each is answered by its order's next written document that settles it.

A request is told `OutcomePending` (202) when its deadline has come, and at once when it is clear that the outcome won't
be known by then: the queue at Stripe is longer than that, or nobody will look again before.
"""

import math
from collections.abc import Callable, Collection
from datetime import datetime

from msgspec import Struct, field

from payment.actors.ledger.in_flight import InFlightEffects
from payment.actors.messages import ChargeOrder, ChargeReply
from payment.core.order import AttemptState, Order, TaskKind
from payment.core.replies import (
    Conflict,
    OutcomePending,
    Reply,
    RequiresAction,
    Start,
    Unavailability,
    Unavailable,
    reply_to,
)
from payment.core.schedule import RETRIEVALS_APART
from payment.ports.cards import Handover
from payment.ports.clock import Clock

UNKNOWN_RETRY_AFTER_S = 2
"""When to ask again about an outcome that depends on an answer we have no estimate for."""


class _Waiting(Struct, eq=False):
    """The requests that wait for one order, and the newest revision by which all of them were judged."""

    rev: int
    messages: list[ChargeOrder] = field(default_factory=list)


class PendingReplies:
    """The requests that wait, by order. Answers each exactly once."""

    def __init__(self, clock: Clock, in_flight: InFlightEffects, again: Callable[[ChargeOrder], None]) -> None:
        """`again` has a request decided once more, after another card's intent is known canceled."""
        self._clock = clock
        self._in_flight = in_flight
        self._again = again
        self._waiting: dict[str, _Waiting] = {}
        self._recheck_wanted: set[str] = set()
        """Orders with a request that waits for a client secret: only a look at the intent brings that."""

    def add(self, order: Order, message: ChargeOrder, handover: Handover | None = None) -> None:
        """A request's attempt, or one that it joins, is written as unsettled: let it wait, if that makes sense."""
        if not self._answered(order, message, handover):
            self._waiting.setdefault(order.id, _Waiting(order.rev)).messages.append(message)

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
            self._recheck_wanted.discard(order.id)
        waiting.messages = [
            message
            for message in waiting.messages
            if not ((news or now >= message.deadline) and self._answered(order, message, handover))
        ]
        if not waiting.messages:
            del self._waiting[order.id]

    def _answered(self, order: Order, message: ChargeOrder, handover: Handover | None) -> bool:
        now, at = self._clock.monotonic(), self._clock.now()
        late = now >= message.deadline
        reply = reply_to(order, message.request, at)
        match reply:
            case Start.AFTER_CANCEL if message.supersedes:
                if late:
                    send_reply(message, Conflict.UNDER_WAY)
                return late
            case Start() if message.supersedes:
                message.write_sent = False
                self._again(message)
            case Start():
                # Its attempt is not in the document: a store that lost a confirmed write. Nothing is known for sure.
                send_reply(message, Unavailable(Unavailability.WRITE_UNKNOWN))
            case RequiresAction() if handover is not None:
                send_reply(message, reply, retry_after_s=UNKNOWN_RETRY_AFTER_S, handover=handover)
            case RequiresAction() if late:
                send_reply(
                    message, OutcomePending(reply.payment_id, reply.order_id), retry_after_s=UNKNOWN_RETRY_AFTER_S
                )
            case RequiresAction():
                self._recheck_wanted.add(order.id)
                return False
            case OutcomePending():
                known_in_s = self._known_in_s(order, at)
                if now + known_in_s <= message.deadline and not late:
                    return False
                send_reply(
                    message,
                    reply,
                    retry_after_s=max(
                        1, math.ceil(known_in_s if known_in_s < math.inf else RETRIEVALS_APART.total_seconds())
                    ),
                )
            case _:
                send_reply(message, reply)
        return True

    def _known_in_s(self, order: Order, at: datetime) -> float:
        """When the outcome may be known at the earliest, in seconds from now; 0 where that can't be estimated.

        Infinite for an intent that awaits its customer: a request that can't let the customer authenticate does not
        wait for that.
        """
        queued_s = self._in_flight.wait_s(order.id)
        if queued_s is not None:
            return queued_s
        attempt = order.unsettled
        task = attempt.task if attempt and attempt.task else order.intent.task if order.intent else None
        if task is None or task.kind is not TaskKind.RECHECK_LATER:
            return 0.0
        if attempt is not None and attempt.state is AttemptState.AWAITING:
            return math.inf
        return max(0.0, (task.due - at).total_seconds())

    def want_rechecks(self) -> list[str]:
        """The orders whose intents must be looked at before their requests can be answered."""
        self._recheck_wanted &= self._waiting.keys()
        return list(self._recheck_wanted)

    def expired(self) -> list[str]:
        """The orders that somebody has waited for until the deadline."""
        now = self._clock.monotonic()
        return [
            order_id
            for order_id, waiting in self._waiting.items()
            if any(now >= message.deadline for message in waiting.messages)
        ]

    def elsewhere(self) -> list[str]:
        """The orders that somebody waits for while nothing of theirs is in our hands: another process works on them."""
        return [order_id for order_id in self._waiting if not self._in_flight.holds(order_id)]

    def give_up(self, order_ids: Collection[str]) -> None:
        """The last look failed: whoever's time is up hears that the outcome is unknown, which it is."""
        now = self._clock.monotonic()
        for order_id in order_ids:
            waiting = self._waiting.get(order_id)
            if waiting is None:
                continue
            for message in waiting.messages:
                if now >= message.deadline:
                    send_reply(message, Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S))
            waiting.messages = [message for message in waiting.messages if not message.answer.done()]
            if not waiting.messages:
                del self._waiting[order_id]

    def fail_order(self, order_id: str) -> None:
        """Answering the requests of one order went wrong: their attempts are written, and no outcome is known."""
        for message in self._waiting.pop(order_id, _Waiting(0)).messages:
            send_reply(message, Unavailable(Unavailability.WRITE_UNKNOWN))

    def fail(self, retry_after_s: int = 1) -> None:
        """The ledger ends, or can write nothing: every request that waits has a written attempt, and no outcome."""
        for waiting in self._waiting.values():
            for message in waiting.messages:
                send_reply(message, Unavailable(Unavailability.WRITE_UNKNOWN, retry_after_s))
        self._waiting.clear()

    def __len__(self) -> int:
        return sum(len(waiting.messages) for waiting in self._waiting.values())


def send_reply(
    message: ChargeOrder,
    reply: Reply | Unavailable,
    retry_after_s: int | None = None,
    handover: Handover | None = None,
) -> None:
    """ChargeReply a request, unless nobody waits for the answer any more."""
    if not message.answer.done():
        message.answer.set_result(ChargeReply(reply, retry_after_s, handover))


def reject(message: ChargeOrder, reason: Unavailability) -> None:
    """Tell a request that it came to nothing; or, once it has entered a write, that nobody knows."""
    send_reply(message, Unavailable(Unavailability.WRITE_UNKNOWN if message.write_sent else reason))
