"""An order as one document, and the table of states that its attempts go through.

    ChargeRequested ──▶ confirming ──▶ paid ──▶ refunding ──▶ refunded

Nearly every attempt takes this way, most of them no further than `paid`. An order has **one open PaymentIntent**, which
makes at most one successful charge, and after it is canceled none: Stripe itself keeps the first law (L1 in
ARCHITECTURE.md). So an attempt whose outcome is not known is sent again under the same key while that is allowed. After
that its intent is cancelled, which is a fence: Stripe answers `canceled`, or the intent has succeeded.

The document holds everything that one atomic write must change together: the order, its payment, its unsent events, and
the tasks that are in flight. `due` is the earliest time at which one of the tasks must be taken up again.

Nothing here changes an order: `payment.core.decide` does. Change together: `AttemptState`, `Trigger`, `TABLE`.
"""

import enum
from datetime import datetime
from typing import Any

from msgspec import Struct, field, structs

from payment.core.messages import Authentication, Instrument, RefusalReason

FORMAT = 3
"""The newest format of documents, used where a document holds what format 2 can't hold (`payment.core.formats`)."""

HISTORY_LIMIT = 24
"""Entries of a document's history. Enough for an ordinary order's life; retries must not make a document grow."""

ATTEMPTS_LIMIT = 20
"""Attempts of one order. More of them are card testing, and a document must stay small."""


class OrderStatus(enum.Enum):
    """The status of an order by the platform's events. Cancelled is final."""

    CREATED = "created"
    CANCELLED = "cancelled"


class ByIdentity(enum.Enum):
    """An enumeration whose members hash by identity. `Enum` hashes a member's name at each look-up: that is slower."""

    __hash__ = object.__hash__


class AttemptState(ByIdentity):
    """The state of one attempt to charge an order."""

    CONFIRMING = "confirming"
    """The document has it. Its create or confirm may be on the wire, executing, or answered with the answer lost."""
    AWAITING = "awaiting"
    """The customer may authenticate at any instant, or the bank has not decided yet."""
    CANCELLING = "cancelling"
    """Its intent is being cancelled, and may have succeeded before that."""
    CHARGING = "charging"
    """An attempt of release 0.1.0 with an unknown outcome: its charge is searched for, and it is never sent again."""
    DECLINED = "declined"
    REFUSED = "refused"
    CLOSED = "closed"
    """Its intent was canceled on an order that can't be paid any more."""
    PAID = "paid"
    REFUNDING = "refunding"
    BLOCKED = "blocked"
    """Stripe can't refund the charge now. The refund is retried slowly, with an alarm."""
    REFUNDED = "refunded"
    """A refund has given the charge back. Banks return refunds for up to 30 days, so it is rechecked for that time."""
    CHARGED_BACK = "charged back"
    """The bank has given the charge back after a lost dispute; Stripe then makes no refund. It is rechecked too."""


class Trigger(ByIdentity):
    """The events that change an attempt: the messages of `payment.core.messages`, by what they mean for it."""

    SUCCEEDED = "succeeded"
    UNWANTED = "succeeded, on an order that is cancelled or keeps another charge"
    GIVEN_BACK = "succeeded, and already refunded in full"
    REPLAYED = "succeeded, by a replayed answer"
    ACTION = "requires action, or processing"
    ACTION_UNPAYABLE = "requires action, or processing, order unpayable"
    DECLINED = "declined"
    REFUSED = "refused at its only send"
    UNCLEAR = "unclear, and may be sent again"
    UNCLEAR_FOR_GOOD = "unclear, and can't be sent again"
    WITHHELD = "not sent, order payable"
    WITHHELD_UNPAYABLE = "never sent, order unpayable"
    CANCELED = "intent canceled"
    CANCELED_UNPAYABLE = "intent canceled, order unpayable"
    OPEN = "retrieved, not settled"
    FAILED = "retrieved, requires payment method"
    SUPERSEDED = "another card requested"
    TIMED_OUT = "24 h old"
    EXPIRED = "order expired"
    CANCELLED = "order cancelled"
    NOT_LISTED = "charge not listed"
    NOT_LISTED_OLD = "charge not listed 25 h after the last send"
    REFUND_DUE = "refund due"
    REFUNDED = "refunded"
    REFUND_BLOCKED = "refund failed, disputed or pending"
    REFUND_ERROR_STORED = "error replayed for the refund's key"
    REFUND_NOT_FOUND = "no refund found"
    DISPUTE_LOST = "dispute lost"
    STANDS = "rechecked, and still given back"
    UNDONE = "rechecked, and given back no longer"


_S = AttemptState
_T = Trigger
Table = dict[tuple[AttemptState, Trigger], AttemptState]

ANSWERS = (
    _T.REPLAYED,
    _T.ACTION,
    _T.ACTION_UNPAYABLE,
    _T.DECLINED,
    _T.REFUSED,
    _T.UNCLEAR,
    _T.UNCLEAR_FOR_GOOD,
    _T.WITHHELD,
    _T.WITHHELD_UNPAYABLE,
)
"""The answers to a send other than a charge. A late one does not change an attempt that has left CONFIRMING."""

LISTED = (_T.NOT_LISTED, _T.NOT_LISTED_OLD)
REFUND_ENDS = (_T.REFUNDED, _T.REFUND_BLOCKED, _T.REFUND_ERROR_STORED, _T.REFUND_NOT_FOUND, _T.DISPUTE_LOST)


def _stays(state: AttemptState, *triggers: Trigger) -> Table:
    return {(state, trigger): state for trigger in triggers}


def _charged(state: AttemptState) -> Table:
    """A success counts in every state: it belongs to the intent, and the order has only one open intent."""
    return {
        (state, _T.SUCCEEDED): _S.PAID,
        (state, _T.UNWANTED): _S.REFUNDING,
        (state, _T.GIVEN_BACK): _S.REFUNDING,
    }


def _given_back(state: AttemptState) -> Table:
    """Only a recheck changes the state. Late answers about the refund itself change nothing."""
    stays = _stays(state, *ANSWERS, *LISTED, _T.CANCELLED, *REFUND_ENDS, _T.REFUND_DUE, _T.STANDS)
    return {**stays, (state, _T.UNDONE): _S.BLOCKED}


TABLE: Table = {
    **_charged(_S.CONFIRMING),
    **_stays(_S.CONFIRMING, _T.REPLAYED, _T.UNCLEAR, _T.WITHHELD, _T.OPEN, _T.CANCELLED),
    (_S.CONFIRMING, _T.ACTION): _S.AWAITING,
    (_S.CONFIRMING, _T.ACTION_UNPAYABLE): _S.CANCELLING,
    (_S.CONFIRMING, _T.DECLINED): _S.DECLINED,
    (_S.CONFIRMING, _T.REFUSED): _S.REFUSED,
    (_S.CONFIRMING, _T.UNCLEAR_FOR_GOOD): _S.CANCELLING,
    (_S.CONFIRMING, _T.WITHHELD_UNPAYABLE): _S.REFUSED,
    (_S.CONFIRMING, _T.CANCELED): _S.DECLINED,
    (_S.CONFIRMING, _T.CANCELED_UNPAYABLE): _S.CLOSED,
    **_charged(_S.AWAITING),
    **_stays(_S.AWAITING, *ANSWERS, _T.OPEN),
    (_S.AWAITING, _T.FAILED): _S.DECLINED,
    (_S.AWAITING, _T.CANCELED): _S.DECLINED,
    (_S.AWAITING, _T.CANCELED_UNPAYABLE): _S.CLOSED,
    (_S.AWAITING, _T.SUPERSEDED): _S.CANCELLING,
    (_S.AWAITING, _T.TIMED_OUT): _S.CANCELLING,
    (_S.AWAITING, _T.EXPIRED): _S.CANCELLING,
    (_S.AWAITING, _T.CANCELLED): _S.CANCELLING,
    **_charged(_S.CANCELLING),
    **_stays(_S.CANCELLING, *ANSWERS, _T.OPEN, _T.CANCELLED),
    (_S.CANCELLING, _T.CANCELED): _S.DECLINED,
    (_S.CANCELLING, _T.CANCELED_UNPAYABLE): _S.CLOSED,
    **_charged(_S.CHARGING),
    **_stays(_S.CHARGING, _T.NOT_LISTED, _T.CANCELLED),
    (_S.CHARGING, _T.NOT_LISTED_OLD): _S.CLOSED,
    **_charged(_S.DECLINED),
    **_stays(_S.DECLINED, *ANSWERS, _T.CANCELLED, *LISTED),
    **_charged(_S.REFUSED),
    **_stays(_S.REFUSED, *ANSWERS, _T.CANCELLED, *LISTED),
    **_charged(_S.CLOSED),
    **_stays(_S.CLOSED, *ANSWERS, _T.CANCELLED, *LISTED),
    **_stays(_S.PAID, *ANSWERS, *LISTED),
    (_S.PAID, _T.CANCELLED): _S.REFUNDING,
    **_stays(_S.REFUNDING, *ANSWERS, *LISTED, _T.CANCELLED, _T.REFUND_DUE, _T.REFUND_ERROR_STORED),
    **_stays(_S.REFUNDING, _T.REFUND_NOT_FOUND),
    (_S.REFUNDING, _T.REFUNDED): _S.REFUNDED,
    (_S.REFUNDING, _T.REFUND_BLOCKED): _S.BLOCKED,
    (_S.REFUNDING, _T.DISPUTE_LOST): _S.CHARGED_BACK,
    **_stays(_S.BLOCKED, *ANSWERS, *LISTED, _T.CANCELLED, _T.REFUND_DUE, _T.REFUND_BLOCKED, _T.REFUND_ERROR_STORED),
    (_S.BLOCKED, _T.REFUNDED): _S.REFUNDED,
    (_S.BLOCKED, _T.REFUND_NOT_FOUND): _S.REFUNDING,
    (_S.BLOCKED, _T.DISPUTE_LOST): _S.CHARGED_BACK,
    **_given_back(_S.REFUNDED),
    **_given_back(_S.CHARGED_BACK),
}
"""The next state of every pair of state and trigger that can occur. A pair that is not here is a bug."""

UNSETTLED = frozenset({_S.CONFIRMING, _S.AWAITING, _S.CANCELLING, _S.CHARGING})
"""States in which the attempt may still charge the card, so no other attempt may begin."""

GIVEN_BACK = frozenset({_S.REFUNDED, _S.CHARGED_BACK})
"""States in which the attempt has charged the card and the customer has the money back, as far as is known."""

GIVING_BACK = GIVEN_BACK | {_S.REFUNDING, _S.BLOCKED}
"""States in which the attempt has charged the card and the money is on its way back, or has arrived."""


class UnreachablePair(Exception):
    """Our bug: the table has no next state for an attempt's state and a trigger. The order is unchanged."""


def next_state(state: AttemptState, trigger: Trigger) -> AttemptState:
    """Returns the state that a trigger leads to.

    Raises:
        UnreachablePair: the pair is not in the table.
    """
    try:
        return TABLE[state, trigger]
    except KeyError:
        raise UnreachablePair(f"{state.value} can't meet {trigger.value!r}") from None


class TaskKind(enum.Enum):
    """The kind of effect that a task has in flight, or will have when it is due."""

    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "look"
    CANCEL = "cancel"
    LIST = "list"
    REFUND = "refund"
    FIND_REFUND = "look at the refund"
    RECHECK_REFUND = "recheck"
    """Find out whether a charge that was given back still is."""
    PUBLISH = "publish"
    RECHECK_LATER = "watch"
    """Nothing is in flight: the task waits for its time."""


class Task(Struct, frozen=True, rename="camel", omit_defaults=True):
    """An effect and its lease, in UTC. Until `due` only the process `holder` may carry it out, then any process may.

    `issued` is when the task began; its request may not leave before `not_before`. RECHECK_LATER has no holder.
    """

    kind: TaskKind
    due: datetime
    issued: datetime
    holder: str | None = None
    not_before: datetime | None = None


class Refund(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The refund of one charge.

    `number` counts its idempotency keys from 1: after an error is stored for one, the next is used. `id` is the
    refund's at Stripe, `dispute_id` that of a lost dispute. `blocked` counts how often the refund was blocked. `undone`
    counts how often the charge had been given back and later was no longer; `rechecks` counts the rechecks that were
    made at their times since it was given back.
    """

    key: str
    number: int = 1
    id: str | None = None
    blocked: int = 0
    text: str | None = None
    dispute_id: str | None = None
    undone: int = 0
    rechecks: int = 0


class IntentState(enum.Enum):
    """The known state of an intent. Only an open one can charge, and only an open one may be confirmed again."""

    OPEN = "open"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"


class Intent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The order's one open PaymentIntent, or its last one. `number` counts them from 1; `id` is Stripe's, once known.

    `key` is its create's idempotency key, `api_version` the Stripe version of its create and of its confirms.
    `exposed`: its client secret may be in a browser, which can confirm the intent by itself, so it is rechecked while
    it is open.
    """

    number: int
    key: str
    api_version: str
    id: str | None = None
    state: IntentState = IntentState.OPEN
    exposed: bool = False
    task: Task | None = None


class CancelReason(enum.Enum):
    """Why an attempt's intent is cancelled: also the decline code of the attempt, where the order can still be paid."""

    AUTHENTICATION_FAILED = "authentication_failed"
    SUPERSEDED = "superseded"
    UNCLEAR = "unclear"


class Attempt(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One attempt to charge an order. `amount` is in minor units. `intent` is its intent's number, 0 in 0.1.0's.

    The instrument is kept only while the attempt may be sent again; `token_hash` recognizes a repeated request at any
    time. `not_after` is the last time at which its confirm may leave. `amount_refunded` (minor units) and `disputed`
    are what Stripe last showed of a charge that pays: an operator refunded a part, the bank disputes it. `recheck` is
    when a charge that was given back is rechecked. Times are UTC.
    """

    number: int
    amount: int
    currency: str
    api_version: str
    token_hash: str
    state: AttemptState
    first_sent: datetime
    last_sent: datetime
    not_after: datetime
    intent: int = 0
    instrument: Instrument | None = None
    authentication: Authentication = Authentication()
    sends: int = 1
    cancel_reason: CancelReason | None = None
    charge_id: str | None = None
    amount_refunded: int = 0
    disputed: bool = False
    refusal: RefusalReason | None = None
    code: str | None = None
    decline_code: str | None = None
    text: str | None = None
    refund: Refund | None = None
    task: Task | None = None
    recheck: datetime | None = None
    settled: datetime | None = None

    @property
    def given_back_by(self) -> str | None:
        """The id of the refund or of the lost dispute by which the charge was given back."""
        if self.refund is None or self.state not in GIVEN_BACK:
            return None
        return self.refund.id if self.state is _S.REFUNDED else self.refund.dispute_id

    @property
    def undone(self) -> bool:
        """Whether its charge had been given back, is no longer, and has yet to be given back again."""
        return self.state not in GIVEN_BACK and self.refund is not None and self.refund.undone > 0

    @property
    def gives_way(self) -> bool:
        """Whether another card may replace it: it awaits its customer, or is being cancelled for another card."""
        superseded = self.state is _S.CANCELLING and self.cancel_reason is CancelReason.SUPERSEDED
        return superseded or self.state is _S.AWAITING

    def __repr__(self) -> str:
        return f"Attempt(number={self.number}, state={self.state.value!r}, sends={self.sends})"


class Payment(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The payment of an order: one id over all its attempts. `kept` is the attempt whose charge pays the order."""

    id: str
    attempts: tuple[Attempt, ...] = ()
    intent: Intent | None = None
    kept: int | None = None


class OutboxEvent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of our events, stored by the write that made it true. `task` publishes it.

    `published` is when the broker had stored it (UTC). `dispute_id` and `status` (of the dispute, in Stripe's words)
    are set exactly on `payment:disputed`.
    """

    subject: str
    stripe_id: str
    refund_id: str | None = None
    dispute_id: str | None = None
    status: str | None = None
    task: Task | None = None
    published: datetime | None = None


class Writer(Struct, frozen=True, rename="camel"):
    """The process that wrote a revision, and its write number. They identify a write whose answer was lost."""

    process: str
    number: int


class HistoryEntry(Struct, frozen=True, rename="camel"):
    """One change of an order, for an operator who reads the document. `at` is UTC."""

    at: datetime
    what: str


class Order(Struct, frozen=True, rename="camel", omit_defaults=True):
    """An order, its payment, its events and its next deadlines: everything that is stored of it, in one document.

    `user_id`, `amount` (minor units), `currency` and `expires_at` are absent while only a cancel has announced it.
    `received` is when its creation arrived (absent in documents that release 0.1.0 began). `due` and `holder` are
    derived from the tasks (`payment.core.pending.with_deadline`) and stored for an index. So is `recheck`: the earliest
    time at which a charge that was given back is rechecked. It is days away where `due` is minutes away.
    """

    id: str = field(name="_id")
    status: OrderStatus
    version: int
    format: int = 1
    rev: int = 0
    writer: Writer | None = None
    user_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    expires_at: datetime | None = None
    received: datetime | None = None
    payment: Payment | None = None
    outbox: tuple[OutboxEvent, ...] = ()
    due: datetime | None = None
    holder: str | None = None
    recheck: datetime | None = None
    history: tuple[HistoryEntry, ...] = ()

    @property
    def cancelled(self) -> bool:
        return self.status is OrderStatus.CANCELLED

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.payment.attempts if self.payment else ()

    @property
    def intent(self) -> Intent | None:
        return self.payment.intent if self.payment else None

    @property
    def kept(self) -> Attempt | None:
        """The attempt whose charge pays the order, also while that charge is being refunded."""
        if self.payment is None or self.payment.kept is None:
            return None
        return self.payment.attempts[self.payment.kept - 1]

    @property
    def unsettled(self) -> Attempt | None:
        """The one attempt that may still charge the card, if there is one."""
        return next((attempt for attempt in self.attempts if attempt.state in UNSETTLED), None)

    @property
    def intent_busy(self) -> bool:
        """Whether its open intent is being retrieved or cancelled for no attempt: a new attempt begins after that."""
        task = self.intent.task if self.intent else None
        return task is not None and task.kind in (TaskKind.RETRIEVE, TaskKind.CANCEL) and self.unsettled is None

    def open_at(self, at: datetime) -> bool:
        """Whether a card may be charged for the order at a time: it was created, not cancelled, and has not expired."""
        return not self.cancelled and self.expires_at is not None and at < self.expires_at


# ------------------------------------------------------------------------------------- parts of an order
#
# A replacement that changes nothing returns the very same order: by this a step shows that nothing is to be written.


def numbered(order: Order, number: int) -> Attempt | None:
    """Returns the attempt with this number, from 1. None: there is none."""
    return order.attempts[number - 1] if 1 <= number <= len(order.attempts) else None


def with_charge(order: Order, charge_id: str) -> Attempt | None:
    """Returns the attempt that has this charge. None: the charge is new."""
    return next((attempt for attempt in order.attempts if attempt.charge_id == charge_id), None)


def with_attempt(order: Order, attempt: Attempt) -> Order:
    """Returns the order with this attempt in place of the one of its number; the same object if nothing changed."""
    payment = order.payment
    assert payment is not None
    before = payment.attempts[attempt.number - 1]
    if attempt == before:
        return order
    attempts = tuple(attempt if each is before else each for each in payment.attempts)
    return structs.replace(order, payment=structs.replace(payment, attempts=attempts))


def with_intent(order: Order, **changes: Any) -> Order:
    """Returns the order with its intent changed in these fields; the same object if nothing changed."""
    payment = order.payment
    assert payment is not None
    assert payment.intent is not None
    after = structs.replace(payment.intent, **changes)
    if after == payment.intent:
        return order
    return structs.replace(order, payment=structs.replace(payment, intent=after))
