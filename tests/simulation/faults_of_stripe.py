"""The faults of Stripe, of the connection to it and of its dashboard (F09 to F14, F17, F18, F23, F36, F44, F49)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from payment.core.messages import RefusalReason
from payment.ports.cards import NotYet, Obstacle, Refused
from tests.simulation.calls import Call
from tests.simulation.dice import HOUR_S, Dice
from tests.simulation.fault import AtCall, Fault, Lasting
from tests.simulation.plan import Strike

if TYPE_CHECKING:
    from tests.simulation.world import World

CREATE = ("stripe.create",)
CONFIRM = ("stripe.confirm",)
CHARGING = ("stripe.create", "stripe.confirm", "stripe.confirm")
KEYED = (*CHARGING, "stripe.refund")
ANY_STRIPE = (*KEYED, "stripe.cancel", "stripe.retrieve", "stripe.list", "stripe.find_refund")
RETRIEVED = ("stripe.confirm", "stripe.confirm", "stripe.retrieve", "stripe.cancel")

AMOUNT_BELOW = 3.0
"""Below this `amount`, Stripe refuses a create for the order's amount."""


class RequestLost(AtCall):
    name, rows, hooks = "request to Stripe lost", ("F10", "F23"), ANY_STRIPE

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_request = True


class AnswerLost(AtCall):
    name, rows, hooks = "answer of Stripe lost", ("F09", "F23"), ANY_STRIPE

    def apply(self, call: Call, strike: Strike) -> None:
        call.loses_answer = True


class AnswerStalls(AtCall):
    name, rows, hooks, amount = "answer of Stripe stalls", ("F11",), KEYED, (1.0, 60.0)

    def apply(self, call: Call, strike: Strike) -> None:
        call.answer_late_s = strike.amount


class RequestSlow(AtCall):
    name, rows, hooks, amount = "request to Stripe slow", ("F09", "F10"), ANY_STRIPE, (0.2, 12.0)

    def apply(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount


class LandsLate(AtCall):
    name, rows, hooks, amount = (
        "request to Stripe lands late",
        ("F18", "F24"),
        (*KEYED, "stripe.cancel"),
        (5.0, 20 * HOUR_S),
    )

    def apply(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount
        call.loses_answer = True


class LandsAfterRefusal(AtCall):
    name, rows, hooks, amount = "request lands after a later one was refused", ("F18",), CONFIRM, (70.0, 20 * HOUR_S)

    def apply(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount
        call.loses_answer = call.refuses_later = True


class RequestTwice(AtCall):
    name, rows, hooks = "request to Stripe arrives twice", ("F10",), (*KEYED, "stripe.cancel")

    def apply(self, call: Call, strike: Strike) -> None:
        call.copies = 2


class ErrorBefore(AtCall):
    name = "500 stored before acting"
    rows: ClassVar[tuple[str, ...]] = ("F12",)
    hooks: ClassVar[tuple[str, ...]] = ANY_STRIPE

    def apply(self, call: Call, strike: Strike) -> None:
        call.error_before = True


class ErrorAfter(AtCall):
    name = "500 stored after acting"
    rows: ClassVar[tuple[str, ...]] = ("F12",)
    hooks: ClassVar[tuple[str, ...]] = ANY_STRIPE

    def apply(self, call: Call, strike: Strike) -> None:
        call.error_after = True


class CreateErrors(ErrorAfter):
    """Stripe has made the intent, its id is not known, and its key brings an error for a day: the next number is
    used."""

    name = "500 stored for a create's key"
    rows = ("F12",)
    hooks = CREATE


class RefundErrorBefore(ErrorBefore):
    name = "500 stored for a refund's key"
    rows = ("F23", "F44")
    hooks = ("stripe.refund",)


class AmountRefused(AtCall):
    """Stripe refuses the amount, or now and then another parameter, which no client can correct."""

    name, rows, hooks, amount = "Stripe refuses the amount", ("F35",), CREATE, (1.0, 4.0)

    def apply(self, call: Call, strike: Strike) -> None:
        if strike.amount < AMOUNT_BELOW:
            call.answer = Refused(RefusalReason.AMOUNT, "Amount must convert to at least 50 cents.")
        else:
            call.answer = Refused(RefusalReason.REQUEST, "Invalid currency: usx.")


class KeyInUse(AtCall):
    name, rows, hooks = "key in use", ("F13",), KEYED

    def apply(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.KEY_IN_USE, "idempotency_key_in_use")


class LockTimeout(AtCall):
    name, rows, hooks = "lock timeout", ("F13",), (*KEYED, "stripe.cancel")

    def apply(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.LOCKED, "lock_timeout")


class RetryAfter(AtCall):
    name, rows, hooks, amount = "429 with Retry-After", ("F14",), ANY_STRIPE, (1.0, 8.0)

    def apply(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.RATE_LIMITED, "rate limit", float(round(strike.amount)))


class Storm(Lasting):
    name, rows, condition, longest_s = "storm of 429", ("F14",), "stripe 429", 10.0


class StripeAway(Lasting):
    name, rows, condition = "Stripe away", ("F10", "F17"), "stripe away"


class KeyRefused(Lasting):
    name, rows, condition = "Stripe refuses our key", ("F36",), "stripe key refused"


class PermissionMissing(Fault):
    """Our key is valid, and may not create, or (`amount` 1) not confirm."""

    name, rows = "our key lacks a permission", ("F36",)

    def draw(self, dice: Dice) -> Strike:
        return Strike(self.name, at_s=dice.time(), for_s=dice.spread(0.2, 15.0), amount=float(dice.below(2)))

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.switch_on("stripe confirm forbidden" if strike.amount else "stripe create forbidden", strike.for_s)


class CanceledByHand(AtCall):
    """`amount` is how long after the call an operator cancels the intent, in seconds."""

    name, rows, hooks, amount = "intent cancelled in the dashboard", ("F49",), RETRIEVED, (0.05, 60.0)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.later(strike.amount, world.stripe.cancel_by_hand)


class RefundedByHand(AtCall):
    name, rows, hooks, amount = "charge refunded in the dashboard", ("F49",), RETRIEVED, (0.05, 60.0)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.later(strike.amount, world.stripe.refund_by_hand)


class RefundFails(AtCall):
    """`amount` is how long after the call the bank returns a refund that has succeeded, in seconds."""

    name, rows, hooks = "refund fails after it succeeded", ("F44",), (*RETRIEVED, "stripe.refund")
    amount = (60.0, 29 * 24 * HOUR_S)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.stripe.fail_a_refund_later(strike.amount)


class ChargeDisputed(AtCall):
    """`amount` is how long after the call a bank disputes a charge, in seconds."""

    name, rows, hooks, amount = "charge disputed", ("F44",), (*RETRIEVED, "stripe.refund"), (0.05, 60.0)

    def do(self, world: World, strike: Strike, call: Call | None) -> None:
        world.later(strike.amount, world.stripe.dispute_a_charge)
