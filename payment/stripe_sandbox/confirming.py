"""The steps of an intent's payment: confirm, the bank's answer, the end of `processing`.

Every step writes the intent, its charge and its events in the caller's transaction. A decline is an answer (402), not
an exception, so that the failed charge and the intent's new state are kept.
"""

from typing import Any
from uuid import uuid4

import msgspec

from payment.stripe_sandbox.calls import ApiCall, Result
from payment.stripe_sandbox.charging import Charging, Purchase
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ErrorDetail, ExecutionError, SandboxAnswer, card_error
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.instruments import Instruments
from payment.stripe_sandbox.intent_objects import PUBLIC_FIELDS, PaymentIntent, authentication_failure
from payment.stripe_sandbox.intent_params import ConfirmPlan
from payment.stripe_sandbox.intent_records import StoredMethod
from payment.stripe_sandbox.objects import Charge, new_id
from payment.stripe_sandbox.tokens import AUTHENTICATION_REQUIRED, GENERIC_DECLINE, Decline, card_of

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
"""Statuses in which an intent may be confirmed, canceled and changed."""
BANK_PATH = "/_bank/authenticate"
REQUESTED = ("any", "challenge")
"""`request_three_d_secure`: the merchant requests 3-D Secure where the card supports it."""
NO_RETURN_URL = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of these "
    "payment methods might redirect your customer off of your page, you must provide a `return_url`. If you don't "
    "want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and Payment Intents."
)


class Confirming:
    """Confirms intents, and continues those that waited for the bank or for time."""

    def __init__(self, database: Database, events: Events, instruments: Instruments, charging: Charging) -> None:
        self._database = database
        self._records = database.intents
        self._events = events
        self._instruments = instruments
        self._charging = charging

    def choose(self, intent: PaymentIntent, plan: ConfirmPlan) -> bool:
        """Set the instrument that a request names without a confirm; returns whether it names one. The caller writes
        the intent.
        """
        if plan.request_three_d_secure is not None:
            intent.payment_method_options["card"]["request_three_d_secure"] = plan.request_three_d_secure
        if plan.payment_method is None and plan.data is None:
            return False
        stored = (
            self._instruments.named(plan.payment_method) if plan.data is None else self._instruments.make(plan.data)
        )
        intent.payment_method = stored.object.id
        intent.status = "requires_confirmation"
        intent.next_action = None
        return True

    def confirm(self, intent: PaymentIntent, plan: ConfirmPlan, call: ApiCall) -> Result:
        """Attempt to pay. Raises ExecutionError if the intent's state or the instrument does not allow it."""
        _refuse_unless_open(intent, call)
        stored = self._instrument(intent, plan, call)
        _refuse_without_return(intent, plan)
        if plan.amount not in (None, intent.amount):
            message = f"The amount_to_confirm does not match the amount of the PaymentIntent ({intent.amount})."
            raise ExecutionError(message, param="amount_to_confirm")
        intent.payment_method = stored.object.id
        intent.last_payment_error = intent.next_action = None
        intent.receipt_email = plan.receipt_email or intent.receipt_email
        intent.shipping = plan.shipping or intent.shipping
        intent.setup_future_usage = plan.setup_future_usage or intent.setup_future_usage
        options = intent.payment_method_options["card"]
        options["request_three_d_secure"] = plan.request_three_d_secure or options["request_three_d_secure"]
        card = card_of(stored.card)
        requested = options["request_three_d_secure"] in REQUESTED
        if card.asks_for_authentication(requested=requested, off_session=plan.off_session):
            if card.lookup_fails:
                return self._declined(intent, stored, GENERIC_DECLINE, call)
            if plan.error_on_requires_action or plan.off_session:
                return self._declined(intent, stored, AUTHENTICATION_REQUIRED, call)
            return self._await_customer(intent, plan, call)
        return self._pay(intent, stored, call, three_d_secure=None)

    def authenticated(self, intent: PaymentIntent, call: ApiCall | None) -> None:
        """Charge the card of an intent whose customer has authenticated at the bank."""
        stored = self._stored(intent)
        intent.next_action = None
        self._pay(intent, stored, call, three_d_secure=_authenticated())

    def not_authenticated(self, intent: PaymentIntent, call: ApiCall | None) -> None:
        """Fail an intent whose customer has failed or refused to authenticate. Nothing is charged."""
        intent.last_payment_error = authentication_failure(self._stored(intent).object)
        self._needs_instrument(intent, call)

    def settle(self, intent: PaymentIntent) -> None:
        """End `processing`: the pending charge succeeds or fails, as its card determines."""
        assert intent.latest_charge is not None, "an intent in processing has a pending charge"
        charge = self._database.charge(intent.latest_charge)
        assert charge is not None, "charges are never deleted"
        stored = self._stored(intent)
        decline = card_of(stored.card).decline
        self._charging.settle(charge, decline, None)
        if decline is None:
            self._succeed(intent, charge, None)
        else:
            self._fail(intent, stored, charge, decline, None)

    def _instrument(self, intent: PaymentIntent, plan: ConfirmPlan, call: ApiCall) -> StoredMethod:
        if plan.confirmation_token is not None:
            token, stored = self._instruments.use_confirmation_token(plan.confirmation_token, intent.id)
            if plan.use_stripe_sdk is None and plan.return_url is None:
                plan.use_stripe_sdk = token.use_stripe_sdk
            plan.return_url = plan.return_url or token.return_url
            plan.shipping = plan.shipping or token.shipping
            plan.setup_future_usage = plan.setup_future_usage or token.setup_future_usage
            return stored
        if plan.data is not None:
            return self._instruments.make(plan.data)
        name = plan.payment_method or intent.payment_method
        if name is None:
            message = (
                "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update "
                "the PaymentIntent with a payment method and then confirm it again, or confirm it again directly "
                "with a payment method or ConfirmationToken."
            )
            raise unexpected_state(intent, call, message)
        return self._instruments.named(name)

    def _stored(self, intent: PaymentIntent) -> StoredMethod:
        assert intent.payment_method is not None, "an intent that waits has a payment method"
        stored = self._records.method(intent.payment_method)
        assert stored is not None, "payment methods are never deleted"
        return stored

    def _await_customer(self, intent: PaymentIntent, plan: ConfirmPlan, call: ApiCall) -> Result:
        authentication = new_id("payatt")
        url = f"{call.origin}{BANK_PATH}/{authentication}"
        intent.status = "requires_action"
        if plan.return_url is not None and not plan.use_stripe_sdk:
            redirect = {"return_url": plan.return_url, "url": url}
            intent.next_action = {"redirect_to_url": redirect, "type": "redirect_to_url"}
        else:
            sdk = {"source": new_id("src"), "stripe_js": url, "type": "three_d_secure_redirect"}
            intent.next_action = {"type": "use_stripe_sdk", "use_stripe_sdk": sdk}
        self._records.change(intent, authentication=authentication)
        self._events.record("payment_intent.requires_action", intent, call)
        return shown(intent, call)

    def _pay(
        self, intent: PaymentIntent, stored: StoredMethod, call: ApiCall | None, three_d_secure: dict[str, Any] | None
    ) -> Result:
        decline = card_of(stored.card).decline
        if call is not None and call.processing_s is not None:
            charge = self._charge(intent, stored, None, call, three_d_secure, pending=True)
            intent.status, intent.latest_charge = "processing", charge.id
            self._records.change(intent, settles_at=self._database.now() + call.processing_s)
            self._events.record("payment_intent.processing", intent, call)
            return shown(intent, call)
        if decline is not None:
            return self._declined(intent, stored, decline, call, three_d_secure)
        charge = self._charge(intent, stored, None, call, three_d_secure)
        self._succeed(intent, charge, call)
        return intent if call is None else shown(intent, call)

    def _succeed(self, intent: PaymentIntent, charge: Charge, call: ApiCall | None) -> None:
        intent.status = "succeeded"
        intent.amount_received = intent.amount
        intent.latest_charge = charge.id
        self._records.use_method(charge.payment_method)
        self._records.change(intent)
        self._events.record("payment_intent.succeeded", intent, call)

    def _declined(
        self,
        intent: PaymentIntent,
        stored: StoredMethod,
        decline: Decline,
        call: ApiCall | None,
        three_d_secure: dict[str, Any] | None = None,
    ) -> SandboxAnswer:
        charge = self._charge(intent, stored, decline, call, three_d_secure)
        self._fail(intent, stored, charge, decline, call)
        return card_error(
            code=decline.code,
            decline_code=decline.decline_code,
            message=decline.message,
            param=decline.param,
            charge=charge.id,
            payment_intent=intent if call is None else shown(intent, call),
            payment_method=stored.object,
        )

    def _fail(
        self, intent: PaymentIntent, stored: StoredMethod, charge: Charge, decline: Decline, call: ApiCall | None
    ) -> None:
        intent.latest_charge = charge.id
        intent.last_payment_error = ErrorDetail(
            "card_error",
            decline.message,
            decline.code,
            decline.param or msgspec.UNSET,
            decline.decline_code,
            charge.id,
            payment_method=stored.object,
        )
        self._needs_instrument(intent, call)

    def _needs_instrument(self, intent: PaymentIntent, call: ApiCall | None) -> None:
        intent.status = "requires_payment_method"
        intent.payment_method = intent.next_action = None
        self._records.change(intent)
        self._events.record("payment_intent.payment_failed", intent, call)

    def _charge(
        self,
        intent: PaymentIntent,
        stored: StoredMethod,
        decline: Decline | None,
        call: ApiCall | None,
        three_d_secure: dict[str, Any] | None,
        pending: bool = False,
    ) -> Charge:
        purchase = Purchase(
            amount=intent.amount,
            currency=intent.currency,
            card=stored.card,
            decline=decline,
            pending=pending,
            metadata=intent.metadata,
            description=intent.description,
            receipt_email=intent.receipt_email,
            shipping=intent.shipping,
            statement_descriptor=intent.statement_descriptor,
            statement_descriptor_suffix=intent.statement_descriptor_suffix,
            transfer_group=intent.transfer_group,
            payment_intent=intent.id,
            payment_method=stored.object.id,
            billing=stored.object.billing_details,
            three_d_secure=three_d_secure,
        )
        return self._charging.charge(purchase, call)


def unexpected_state(intent: PaymentIntent, call: ApiCall, message: str) -> ExecutionError:
    """Returns the 400 for a step that the intent's state does not allow. It contains the intent."""
    code = "payment_intent_unexpected_state"
    return ExecutionError(message, code=code, payment_intent=shown(intent, call))


def _refuse_unless_open(intent: PaymentIntent, call: ApiCall) -> None:
    if intent.status in OPEN:
        return
    message = f"You cannot confirm this PaymentIntent because it has a status of {intent.status}."
    if intent.status == "succeeded":
        message = (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        )
    raise unexpected_state(intent, call, message)


def _refuse_without_return(intent: PaymentIntent, plan: ConfirmPlan) -> None:
    if intent.redirects() and plan.return_url is None:
        raise ExecutionError(NO_RETURN_URL)


def _authenticated() -> dict[str, Any]:
    """Returns the `three_d_secure` of a charge with a successful authentication."""
    return {
        "authentication_flow": "challenge",
        "electronic_commerce_indicator": "05",
        "exemption_indicator": None,
        "result": "authenticated",
        "result_reason": None,
        "transaction_id": str(uuid4()),
        "version": "2.2.0",
    }


def shown(intent: PaymentIntent, call: ApiCall) -> PaymentIntent | dict[str, Any]:
    """Returns the intent for a secret key, or its public fields for a browser's publishable key."""
    if not call.publishable:
        return intent
    return {name: value for name, value in msgspec.to_builtins(intent).items() if name in PUBLIC_FIELDS}
