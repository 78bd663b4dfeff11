"""What lies in the actors' mailboxes. Every arrow of state goes through the ledger (the Mongo actor's mailbox).

    HTTP    ──  ChargeOrder, GetPayment  ──▶  ledger   answered through the message's own future
    NATS    ──  EventReceived, InvalidEventReceived ──▶  ledger   answered through the message's `settle`
    Stripe  ──  EffectCompleted                ──▶  ledger
    Stripe  ──  AccountRead                ──▶  ledger   answered through the message's own future
    NATS    ──  EffectCompleted                ──▶  ledger
    ledger  ──  ConfirmIntent, CreateIntent, RetrieveIntent, CancelIntent,
                ListCharges, RefundCharge, FindRefund, CancelEffect  ──▶  Stripe
    ledger  ──  PublishEvent               ──▶  NATS

Only messages that hold a future or a callback are mutable things; whatever they carry is frozen.
"""

import asyncio
import enum
from collections.abc import Callable

from msgspec import Struct

from payment.core.account import StripeAccount
from payment.core.effects import PublishEvent, StripeEffect
from payment.core.messages import ChargeRequested, Message, OrderCancelled, OrderCreated
from payment.core.replies import PaymentView, Reply, Unavailable
from payment.ports.cards import Handover


class ChargeReply(Struct, frozen=True):
    """What a request to charge came to. With a reply of status 202, and with too many declines, comes `retry_after_s`:
    an estimate, in seconds.

    `handover` comes with `RequiresAction` alone.
    """

    reply: Reply | Unavailable
    retry_after_s: int | None = None
    handover: Handover | None = None


class PaymentReply(Struct, frozen=True):
    """A payment as its owner may see it. `handover`: the intent awaits its customer, as Stripe said just now."""

    view: PaymentView
    handover: Handover | None = None


class ChargeOrder(Struct, eq=False):
    """HTTP asks the ledger to charge an order. The ledger sets `answer` exactly once, and by `deadline` at the latest.

    `deadline` is in seconds of the clock's `monotonic`: a request that is still pending then is told so (202).
    """

    request: ChargeRequested
    deadline: float
    asked_at: float
    request_id: str
    answer: "asyncio.Future[ChargeReply]"
    decided: bool = False
    """The ledger has looked at it: what it may still wait for is a write, or Stripe."""
    supersedes: bool = False
    """The request waits until the order's last intent is known canceled, and is decided again then."""
    write_sent: bool = False
    """The request has entered a write: from here on nobody may say that nothing was charged."""


class GetPayment(Struct, eq=False):
    """HTTP asks for a payment by its id or by its order's, one of the two. None: there is no such payment.

    `user_id` is the client's: only an owner's request makes the ledger look at an intent that awaits its customer. HTTP
    still compares the view's owner, and answers 403 itself. `deadline` is in seconds of the clock's `monotonic`.
    """

    user_id: str
    deadline: float
    answer: "asyncio.Future[PaymentReply | Unavailable | None]"
    payment_id: str | None = None
    order_id: str | None = None


class Handling(enum.Enum):
    """What became of an event from the broker."""

    APPLIED = "applied"
    STALE = "stale"
    DEAD_LETTER = "dead_letter"
    NOT_NOW = "not_now"
    """The store can't be written now: the broker is to deliver it again."""


Settle = Callable[[Handling], None]

"""Why an event that can be read goes to the dead letters all the same."""


class EventReceived(Struct, eq=False):
    """The NATS actor brings an event. `settle` is called exactly once, after the write that it led to.

    `redelivered`: how often the broker has delivered it before, as far as it knows.
    """

    message: OrderCreated | OrderCancelled
    subject: str
    identity: str
    data: bytes
    redelivered: int
    settle: Settle
    error: str | None = None
    """Why it goes to the dead letters, if it does: it can be read, and not be applied."""


class InvalidEventReceived(Struct, eq=False):
    """The NATS actor brings an event that can't be read: it is kept whole, once, under its identity."""

    subject: str
    identity: str
    data: bytes
    error: str
    settle: Settle


class EffectCompleted(Struct, frozen=True):
    """An effect is out of an actor's hands: `message` says how it ended. `call_ms` is the time at the other side."""

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


class AccountRead(Struct, eq=False):
    """The Stripe actor has seen which account our key is for. The ledger keeps it where none is kept yet.

    `answer` is set exactly once: while the store is away, when it is back.
    """

    account: StripeAccount
    answer: "asyncio.Future[AccountCheck]"


class ActorRestarted(Struct, frozen=True):
    """The supervisor has restarted an actor: what the dead one had in its hands ended nobody knows how."""

    name: str


LedgerMessage = (
    ChargeOrder | GetPayment | EventReceived | InvalidEventReceived | EffectCompleted | AccountRead | ActorRestarted
)
StripeMessage = StripeEffect | CancelEffect
NatsMessage = PublishEvent
