"""The faults of Stripe and of the way to it (F09 to F14, F17, F18, F23, F36)."""

from __future__ import annotations

from payment.core.messages import RefusalReason
from payment.ports.cards import NotYet, Obstacle, Refused
from tests.simulation.calls import Call
from tests.simulation.dice import HOUR_S
from tests.simulation.fault import AtCall, Lasting
from tests.simulation.plan import Strike

CHARGE = ("stripe.charge",)
KEYED = ("stripe.charge", "stripe.charge", "stripe.refund")
ANY_STRIPE = ("stripe.charge", "stripe.charge", "stripe.refund", "stripe.find", "stripe.find_refund")

AMOUNT_BELOW = 3.0
"""Of what is drawn for a refused charge, up to where it is its amount that Stripe refuses."""


class RequestLost(AtCall):
    name, rows, hooks = "request to Stripe lost", ("F10", "F23"), ANY_STRIPE

    def befall(self, call: Call, strike: Strike) -> None:
        call.loses_request = True


class AnswerLost(AtCall):
    name, rows, hooks = "answer of Stripe lost", ("F09", "F23"), ANY_STRIPE

    def befall(self, call: Call, strike: Strike) -> None:
        call.loses_answer = True


class AnswerStalls(AtCall):
    name, rows, hooks, amount = "answer of Stripe stalls", ("F11",), KEYED, (1.0, 60.0)

    def befall(self, call: Call, strike: Strike) -> None:
        call.answer_late_s = strike.amount


class RequestSlow(AtCall):
    name, rows, hooks, amount = "request to Stripe slow", ("F09", "F10"), ANY_STRIPE, (0.2, 12.0)

    def befall(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount


class LandsLate(AtCall):
    name, rows, hooks, amount = "request to Stripe lands late", ("F18", "F24"), KEYED, (5.0, 20 * HOUR_S)

    def befall(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount
        call.loses_answer = True


class LandsAfterRefusal(AtCall):
    name, rows, hooks, amount = "request lands after a later one was refused", ("F18",), CHARGE, (70.0, 20 * HOUR_S)

    def befall(self, call: Call, strike: Strike) -> None:
        call.late_s = strike.amount
        call.loses_answer = call.refuses_later = True


class RequestTwice(AtCall):
    name, rows, hooks = "request to Stripe arrives twice", ("F10",), KEYED

    def befall(self, call: Call, strike: Strike) -> None:
        call.copies = 2


class ErrorBefore(AtCall):
    name, rows, hooks = "500 stored before acting", ("F12",), ANY_STRIPE

    def befall(self, call: Call, strike: Strike) -> None:
        call.error_before = True


class ErrorAfter(AtCall):
    name, rows, hooks = "500 stored after acting", ("F12",), ANY_STRIPE

    def befall(self, call: Call, strike: Strike) -> None:
        call.error_after = True


class RefundErrorBefore(ErrorBefore):
    name, rows, hooks = "500 stored for a refund's key", ("F23", "F44"), ("stripe.refund",)


class AmountRefused(AtCall):
    """Mostly the amount; and now and then something of the request that no caller can help."""

    name, rows, hooks, amount = "Stripe refuses the amount", ("F35",), CHARGE, (1.0, 4.0)

    def befall(self, call: Call, strike: Strike) -> None:
        if strike.amount < AMOUNT_BELOW:
            call.answer = Refused(RefusalReason.AMOUNT, "Amount must convert to at least 50 cents.")
        else:
            call.answer = Refused(RefusalReason.REQUEST, "Invalid currency: usx.")


class KeyInUse(AtCall):
    name, rows, hooks = "key in use", ("F13",), KEYED

    def befall(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.KEY_IN_USE, "idempotency_key_in_use")


class LockTimeout(AtCall):
    name, rows, hooks = "lock timeout", ("F13",), KEYED

    def befall(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.LOCKED, "lock_timeout")


class WishedLater(AtCall):
    name, rows, hooks, amount = "429 with a wish", ("F14",), ANY_STRIPE, (1.0, 8.0)

    def befall(self, call: Call, strike: Strike) -> None:
        call.answer = NotYet(Obstacle.RATE_LIMITED, "rate limit", float(round(strike.amount)))


class Storm(Lasting):
    name, rows, condition, longest_s = "storm of 429", ("F14",), "stripe 429", 10.0


class StripeAway(Lasting):
    name, rows, condition = "Stripe away", ("F10", "F17"), "stripe away"


class KeyRefused(Lasting):
    name, rows, condition = "Stripe refuses our key", ("F36",), "stripe key refused"
