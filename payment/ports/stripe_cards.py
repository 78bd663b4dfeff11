"""The real card processor: Stripe's Charges and Refunds, through the stripe library over aiohttp.

Owns the library's client and its HTTP session. It tries each call once, keeps no state of orders, and never lets an
exception out but a cancellation. What an answer means is not decided here: refusals and breaks are judged in
`payment.ports.stripe_errors`, successes in `payment.ports.stripe_bodies`.

Calls go through `payment.ports.stripe_library.LeanClient`, which returns plain JSON. The library's typed services
(`v1.charges.create`) make an object of every nested value of a charge, and cost several times the CPU.

Change together: `PaymentIntents` would replace this file and `stripe_bodies`, and nothing else.
"""

import re
from urllib.parse import quote

import aiohttp
import stripe
from msgspec import Struct

from payment.core.effects import ChargeCard, RefundCharge
from payment.core.messages import RefusalReason
from payment.ports.cards import (
    Blocked,
    ChargeOutcome,
    Declined,
    FindOutcome,
    FindRefundOutcome,
    Found,
    NotRefunded,
    NotYet,
    Obstacle,
    Refunded,
    RefundOutcome,
    Refused,
    Unclear,
)
from payment.ports.stripe_bodies import (
    Body,
    read_charge,
    read_found,
    read_id,
    read_page,
    read_refunds,
    tags,
)
from payment.ports.stripe_errors import (
    Answer,
    Call,
    Ending,
    judge_answer,
    judge_break,
    read_answer,
)
from payment.ports.stripe_library import LeanClient, quieten_library

API_VERSION = "2026-10-28.endive"
"""The version that stripe 16.1.0 was made for. New attempts begin with it; each ends with the one it began with."""

API_BASE = "https://api.stripe.com"

CALL_TIMEOUT_S = 8.0
"""A whole call, connecting included. Charges take 1 to 3 s; a hung one is repeated with its key well before the router
gives up on the client (30 s)."""

CONNECT_TIMEOUT_S = 3.0
"""A free or new connection, DNS and TLS included: one lost SYN may be sent again (after 1 s), and nothing more."""

PAGE_ITEMS = 100
"""The largest page that Stripe gives."""

LIST_PAGES_MAX = 3
"""An order has at most 20 attempts, each with one charge, so one page is the rule: more than three is no order."""

TEXT_MAX_CHARS = 300
"""Stripe's messages are one or two sentences."""

SECRETS = re.compile(r"\b(?:sk|rk|pk|tok|btok|src|pm|whsec)_[\w*]+|\*{4,}\w+")
"""What Stripe's ids of keys and of card tokens look like, and a key as Stripe masks it, down to its last characters."""

OBSTACLES = {
    Ending.RATE_LIMITED: Obstacle.RATE_LIMITED,
    Ending.LOCKED: Obstacle.LOCKED,
    Ending.KEY_IN_USE: Obstacle.KEY_IN_USE,
    Ending.KEY_REFUSED: Obstacle.KEY_REFUSED,
    Ending.UNREACHABLE: Obstacle.UNREACHABLE,
}

REASONS = {
    Ending.BAD_TOKEN: RefusalReason.TOKEN,
    Ending.USED_TOKEN: RefusalReason.TOKEN_USED,
    Ending.BAD_AMOUNT: RefusalReason.AMOUNT,
    Ending.BAD_REQUEST: RefusalReason.REQUEST,
}


class Failure(Struct, frozen=True):
    """A call that brought no success: how it ended, in words without secrets, and what Stripe answered if it did."""

    ending: Ending
    text: str
    answer: Answer | None = None


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
        self._session: aiohttp.ClientSession | None = None
        self._client: LeanClient | None = None
        quieten_library()

    def __repr__(self) -> str:
        return f"StripeCards(max_connections={self._max_connections})"

    async def charge(self, request: ChargeCard) -> ChargeOutcome:
        """Charge a card once under the request's idempotency key: `POST /v1/charges`."""
        params: Body = {
            "amount": request.amount,
            "currency": request.currency,
            "source": request.token,
            "metadata": tags(request),
            "transfer_group": request.order_id,
        }
        body = await self._call(Call.CHARGE, "/v1/charges", params, request)
        if not isinstance(body, Failure):
            return read_charge(body, request)
        if body.ending is Ending.DECLINED and body.answer is not None:
            return Declined(
                code=body.answer.code or "card_declined", decline_code=body.answer.decline_code, text=body.text
            )
        if (reason := REASONS.get(body.ending)) is not None:
            return Refused(reason=reason, text=body.text)
        return _nothing_known(body)

    async def find(self, order_id: str, payment_id: str) -> FindOutcome:
        """List the order's succeeded charges, every page of them: `GET /v1/charges`."""
        charges = await self._list("/v1/charges", {"transfer_group": order_id})
        if isinstance(charges, Failure):
            return _nothing_known(charges)
        return Found(charges=read_found(charges, order_id, payment_id))

    async def refund(self, request: RefundCharge) -> RefundOutcome:
        """Give a charge back in full under the request's idempotency key: `POST /v1/refunds`."""
        params: Body = {"charge": request.charge_id, "metadata": tags(request)}
        body = await self._call(Call.REFUND, "/v1/refunds", params, request)
        if isinstance(body, Failure):
            return await self._after_failed_refund(body, request.charge_id)
        refund_id, status = read_id(body), body.get("status")
        if refund_id is None or not isinstance(status, str):
            return Unclear(text="Stripe answered 200, and not with a refund")
        if body.get("charge", request.charge_id) != request.charge_id:
            return Unclear(text=f"Stripe answered with a refund of another charge: {refund_id}", alarm=True)
        if status == "succeeded":
            return Refunded(refund_id=refund_id)
        # This answer is stored for the key, and will say the same a day on: only the books tell what came of it.
        seen = await self.find_refund(request.charge_id)
        return seen if isinstance(seen, Refunded) else Blocked(text=f"the refund is {status}", refund_id=refund_id)

    async def find_refund(self, charge_id: str) -> FindRefundOutcome:
        """Look at a charge's refunds: `GET /v1/refunds`, and the charge itself where its amount matters."""
        refunds = await self._list("/v1/refunds", {"charge": charge_id})
        if isinstance(refunds, Failure):
            return _nothing_known(refunds)
        if not refunds:
            return NotRefunded()
        charge = await self._call(Call.LOOK, f"/v1/charges/{quote(charge_id, safe='')}", {})
        if isinstance(charge, Failure):
            return _nothing_known(charge)
        amount = charge.get("amount")
        if read_id(charge) != charge_id or type(amount) is not int:
            return Unclear(text="Stripe answered 200, and not with the charge asked for")
        return read_refunds(refunds, amount)

    async def check(self) -> NotYet | Unclear | None:
        """Make the cheapest authenticated call: `GET /v1/balance`. None: Stripe is there and takes our key.

        A restricted key may well charge and not read the balance, and a sandbox may have none: what is refused there is
        asked again of what we do need. Who refuses that too would refuse every charge.
        """
        body = await self._call(Call.LOOK, "/v1/balance", {})
        if isinstance(body, Failure) and (body.ending is Ending.ALARM or _is_forbidden(body)):
            body = await self._call(Call.LOOK, "/v1/charges", {"limit": 1})
        if not isinstance(body, Failure):
            return None
        if body.ending is Ending.ALARM:
            return Unclear(text=f"Stripe, or what is at this address, does not know our requests: {body.text}")
        return _nothing_known(body)

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()

    async def _after_failed_refund(self, failure: Failure, charge_id: str) -> RefundOutcome:
        if failure.ending is Ending.BLOCKED:
            return Blocked(text=failure.text)
        if failure.ending is not Ending.ALREADY_REFUNDED:
            return _nothing_known(failure)
        seen = await self.find_refund(charge_id)
        if isinstance(seen, NotRefunded):
            return Unclear(text="Stripe calls the charge refunded, and lists no refund that gives it back")
        return seen

    async def _list(self, path: str, filters: Body) -> list[Body] | Failure:
        """All items of a list, or why not: never a part of it."""
        items: list[Body] = []
        params: Body = {**filters, "limit": PAGE_ITEMS}
        for _ in range(LIST_PAGES_MAX):
            body = await self._call(Call.LOOK, path, params)
            if isinstance(body, Failure):
                return body
            page = read_page(body)
            if page is None:
                return Failure(ending=Ending.UNCLEAR, text="Stripe answered 200, and not with a whole page")
            items.extend(page.items)
            if not page.has_more:
                return items
            params["starting_after"] = page.ids[-1]
        return Failure(ending=Ending.ALARM, text=f"Stripe has more than {LIST_PAGES_MAX} pages")

    async def _call(
        self, call: Call, path: str, params: Body, request: ChargeCard | RefundCharge | None = None
    ) -> Body | Failure:
        """One HTTP request through the stripe library. Writes carry their own key and the version they began with."""
        version, key = (API_VERSION, None) if request is None else (request.api_version, request.key)
        try:
            client = self._client or self._connect()
            body = await client.call(path, params, version, key)
        except Exception as error:  # An exception that nobody knows is unclear; a cancellation is no Exception.
            return self._failure(call, error, params.get("source"))
        if isinstance(body, dict):
            return body
        return Failure(ending=Ending.UNCLEAR, text="Stripe answered 200, and not with an object")

    def _connect(self) -> LeanClient:
        """Make the session, which belongs to the running loop, and the library's client over it."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
        )
        self._client = LeanClient(self._secret_key, self._api_base, self._session)
        return self._client

    def _failure(self, call: Call, error: Exception, token: object) -> Failure:
        answer = read_answer(error) if isinstance(error, stripe.StripeError) else None
        if answer is None:
            ended = judge_break(error)
            # The exception's own words may hold an address or what was sent.
            return Failure(ending=ended.ending, text=f"{ended.name} ({type(error).__name__})")
        text = answer.message or f"Stripe answered {answer.status} ({answer.code or answer.type or 'no error object'})"
        return Failure(ending=judge_answer(call, answer).ending, text=self._redacted(text, token), answer=answer)

    def _redacted(self, text: str, token: object) -> str:
        """Stripe quotes tokens and parts of keys in its messages."""
        for secret in (self._secret_key, token):
            if isinstance(secret, str) and secret:
                text = text.replace(secret, "[redacted]")
        return SECRETS.sub("[redacted]", text)[:TEXT_MAX_CHARS]


def _is_forbidden(failure: Failure) -> bool:
    return failure.answer is not None and failure.answer.status == 403


def _nothing_known(failure: Failure) -> NotYet | Unclear:
    obstacle = OBSTACLES.get(failure.ending)
    if obstacle is None:
        return Unclear(text=failure.text, stored=failure.ending is Ending.STORED, alarm=failure.ending is Ending.ALARM)
    retry_after_s = failure.answer.retry_after_s if failure.answer is not None else None
    return NotYet(obstacle=obstacle, text=failure.text, retry_after_s=retry_after_s)
