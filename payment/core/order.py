"""An order as one document, and the table of states that its attempts go through.

    ChargeRequested ──▶ confirming ──▶ paid ──▶ refunding ──▶ refunded

That is the way of nearly every attempt, most of them no further than `paid`. An order has **one open PaymentIntent**,
which makes at most one successful charge, and once it is canceled can never make one: Stripe itself keeps the first
law (L1 in ARCHITECTURE.md). So an attempt whose outcome is not known is sent again under the same key while that is
allowed, and else its intent is cancelled, which is a fence: the answer is `canceled`, or the intent has succeeded.

The document holds everything that one atomic write must move together: the order, its payment, its unsent events, and
the tasks that are in flight. `due` is the earliest time at which the order must be looked at again.

Nothing here changes an order: `payment.core.decide` does. Change together: `AttemptState`, `Trigger`, `TABLE`.
"""

import enum
from datetime import datetime

from msgspec import Struct, field

from payment.core.messages import Authentication, Instrument, RefusalReason

FORMAT = 3
"""The newest format of documents, written where one holds what format 2 can't say (`payment.core.formats`)."""

HISTORY_LIMIT = 24
"""Entries. Enough to read the whole life of an ordinary order; a document must not grow with every retry."""

ATTEMPTS_LIMIT = 20
"""Attempts. More on one order is card testing, and a document must stay small."""


class OrderStatus(enum.Enum):
    """What the platform has said of an order. Cancelled is absorbing."""

    CREATED = "created"
    CANCELLED = "cancelled"


class ByIdentity(enum.Enum):
    """An enumeration whose members are told apart by identity: `Enum` hashes the name anew at each look-up."""

    __hash__ = object.__hash__


class AttemptState(ByIdentity):
    """Where one attempt to charge an order stands."""

    CONFIRMING = "confirming"
    """It is in the document; a create or a confirm may be on its way, executing, or answered without our knowing."""
    AWAITING = "awaiting"
    """The customer may authenticate at any instant, or the bank has not decided yet."""
    CANCELLING = "cancelling"
    """Its intent is being cancelled, and may have succeeded before that."""
    CHARGING = "charging"
    """An attempt of release 0.1.0 whose outcome is not known: its charge is looked for, and it is never sent again."""
    DECLINED = "declined"
    REFUSED = "refused"
    CLOSED = "closed"
    """Its intent was canceled on an order that can't be paid any more."""
    PAID = "paid"
    REFUNDING = "refunding"
    BLOCKED = "blocked"
    """Stripe won't give it back now: tried again slowly, with an alarm."""
    REFUNDED = "refunded"
    """A refund gives it back. Banks return refunds for up to 30 days, so it is rechecked for that time."""
    CHARGED_BACK = "charged back"
    """The bank has given it back: a dispute was lost, after which Stripe makes no refund. Rechecked likewise."""


class Trigger(ByIdentity):
    """What can happen to an attempt: the messages of `payment.core.messages`, told apart by what they mean."""

    SUCCEEDED = "succeeded"
    UNWANTED = "succeeded, on an order that is cancelled or keeps another charge"
    GIVEN_BACK = "succeeded, and already refunded in full"
    REPLAYED = "succeeded, as Stripe replays"
    ACTION = "requires action, or processing"
    ACTION_DEAD = "requires action, or processing, on a dead order"
    DECLINED = "declined"
    REFUSED = "refused at its only send"
    UNCLEAR = "unclear, and may be sent again"
    UNCLEAR_FOR_GOOD = "unclear, and can't be sent again"
    WITHHELD = "not sent, order alive"
    WITHHELD_DEAD = "never sent, order dead"
    CANCELED = "intent canceled"
    CANCELED_DEAD = "intent canceled, order dead"
    OPEN = "look: not settled"
    FAILED = "look: requires payment method"
    SUPERSEDED = "another card asked for"
    TIMED_OUT = "24 h old"
    EXPIRED = "order expired"
    CANCELLED = "order cancelled"
    NOT_LISTED = "charge not listed"
    NOT_LISTED_OLD = "charge not listed 25 h after the last send"
    REFUND_DUE = "refund due"
    REFUNDED = "refunded"
    REFUND_BLOCKED = "refund failed, disputed or pending"
    REFUND_ERROR_STORED = "error replayed for the refund's key"
    REFUND_NOT_FOUND = "looked at, not refunded"
    DISPUTE_LOST = "dispute lost"
    STANDS = "rechecked, and still given back"
    UNDONE = "rechecked, and given back no longer"


_S = AttemptState
_T = Trigger
Table = dict[tuple[AttemptState, Trigger], AttemptState]

ANSWERS = (
    _T.REPLAYED,
    _T.ACTION,
    _T.ACTION_DEAD,
    _T.DECLINED,
    _T.REFUSED,
    _T.UNCLEAR,
    _T.UNCLEAR_FOR_GOOD,
    _T.WITHHELD,
    _T.WITHHELD_DEAD,
)
"""How a send can end other than by a charge. An attempt that has moved on is not changed by one that comes late."""

LISTED = (_T.NOT_LISTED, _T.NOT_LISTED_OLD)
REFUND_ENDS = (_T.REFUNDED, _T.REFUND_BLOCKED, _T.REFUND_ERROR_STORED, _T.REFUND_NOT_FOUND, _T.DISPUTE_LOST)


def _stays(state: AttemptState, *triggers: Trigger) -> Table:
    return {(state, trigger): state for trigger in triggers}


def _charged(state: AttemptState) -> Table:
    """A success is believed in every state: it is the intent's, and the intent is the order's only one."""
    return {
        (state, _T.SUCCEEDED): _S.PAID,
        (state, _T.UNWANTED): _S.REFUNDING,
        (state, _T.GIVEN_BACK): _S.REFUNDING,
    }


def _given_back(state: AttemptState) -> Table:
    """Only a recheck undoes it. What comes late of the giving back itself changes nothing."""
    stays = _stays(state, *ANSWERS, *LISTED, _T.CANCELLED, *REFUND_ENDS, _T.REFUND_DUE, _T.STANDS)
    return {**stays, (state, _T.UNDONE): _S.BLOCKED}


TABLE: Table = {
    **_charged(_S.CONFIRMING),
    **_stays(_S.CONFIRMING, _T.REPLAYED, _T.UNCLEAR, _T.WITHHELD, _T.OPEN, _T.CANCELLED),
    (_S.CONFIRMING, _T.ACTION): _S.AWAITING,
    (_S.CONFIRMING, _T.ACTION_DEAD): _S.CANCELLING,
    (_S.CONFIRMING, _T.DECLINED): _S.DECLINED,
    (_S.CONFIRMING, _T.REFUSED): _S.REFUSED,
    (_S.CONFIRMING, _T.UNCLEAR_FOR_GOOD): _S.CANCELLING,
    (_S.CONFIRMING, _T.WITHHELD_DEAD): _S.REFUSED,
    (_S.CONFIRMING, _T.CANCELED): _S.DECLINED,
    (_S.CONFIRMING, _T.CANCELED_DEAD): _S.CLOSED,
    **_charged(_S.AWAITING),
    **_stays(_S.AWAITING, *ANSWERS, _T.OPEN),
    (_S.AWAITING, _T.FAILED): _S.DECLINED,
    (_S.AWAITING, _T.CANCELED): _S.DECLINED,
    (_S.AWAITING, _T.CANCELED_DEAD): _S.CLOSED,
    (_S.AWAITING, _T.SUPERSEDED): _S.CANCELLING,
    (_S.AWAITING, _T.TIMED_OUT): _S.CANCELLING,
    (_S.AWAITING, _T.EXPIRED): _S.CANCELLING,
    (_S.AWAITING, _T.CANCELLED): _S.CANCELLING,
    **_charged(_S.CANCELLING),
    **_stays(_S.CANCELLING, *ANSWERS, _T.OPEN, _T.CANCELLED),
    (_S.CANCELLING, _T.CANCELED): _S.DECLINED,
    (_S.CANCELLING, _T.CANCELED_DEAD): _S.CLOSED,
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
"""Every pair of state and trigger that can be met, and the state it leads to. A pair that is not here is a bug."""

UNSETTLED = frozenset({_S.CONFIRMING, _S.AWAITING, _S.CANCELLING, _S.CHARGING})
"""The card may still be charged by this attempt, so no other attempt may begin."""

GIVEN_BACK = frozenset({_S.REFUNDED, _S.CHARGED_BACK})
"""The attempt has charged the card, and the customer has the money again, as far as is known."""

GIVING_BACK = GIVEN_BACK | {_S.REFUNDING, _S.BLOCKED}
"""The attempt has charged the card, and the money is on its way back or there."""


class UnreachablePair(Exception):
    """Our bug: an attempt met a trigger that the table calls unreachable. The order is unchanged."""


def next_state(state: AttemptState, trigger: Trigger) -> AttemptState:
    """The state that a trigger leads to.

    Raises:
        UnreachablePair: the pair is not in the table.
    """
    try:
        return TABLE[state, trigger]
    except KeyError:
        raise UnreachablePair(f"{state.value} can't meet {trigger.value!r}") from None


class TaskKind(enum.Enum):
    """What is in flight for an intent, an attempt or an event, or will be when the task is due."""

    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "look"
    CANCEL = "cancel"
    LIST = "list"
    REFUND = "refund"
    FIND_REFUND = "look at the refund"
    RECHECK_REFUND = "recheck"
    """Look whether a charge that was given back still is."""
    PUBLISH = "publish"
    RECHECK_LATER = "watch"
    """Nothing is in flight: the task waits for its time."""


class Task(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Work with a deadline. Until `due` it is its `holder`'s (a process; a watch has none), then any process's."""

    kind: TaskKind
    due: datetime
    issued: datetime
    holder: str | None = None
    not_before: datetime | None = None


class Refund(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The giving back of one charge. `number` counts its keys: the next one is used when an error is stored for one.

    `id` is the refund's at Stripe, `dispute_id` that of a lost dispute. `undone` counts how often the charge had been
    given back and then was no longer; `rechecks` counts the rechecks, made at their times, since it was given back.
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
    """What is known of an intent: only an open one can charge, and only then it may be confirmed again."""

    OPEN = "open"
    CANCELED = "canceled"
    SUCCEEDED = "succeeded"


class Intent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The order's one open PaymentIntent, or its last one. `number` counts them from 1; `id` is Stripe's, once known.

    `key` is its create's idempotency key, `api_version` the Stripe version of its create and of its confirms.
    `exposed`: its client secret may be in a browser, which can confirm it by itself: it is watched while it is open.
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

    The instrument is kept only while it may be sent again; `token_hash` recognizes a repeated request for ever.
    `amount_refunded` (minor units) and `disputed` are what was last seen of a charge that pays: refunded in part by
    hand, disputed by the bank. `recheck` is when a charge that was given back is looked at again.
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
        """Whether another card may take its place."""
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
    """One of our events, from the write that made it true until the broker has it. `task` is its publishing.

    `dispute_id` and `status` (of the dispute, in Stripe's words) are there exactly on `payment:disputed`.
    """

    subject: str
    stripe_id: str
    refund_id: str | None = None
    dispute_id: str | None = None
    status: str | None = None
    task: Task | None = None
    published: datetime | None = None


class Writer(Struct, frozen=True, rename="camel"):
    """Which process wrote a revision, and its write number: how a write whose answer was lost is recognised."""

    process: str
    number: int


class HistoryEntry(Struct, frozen=True, rename="camel"):
    """One line of an order's life, for whoever reads the document."""

    at: datetime
    what: str


class Order(Struct, frozen=True, rename="camel", omit_defaults=True):
    """An order, its payment, its unsent events and its next deadline: the whole truth, in one document.

    `user_id`, `amount` (minor units), `currency` and `expires_at` are absent while only a cancel has announced it.
    `received` is when it came (absent in documents that release 0.1.0 began). `due` and `holder` are derived from the
    tasks (`payment.core.pending.with_deadline`), and stored to be found by index. So is `recheck`: the earliest time at
    which a charge that was given back is looked at again. It is days away where `due` is minutes away.
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
        """The attempt whose charge pays the order, also while it is given back."""
        if self.payment is None or self.payment.kept is None:
            return None
        return self.payment.attempts[self.payment.kept - 1]

    @property
    def unsettled(self) -> Attempt | None:
        """The one attempt that may still charge the card, if there is one."""
        return next((attempt for attempt in self.attempts if attempt.state in UNSETTLED), None)

    @property
    def intent_busy(self) -> bool:
        """Whether its open intent is being looked at or cancelled for no attempt: a new one begins after that."""
        task = self.intent.task if self.intent else None
        return task is not None and task.kind in (TaskKind.RETRIEVE, TaskKind.CANCEL) and self.unsettled is None

    def open_at(self, at: datetime) -> bool:
        """Whether a card may be charged for it at all: it was created, not cancelled, and has not expired."""
        return not self.cancelled and self.expires_at is not None and at < self.expires_at
