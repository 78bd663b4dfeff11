"""The messages of the actors' mailboxes. The ledger (the Mongo actor) makes every change of an order.

    HTTP    ──  ChargeOrder, GetPayment  ──────────────▶  ledger   answered through the message's own future
    HTTP    ──  AnswerBy  ─────────────────────────────▶  ledger
    NATS    ──  EventReceived, InvalidEventReceived  ──▶  ledger   answered through the message's `settle`
    Stripe  ──  EffectCompleted  ──────────────────────▶  ledger
    Stripe  ──  AccountRead  ──────────────────────────▶  ledger   answered through the message's own future
    NATS    ──  EffectCompleted  ──────────────────────▶  ledger
    ledger  ──  ConfirmIntent, CreateIntent, RetrieveIntent, CancelIntent,
                ListCharges, RefundCharge, FindRefund, RecheckRefund, CancelEffect  ──▶  Stripe
    ledger  ──  PublishEvent  ─────────────────────────▶  NATS

Every message is frozen. If the sender waits for an answer, the message has a future or a callback, which the receiver
uses once. The receiver keeps its own state about a message in an object of its own.
"""

import asyncio
import enum
from typing import Protocol

from msgspec import Struct, field

from payment.core.account import StripeAccount
from payment.core.effects import PublishEvent, StripeEffect
from payment.core.messages import ChargeRequested, Message, OrderCancelled, OrderCreated
from payment.core.replies import PaymentView, Reply, Unavailable
from payment.ports.cards import Handover


def _new_future() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


class ChargeReply(Struct, frozen=True):
    """The answer to a request to charge.

    `retry_after_s` is an estimate in seconds, set for a reply of status 202 and for too many declines. `handover` is
    set for `RequiresAction` only.
    """

    reply: Reply | Unavailable
    retry_after_s: int | None = None
    handover: Handover | None = None


class PaymentReply(Struct, frozen=True):
    """A payment as its owner may see it. `handover` is set if the intent was just retrieved and awaits its customer."""

    view: PaymentView
    handover: Handover | None = None


class ChargeOrder(Struct, frozen=True, eq=False):
    """HTTP asks the ledger to charge an order. The ledger sets `answer` exactly once, and by `deadline` at the latest.

    `deadline` and `asked_at` are in seconds of the clock's `monotonic`. At its deadline the request gets an answer by
    what is known then. The ledger sets `decided` when it first decides the request, which then waits only for a write
    or for Stripe.
    """

    request: ChargeRequested
    deadline: float
    asked_at: float
    request_id: str
    answer: "asyncio.Future[ChargeReply]"
    decided: "asyncio.Future[None]" = field(default_factory=_new_future)


class GetPayment(Struct, frozen=True, eq=False):
    """HTTP asks for a payment, by its id or by its order's id. The answer None: there is no such payment.

    `user_id` is the client's: only an owner's request makes the ledger retrieve an intent that awaits its customer.
    HTTP still compares the view's owner, and answers 403 itself. `deadline` is in seconds of the clock's `monotonic`.
    """

    user_id: str
    deadline: float
    answer: "asyncio.Future[PaymentReply | Unavailable | None]"
    payment_id: str | None = None
    order_id: str | None = None


class AnswerBy(Struct, frozen=True):
    """HTTP drains: the ledger must answer every pending request by `deadline`, in seconds of the clock's `monotonic`.

    A request with an earlier deadline keeps it.
    """

    deadline: float


class Handling(enum.Enum):
    """The result for an event from the broker."""

    APPLIED = "applied"
    STALE = "stale"
    DEAD_LETTER = "dead_letter"
    NOT_NOW = "not_now"
    """The store can't be written now: the broker must deliver the event again."""


class Settle(Protocol):
    """Settles an event with the broker. It must be called exactly once."""

    def __call__(self, handling: Handling, error: str | None = None) -> None:
        """`error`: why the event is a dead letter, if it is one."""


class EventReceived(Struct, frozen=True, eq=False):
    """The NATS actor has received an event. The ledger calls `settle` after the write that the event led to.

    `redelivered`: how often the broker has delivered it before, by the broker's own count.
    """

    message: OrderCreated | OrderCancelled
    subject: str
    identity: str
    data: bytes
    redelivered: int
    settle: Settle


class InvalidEventReceived(Struct, frozen=True, eq=False):
    """An event that can't be read or applied: the ledger keeps it whole, once, under its identity.

    The NATS actor sends those that can't be read. The ledger makes the others from an `EventReceived`.
    """

    subject: str
    identity: str
    data: bytes
    error: str
    settle: Settle


class EffectCompleted(Struct, frozen=True):
    """An effect has ended, with the outcome `message`. `call_ms` is how long the other server took, in milliseconds."""

    effect_id: str
    message: Message
    call_ms: float = 0.0
    handover: Handover | None = None
    """Data for the owner's browser. Set if the intent awaits its customer, unless Stripe's answer was replayed."""
    away_ms: float = 0.0
    """How long it waited because Stripe was away or asked for a later try, in milliseconds; not a part of `call_ms`."""


class CancelEffect(Struct, frozen=True):
    """An effect in flight at the Stripe actor is no longer pending: a call that was not sent yet must not be sent."""

    effect_id: str


class AccountCheck(Struct, frozen=True):
    """Whether the database belongs to the account of our key. `same` is None while the store can't be read.

    `text` is the reason for an operator, unless it belongs to it.
    """

    same: bool | None
    text: str = ""


class AccountRead(Struct, frozen=True, eq=False):
    """The Stripe actor has read the account of our key. The ledger stores it if none is stored yet.

    The ledger sets `answer` exactly once; if the store is away, as soon as it is back.
    """

    account: StripeAccount
    answer: "asyncio.Future[AccountCheck]"


class ActorRestarted(Struct, frozen=True):
    """The supervisor has replaced an actor: the outcomes of its predecessor's effects are unknown."""

    name: str


LedgerMessage = (
    ChargeOrder
    | GetPayment
    | AnswerBy
    | EventReceived
    | InvalidEventReceived
    | EffectCompleted
    | AccountRead
    | ActorRestarted
)
StripeMessage = StripeEffect | CancelEffect
NatsMessage = PublishEvent
