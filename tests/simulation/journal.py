"""Everything that happens in one simulated world, as typed values in the order of virtual time.

The checks, the history check, the reach and the transcript may read nothing but the journal. An entry records what
*happened* (the store applied a write, Stripe made a charge), never what the service believes. The journal must never
hold anything that differs between two runs of one seed: no addresses, no wall time, no order of a set.

`who` is a process (`p1`), a customer (`c1`), `orders` (the orders service), `stripe`, `store`, `bus`, `operator` (in
Stripe's dashboard or the database) or `world`. `at_s` is in virtual seconds since the world began. Change together: all
code that matches on `Entry`.
"""

import hashlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

from payment.core.messages import IntentStatus
from payment.core.order import AttemptState, Order, Trigger


class Entry(Struct, frozen=True, tag=True):
    """One event of a world."""

    at_s: float
    who: str


# ------------------------------------------------------------------------------------------------------------ the store


class Wrote(Entry, frozen=True):
    """The store applied a document that `who` sent. `lost_answer`: the sender gets no answer to this write."""

    order: Order
    lost_answer: bool


class StoreRestored(Entry, frozen=True):
    """The store was restored to an earlier state: it holds these documents, and no others (F47)."""

    orders: tuple[Order, ...]


class DocumentCorrupted(Entry, frozen=True):
    """An operator has edited a stored document so that it is corrupt. A `Wrote` corrects it (F50)."""

    order_id: str


class DeadLetterKept(Entry, frozen=True):
    """The store has added a dead letter."""

    identity: str
    subject: str
    data: bytes
    error: str


# -------------------------------------------------------------------------------------------------------------- Stripe


class StripeSent(Entry, frozen=True):
    """A request left a process. `at_s` is true time, whatever the process's clock shows.

    Confirms and refunds have an `attempt`, requests that name an intent have an `intent_id`.
    """

    kind: str
    key: str | None
    order_id: str
    attempt: int
    intent_id: str | None = None
    account_id: str | None = None
    """The account of the key that it was sent with."""


class StripeReceived(Entry, frozen=True):
    """A request, sent by `who`, arrived at Stripe. `fingerprint` is all its parameters as one text.

    `kind` is one of `tests.support.fakes.cards.KINDS`; only creates, confirms and refunds have a key.
    """

    kind: str
    key: str | None
    fingerprint: str
    order_id: str


class StripeAnswered(Entry, frozen=True):
    """A process got an answer, or ended its wait with an unclear outcome. `outcome` names it, with its details."""

    kind: str
    key: str | None
    order_id: str
    outcome: str


class IntentMoved(Entry, frozen=True):
    """Stripe created an intent, or an intent changed its status. `key` is its create's, `by` its last confirm's."""

    intent_id: str
    order_id: str
    payment_id: str
    key: str
    amount: int
    currency: str
    status: IntentStatus
    by: str


class StripeCharged(Entry, frozen=True):
    """Stripe made a charge: succeeded, or failed (a decline).

    `by` is the key of the confirm that made it, or `tests.support.fakes.cards.BROWSER`.
    """

    charge_id: str
    order_id: str
    payment_id: str
    intent_id: str | None
    amount: int
    currency: str
    by: str
    succeeded: bool


class StripeRefunded(Entry, frozen=True):
    """Stripe created a refund of a whole charge, or the refund changed its status: pending, succeeded, failed."""

    refund_id: str
    charge_id: str
    status: str


class BankDecided(Entry, frozen=True):
    """A bank has disputed a charge, or decided a dispute. `status` is Stripe's."""

    charge_id: str
    status: str


class OperatorActed(Entry, frozen=True):
    """An operator acted in the dashboard. `what`: "cancel" an intent, or "refund" a charge, by its id."""

    what: str
    order_id: str
    id: str


# ------------------------------------------------------------------------------------------------------------- the bus


class Stored(Entry, frozen=True):
    """The bus stored an event that `who` published. `dropped`: it knew the message id, and stored nothing."""

    subject: str
    sequence: int
    data: bytes
    message_id: str
    dropped: bool


class Delivered(Entry, frozen=True):
    """The bus delivered an event to a process, for the `nth` time (from 1) to its queue group."""

    subject: str
    sequence: int
    nth: int


class Acked(Entry, frozen=True):
    """An acknowledgement, sent by `who`, arrived at the bus. `lost`: it did not."""

    subject: str
    sequence: int
    lost: bool


class EventRejected(Entry, frozen=True):
    """The bus is reachable, and rejected an event that `who` published."""

    subject: str


class Postponed(Entry, frozen=True):
    """A process asked the bus to deliver an event again later."""

    subject: str
    sequence: int
    delay_s: float


# ------------------------------------------------------------------------------------------------------- the customers


class ChargePosted(Entry, frozen=True):
    """A customer sent a POST to a process. `request_no` is unique in a world.

    `token` is the instrument's value, of any kind; `authenticates`: the request names how its customer can
    authenticate.
    """

    request_no: int
    order_id: str
    user: str
    token: str
    process: str
    authenticates: bool = False


class ChargeAnswered(Entry, frozen=True):
    """A customer got a whole answer to a POST. `retry_after_s` is None where the answer has no Retry-After."""

    request_no: int
    order_id: str
    user: str
    token: str
    status: int
    body: bytes
    retry_after_s: int | None


class BankPageVisited(Entry, frozen=True):
    """A customer came to the bank's page, and completed it or failed. `status` is the intent's afterwards."""

    order_id: str
    intent_id: str
    completes: bool
    status: IntentStatus


class ConfirmedInBrowser(Entry, frozen=True):
    """A customer's browser confirmed an intent by its client secret, with another card."""

    order_id: str
    intent_id: str
    token: str
    outcome: str


class RequestFailed(Entry, frozen=True):
    """A POST (or GET) ended without an answer: the connection broke or was refused, or patience ran out."""

    request_no: int
    reason: str


class PaymentRequested(Entry, frozen=True):
    """A customer sent a GET for an order's payment, by the payment's id or (`payment_id` empty) by the order's."""

    request_no: int
    order_id: str
    payment_id: str
    user: str
    process: str


class PaymentRead(Entry, frozen=True):
    """A customer got a whole answer to a GET."""

    request_no: int
    order_id: str
    user: str
    status: int
    body: bytes


# ------------------------------------------------------------------------------------------------------- the processes


class Started(Entry, frozen=True):
    """A process began to run, for the n-th time (from 1)."""

    incarnation: int


class Killed(Entry, frozen=True):
    """kill -9: none of the process's code runs any more."""


class Paused(Entry, frozen=True):
    """SIGSTOP, or a machine that stands still."""


class Woken(Entry, frozen=True):
    """The process goes on, with all its in-flight effects."""


class Stopping(Entry, frozen=True):
    """The process got SIGTERM."""


class Exited(Entry, frozen=True):
    """The process ended by itself, with this code."""

    code: int


class LineLogged(Entry, frozen=True):
    """A process logged a line."""

    level: str
    event: str
    fields: dict[str, str | int | float | bool | None]


class Readiness(Entry, frozen=True):
    """What a process's readiness reports of the store, where a condition has lasted for ten seconds without a break."""

    condition: str
    up: bool


class PairMet(Entry, frozen=True):
    """A process decided about this pair of `payment.core.order.TABLE` (or a pair that is not in it)."""

    state: AttemptState
    trigger: Trigger


# ------------------------------------------------------------------------------------------------------------ the world


class FaultStruck(Entry, frozen=True):
    """A fault struck. `rows` are the rows of the fault table that it exercises; `detail` is for the transcript."""

    fault: str
    rows: tuple[str, ...]
    detail: str


class RestChanged(Entry, frozen=True):
    """Faults are off from here on (`done` False); or all is at rest: nothing is due, no customer waits (`done`
    True)."""

    done: bool


class StayedReachable(Entry, frozen=True):
    """For `for_s` seconds all has been reachable, and every process has run without a break."""

    for_s: float


AnyEntry = (
    Wrote
    | StoreRestored
    | DocumentCorrupted
    | DeadLetterKept
    | StripeSent
    | StripeReceived
    | StripeAnswered
    | IntentMoved
    | StripeCharged
    | StripeRefunded
    | BankDecided
    | OperatorActed
    | Stored
    | Delivered
    | Acked
    | EventRejected
    | Postponed
    | ChargePosted
    | ChargeAnswered
    | BankPageVisited
    | ConfirmedInBrowser
    | RequestFailed
    | PaymentRequested
    | PaymentRead
    | Started
    | Killed
    | Paused
    | Woken
    | Stopping
    | Exited
    | LineLogged
    | Readiness
    | PairMet
    | FaultStruck
    | RestChanged
    | StayedReachable
)


class Journal:
    """The entries of one world, in the order in which they happened."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.entries: list[AnyEntry] = []
        self.now_s = now_s

    def add(self, entry: AnyEntry) -> None:
        self.entries.append(entry)


def digest(entries: list[AnyEntry]) -> str:
    """A hash of all entries: equal for two runs of one seed, in any process."""
    return hashlib.sha256(msgspec.msgpack.encode(entries)).hexdigest()
