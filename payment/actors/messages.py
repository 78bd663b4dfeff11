"""What lies in the actors' mailboxes. Every change of an order goes through the ledger (the Mongo actor's mailbox).

    HTTP    ──  ChargeOrder, GetPayment  ──────────────▶  ledger   answered through the message's own future
    HTTP    ──  AnswerBy  ─────────────────────────────▶  ledger
    NATS    ──  EventReceived, InvalidEventReceived  ──▶  ledger   answered through the message's `settle`
    Stripe  ──  EffectCompleted  ──────────────────────▶  ledger
    Stripe  ──  AccountRead  ──────────────────────────▶  ledger   answered through the message's own future
    NATS    ──  EffectCompleted  ──────────────────────▶  ledger
    ledger  ──  ConfirmIntent, CreateIntent, RetrieveIntent, CancelIntent,
                ListCharges, RefundCharge, FindRefund, CancelEffect  ──▶  Stripe
    ledger  ──  PublishEvent  ─────────────────────────▶  NATS

Every message is frozen. Where a sender waits for an answer, the message carries a future or a callback, which the
receiver uses once; what the receiver has to remember of a message it keeps in an object of its own.
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
    """What a request to charge came to. With a reply of status 202, and with too many declines, comes `retry_after_s`:
    an estimate, in seconds.

    `handover` comes with `RequiresAction` alone.
    """

    reply: Reply | Unavailable
    retry_after_s: int | None = None
    handover: Handover | None = None


class PaymentReply(Struct, frozen=True):
    """A payment as its owner may see it. `handover` is there where the intent has just been retrieved as awaiting."""

    view: PaymentView
    handover: Handover | None = None


class ChargeOrder(Struct, frozen=True, eq=False):
    """HTTP asks the ledger to charge an order. The ledger sets `answer` exactly once, and by `deadline` at the latest.

    `deadline` and `asked_at` are in seconds of the clock's `monotonic`. At its deadline a request is answered with what
    is known then. The ledger sets `decided` when it first decides about the request: what it may still wait for after
    that is a write, or Stripe.
    """

    request: ChargeRequested
    deadline: float
    asked_at: float
    request_id: str
    answer: "asyncio.Future[ChargeReply]"
    decided: "asyncio.Future[None]" = field(default_factory=_new_future)


class GetPayment(Struct, frozen=True, eq=False):
    """HTTP asks for a payment by its id or by its order's, one of the two. None: there is no such payment.

    `user_id` is the client's: only an owner's request makes the ledger retrieve an intent that awaits its customer.
    HTTP still compares the view's owner, and answers 403 itself. `deadline` is in seconds of the clock's `monotonic`.
    """

    user_id: str
    deadline: float
    answer: "asyncio.Future[PaymentReply | Unavailable | None]"
    payment_id: str | None = None
    order_id: str | None = None


class AnswerBy(Struct, frozen=True):
    """HTTP drains: the ledger is to answer every request that it has by `deadline`, in seconds of `monotonic`.

    A request whose own deadline is earlier keeps that one.
    """

    deadline: float


class Handling(enum.Enum):
    """What became of an event from the broker."""

    APPLIED = "applied"
    STALE = "stale"
    DEAD_LETTER = "dead_letter"
    NOT_NOW = "not_now"
    """The store can't be written now: the broker is to deliver it again."""


class Settle(Protocol):
    """Answers an event. To be called exactly once."""

    def __call__(self, handling: Handling, error: str | None = None) -> None:
        """`error`: why the event has gone to the dead letters, if it has."""


class EventReceived(Struct, frozen=True, eq=False):
    """The NATS actor brings an event. `settle` is called after the write that it led to.

    `redelivered`: how often the broker has delivered it before, as far as it knows.
    """

    message: OrderCreated | OrderCancelled
    subject: str
    identity: str
    data: bytes
    redelivered: int
    settle: Settle


class InvalidEventReceived(Struct, frozen=True, eq=False):
    """An event that can't be read, or can't be applied: it is kept whole, once, under its identity.

    The NATS actor brings those that can't be read; the ledger makes the others, of an `EventReceived`.
    """

    subject: str
    identity: str
    data: bytes
    error: str
    settle: Settle


class EffectCompleted(Struct, frozen=True):
    """An actor has done with an effect: `message` says how it ended. `call_ms` is the time at the other side."""

    effect_id: str
    message: Message
    call_ms: float = 0.0
    handover: Handover | None = None
    """What the owner's browser needs, where the message says that the intent awaits its customer; not if replayed."""
    away_ms: float = 0.0
    """Time that it waited because Stripe was away, or had put it off; in milliseconds, and no part of `call_ms`."""


class CancelEffect(Struct, frozen=True):
    """An effect in flight at the Stripe actor is pending no longer: a call that was not sent yet must never be sent."""

    effect_id: str


class AccountCheck(Struct, frozen=True):
    """Whether the database belongs to the account that was seen. None: the store does not say it now.

    `text` says why not, for an operator.
    """

    same: bool | None
    text: str = ""


class AccountRead(Struct, frozen=True, eq=False):
    """The Stripe actor has read which account our key is for. The ledger keeps it where none is kept yet.

    `answer` is set exactly once: while the store is away, when it is back.
    """

    account: StripeAccount
    answer: "asyncio.Future[AccountCheck]"


class ActorRestarted(Struct, frozen=True):
    """The supervisor has restarted an actor: how the dead one's effects ended is unknown."""

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
