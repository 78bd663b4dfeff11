"""What a seed draws: the whole schedule of one world as plain frozen values, so that shrinking is removing parts.

A plan is all that a world is made from: two worlds of one plan are equal to the byte. It is serialisable (msgspec), and
each tuple in it can be made shorter without touching the rest: small draws that are no part of it (latencies, jitter)
are functions of `seed` and of what they are for, not of a shared sequence. What can strike stands in `faults.py`; how a
plan is drawn, in `draw.py`.
"""

import msgspec
from msgspec import Struct


class EventPlan(Struct, frozen=True):
    """The orders service publishes something about an order at `at_s`, `copies` times.

    `what`: created, cancelled, or the name of a poison (`draw.POISONS`).
    """

    at_s: float
    what: str
    copies: int = 1


class PressPlan(Struct, frozen=True):
    """A customer presses pay at `at_s` with an instrument, waits `patience_s` for the answer, and repeats up to
    `retries` times where the outcome is not known. `user` may be another than the order's owner. `looks`: how often the
    payment is asked for (GET) once its id is known.

    `client`: how the client lets its customer authenticate: "sdk", "redirect", or "" for one that can't. `bank`: what
    the customer does `bank_after_s` after the client got the secret: "completes", "fails", "another card" (the browser
    confirms by the secret), "fails, another card" (that comes later), or "" for one who walks away. `gets`: afterwards
    the client GETs, and does not POST again.
    """

    at_s: float
    customer: str
    user: str
    token: str
    patience_s: float
    retries: int
    looks: int = 0
    client: str = ""
    bank: str = ""
    bank_after_s: float = 0.0
    gets: bool = False


class OrderPlan(Struct, frozen=True):
    """An order: its price in major units, when it expires, what is published about it, who wants to pay it."""

    id: str
    user: str
    price: float
    currency: str
    expires_in_s: float
    events: tuple[EventPlan, ...]
    presses: tuple[PressPlan, ...]
    left_behind_s: float | None = None
    """Release 0.1.0 began to charge it before the world's beginning, and its charge is made then; below 0: never."""


class Strike(Struct, frozen=True):
    """One fault at one time.

    Either at `at_s` virtual seconds (`on` is empty), or at the `nth` (from 1) time that `on` happens in the world
    ("stripe.confirm", "store.commit", ...). `who` is a process where the fault is about one and it is
    not the one whose call it is; `for_s` is how long it lasts; `amount` is whatever the fault makes of it.
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
    """When faults go off, and the rest begins."""
    prepare: bool = False
    """Intents are created when their orders come (`STRIPE_PREPARE`)."""


def encoded(plan: Plan) -> bytes:
    """The plan as JSON."""
    return msgspec.json.encode(plan)


def decoded(text: bytes) -> Plan:
    """The plan that `encoded` made a text of. Raises msgspec.ValidationError."""
    return msgspec.json.decode(text, type=Plan)
