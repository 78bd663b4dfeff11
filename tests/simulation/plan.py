"""A seed's plan: the whole schedule of one world as plain frozen values, so that shrinking removes parts.

A world is a function of its plan: two worlds of one plan are equal to the byte. A plan is serialisable (msgspec), and
each tuple in it can be shortened without an effect on the rest: small draws outside the plan (latencies, jitter) are
functions of `seed` and of their purpose, not of a shared sequence. `faults.py` has the faults; `draw.py` draws plans.
"""

import msgspec
from msgspec import Struct


class EventPlan(Struct, frozen=True):
    """The orders service publishes an event about an order at `at_s`, `copies` times.

    `what`: created, cancelled, or the name of a poison (`events.POISONS`).
    """

    at_s: float
    what: str
    copies: int = 1


class PressPlan(Struct, frozen=True):
    """A customer presses pay at `at_s` with an instrument, waits `patience_s` for the answer, and repeats the request
    up to `retries` times where the outcome is not known. `user` may differ from the order's owner. `reads`: how often
    the client GETs the payment once its id is known.

    `client`: how the client lets its customer authenticate: "sdk", "redirect", or "" for a client that can't. `bank`:
    what the customer does `bank_after_s` after the client got the secret: "completes", "fails", "another card" (the
    browser confirms by the secret), "fails, another card" (the second one later), or "" for a customer who walks away.
    `gets`: afterwards the client GETs, and does not POST again.
    """

    at_s: float
    customer: str
    user: str
    token: str
    patience_s: float
    retries: int
    reads: int = 0
    client: str = ""
    bank: str = ""
    bank_after_s: float = 0.0
    gets: bool = False


class OrderPlan(Struct, frozen=True):
    """An order: its price in major units, its expiry, its events, and the customers who want to pay it."""

    id: str
    user: str
    price: float
    currency: str
    expires_in_s: float
    events: tuple[EventPlan, ...]
    presses: tuple[PressPlan, ...]
    left_behind_s: float | None = None
    """Release 0.1.0 began to charge it before the world's beginning, and the charge lands at this time; below 0:
    never."""


class Strike(Struct, frozen=True):
    """One fault at one time.

    It strikes at `at_s` virtual seconds (`on` is empty), or at the `nth` (from 1) time that `on` happens in the world
    ("stripe.confirm", "store.commit", ...). `who` names a process where the fault strikes another one than the process
    whose call it is; `for_s` is how long the fault lasts; the fault defines the meaning of `amount`.
    """

    fault: str
    at_s: float = 0.0
    on: str = ""
    nth: int = 0
    who: str = ""
    for_s: float = 0.0
    amount: float = 0.0


class Plan(Struct, frozen=True):
    """One schedule. `enabled` are the names of the faults from which `strikes` were drawn, for the report alone."""

    seed: int
    processes: int
    orders: tuple[OrderPlan, ...]
    strikes: tuple[Strike, ...]
    enabled: tuple[str, ...]
    ends_s: float
    """When faults go off, and the rest begins, in seconds."""
    prepare: bool = False
    """Whether intents are created when their orders come (`STRIPE_PREPARE`)."""


def encoded(plan: Plan) -> bytes:
    """The plan as JSON."""
    return msgspec.json.encode(plan)


def decoded(text: bytes) -> Plan:
    """Returns the plan that `encoded` made a text of. Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=Plan)
