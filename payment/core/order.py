"""An order as one document, and the table of states that its charge attempts go through.

    ChargeRequested ──▶ charging ──▶ paid ──▶ refunding ──▶ refunded

That is the road nearly every attempt takes, most of them no further than `paid`. All the rest of the table is about one
question: *what do we know when an answer did not come?* A send that ends unclear may have charged the card, or may yet
do so. It is sent again under the same key, which Stripe executes once, while the key is young; after that it is only
looked for. An empty list proves nothing by itself, since the request may still be executing: it settles an attempt only
when it was asked under evidence (`Evidence`) that makes it a proof. A settled attempt that turns out to have charged
after all is given back.

The document holds everything that one atomic write must move together: the order, its payment, its unsent events, and
the tasks that somebody still has in hand. `due` is the earliest time at which somebody must look again.

Nothing here changes an order: `payment.core.decide` does. Change together: `AttemptState`, `Trigger`, `TABLE`.
"""

import enum
from datetime import datetime

from msgspec import Struct, field

from payment.core.messages import RefusalReason

HISTORY_LIMIT = 24
"""Entries. Enough to read the whole life of an ordinary order; a document must not grow with every retry."""

ATTEMPTS_LIMIT = 20
"""Attempts. More on one order is somebody trying out cards, and a document must stay small."""


class OrderStatus(enum.Enum):
    """What the platform has told us of an order. Cancelled is absorbing."""

    CREATED = "created"
    CANCELLED = "cancelled"


class AttemptState(enum.Enum):
    """Where one attempt to charge an order stands."""

    CHARGING = "charging"
    """Intent is on paper; a request may be on its way, executing, or answered without our knowing."""
    ERROR_STORED = "error stored"
    """Its key can bring no charge any more, but an earlier request with it may have: looked for."""
    DECLINED = "declined"
    REFUSED = "refused"
    ABANDONED = "abandoned"
    """Looked for in vain: the order is payable again, and the attempt is watched until it can't land any more."""
    CLOSED = "closed"
    """Proven never to have charged."""
    PAID = "paid"
    REFUNDING = "refunding"
    BLOCKED = "blocked"
    """Stripe won't give it back now: tried again slowly, with an alarm."""
    REFUNDED = "refunded"


class Trigger(enum.Enum):
    """What can happen to an attempt: the messages of `payment.core.messages`, told apart by what they prove."""

    CHARGED = "charged, or found"
    CHARGED_UNWANTED = "charged, or found, on an order that is cancelled or paid, or after it was settled"
    DECLINED = "declined"
    REFUSED = "refused at its only send"
    REFUSED_LATER = "refused at a later send"
    WITHHELD = "never sent, order payable"
    WITHHELD_FOR_GOOD = "never sent, order not payable"
    UNCLEAR = "unclear"
    ERROR_STORED = "error replayed for the key"
    EMPTY_PROBE = "empty list, asked as probe"
    EMPTY_STORED = "empty list, asked as stored"
    EMPTY_FINAL = "empty list, asked as final"
    DUE = "due"
    CANCELLED = "order cancelled"
    REFUNDED = "refunded"
    REFUND_BLOCKED = "refund failed, disputed or pending"
    REFUND_ERROR_STORED = "error replayed for the refund's key"
    REFUND_NOT_FOUND = "looked at, not refunded"


_S = AttemptState
_T = Trigger

LATE_OUTCOMES = (
    _T.DECLINED,
    _T.REFUSED,
    _T.REFUSED_LATER,
    _T.WITHHELD,
    _T.WITHHELD_FOR_GOOD,
    _T.UNCLEAR,
    _T.ERROR_STORED,
    _T.EMPTY_PROBE,
    _T.EMPTY_STORED,
    _T.EMPTY_FINAL,
)
"""What another process may still bring to an attempt that has moved on. It proves nothing new, and changes nothing."""


def _stays(state: AttemptState, triggers: tuple[Trigger, ...]) -> dict[tuple[AttemptState, Trigger], AttemptState]:
    return {(state, trigger): state for trigger in triggers}


TABLE: dict[tuple[AttemptState, Trigger], AttemptState] = {
    # A list asked as STORED belongs to an attempt in ERROR_STORED, which never goes back to CHARGING: no such row.
    **_stays(_S.CHARGING, (_T.UNCLEAR, _T.WITHHELD, _T.EMPTY_PROBE, _T.DUE, _T.CANCELLED)),
    (_S.CHARGING, _T.CHARGED): _S.PAID,
    (_S.CHARGING, _T.CHARGED_UNWANTED): _S.REFUNDING,
    (_S.CHARGING, _T.DECLINED): _S.DECLINED,
    (_S.CHARGING, _T.REFUSED): _S.REFUSED,
    (_S.CHARGING, _T.WITHHELD_FOR_GOOD): _S.REFUSED,
    (_S.CHARGING, _T.REFUSED_LATER): _S.ERROR_STORED,
    (_S.CHARGING, _T.ERROR_STORED): _S.ERROR_STORED,
    (_S.CHARGING, _T.EMPTY_FINAL): _S.CLOSED,
    # A decline that comes after an error was stored would be a second answer for one key: not believed, looked for.
    **_stays(_S.ERROR_STORED, (*LATE_OUTCOMES, _T.DUE, _T.CANCELLED)),
    (_S.ERROR_STORED, _T.CHARGED): _S.PAID,
    (_S.ERROR_STORED, _T.CHARGED_UNWANTED): _S.REFUNDING,
    (_S.ERROR_STORED, _T.EMPTY_STORED): _S.ABANDONED,
    (_S.ERROR_STORED, _T.EMPTY_FINAL): _S.CLOSED,
    **_stays(_S.ABANDONED, (*LATE_OUTCOMES, _T.DUE, _T.CANCELLED)),
    (_S.ABANDONED, _T.CHARGED_UNWANTED): _S.REFUNDING,
    (_S.ABANDONED, _T.EMPTY_FINAL): _S.CLOSED,
    **_stays(_S.DECLINED, (*LATE_OUTCOMES, _T.CANCELLED)),
    (_S.DECLINED, _T.CHARGED_UNWANTED): _S.REFUNDING,
    **_stays(_S.REFUSED, (*LATE_OUTCOMES, _T.CANCELLED)),
    (_S.REFUSED, _T.CHARGED_UNWANTED): _S.REFUNDING,
    **_stays(_S.CLOSED, (*LATE_OUTCOMES, _T.CANCELLED)),
    (_S.CLOSED, _T.CHARGED_UNWANTED): _S.REFUNDING,
    **_stays(_S.PAID, LATE_OUTCOMES),
    (_S.PAID, _T.CANCELLED): _S.REFUNDING,
    **_stays(_S.REFUNDING, (*LATE_OUTCOMES, _T.CANCELLED, _T.DUE, _T.REFUND_ERROR_STORED, _T.REFUND_NOT_FOUND)),
    (_S.REFUNDING, _T.REFUNDED): _S.REFUNDED,
    (_S.REFUNDING, _T.REFUND_BLOCKED): _S.BLOCKED,
    **_stays(_S.BLOCKED, (*LATE_OUTCOMES, _T.CANCELLED, _T.DUE, _T.REFUND_BLOCKED, _T.REFUND_ERROR_STORED)),
    (_S.BLOCKED, _T.REFUNDED): _S.REFUNDED,
    (_S.BLOCKED, _T.REFUND_NOT_FOUND): _S.REFUNDING,
    **_stays(
        _S.REFUNDED,
        (*LATE_OUTCOMES, _T.CANCELLED, _T.REFUNDED, _T.REFUND_BLOCKED, _T.REFUND_ERROR_STORED, _T.REFUND_NOT_FOUND),
    ),
}
"""Every pair of state and trigger that can be met, and the state it leads to. A pair that is not here is a bug."""

UNSETTLED = frozenset({_S.CHARGING, _S.ERROR_STORED})
"""The card may be charged by this attempt, and nobody has been told how it ended: no other may begin."""

GIVING_BACK = frozenset({_S.REFUNDING, _S.BLOCKED, _S.REFUNDED})
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
    """What somebody has in hand for an attempt or an event, or will when the task is due."""

    CHARGE = "charge"
    PROBE = "probe"
    LOOK_STORED = "look, as stored"
    LOOK_FINAL = "look, as final"
    REFUND = "refund"
    LOOK_REFUND = "look at the refund"
    PUBLISH = "publish"
    WATCH = "watch"
    """Nobody has it in hand: it waits for its time."""


class Task(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Work with a deadline. Until `due` it is `holder`'s (a process), or, for a watch, nobody's; then anybody's."""

    kind: TaskKind
    due: datetime
    issued: datetime
    holder: str | None = None
    not_before: datetime | None = None


class Refund(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The giving back of one charge. `number` counts its keys: the next one is used when an error is stored for one."""

    key: str
    number: int = 1
    id: str | None = None
    blocked: int = 0
    text: str | None = None


class Attempt(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One attempt to charge an order, with all parameters of its request frozen. `amount` is in minor units.

    It is finished by the parameters that began it, whatever has been deployed since. The token is kept only while it
    may be sent again; its hash answers a repeated request for ever.
    """

    number: int
    key: str
    amount: int
    currency: str
    api_version: str
    token_hash: str
    state: AttemptState
    first_sent: datetime
    last_sent: datetime
    not_after: datetime
    endpoint: str = "charges"
    token: str | None = None
    sends: int = 1
    charge_id: str | None = None
    refusal: RefusalReason | None = None
    code: str | None = None
    decline_code: str | None = None
    text: str | None = None
    refund: Refund | None = None
    task: Task | None = None
    settled: datetime | None = None
    unsendable_since: datetime | None = None
    """When somebody first saw, after `not_after`, that it can't be sent any more. From then on the last request may
    live for so long; a single reading of a clock that is wrong can't make it look over."""

    def __repr__(self) -> str:
        return f"Attempt(number={self.number}, state={self.state.value!r}, sends={self.sends})"


class Payment(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The payment of an order: one id over all its attempts. `kept` is the attempt whose charge pays the order.

    `strays` are succeeded charges that no attempt can claim (a second one under an attempt's number): each is given
    back like an attempt that charged too late.
    """

    id: str
    attempts: tuple[Attempt, ...] = ()
    strays: tuple[Attempt, ...] = ()
    kept: int | None = None


class OutboxEvent(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One of our two events, from the write that made it true until the broker has it. `task` is its publishing."""

    subject: str
    stripe_id: str
    refund_id: str | None = None
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
    `due` and `holder` are derived from the tasks (`payment.core.pending.sealed`), and stored to be found by index.
    """

    id: str = field(name="_id")
    status: OrderStatus
    version: int
    rev: int = 0
    writer: Writer | None = None
    user_id: str | None = None
    amount: int | None = None
    currency: str | None = None
    expires_at: datetime | None = None
    payment: Payment | None = None
    outbox: tuple[OutboxEvent, ...] = ()
    due: datetime | None = None
    holder: str | None = None
    history: tuple[HistoryEntry, ...] = ()

    @property
    def cancelled(self) -> bool:
        return self.status is OrderStatus.CANCELLED

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return self.payment.attempts if self.payment else ()

    @property
    def strays(self) -> tuple[Attempt, ...]:
        return self.payment.strays if self.payment else ()

    @property
    def kept(self) -> Attempt | None:
        """The attempt whose charge pays the order, also while it is given back."""
        if self.payment is None or self.payment.kept is None:
            return None
        return self.payment.attempts[self.payment.kept - 1]

    @property
    def unsettled(self) -> Attempt | None:
        """The one attempt that may still charge the card and that nobody has been told the end of."""
        return next((attempt for attempt in self.attempts if attempt.state in UNSETTLED), None)

    def open_at(self, at: datetime) -> bool:
        """Whether a card may be charged for it at all: it was created, not cancelled, and has not expired."""
        return not self.cancelled and self.expires_at is not None and at < self.expires_at
