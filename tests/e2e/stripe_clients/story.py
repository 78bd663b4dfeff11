"""The life of a payment through Stripe's own client for Python, one JSON object a line; story.js and story.go do the
same.

    python story.py STRIPE_URL SECRET_KEY

Uses the typed services of `StripeClient` as an application does. Change together with: story.js, story.go, and
test_stripe_clients.py, which checks each line.
"""

import json
import sys
import urllib.request
from collections.abc import Callable
from typing import Any

import stripe

AMOUNT = 1999
RETURN_URL = "https://shop.example/back"


class Story:
    """The steps of the story, each with its own PaymentIntent where it needs one."""

    def __init__(self, url: str, key: str) -> None:
        self._client = stripe.StripeClient(key, base_addresses={"api": url}, max_network_retries=0).v1
        self._made: list[str] = []

    def run(self) -> None:
        self._pays()
        self._authenticates()
        self._is_declined_and_pays_with_another_card()
        self._cancels()
        self._repeats_and_misses()
        self._lists()

    def _pays(self) -> None:
        created = self._create("order-paid")
        report(
            "create",
            status=created.status,
            amount=created.amount,
            currency=created.currency,
            order=created.metadata["orderId"],
            group=created.transfer_group,
            secret=(created.client_secret or "").startswith(f"{created.id}_secret_"),
            charge=created.latest_charge,
        )
        paid = self._client.payment_intents.confirm(
            created.id, {"payment_method": "pm_card_visa", "expand": ["latest_charge"]}
        )
        charge: Any = paid.latest_charge
        report(
            "pay",
            status=paid.status,
            received=paid.amount_received,
            paid=charge.paid,
            intent=charge.payment_intent == paid.id,
            brand=charge.payment_method_details.card.brand,
            last4=charge.payment_method_details.card.last4,
        )
        refund = self._client.refunds.create({"payment_intent": paid.id})
        again = self._client.charges.retrieve(charge.id)
        report(
            "refund",
            status=refund.status,
            amount=refund.amount,
            charge=refund.charge == charge.id,
            refunded=again.refunded,
            given_back=again.amount_refunded,
        )
        refunds = self._client.refunds.list({"payment_intent": paid.id}).data
        report("refunds", same=[each.id for each in refunds] == [refund.id])

    def _authenticates(self) -> None:
        for verdict in ("complete", "fail"):
            created = self._create(f"order-{verdict}")
            asked: Any = self._client.payment_intents.confirm(
                created.id, {"payment_method": "pm_card_threeDSecure2Required", "return_url": RETURN_URL}
            )
            report(f"ask {verdict}", status=asked.status, next=asked.next_action.type, charge=asked.latest_charge)
            answer_bank(asked.next_action.redirect_to_url.url, verdict)
            done = self._client.payment_intents.retrieve(created.id)
            failure = done.last_payment_error
            report(
                f"bank {verdict}",
                status=done.status,
                next=done.next_action,
                code=failure.code if failure else None,
                charged=done.latest_charge is not None and done.status == "succeeded",
            )

    def _is_declined_and_pays_with_another_card(self) -> None:
        created = self._create("order-declined")
        error = refusal(stripe.CardError, lambda: self._confirm(created, "pm_card_visa_chargeDeclined"))
        detail: Any = error.error
        report(
            "decline",
            http=error.http_status,
            type=detail.type,
            code=error.code,
            decline_code=detail.decline_code,
            intent=detail.payment_intent.id == created.id,
            status=detail.payment_intent.status,
        )
        paid = self._confirm(created, "pm_card_mastercard")
        charges = self._client.charges.list({"payment_intent": created.id}).data
        report("another card", status=paid.status, charges=[each.status for each in charges])

    def _cancels(self) -> None:
        created = self._create("order-cancelled")
        cancelled = self._client.payment_intents.cancel(created.id, {"cancellation_reason": "abandoned"})
        report("cancel", status=cancelled.status, reason=cancelled.cancellation_reason)
        error = refusal(stripe.InvalidRequestError, lambda: self._confirm(created, "pm_card_visa"))
        report("confirm a cancelled one", http=error.http_status, code=error.code)

    def _repeats_and_misses(self) -> None:
        first, second = self._create("order-twice", key="create-twice"), self._create("order-twice", key="create-twice")
        self._made.pop()
        report("same key", same=first.id == second.id)
        error = refusal(stripe.InvalidRequestError, lambda: self._client.payment_intents.retrieve("pi_missing"))
        report("missing", http=error.http_status, code=error.code)

    def _lists(self) -> None:
        listed = [each.id for each in self._client.payment_intents.list({"limit": 2}).auto_paging_iter()]
        report("list", newest_first=listed == self._made[::-1], count=len(listed))

    def _confirm(self, intent: stripe.PaymentIntent, method: str) -> stripe.PaymentIntent:
        return self._client.payment_intents.confirm(intent.id, {"payment_method": method})

    def _create(self, order: str, key: str = "") -> stripe.PaymentIntent:
        created = self._client.payment_intents.create(
            {
                "amount": AMOUNT,
                "currency": "usd",
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "metadata": {"orderId": order},
                "transfer_group": order,
            },
            {"idempotency_key": key or f"create-{order}"},
        )
        self._made.append(created.id)
        return created


def refusal(kind: type[stripe.StripeError], request: Callable[[], object]) -> stripe.StripeError:
    """Returns the error of class `kind` with which Stripe refuses a request; any other result ends the program."""
    try:
        request()
    except kind as error:
        return error
    raise RuntimeError(f"not refused with {kind.__name__}")


def answer_bank(url: str, verdict: str) -> None:
    """Press a button of the bank's page: `complete` or `fail`."""
    headers = {"Accept": "application/json"}  # a browser would be redirected to the return URL
    urllib.request.urlopen(urllib.request.Request(f"{url}/{verdict}", headers=headers, method="POST")).close()


def report(step: str, **fields: object) -> None:
    print(json.dumps({"step": step, **fields}), flush=True)


if __name__ == "__main__":
    Story(*sys.argv[1:]).run()
