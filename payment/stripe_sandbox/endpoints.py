"""What each endpoint does to the books, and the table of them all.

Each takes a request's parameters and the id in its path, and returns an Answer: an object, a list, or a declined card.
What is refused without being executed is raised as ApiError. An endpoint never waits, and a POST always runs inside a
transaction of the books.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from payment.stripe_sandbox.books import Books, Page
from payment.stripe_sandbox.currencies import check_amount, check_currency, in_words
from payment.stripe_sandbox.errors import Answer, ApiError, card_error, missing, no_such
from payment.stripe_sandbox.objects import (
    Balance,
    Charge,
    Money,
    ObjectList,
    Refund,
    card_details,
    card_on_charge,
    new_id,
    outcome_of,
)
from payment.stripe_sandbox.params import Params
from payment.stripe_sandbox.tokens import TestCard, card_behind, is_single_use

REFUND_DELAY_S = 2.0
"""How long a refund that changes its mind (`tok_pendingRefund`, `tok_refundFail`) takes to: Stripe says "later"."""
ACCOUNT_CURRENCY = "usd"
REFUNDS_SHOWN = 10
"""How many refunds a charge lists in itself, where it is asked to."""
PAGE_PARAMS = ("limit", "starting_after", "ending_before", "created")
REFUND_REASONS = ("duplicate", "fraudulent", "requested_by_customer")
TEXTS_ON_CHARGE = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)


class Endpoint(Struct, frozen=True):
    """One route. `name` is what faults and counts call it; the path's last part may be `{id}`."""

    name: str
    method: str
    path: str
    act: Callable[[Params, str], Answer]


class Endpoints:
    """Every endpoint, over one account's books."""

    def __init__(self, books: Books, refund_delay_s: float = REFUND_DELAY_S) -> None:
        self._books = books
        self._refund_delay_s = refund_delay_s

    def table(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("charges.create", "POST", "/v1/charges", self.create_charge),
            Endpoint("charges.retrieve", "GET", "/v1/charges/{id}", self.retrieve_charge),
            Endpoint("charges.list", "GET", "/v1/charges", self.list_charges),
            Endpoint("refunds.create", "POST", "/v1/refunds", self.create_refund),
            Endpoint("refunds.retrieve", "GET", "/v1/refunds/{id}", self.retrieve_refund),
            Endpoint("refunds.list", "GET", "/v1/refunds", self.list_refunds),
            Endpoint("balance.retrieve", "GET", "/v1/balance", self.retrieve_balance),
        )

    def create_charge(self, params: Params, _: str) -> Answer:
        """Charge a card: a charge that succeeded, or a 402 and a charge that failed."""
        params.allow("amount", "currency", "source", "metadata", *TEXTS_ON_CHARGE)
        amount, currency = params.integer("amount"), params.required("currency").lower()
        if amount is None:
            raise missing("amount")
        check_currency(currency)
        check_amount(amount, currency)
        token = params.text("source")
        if token is None:
            raise missing("source", "Must provide source or customer.")
        card = card_behind(token)
        if card is None:
            raise no_such("token", token, param="source")
        if is_single_use(token) and not self._books.use_token(token):
            message = f"You cannot use a Stripe token more than once: {token}."
            raise ApiError(message, code="token_already_used", param="source")
        charge = _new_charge(card, amount, currency, int(self._books.now()), params)
        self._books.add_charge(charge, token)
        return _declined(charge, card) if card.decline else self._shown(charge, params)

    def retrieve_charge(self, params: Params, charge_id: str) -> Answer:
        params.allow()
        charge = self._books.charge(charge_id)
        if charge is None:
            raise no_such("charge", charge_id, param="id", status=404)
        return self._shown(charge, params)

    def list_charges(self, params: Params, _: str) -> Answer:
        """Newest first, failed ones too."""
        params.allow("transfer_group", "customer", *PAGE_PARAMS)
        if (customer := params.text("customer")) is not None:
            raise no_such("customer", customer, param="customer")  # cards are charged by their tokens alone
        page = self._page(params, "charge", self._books.charge)
        charges, more = self._books.charges(params.text("transfer_group"), page)
        if params.expands("data.refunds"):
            for charge in charges:
                self._expand_refunds(charge)
        return _ok(ObjectList(charges, more, "/v1/charges"))

    def create_refund(self, params: Params, _: str) -> Answer:
        """Give back a charge, or a part of it: all that is left of it where no amount is named."""
        params.allow("charge", "amount", "metadata", "reason")
        charge = self._refundable(params.required("charge"))
        amount = _refund_amount(charge, params.integer("amount"))
        reason = params.text("reason")
        if reason is not None and reason not in REFUND_REASONS:
            raise ApiError(f"Invalid reason: must be one of {', '.join(REFUND_REASONS)}", param="reason")
        card = card_behind(self._books.token_of(charge.id))
        begins = card.refund_begins if card else "succeeded"
        ends = card.refund_ends if card else "succeeded"
        refund = _new_refund(charge, amount, begins, int(self._books.now()), params)
        settles_at = self._books.now() + self._refund_delay_s if begins != ends else None
        self._books.add_refund(refund, settles_at, ends if begins != ends else None)
        self._book_back(charge, amount)
        return _ok(refund)

    def retrieve_refund(self, params: Params, refund_id: str) -> Answer:
        params.allow()
        refund = self._books.refund(refund_id)
        if refund is None:
            raise no_such("refund", refund_id, param="id", status=404)
        return _ok(refund)

    def list_refunds(self, params: Params, _: str) -> Answer:
        params.allow("charge", *PAGE_PARAMS)
        charge_id = params.text("charge")
        if charge_id is not None and self._books.charge(charge_id) is None:
            raise no_such("charge", charge_id, param="charge")
        page = self._page(params, "refund", self._books.refund)
        refunds, more = self._books.refunds(charge_id, page)
        return _ok(ObjectList(refunds, more, "/v1/refunds"))

    def retrieve_balance(self, params: Params, _: str) -> Answer:
        params.allow()
        nothing = Money(0, ACCOUNT_CURRENCY, {"card": 0})
        return _ok(Balance([nothing], self._books.kept() or [nothing]))

    def settle_refunds(self) -> None:
        """Let the refunds whose time has come take their last status. A failed one gives its amount to the charge."""
        due = self._books.refunds_to_settle()
        if not due:
            return
        with self._books.transaction():
            for refund, status in due:
                refund.status = status
                refund.pending_reason = msgspec.UNSET
                if status == "failed":
                    refund.failure_reason = "expired_or_canceled_card"
                    refund.failure_balance_transaction = new_id("txn")
                    self._take_back(refund)
                self._books.settle_refund(refund)

    def _take_back(self, refund: Refund) -> None:
        charge = self._books.charge(refund.charge)
        if charge is not None:
            self._book_back(charge, -refund.amount)

    def _book_back(self, charge: Charge, amount: int) -> None:
        charge.amount_refunded += amount
        charge.refunded = charge.amount_refunded == charge.amount
        self._books.change_charge(charge)

    def _refundable(self, charge_id: str) -> Charge:
        charge = self._books.charge(charge_id)
        if charge is None:
            raise no_such("charge", charge_id, param="charge")
        if charge.status == "failed":
            raise ApiError(f"Charge {charge_id} failed, so there is nothing to refund.", param="charge")
        if charge.disputed:
            message = f"Charge {charge_id} has been charged back; cannot issue a refund."
            raise ApiError(message, code="charge_disputed")
        if charge.refunded:
            raise ApiError(f"Charge {charge_id} has already been refunded.", code="charge_already_refunded")
        return charge

    def _page(self, params: Params, kind: str, find: Callable[[str], object | None]) -> Page:
        after, before = params.text("starting_after"), params.text("ending_before")
        if after is not None and before is not None:
            raise ApiError("You cannot use both starting_after and ending_before.", param="starting_after")
        for name, mark in (("starting_after", after), ("ending_before", before)):
            if mark is not None and find(mark) is None:
                raise no_such(kind, mark, param=name)
        return Page(params.page_limit(), after, before, params.times("created"))

    def _shown(self, charge: Charge, params: Params) -> Answer:
        if params.expands("refunds"):
            self._expand_refunds(charge)
        return _ok(charge)

    def _expand_refunds(self, charge: Charge) -> None:
        refunds, more = self._books.refunds(charge.id, Page(REFUNDS_SHOWN))
        charge.refunds = ObjectList(refunds, more, f"/v1/charges/{charge.id}/refunds")


def _ok(shown: Any) -> Answer:
    return Answer(200, msgspec.json.encode(shown))


def _declined(charge: Charge, card: TestCard) -> Answer:
    decline = card.decline
    assert decline is not None, "only a charge with a declining card is declined"
    return card_error(
        charge=charge.id,
        code=decline.code,
        decline_code=decline.decline_code,
        message=decline.message,
        param=decline.param,
    )


def _new_charge(card: TestCard, amount: int, currency: str, now_s: int, params: Params) -> Charge:
    decline, source = card.decline, card_on_charge(card)
    return Charge(
        id=new_id("ch"),
        amount=amount,
        amount_captured=0 if decline else amount,
        balance_transaction=None if decline else new_id("txn"),
        calculated_statement_descriptor=params.text("statement_descriptor"),
        captured=decline is None,
        created=now_s,
        currency=currency,
        description=params.text("description"),
        disputed=card.disputed,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        metadata=params.metadata(),
        outcome=outcome_of(card),
        paid=decline is None,
        payment_method=source.id,
        payment_method_details=card_details(source),
        receipt_email=params.text("receipt_email"),
        source=source,
        statement_descriptor=params.text("statement_descriptor"),
        statement_descriptor_suffix=params.text("statement_descriptor_suffix"),
        status="failed" if decline else "succeeded",
        transfer_group=params.text("transfer_group"),
    )


def _new_refund(charge: Charge, amount: int, status: str, now_s: int, params: Params) -> Refund:
    return Refund(
        id=new_id("re"),
        amount=amount,
        balance_transaction=new_id("txn"),
        charge=charge.id,
        created=now_s,
        currency=charge.currency,
        destination_details={"card": {"type": "refund", "reference_status": "pending"}, "type": "card"},
        metadata=params.metadata(),
        pending_reason="processing" if status == "pending" else msgspec.UNSET,
        reason=params.text("reason"),
        status=status,
    )


def _refund_amount(charge: Charge, asked: int | None) -> int:
    left = charge.amount - charge.amount_refunded
    if asked is None:
        return left
    if asked > left:
        whole, rest = in_words(asked, charge.currency), in_words(left, charge.currency)
        message = f"Refund amount ({whole}) is greater than unrefunded amount on charge ({rest})"
        raise ApiError(message, param="amount")
    return asked
