"""Everything that happens in one simulated world, as typed values in the order of virtual time.

The journal is all that the checks, the history check, the reach and the transcript may look at. An entry says what the
*world* saw (the store applied a write, Stripe made a charge), never what the service believes. It must never hold
anything that differs between two runs of one seed: no addresses, no wall time, no order of a set.

`who` is a process (`p1`), a customer (`c1`), `orders` (the neighbouring orders service), `stripe`, `store`, `bus`,
`operator` (at Stripe's dashboard or the database) or `world`. `at_s` is in virtual seconds since the world began.
Change together: all that matches on `Entry`.
"""

import hashlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

from payment.core.messages import IntentStatus
from payment.core.order import AttemptState, Order, Trigger


class Entry(Struct, frozen=True, tag=True):
    """One thing that happened."""

    at_s: float
    who: str


# ------------------------------------------------------------------------------------------------------------ the store


class Wrote(Entry, frozen=True):
    """The store applied a document that `who` sent. `lost_answer`: its sender will not hear so from this write."""

    order: Order
    lost_answer: bool


class Restored(Entry, frozen=True):
    """The store was put back to an earlier state: it holds these documents, and no others (F47)."""

    orders: tuple[Order, ...]


class Edited(Entry, frozen=True):
    """An operator has edited a document of the store, and it is no order any more. A `Wrote` corrects it (F50)."""

    order_id: str


class DeadLetterKept(Entry, frozen=True):
    """The store keeps a dead letter."""

    identity: str
    subject: str
    data: bytes
    error: str


# -------------------------------------------------------------------------------------------------------------- Stripe


class StripeSent(Entry, frozen=True):
    """A request left a process. `at_s` is true time, whatever the clock of the process says.

    `attempt` is there for confirms and refunds, `intent_id` for what names an intent.
    """

    kind: str
    key: str | None
    order_id: str
    attempt: int
    intent_id: str | None = None
    account_id: str | None = None
    """Whose key it was sent with."""


class StripeAsked(Entry, frozen=True):
    """A request, sent by `who`, ARRIVED at Stripe. `fingerprint` are all its parameters as one text.

    `kind` is one of `tests.support.fakes.cards.KINDS`; only creates, confirms and refunds have a key.
    """

    kind: str
    key: str | None
    fingerprint: str
    order_id: str


class StripeAnswered(Entry, frozen=True):
    """A process got an answer, or ended its wait as unclear. `outcome` names it, with its details."""

    kind: str
    key: str | None
    order_id: str
    outcome: str


class IntentMoved(Entry, frozen=True):
    """An intent came to be at Stripe, or changed its status. `key` is its create's, `by` its last confirm's."""

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

    `by` is the key of the confirm that brought it about, or `tests.support.fakes.cards.BROWSER`.
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
    """A refund of a whole charge is on the books, or changed its status: pending, succeeded, failed."""

    refund_id: str
    charge_id: str
    status: str


class BankDecided(Entry, frozen=True):
    """A bank has disputed a charge, or decided about its dispute. `status` is in Stripe's words."""

    charge_id: str
    status: str


class OperatorActed(Entry, frozen=True):
    """An operator did something in the dashboard. `what`: "cancel" an intent, or "refund" a charge, by its id."""

    what: str
    order_id: str
    id: str


# ------------------------------------------------------------------------------------------------------------- the bus


class Stored(Entry, frozen=True):
    """The bus stored an event that `who` published. `dropped`: it knew its message id, and stored nothing."""

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


class Refused(Entry, frozen=True):
    """The bus is there, and did not take an event that `who` published."""

    subject: str


class Postponed(Entry, frozen=True):
    """A process asked for an event again later."""

    subject: str
    sequence: int
    delay_s: float


# ------------------------------------------------------------------------------------------------------- the customers


class Pressed(Entry, frozen=True):
    """A customer sent a POST to a process. `request_no` is unique in a world.

    `token` is what it pays with, of whichever kind; `authenticates`: the client said how its customer can do that.
    """

    request_no: int
    order_id: str
    user: str
    token: str
    process: str
    authenticates: bool = False


class Replied(Entry, frozen=True):
    """A customer got a whole answer to a POST. `retry_after_s` where the answer has a Retry-After."""

    request_no: int
    order_id: str
    user: str
    token: str
    status: int
    body: bytes
    retry_after_s: int | None


class WentToBank(Entry, frozen=True):
    """A customer came to the bank's page, and completed it or failed there. `status` is the intent's afterwards."""

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


class Unanswered(Entry, frozen=True):
    """A POST (or GET) ended without an answer: the connection broke or was refused, or patience ran out."""

    request_no: int
    reason: str


class Looked(Entry, frozen=True):
    """A customer sent a GET for the payment of an order, by its own id or (`payment_id` empty) by the order's."""

    request_no: int
    order_id: str
    payment_id: str
    user: str
    process: str


class Saw(Entry, frozen=True):
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
    """kill -9: nothing of it runs on."""


class Paused(Entry, frozen=True):
    """SIGSTOP, or a machine that stands."""


class Woken(Entry, frozen=True):
    """It goes on, with all that it had in its hands."""


class Stopping(Entry, frozen=True):
    """SIGTERM was sent to it."""


class Exited(Entry, frozen=True):
    """It ended by itself, with this code."""

    code: int


class Said(Entry, frozen=True):
    """A line of its log."""

    level: str
    event: str
    fields: dict[str, str | int | float | bool | None]


class Readiness(Entry, frozen=True):
    """What a process says of the store, where that has met a condition for ten seconds without a break."""

    condition: str
    up: bool


class Met(Entry, frozen=True):
    """A process decided about this pair of `payment.core.order.TABLE` (or a pair that is not in it)."""

    state: AttemptState
    trigger: Trigger


# ------------------------------------------------------------------------------------------------------------ the world


class Struck(Entry, frozen=True):
    """A fault struck. `rows` are the rows of the fault table that it exercises; `detail` is for people."""

    fault: str
    rows: tuple[str, ...]
    detail: str


class Rests(Entry, frozen=True):
    """Faults are off from here on (`done` False); or all is at rest: nothing is due, nobody waits (`done` True)."""

    done: bool


class Awake(Entry, frozen=True):
    """All has been reachable, and every process has run without a break, for so long."""

    for_s: float


AnyEntry = (
    Wrote
    | Restored
    | Edited
    | DeadLetterKept
    | StripeSent
    | StripeAsked
    | StripeAnswered
    | IntentMoved
    | StripeCharged
    | StripeRefunded
    | BankDecided
    | OperatorActed
    | Stored
    | Delivered
    | Acked
    | Refused
    | Postponed
    | Pressed
    | Replied
    | WentToBank
    | ConfirmedInBrowser
    | Unanswered
    | Looked
    | Saw
    | Started
    | Killed
    | Paused
    | Woken
    | Stopping
    | Exited
    | Said
    | Readiness
    | Met
    | Struck
    | Rests
    | Awake
)


class Journal:
    """The entries of one world, in the order in which they happened."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.entries: list[AnyEntry] = []
        self.now_s = now_s

    def add(self, entry: AnyEntry) -> None:
        self.entries.append(entry)


def digest(entries: list[AnyEntry]) -> str:
    """A hash of all entries: equal for two runs of one seed, in whatever process they ran."""
    return hashlib.sha256(msgspec.msgpack.encode(entries)).hexdigest()
