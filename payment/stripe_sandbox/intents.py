"""PaymentIntents: their states, and the endpoints that change them.

    requires_payment_method --confirm--> succeeded | requires_action | processing | requires_payment_method (declined)
    requires_confirmation   --confirm--> likewise (its instrument was named before)
    requires_action         --the customer authenticates--> succeeded | requires_payment_method (declined)
                            --the customer fails--> requires_payment_method
                            --confirm--> as from requires_payment_method; the bank's page of before is closed
    processing              --time passes--> succeeded | requires_payment_method (declined)
    any but processing, succeeded and canceled --cancel--> canceled

An intent makes at most one charge that succeeds, and none once it is canceled: `succeeded` and `canceled` are final.
Change together: `confirming.py`, which makes these steps.
"""

from payment.stripe_sandbox import intent_params
from payment.stripe_sandbox.calls import PAGE_PARAMS, ApiCall, Endpoint, Result, page_of, refuse_unsupported
from payment.stripe_sandbox.confirming import OPEN, Confirming, shown, unexpected_state
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError, no_such, secret_key_required
from payment.stripe_sandbox.events import Events
from payment.stripe_sandbox.instruments import Instruments
from payment.stripe_sandbox.intent_objects import PaymentIntent
from payment.stripe_sandbox.intent_params import CANCELLATION_REASONS, read_amount, read_new_intent, read_plan
from payment.stripe_sandbox.objects import ObjectList


class Intents:
    """The endpoints of `/v1/payment_intents`."""

    def __init__(self, database: Database, events: Events, instruments: Instruments, confirming: Confirming) -> None:
        self._database = database
        self._records = database.intents
        self._events = events
        self._instruments = instruments
        self._confirming = confirming

    def table(self) -> tuple[Endpoint, ...]:
        base, one, kind = "/v1/payment_intents", "/v1/payment_intents/{id}", "payment_intent"
        return (
            Endpoint("payment_intents.create", "POST", base, self.create, kind),
            Endpoint("payment_intents.list", "GET", base, self.list, kind),
            Endpoint("payment_intents.retrieve", "GET", one, self.retrieve, kind, public=True),
            Endpoint("payment_intents.update", "POST", one, self.update, kind),
            Endpoint("payment_intents.confirm", "POST", f"{one}/confirm", self.confirm, kind, public=True),
            Endpoint("payment_intents.cancel", "POST", f"{one}/cancel", self.cancel, kind),
        )

    def create(self, call: ApiCall) -> Result:
        intent, plan, confirm = read_new_intent(call.params, int(self._database.now()))
        self._records.add(intent)
        self._events.record("payment_intent.created", intent, call)
        if confirm:
            return self._confirming.confirm(intent, plan, call)
        self._confirming.choose(intent, plan)
        self._records.change(intent)
        return intent

    def retrieve(self, call: ApiCall) -> Result:
        call.params.allow("client_secret")
        return shown(self._found(call), call)

    def list(self, call: ApiCall) -> Result:
        call.params.allow("customer", "customer_account", *PAGE_PARAMS)
        refuse_unsupported(call.params)
        intents, more = self._records.page(page_of(call.params, "payment_intent", self._records.get))
        return ObjectList(intents, more, "/v1/payment_intents")

    def update(self, call: ApiCall) -> Result:
        params = call.params
        params.allow(*intent_params.UPDATE)
        plan = read_plan(params)
        intent = self._found(call)
        for name in ("amount", "currency", "payment_method", "payment_method_data"):
            if params.has(name) and intent.status not in OPEN:
                message = (
                    f"This PaymentIntent's {name} could not be updated because it has a status of {intent.status}. "
                    f"You may only update the {name} of a PaymentIntent with one of the following statuses: "
                    f"{', '.join(OPEN)}."
                )
                raise unexpected_state(intent, call, message)
        intent.amount, intent.currency = read_amount(params, intent)
        intent_params.change_details(intent, params)
        if self._confirming.choose(intent, plan):
            self._records.change(intent)
        else:
            self._records.change_details(intent)
        return intent

    def confirm(self, call: ApiCall) -> Result:
        call.params.allow(*intent_params.CONFIRM)
        plan = read_plan(call.params)
        return self._confirming.confirm(self._found(call), plan, call)

    def cancel(self, call: ApiCall) -> Result:
        call.params.allow("cancellation_reason")
        reason = call.params.choice("cancellation_reason", *CANCELLATION_REASONS)
        intent = self._found(call)
        if intent.status not in OPEN:
            message = (
                f"You cannot cancel this PaymentIntent because it has a status of {intent.status}. Only a "
                f"PaymentIntent with one of the following statuses may be canceled: {', '.join(OPEN)}."
            )
            raise unexpected_state(intent, call, message)
        intent.status = "canceled"
        intent.canceled_at = int(self._database.now())
        intent.cancellation_reason = reason
        intent.next_action = None
        self._records.change(intent)
        self._events.record("payment_intent.canceled", intent, call)
        return intent

    def _found(self, call: ApiCall) -> PaymentIntent:
        """Returns the intent of the path. Raises ApiError if there is none, or if the client secret is not its own."""
        secret = call.params.text("client_secret")
        if call.publishable and secret is None:
            raise secret_key_required()
        intent = self._records.get(call.object_id)
        if intent is None:
            raise no_such("payment_intent", call.object_id, param="intent", status=404)
        if secret is not None and secret != intent.client_secret:
            message = "The client_secret provided does not match the client_secret associated with the PaymentIntent."
            raise ApiError(message, code="payment_intent_invalid_parameter", param="client_secret")
        return intent
