"""The real card processor: Stripe's PaymentIntents and Refunds, through the stripe library over aiohttp.

Owns the library's client and its HTTP session. It tries each call once, keeps no state of orders, and never lets an
exception out but a cancellation. The meaning of an answer is not decided here: refusals and breaks are judged in
`payment.adapters.stripe.errors`, successes in `payment.adapters.stripe.bodies`.

Calls go through `payment.adapters.stripe.library.LeanClient`, which returns plain JSON. The library's typed services
(`v1.payment_intents.create`) make an object of every nested value, and cost several times the CPU.

Change together: the parameters here, what `bodies` expects of the answers, and the sandbox's endpoints.
"""

from typing import assert_never
from urllib.parse import quote

import aiohttp
import stripe
from msgspec import structs

from payment.adapters.stripe.bodies import (
    Body,
    Success,
    read_created,
    read_intent,
    read_listed,
    read_page,
    tags_of,
)
from payment.adapters.stripe.checks import KeyChecks
from payment.adapters.stripe.errors import (
    CallKind,
    Ending,
    NoSuccess,
    judge_answer,
    judge_break,
    nothing_known,
    read_answer,
)
from payment.adapters.stripe.library import LeanClient, Verb, quieten_library
from payment.adapters.stripe.refunds import Refunds
from payment.adapters.stripe.texts import broken_text, redacted
from payment.core.account import StripeAccount
from payment.core.effects import ConfirmIntent, IntentReference, RecheckRefund, RefundCharge
from payment.core.messages import Authentication, ChargeFacts, Failure, Instrument, InstrumentKind, RefusalReason
from payment.ports.cards import (
    CancelOutcome,
    ChargedBack,
    ConfirmOutcome,
    CreateOutcome,
    Declined,
    FindRefundOutcome,
    IntentAnswer,
    ListOutcome,
    NotYet,
    Permission,
    Refunded,
    RefundOutcome,
    Refused,
    RetrieveOutcome,
    Unclear,
    UnexpectedState,
)

API_VERSION = "2026-10-28.endive"
"""The version that stripe 16.1.0 was made for. An intent is created and confirmed, and an attempt refunded, with the
version it began with; every other call is made with this one."""

API_BASE = "https://api.stripe.com"

CALL_TIMEOUT_S = 8.0
"""A whole call, connecting included. Confirms take 1 to 3 s; a hung one is repeated with its key well before the router
gives up on the client (30 s)."""

CONNECT_TIMEOUT_S = 3.0
"""A free or new connection, DNS and TLS included: one lost SYN may be sent again (after 1 s), and nothing more."""

PAGE_ITEMS = 100
"""The largest page that Stripe gives."""

LIST_PAGES_MAX = 10
"""An order has at most 20 attempts, and a browser that holds a client secret may add failed charges of its own until
Stripe cancels the intent: a thousand is more than one order can have."""

REASONS = {
    Ending.BAD_INSTRUMENT: RefusalReason.TOKEN,
    Ending.USED_INSTRUMENT: RefusalReason.TOKEN_USED,
    Ending.BAD_AMOUNT: RefusalReason.AMOUNT,
    Ending.BAD_REQUEST: RefusalReason.REQUEST,
}

EXPANDED_CHARGE = ["latest_charge"]


class StripeCards:
    """`payment.ports.cards.CardProcessor` over Stripe's API.

    It may be made anywhere; its first call must come from the event loop that all others come from. `max_connections`
    bounds the calls under way: one that finds none free within `connect_timeout_s` never leaves.
    """

    def __init__(
        self,
        secret_key: str,
        api_base: str | None,
        *,
        max_connections: int,
        call_timeout_s: float = CALL_TIMEOUT_S,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._secret_key = secret_key
        self._api_base = (api_base or API_BASE).rstrip("/")
        self._max_connections = max_connections
        # aiohttp rounds what reaches the threshold up to whole seconds of the loop's clock: here nothing does.
        self._timeout = aiohttp.ClientTimeout(
            total=call_timeout_s, connect=connect_timeout_s, ceil_threshold=call_timeout_s + 1
        )
        self._checks = KeyChecks(self._call, secret_key, self._api_base)
        self._session: aiohttp.ClientSession | None = None
        self._client: LeanClient | None = None
        self._refunds = Refunds(self._call, self._list)
        quieten_library()

    def __repr__(self) -> str:
        return f"StripeCards(max_connections={self._max_connections})"

    async def create(self, intent: IntentReference) -> CreateOutcome:
        """Create the intent, unconfirmed, under its idempotency key: `POST /v1/payment_intents`.

        Methods that leave for another page are ruled out; a card's own redirect to its bank is no such method.
        """
        params: Body = {
            "amount": intent.amount,
            "currency": intent.currency,
            "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
            "metadata": tags_of(intent),
            "transfer_group": intent.order_id,
        }
        ended = await self._call(
            CallKind.CREATE, "post", "/v1/payment_intents", params, version=intent.api_version, key=intent.key
        )
        if isinstance(ended, Success):
            return read_created(ended, intent)
        if (reason := REASONS.get(ended.ending)) is not None:
            return Refused(reason=reason, text=ended.text)
        return nothing_known(ended)

    async def confirm(self, request: ConfirmIntent, intent_id: str) -> ConfirmOutcome:
        """Confirm the intent with the attempt's card: `POST /v1/payment_intents/{id}/confirm`."""
        instrument, authentication = request.instrument, request.authentication
        ended = await self._call(
            CallKind.CONFIRM,
            "post",
            f"{_path_of(intent_id)}/confirm",
            confirm_params(instrument, authentication),
            version=request.intent.api_version,
            key=f"confirm-{intent_id}-{request.attempt}",
            secrets=(instrument.value, authentication.return_url),
        )
        if isinstance(ended, Success):
            return read_intent(ended, intent_id, request.intent, self._redacted)
        if ended.ending is Ending.DECLINED and ended.answer is not None:
            code, decline_code = ended.answer.code or "card_declined", ended.answer.decline_code
            return Declined(failure=Failure(code=code, decline_code=decline_code, text=ended.text))
        if ended.ending is Ending.UNEXPECTED_STATE:
            return UnexpectedState(text=ended.text)
        if (reason := REASONS.get(ended.ending)) is not None:
            return Refused(reason=reason, text=ended.text)
        return nothing_known(ended)

    async def retrieve(self, intent_id: str) -> RetrieveOutcome:
        """Read the intent and its latest charge: `GET /v1/payment_intents/{id}`; and that charge's disputes."""
        ended = await self._call(CallKind.RETRIEVE, "get", _path_of(intent_id), {"expand": EXPANDED_CHARGE})
        if not isinstance(ended, Success):
            return nothing_known(ended)
        answer = read_intent(ended, intent_id, None, self._redacted)
        if not isinstance(answer, IntentAnswer) or answer.charge is None:
            return answer
        charge = await self._after_disputes(answer.charge)
        return structs.replace(answer, charge=charge) if isinstance(charge, ChargeFacts) else charge

    async def _after_disputes(self, charge: ChargeFacts) -> ChargeFacts | NotYet | Unclear:
        """A disputed charge does not show whether its bank has given it back: then it is no payment (F44). One of which
        a part was given back is one, as where a part was refunded by an operator."""
        if charge.refunded or not charge.disputed:
            return charge
        found = await self._refunds.find(charge.charge_id)
        if isinstance(found, NotYet | Unclear):
            return found
        in_full = isinstance(found, Refunded) or (isinstance(found, ChargedBack) and found.text is None)
        return structs.replace(charge, refunded=in_full)

    async def cancel(self, intent_id: str) -> CancelOutcome:
        """Cancel the intent, without an idempotency key: `POST /v1/payment_intents/{id}/cancel`."""
        ended = await self._call(CallKind.CANCEL, "post", f"{_path_of(intent_id)}/cancel", {})
        if isinstance(ended, Success):
            return read_intent(ended, intent_id, None, self._redacted)
        if ended.ending is Ending.UNEXPECTED_STATE:
            return UnexpectedState(text=ended.text)
        return nothing_known(ended)

    async def list_charges(self, order_id: str, payment_id: str) -> ListOutcome:
        """List the charges of the order's transfer group, every page of them: `GET /v1/charges`."""
        charges = await self._list("/v1/charges", {"transfer_group": order_id})
        if isinstance(charges, NoSuccess):
            return nothing_known(charges)
        listed, kept = read_listed(charges, order_id, payment_id), []
        for each in listed.charges:
            charge = await self._after_disputes(each.charge)
            if not isinstance(charge, ChargeFacts):
                return charge
            kept.append(structs.replace(each, charge=charge))
        return structs.replace(listed, charges=tuple(kept))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Give a charge back in full under the request's idempotency key: `POST /v1/refunds`."""
        return await self._refunds.refund(request)

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        """Read whether a charge has been given back: by its refunds, or by a dispute."""
        return await self._refunds.find(charge_id)

    async def recheck_refund(self, request: RecheckRefund) -> FindRefundOutcome:
        """Read again what gave a charge back: `GET /v1/refunds/{id}`, and the whole charge if that failed."""
        return await self._refunds.recheck(request)

    async def check(self) -> StripeAccount | NotYet | Unclear:
        """Ask for the key's account: `payment.adapters.stripe.checks`."""
        return await self._checks.account()

    async def check_permission(self, permission: Permission) -> NotYet | Unclear | None:
        """Make a call of this kind that can't change anything: `payment.adapters.stripe.checks`."""
        return await self._checks.permission(permission)

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()

    async def _list(self, path: str, filters: Body) -> list[Body] | NoSuccess:
        """Returns all items of a list, or why they can't be had: never a part of it."""
        items: list[Body] = []
        params: Body = {**filters, "limit": PAGE_ITEMS}
        for _ in range(LIST_PAGES_MAX):
            ended = await self._call(CallKind.READ, "get", path, params)
            if isinstance(ended, NoSuccess):
                return ended
            page = read_page(ended.body)
            if page is None:
                return NoSuccess(ending=Ending.UNCLEAR, text="Stripe answered 200, and not with a whole page")
            items.extend(page.items)
            if not page.has_more:
                return items
            params["starting_after"] = page.ids[-1]
        return NoSuccess(ending=Ending.ALARM, text=f"Stripe has more than {LIST_PAGES_MAX} pages")

    async def _call(
        self,
        call: CallKind,
        verb: Verb,
        path: str,
        params: Body,
        *,
        version: str = API_VERSION,
        key: str | None = None,
        secrets: tuple[str | None, ...] = (),
    ) -> Success | NoSuccess:
        """Make one request through the stripe library. `secrets`: the customer's values in it, kept out of texts."""
        try:
            client = self._client or self._connect()
            body, replayed = await client.call(verb, path, params, version, key)
        except Exception as error:  # An exception that is not known is unclear; a cancellation is no Exception.
            return self._no_success(call, error, secrets)
        if isinstance(body, dict):
            return Success(body=body, replayed=replayed)
        return NoSuccess(ending=Ending.UNCLEAR, text="Stripe answered 200, and not with an object")

    def _connect(self) -> LeanClient:
        """Make the session, which belongs to the running loop, and the library's client over it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        self._client = LeanClient(self._secret_key, self._api_base, self._session)
        return self._client

    def _no_success(self, call: CallKind, error: Exception, secrets: tuple[str | None, ...]) -> NoSuccess:
        answer = read_answer(error) if isinstance(error, stripe.StripeError) else None
        if answer is None:
            broken = judge_break(error)
            return NoSuccess(ending=broken.ending, text=broken_text(broken.name, error))
        rule = judge_answer(call, answer)
        text = answer.message or f"Stripe answered {answer.status} ({answer.code or answer.type or 'no error object'})"
        text = self._redacted(f"{rule.advice}: {text}" if rule.advice else text, *secrets)
        return NoSuccess(ending=rule.ending, text=text, answer=answer)

    def _redacted(self, text: str, *secrets: str | None) -> str:
        """Stripe quotes what customers pay with, and parts of keys, in its messages."""
        return redacted(text, self._secret_key, *secrets)


def confirm_params(instrument: Instrument, authentication: Authentication) -> Body:
    """Returns the parameters of a confirm: the card, the client's ways to authenticate the customer, and `expand`.

    A `return_url` is sent for an intent with `allow_redirects=never` too: that rules out methods which redirect, while
    `return_url` is documented for cards (docs.stripe.com/api/payment_intents/confirm); no page calls the two a
    conflict. The metadata of a confirm can't be set (Stripe takes no such parameter): the charge has the intent's own.
    """
    params: Body = {"expand": EXPANDED_CHARGE}
    match instrument.kind:
        case InstrumentKind.TOKEN:
            params["payment_method_data"] = {"type": "card", "card": {"token": instrument.value}}
        case InstrumentKind.PAYMENT_METHOD:
            params["payment_method"] = instrument.value
        case InstrumentKind.CONFIRMATION_TOKEN:
            params["confirmation_token"] = instrument.value
        case _:
            assert_never(instrument.kind)
    if authentication.use_stripe_sdk:
        params["use_stripe_sdk"] = True
    elif authentication.return_url is not None:
        params["return_url"] = authentication.return_url
        if instrument.kind is InstrumentKind.CONFIRMATION_TOKEN:
            # A confirmation token implies `use_stripe_sdk` unless this says otherwise; the request decides.
            params["use_stripe_sdk"] = False
    else:
        params["error_on_requires_action"] = True
    return params


def _path_of(intent_id: str) -> str:
    return f"/v1/payment_intents/{quote(intent_id, safe='')}"
