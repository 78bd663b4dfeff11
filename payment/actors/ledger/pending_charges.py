"""The pending requests to charge: each is owned here, from the mailbox to the answer.

Each request is a `PendingCharge`: its message, its one deadline, and its state.

    QUEUED       waits in its order's queue; nothing of it is written
    HELD         waits until another attempt of its user has ended (`decline_limit`); nothing of it is written
    DECIDING     in a commit; no write of it was sent yet
    WRITING      a write of it was sent, and it is not known whether it was applied
    SUPERSEDING  its order is written so that another card's intent is cancelled; then the request is decided again
    CHARGING     its attempt, or the one that it joins, is written; its outcome is not known yet

    QUEUED ─▶ DECIDING ─▶ WRITING ─▶ CHARGING
               │   ▲         └─────▶ SUPERSEDING ─▶ QUEUED
               ▼   └ QUEUED ◀┐
              HELD ──────────┘

If the order's document gives no answer, the answer is a function of the request's state: `unavailable_reply`.
A request in CHARGING is answered by the next written document of its order that settles it, with `OutcomePending` (202)
at its deadline, and with the same at once if its outcome can't be known in time, because the queue at Stripe is longer
or the next retrieve is later.

The order queues, the batch items of a commit and the decline limit refer to these objects, set their states, and drop
those that have been answered. They must never set a request's future themselves.
"""

import enum
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
"""When a client should repeat its request if there is no estimate of the outcome's time, in seconds."""


class ChargeState(enum.Enum):
    """The state of a request, as the module's docstring describes it."""

    QUEUED = enum.auto()
    HELD = enum.auto()
    DECIDING = enum.auto()
    WRITING = enum.auto()
    SUPERSEDING = enum.auto()
    CHARGING = enum.auto()


class PendingCharge(Struct, eq=False):
    """One request to charge. `deadline` is in monotonic seconds."""

    message: ChargeOrder
    deadline: float
    state: ChargeState = ChargeState.QUEUED

    @property
    def answered(self) -> bool:
        """HTTP answers a request as well, where the ledger has not done so in time."""
        return self.message.answer.done()


def unavailable_reply(state: ChargeState, why: Unavailability | None = None) -> Unavailable:
    """Returns the answer to a request in this state where no document of its order gives one.

    `why` says what keeps it from being written, for good. Without it the request's time is up, or the store has been
    away for too long: then a request that is being decided about may be written yet.
    """
    if state in (ChargeState.QUEUED, ChargeState.HELD, ChargeState.DECIDING) and why is not None:
        return Unavailable(why)
    match state:
        case ChargeState.QUEUED:
            return Unavailable(Unavailability.BUSY)
        case ChargeState.HELD:
            return Unavailable(Unavailability.OTHERS_UNDER_WAY)
        case _ if why is not None:
            return Unavailable(Unavailability.WRITE_UNKNOWN)
        case _:
            return Unavailable(Unavailability.WRITE_UNKNOWN, UNKNOWN_RETRY_AFTER_S)


class _Awaited(Struct, eq=False):
    """The requests that wait for the outcome of one order, and the newest revision that all of them were checked by."""

    rev: int
    charges: list[PendingCharge] = field(default_factory=list)


class PendingCharges:
    """All pending requests to charge, in the order of their arrival. Answers each exactly once."""

    def __init__(self, clock: Clock, in_flight: InFlightEffects, queue_again: Callable[[PendingCharge], None]) -> None:
        """`queue_again` puts a request into its order's queue once more."""
        self._clock = clock
        self._in_flight = in_flight
        self._queue_again = queue_again
        self._pending: dict[PendingCharge, None] = {}
        self._awaited: dict[str, _Awaited] = {}
        """By order: the requests in CHARGING and SUPERSEDING."""
        self._recheck_wanted: dict[str, None] = {}
        """Orders with a request that waits for a client secret, which only a retrieve of the intent returns."""

    def add(self, message: ChargeOrder) -> PendingCharge:
        """Take a request over from the mailbox."""
        charge = PendingCharge(message, message.deadline)
        self._pending[charge] = None
        return charge

    def answer(
        self,
        charge: PendingCharge,
        reply: Reply | Unavailable,
        retry_after_s: int | None = None,
        handover: Handover | None = None,
    ) -> None:
        """Answer a request, unless it has been answered. It is pending no longer."""
        self._pending.pop(charge, None)
        if not charge.message.answer.done():
            charge.message.answer.set_result(ChargeReply(reply, retry_after_s, handover))

    def reject(self, charge: PendingCharge, why: Unavailability) -> None:
        """Answer a request that gets no further write: "outcome unknown" if a write of it may have been applied."""
        self.answer(charge, unavailable_reply(charge.state, why))

    def decide_again(self, charge: PendingCharge) -> None:
        """The intent, or the other attempt of its user, that the request waited for has ended without a charge of this
        request.
        """
        if charge.state is not ChargeState.WRITING:
            charge.state = ChargeState.QUEUED
        self._queue_again(charge)

    # ------------------------------------------------------------------------------------------------------- deadlines

    def answer_by(self, deadline: float) -> None:
        """Bring every request's deadline forward to this one (monotonic seconds) where it is later."""
        for charge in self._pending:
            charge.deadline = min(charge.deadline, deadline)

    def answer_overdue(self, *, store_long_away: bool) -> list[str]:
        """Answer the requests whose time is up, and those in a write or after it where the store is `store_long_away`.

        Returns the orders of those whose time is up and whose outcome one more read may show.
        """
        now = self._clock.monotonic()
        to_read: dict[str, None] = {}
        for charge in list(self._pending):
            given_up = store_long_away and charge.state not in (ChargeState.QUEUED, ChargeState.HELD)
            if now < charge.deadline and not given_up:
                continue
            if charge.state in (ChargeState.CHARGING, ChargeState.SUPERSEDING) and not given_up:
                to_read[charge.message.request.order_id] = None
            else:
                self.answer(charge, unavailable_reply(charge.state))
        if store_long_away:
            self._awaited.clear()
        return list(to_read)

    def unread(self, order_ids: Collection[str]) -> None:
        """These orders could not be read: the outcome of each request whose time is up is unknown."""
        now = self._clock.monotonic()
        for order_id in order_ids:
            awaited = self._awaited.get(order_id)
            if awaited is None:
                continue
            for charge in awaited.charges:
                if now >= charge.deadline:
                    self.answer(charge, unavailable_reply(charge.state))
            awaited.charges = [charge for charge in awaited.charges if not charge.answered]
            if not awaited.charges:
                del self._awaited[order_id]

    def fail_order(self, order_id: str) -> None:
        """Answering the requests that await one order's outcome went wrong."""
        for charge in self._awaited.pop(order_id, _Awaited(0)).charges:
            self.reject(charge, Unavailability.SET_ASIDE)

    def fail(self) -> None:
        """The ledger ends."""
        for charge in list(self._pending):
            self.reject(charge, Unavailability.CRASHED)
        self._awaited.clear()

    # --------------------------------------------------------------------------------------------------------- outcomes

    def await_outcome(
        self, order: Order, charge: PendingCharge, state: ChargeState, handover: Handover | None = None
    ) -> None:
        """The request's attempt is written: let it wait in this state, unless the document has its answer already."""
        charge.state = state
        if not charge.answered and not self._answered(order, charge, handover):
            self._awaited.setdefault(order.id, _Awaited(order.rev)).charges.append(charge)

    def written(self, order: Order, handover: Handover | None = None) -> None:
        """The order was written, or read afresh: answer the requests whose outcome it shows.

        `handover` came with Stripe's answer that led to this document. A read older than the last write is ignored: it
        may lack a new attempt. For a revision that was checked before, only overdue requests are checked again,
        because thousands may wait for one order (F31).
        """
        awaited = self._awaited.get(order.id)
        if awaited is None or order.rev < awaited.rev:
            return
        now = self._clock.monotonic()
        news = order.rev > awaited.rev
        awaited.rev = order.rev
        if news:
            self._recheck_wanted.pop(order.id, None)
        awaited.charges = [
            charge
            for charge in awaited.charges
            if not ((news or now >= charge.deadline) and self._answered(order, charge, handover))
        ]
        if not awaited.charges:
            del self._awaited[order.id]

    def _answered(self, order: Order, charge: PendingCharge, handover: Handover | None) -> bool:
        """Whether the request waits for this order's outcome no longer: it was answered, or is decided again."""
        now, at = self._clock.monotonic(), self._clock.now()
        late = now >= charge.deadline
        superseding = charge.state is ChargeState.SUPERSEDING
        reply = reply_to(order, charge.message.request, at)
        match reply:
            case Start.AFTER_CANCEL if superseding:
                if late:
                    self.answer(charge, Conflict.UNDER_WAY)
                return late
            case Start() if superseding:
                self.decide_again(charge)
            case Start():
                # Its attempt is not in the document: a store that lost a confirmed write. Nothing is known for sure.
                self.answer(charge, Unavailable(Unavailability.WRITE_UNKNOWN))
            case RequiresAction() if handover is not None:
                self.answer(charge, reply, UNKNOWN_RETRY_AFTER_S, handover)
            case RequiresAction() if late:
                self.answer(charge, OutcomePending(reply.payment_id, reply.order_id), UNKNOWN_RETRY_AFTER_S)
            case RequiresAction():
                self._recheck_wanted[order.id] = None
                return False
            case OutcomePending():
                known_in_s = self._known_in_s(order, at)
                if now + known_in_s <= charge.deadline and not late:
                    return False
                retry_after_s = known_in_s if known_in_s < math.inf else RETRIEVALS_APART.total_seconds()
                self.answer(charge, reply, max(1, math.ceil(retry_after_s)))
            case _:
                self.answer(charge, reply)
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

    # --------------------------------------------------------------------------------------------------- what they need

    def want_rechecks(self) -> list[str]:
        """The orders whose intents must be retrieved before their requests can be answered."""
        self._recheck_wanted = {order_id: None for order_id in self._recheck_wanted if order_id in self._awaited}
        return list(self._recheck_wanted)

    def elsewhere(self) -> list[str]:
        """The orders whose outcome is awaited while this process has no effect of theirs in flight: another one has."""
        return [order_id for order_id in self._awaited if not self._in_flight.holds(order_id)]

    def __len__(self) -> int:
        return len(self._pending)
