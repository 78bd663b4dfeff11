"""One request, from its first byte to its answer.

In Stripe's order: the key, the pace, then the idempotency key, then the endpoint. What stands before the idempotency
key (401, 404, 429) never touches it. A client that goes away does not stop its request: a charge under way is made,
as at Stripe.

The charge and the answer kept for its key are written in one transaction, and only then does the answer leave.
"""

import asyncio
import base64
import binascii
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from random import Random

from aiohttp import web
from msgspec import Struct

from payment.stripe_sandbox import errors
from payment.stripe_sandbox.books import Books
from payment.stripe_sandbox.endpoints import REFUND_DELAY_S, Endpoint, Endpoints
from payment.stripe_sandbox.errors import Answer, ApiError
from payment.stripe_sandbox.faults import FaultKind, Faults
from payment.stripe_sandbox.idempotency import KEY_LIFE_S, IdempotencyKeys, KeyedRequest
from payment.stripe_sandbox.objects import new_id
from payment.stripe_sandbox.pace import RATE_PER_S, Pace
from payment.stripe_sandbox.params import Params
from payment.stripe_sandbox.wire import send

API_VERSION = "2026-10-28.endive"
"""Named in answers to requests that name none; the objects are the same for all versions."""
TEST_KEYS = ("sk_test_", "rk_test_")
FORM_TYPE = "application/x-www-form-urlencoded"
BODY_MAX_BYTES = 256 * 1024
"""Far more than the largest request with 50 metadata values."""
UNKNOWN = "unknown"
"""What counts call the routes that there are not."""

REFUSING = frozenset(
    {FaultKind.DROP_BEFORE, FaultKind.HANG, FaultKind.HTML, FaultKind.UNAUTHORIZED, FaultKind.RATE_LIMIT}
    | {FaultKind.LOCK_TIMEOUT}
)
"""Nothing is executed, and the idempotency key is not looked at."""


class Settings(Struct, kw_only=True):
    """What can be set when the sandbox starts; the first two also later, over `/_sandbox/settings`."""

    latency_ms: float = 0.0
    rate_per_s: float = RATE_PER_S
    key_life_s: float = KEY_LIFE_S
    refund_delay_s: float = REFUND_DELAY_S
    require_key: str | None = None

    def __repr__(self) -> str:
        return f"Settings(latency_ms={self.latency_ms}, rate_per_s={self.rate_per_s})"


class Sandbox:
    """The account: its books, its limits, its faults, and its endpoints as aiohttp handlers."""

    def __init__(
        self,
        books: Books,
        settings: Settings,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self.books = books
        self.settings = settings
        self.pace = Pace(settings.rate_per_s, monotonic)
        self.faults = Faults(random or Random())  # not a secret: it only decides which request breaks
        self.counts: dict[str, Counter[str]] = {}
        self.closing = asyncio.Event()
        self._keys = IdempotencyKeys(books, settings.key_life_s)
        self._sleep = sleep
        self._endpoints = Endpoints(books, settings.refund_delay_s)
        self.endpoints = self._endpoints.table()

    def routes(self) -> list[web.RouteDef]:
        """A route for each endpoint, and one for everything else."""
        known = [web.route(each.method, each.path, self._handler(each)) for each in self.endpoints]
        return [*known, web.route("*", "/{tail:.*}", self._handle_unknown)]

    def settle_refunds(self) -> None:
        """Bring the refunds up to the sandbox's clock."""
        self._endpoints.settle_refunds()

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(endpoint, request)

        return handle

    async def _handle(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        request_id = new_id("req")
        struck = self.faults.strike(endpoint.name)
        fault = struck.fault if struck else None
        delay_ms = struck.delay_ms if struck else 0
        try:
            if fault in REFUSING:
                await self._sleep_ms(delay_ms)
            answer = await self._answer(endpoint, request, request_id, fault, delay_ms)
        except ApiError as refused:
            answer = refused.answer
        self._count(endpoint.name, answer, fault)
        return await send(request, _signed(answer, request, request_id), fault, self.closing)

    async def _answer(
        self, endpoint: Endpoint, request: web.Request, request_id: str, fault: FaultKind | None, delay_ms: int
    ) -> Answer:
        self._authorize(request, fault)
        if fault is FaultKind.RATE_LIMIT or not self.pace.admits(endpoint.name):
            raise errors.rate_limited()
        if fault is FaultKind.LOCK_TIMEOUT:
            raise errors.lock_timeout()
        if fault in REFUSING:
            return Answer(0, b"")  # `send` breaks the connection, or sends its own page: this is never seen
        params = await _read_params(request)
        self.settle_refunds()
        keyed = _keyed(request, params, request_id)
        if keyed is None:
            await self._sleep_ms(self.settings.latency_ms + delay_ms)
            return self._execute(endpoint, request, params, None, fault)
        with self._keys.hold(keyed):
            kept = self._keys.replay(keyed)
            await self._sleep_ms(self.settings.latency_ms + delay_ms)
            return kept or self._execute(endpoint, request, params, keyed, fault)

    def _execute(
        self,
        endpoint: Endpoint,
        request: web.Request,
        params: Params,
        keyed: KeyedRequest | None,
        fault: FaultKind | None,
    ) -> Answer:
        """Act and keep the answer, both or neither. What raises ApiError leaves no trace."""
        object_id = request.match_info.get("id", "")
        with ExitStack() as transaction:
            if endpoint.method == "POST":
                transaction.enter_context(self.books.transaction())
            answer = errors.server_error()
            if fault is not FaultKind.ERROR_BEFORE:
                acted = endpoint.act(params, object_id)
                answer = answer if fault is FaultKind.ERROR_AFTER else acted
            if keyed is not None:
                self._keys.keep(keyed, answer)
        return answer

    def _authorize(self, request: web.Request, fault: FaultKind | None) -> None:
        key = _api_key(request.headers.get("Authorization", ""))
        if key is None:
            raise errors.no_key()
        required = self.settings.require_key
        accepted = key == required if required is not None else key.startswith(TEST_KEYS)
        if fault is FaultKind.UNAUTHORIZED or not accepted:
            raise errors.wrong_key(key)

    async def _handle_unknown(self, request: web.Request) -> web.StreamResponse:
        try:
            self._authorize(request, None)
            answer = errors.unknown_route(request.method, request.path).answer
        except ApiError as refused:
            answer = refused.answer
        self._count(UNKNOWN, answer, None)
        return await send(request, _signed(answer, request, new_id("req")), None, self.closing)

    async def _sleep_ms(self, milliseconds: float) -> None:
        if milliseconds:
            await self._sleep(milliseconds / 1000)

    def _count(self, endpoint: str, answer: Answer, fault: FaultKind | None) -> None:
        """Count a request by its status, or by the fault that kept its client from seeing one."""
        counts = self.counts.setdefault(endpoint, Counter())
        counts["requests"] += 1
        counts[str(answer.status) if answer.status else "none"] += 1
        if "Idempotent-Replayed" in answer.headers:
            counts["replayed"] += 1
        if fault is not None:
            counts[f"fault:{fault.value}"] += 1


def _signed(answer: Answer, request: web.Request, request_id: str) -> Answer:
    """The headers that every answer has, beside its own."""
    answer.headers = {
        "Request-Id": request_id,
        "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION),
        **answer.headers,
    }
    key = request.headers.get("Idempotency-Key")
    if key is not None and request.method == "POST":
        answer.headers["Idempotency-Key"] = key
    return answer


def _api_key(authorization: str) -> str | None:
    """The secret key of a Bearer or Basic header (there it is the user name), or None."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[0] or None
    except (binascii.Error, UnicodeDecodeError):
        return None


async def _read_params(request: web.Request) -> Params:
    if request.method != "POST":
        return Params(request.rel_url.raw_query_string)
    if request.can_read_body and request.content_type != FORM_TYPE:
        raise ApiError(f"Invalid request (check that your POST content type is {FORM_TYPE}).")
    try:
        return Params(await request.read())
    except web.HTTPRequestEntityTooLarge as error:
        raise ApiError("Request body too large.", status=413) from error


def _keyed(request: web.Request, params: Params, request_id: str) -> KeyedRequest | None:
    """The idempotency key of a POST; on a GET Stripe ignores it."""
    key = request.headers.get("Idempotency-Key")
    if not key or request.method != "POST":
        return None
    return KeyedRequest(key, request.path, params.fingerprint(), request_id)
