"""Delivers events to webhook endpoints, signed as Stripe signs them, until each one is acknowledged.

An answer of 2xx within `TIMEOUT_S` acknowledges. Otherwise the delivery is repeated with a delay that doubles, and
given up after `GIVE_UP_S`. Deliveries run concurrently, so they arrive in any order, and one whose answer was lost
arrives twice. They survive a restart. Delayed changes of the account (refunds, payments in `processing`) are settled
here too, so that their events are sent without a request.

It must never hold a transaction open while it waits for an endpoint.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout

from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.event_records import WebhookDelivery

TIMEOUT_S = 10.0
"""How long an endpoint may take to answer, in seconds: a receiver has to answer before it handles the event."""
RETRY_FIRST_S = 1.0
RETRY_MAX_S = 3600.0
"""The delay before the first repetition, and the longest one, in seconds."""
GIVE_UP_S = 3 * 86_400.0
"""In seconds: Stripe tries for up to three days."""
AT_ONCE = 16
"""Concurrent deliveries: enough to be out of order, too few to flood a receiver."""

Post = Callable[[str, bytes, dict[str, str]], Awaitable[bool]]
"""Sends a body to a URL; returns whether it was acknowledged."""


class Deliverer:
    """Makes the deliveries that are due, one batch after the other. `settle` applies the account's delayed changes."""

    def __init__(self, database: Database, settle: Callable[[], None], post: Post) -> None:
        self._database = database
        self._settle = settle
        self._post = post
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Check for due deliveries now: an event was recorded, or the clock was moved forward."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._woken.clear()
            self._settle()
            if await self.deliver():
                continue
            times = [self._database.events.next_delivery_at(), self._database.next_settlement_at()]
            wait_s = min((max(0.0, at - self._database.now()) for at in times if at is not None), default=None)
            try:
                await asyncio.wait_for(self._woken.wait(), wait_s)
            except TimeoutError:
                continue

    async def deliver(self) -> bool:
        """Make one batch of the due deliveries; returns whether there were any."""
        due = self._database.events.deliveries_due(self._database.now(), AT_ONCE)
        await asyncio.gather(*(self._attempt(delivery) for delivery in due))
        return bool(due)

    async def _attempt(self, delivery: WebhookDelivery) -> None:
        records = self._database.events
        endpoint, event = records.endpoint(delivery.endpoint), records.get(delivery.event)
        if endpoint is None or event is None:
            return  # the endpoint was deleted in the meantime, and its deliveries with it
        body = msgspec.json.encode(event)
        sent_at = int(self._database.wall_clock())
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": signature(records.secret(endpoint.id), sent_at, body),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        acknowledged = await self._post(endpoint.url, body, headers)
        now = self._database.now()
        delay_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(delivery.attempts, 32))
        with self._database.transaction():
            if acknowledged or now + delay_s > delivery.first_at + GIVE_UP_S:
                records.end_delivery(delivery)
            else:
                records.put_off(delivery, now + delay_s)


def signature(secret: str, sent_at: int, body: bytes) -> str:
    """Returns the header with which a receiver verifies that Stripe sent the body, and when (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={sent_at},v1={signed}"


def poster(session: ClientSession) -> Post:
    """Returns a function that posts over a session. A redirect acknowledges nothing, as with Stripe."""

    async def post(url: str, body: bytes, headers: dict[str, str]) -> bool:
        timeout = ClientTimeout(total=TIMEOUT_S)
        try:
            async with session.post(
                url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return 200 <= response.status < 300
        except (ClientError, TimeoutError):
            return False

    return post
