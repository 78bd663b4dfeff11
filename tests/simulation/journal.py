"""Everything that happens in one simulated world, as typed values in the order of virtual time.

The journal is all that the checks, the history check, the reach and the transcript may look at. An entry says what the
*world* saw (the store applied a write, Stripe made a charge), never what the service believes. It must never hold
anything that differs between two runs of one seed: no addresses, no wall time, no order of a set.

`who` is a process (`p1`), a customer (`c1`), `orders` (the neighbouring orders service), `stripe`, `store`, `bus` or
`world`. `at_s` is in virtual seconds since the world began. Change together: whoever matches on `Entry`.
"""

import hashlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

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


class Buried(Entry, frozen=True):
    """The store keeps a dead letter."""

    identity: str
    subject: str
    data: bytes
    error: str


# -------------------------------------------------------------------------------------------------------------- Stripe


class StripeSent(Entry, frozen=True):
    """A request left a process. `at_s` is true time, whatever the clock of the process says."""

    kind: str
    key: str | None
    order_id: str
    attempt: int


class StripeAsked(Entry, frozen=True):
    """A request, sent by `who`, ARRIVED at Stripe. `fingerprint` are all its parameters as one text.

    `kind` is charge, find, refund, find_refund or check; only charges and refunds have a key.
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


class StripeCharged(Entry, frozen=True):
    """Stripe put a charge on its books: succeeded, or failed (a decline)."""

    charge_id: str
    order_id: str
    payment_id: str
    attempt: int
    amount: int
    currency: str
    key: str
    succeeded: bool


class StripeRefunded(Entry, frozen=True):
    """A refund of a whole charge is on the books, or changed its status: pending, succeeded, failed."""

    refund_id: str
    charge_id: str
    status: str


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


class Postponed(Entry, frozen=True):
    """A process asked for an event again later."""

    subject: str
    sequence: int
    delay_s: float


# ------------------------------------------------------------------------------------------------------- the customers


class Pressed(Entry, frozen=True):
    """A customer sent a POST to a process. `request_no` is unique in a world."""

    request_no: int
    order_id: str
    user: str
    token: str
    process: str


class Told(Entry, frozen=True):
    """A customer got a whole answer to a POST. `retry_after_s` where the answer has a Retry-After."""

    request_no: int
    order_id: str
    user: str
    token: str
    status: int
    body: bytes
    retry_after_s: int | None


class LeftUntold(Entry, frozen=True):
    """A POST (or GET) ended without an answer: the connection broke or was refused, or patience ran out."""

    request_no: int
    reason: str


class Looked(Entry, frozen=True):
    """A customer sent a GET for a payment."""

    request_no: int
    payment_id: str
    user: str
    process: str


class Saw(Entry, frozen=True):
    """A customer got a whole answer to a GET."""

    request_no: int
    payment_id: str
    user: str
    status: int
    body: bytes


# ------------------------------------------------------------------------------------------------------- the processes


class Started(Entry, frozen=True):
    """A process began to run, for the so-manieth time (from 1)."""

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


AnyEntry = (
    Wrote
    | Buried
    | StripeSent
    | StripeAsked
    | StripeAnswered
    | StripeCharged
    | StripeRefunded
    | Stored
    | Delivered
    | Acked
    | Postponed
    | Pressed
    | Told
    | LeftUntold
    | Looked
    | Saw
    | Started
    | Killed
    | Paused
    | Woken
    | Stopping
    | Exited
    | Said
    | Met
    | Struck
    | Rests
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
