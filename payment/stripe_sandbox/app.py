"""One request, from its first byte to its answer.

In Stripe's order: the key, the rate limits, then the idempotency key, then the endpoint. An answer from before the
idempotency key (401, unknown route, 429) never touches it. A client that disconnects does not stop its request: a
charge that is executing is made, as at Stripe.

The charge and the answer kept for its key are written in one transaction, and only then is the answer sent.
"""

import asyncio
import base64
import binascii
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import date
from random import Random

import msgspec
from aiohttp import web
from msgspec import Struct

from payment.stripe_sandbox import errors
from payment.stripe_sandbox.account import Account
from payment.stripe_sandbox.calls import ApiCall, Endpoint
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.deliveries import Deliverer
from payment.stripe_sandbox.endpoints import REFUND_DELAY_S
from payment.stripe_sandbox.errors import ApiError, ExecutionError, SandboxAnswer
from payment.stripe_sandbox.events import API_VERSION
from payment.stripe_sandbox.faults import FaultKind, Faults
from payment.stripe_sandbox.idempotency import KEY_LIFE_S, IdempotencyKeys, KeyedRequest
from payment.stripe_sandbox.objects import new_id
from payment.stripe_sandbox.params import Params
from payment.stripe_sandbox.rate_limits import ACCOUNT_RATE_PER_S, RATE_PER_S, RateLimits
from payment.stripe_sandbox.wire import send

VERSION_FORMAT = re.compile(r"(\d{4}-\d{2}-\d{2})(\.[a-z]+)?", re.ASCII)
TEST_KEYS = ("sk_test_", "rk_test_")
PUBLISHABLE_KEY = "pk_test_"
FORM_TYPE = "application/x-www-form-urlencoded"
BODY_MAX_BYTES = 256 * 1024
"""Bytes of a request body: far more than the largest request with 50 metadata values."""
UNKNOWN = "unknown"
"""The name that counts all unknown routes."""
ACCOUNT = "account"
"""The name of the limit over all endpoints."""
ANY_ORIGIN = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "Request-Id, Stripe-Should-Retry"}

REFUSING = frozenset(
    {FaultKind.DROP_BEFORE, FaultKind.HANG, FaultKind.HTML, FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN}
    | {FaultKind.RATE_LIMIT, FaultKind.LOCK_TIMEOUT}
)
"""Faults that strike before the idempotency key is read; nothing is executed."""
SERVER_ERRORS = (FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER)


class SandboxSettings(Struct, kw_only=True):
    """The settings of the sandbox's start. The first four can be changed later, over `/_sandbox/settings`."""

    latency_ms: float = 0.0
    rate_per_s: float = RATE_PER_S
    account_rate_per_s: float | None = None
    """None means Stripe's limit for a live account, or no limit where the endpoints have none."""
    charges: bool = True
    """Whether `POST /v1/charges` is served, as for an account from before Stripe closed that API to new ones."""
    key_life_s: float = KEY_LIFE_S
    refund_delay_s: float = REFUND_DELAY_S
    require_key: str | None = None
    public_url: str | None = None
    """The base URL of the sandbox's pages for browsers; by default that of the request which returns the link."""

    def __repr__(self) -> str:
        return f"SandboxSettings(latency_ms={self.latency_ms}, rate_per_s={self.rate_per_s})"


class Sandbox:
    """The sandbox: one account with its database, its limits, its faults, and its endpoints as aiohttp handlers."""

    def __init__(
        self,
        database: Database,
        settings: SandboxSettings,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Random | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.rate_limits = RateLimits(settings.rate_per_s, monotonic)
        if settings.account_rate_per_s is None:
            settings.account_rate_per_s = ACCOUNT_RATE_PER_S if settings.rate_per_s else 0
        self.account_rate_limits = RateLimits(settings.account_rate_per_s, monotonic)
        self.faults = Faults(random or Random())  # not a secret: it only decides which request gets a fault
        self.counts: dict[str, Counter[str]] = {}
        self.closing = asyncio.Event()
        self._keys = IdempotencyKeys(database, settings.key_life_s)
        self._sleep = sleep
        self.account = Account(database, settings.refund_delay_s, lambda: settings.charges)
        self.endpoints = self.account.table()
        self._late: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Returns a route for each endpoint, preflight routes for those that browsers may call, and one for unknown
        paths.
        """
        known = [web.route(each.method, each.path, self._handler(each)) for each in self.endpoints]
        public = sorted({each.path for each in self.endpoints if each.public})
        preflights = [web.options(path, _preflight) for path in public]
        return [*known, *preflights, web.route("*", "/{tail:.*}", self._handle_unknown)]

    def deliver_with(self, deliverer: Deliverer) -> None:
        """Set the deliverer that is woken for new events."""
        self.account.events.on_delivery = deliverer.wake

    def wake_deliveries(self) -> None:
        if self.account.events.on_delivery is not None:
            self.account.events.on_delivery()

    async def close(self) -> None:
        """Cancel the delayed requests that have not been executed yet."""
        self.closing.set()
        for task in self._late:
            task.cancel()
        if self._late:
            await asyncio.wait(self._late)

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(endpoint, request)

        return handle

    async def _handle(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        request_id = new_id("req")
        text = await self._text_of(endpoint, request) if self.faults.any_about else ""
        struck = self.faults.strike(endpoint.name, text)
        fault = struck.fault if struck else None
        delay_ms = struck.delay_ms if struck else 0
        if fault is FaultKind.LATE:
            await request.read()
            self._land_later(endpoint, request, request_id, delay_ms)
            self._count(endpoint.name, SandboxAnswer(0, b""), fault)
            return await send(request, SandboxAnswer(0, b""), fault, self.closing)
        try:
            if fault in REFUSING:
                await self._sleep_ms(delay_ms)
            answer = await self._answer(endpoint, request, request_id, fault, delay_ms)
        except ApiError as refused:
            answer = refused.answer
        self._count(endpoint.name, answer, fault)
        return await send(request, _signed(answer, request, request_id, endpoint.public), fault, self.closing)

    async def _text_of(self, endpoint: Endpoint, request: web.Request) -> str:
        """Returns the text that faults with `about` are matched against: path, body, and the intent's transfer
        group.
        """
        text = f"{request.path_qs} {(await request.read()).decode(errors='replace')}"
        intent = self.database.intents.get(request.match_info.get("id", ""))
        return text if intent is None else f"{text} {intent.transfer_group}"

    def _land_later(self, endpoint: Endpoint, request: web.Request, request_id: str, delay_ms: int) -> None:
        """Execute a request after its delay. Its key is free until then, and its client never gets the answer."""

        async def land() -> None:
            await self._sleep_ms(delay_ms)
            try:
                answer = await self._answer(endpoint, request, request_id, None, 0)
            except ApiError as refused:
                answer = refused.answer
            self._count(f"{endpoint.name} landed late", answer, None)

        task = asyncio.create_task(land())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _answer(
        self, endpoint: Endpoint, request: web.Request, request_id: str, fault: FaultKind | None, delay_ms: int
    ) -> SandboxAnswer:
        publishable = self._authorize(request, fault)
        if publishable and not endpoint.public:
            raise errors.secret_key_required()
        if fault is FaultKind.FORBIDDEN:
            key = _api_key(request.headers.get("Authorization", "")) or ""
            right = f"rak_{endpoint.returns}_{'read' if endpoint.method == 'GET' else 'write'}"
            raise errors.forbidden(key, self.database.account_id, right)
        self._check_rate(endpoint, fault)
        if fault is FaultKind.LOCK_TIMEOUT:
            raise errors.lock_timeout()
        if fault in REFUSING:
            return SandboxAnswer(0, b"")  # `send` breaks the connection, or sends its own page: this answer is not used
        _check_version(request)
        params = await _read_params(request)
        expand = self.account.expander.check(endpoint.returns, endpoint.lists, params.listed("expand"))
        keyed = _keyed(request, params, request_id)
        processing = fault is FaultKind.PROCESSING
        call = ApiCall(
            params=params,
            object_id=request.match_info.get("id", ""),
            publishable=publishable,
            origin=self.settings.public_url or f"{request.scheme}://{request.host}",
            request_id=request_id,
            idempotency_key=keyed.key if keyed else None,
            processing_s=delay_ms / 1000 if processing else None,
        )
        latency_ms = self.settings.latency_ms + (0 if processing else delay_ms)
        if keyed is None:
            await self._sleep_ms(latency_ms)
            return self._execute(endpoint, call, expand, None, fault)
        with self._keys.hold(keyed):
            kept = self._keys.replay(keyed)
            await self._sleep_ms(latency_ms)
            return kept or self._execute(endpoint, call, expand, keyed, fault)

    def _execute(
        self,
        endpoint: Endpoint,
        call: ApiCall,
        expand: list[list[str]],
        keyed: KeyedRequest | None,
        fault: FaultKind | None,
    ) -> SandboxAnswer:
        """Execute a call and keep its answer, both or neither. A call that raises ApiError changes nothing."""
        self.account.settle()
        if endpoint.method == "GET":
            return errors.server_error() if fault in SERVER_ERRORS else self._act(endpoint, call, expand)
        with self.database.transaction():
            answer = errors.server_error()
            if fault is not FaultKind.ERROR_BEFORE:
                acted = self._act_or_fail(endpoint, call, expand)
                answer = answer if fault is FaultKind.ERROR_AFTER else acted
            if keyed is not None:
                self._keys.keep(keyed, answer)
        return answer

    def _act_or_fail(self, endpoint: Endpoint, call: ApiCall, expand: list[list[str]]) -> SandboxAnswer:
        """Execute a call. An ExecutionError undoes its changes, and becomes the kept answer."""
        try:
            with self.database.attempt():
                return self._act(endpoint, call, expand)
        except ExecutionError as failed:
            return failed.answer

    def _act(self, endpoint: Endpoint, call: ApiCall, expand: list[list[str]]) -> SandboxAnswer:
        result = endpoint.act(call)
        if isinstance(result, SandboxAnswer):
            return result
        shown = self.account.expander.expanded(result, expand) if expand else result
        return SandboxAnswer(200, msgspec.json.encode(shown))

    def _check_rate(self, endpoint: Endpoint, fault: FaultKind | None) -> None:
        """Raise ApiError (429) if the request exceeds the rate limit of its endpoint or of the account."""
        if fault is FaultKind.RATE_LIMIT or not self.rate_limits.admits(endpoint.name):
            raise errors.rate_limited("endpoint-rate")
        if not self.account_rate_limits.admits(ACCOUNT):
            raise errors.rate_limited("global-rate")

    def _authorize(self, request: web.Request, fault: FaultKind | None) -> bool:
        """Returns whether the key is a publishable one. Raises ApiError (401) if it is missing or wrong."""
        key = _api_key(request.headers.get("Authorization", ""))
        if key is None:
            raise errors.no_key()
        publishable = key.startswith(PUBLISHABLE_KEY)
        required = self.settings.require_key
        accepted = key == required if required is not None else key.startswith(TEST_KEYS)
        if fault is FaultKind.UNAUTHORIZED or not (accepted or publishable):
            raise errors.wrong_key(key)
        return publishable

    async def _handle_unknown(self, request: web.Request) -> web.StreamResponse:
        try:
            self._authorize(request, None)
            answer = errors.unknown_route(request.method, request.path).answer
        except ApiError as refused:
            answer = refused.answer
        self._count(UNKNOWN, answer, None)
        return await send(request, _signed(answer, request, new_id("req"), False), None, self.closing)

    async def _sleep_ms(self, milliseconds: float) -> None:
        if milliseconds:
            await self._sleep(milliseconds / 1000)

    def _count(self, endpoint: str, answer: SandboxAnswer, fault: FaultKind | None) -> None:
        """Count a request by its status, or by the fault that kept its client from getting one."""
        counts = self.counts.setdefault(endpoint, Counter())
        counts["requests"] += 1
        counts[str(answer.status) if answer.status else "none"] += 1
        if "Idempotent-Replayed" in answer.headers:
            counts["replayed"] += 1
        if fault is not None:
            counts[f"fault:{fault.value}"] += 1


async def _preflight(_: web.Request) -> web.Response:
    """Answer a preflight request, so that a page of another origin may send the request that follows."""
    headers = {
        **ANY_ORIGIN,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Stripe-Version",
        "Access-Control-Max-Age": "300",
    }
    return web.Response(status=204, headers=headers)


def _check_version(request: web.Request) -> None:
    """Raise ApiError if the API version is malformed: Stripe's are a date, some with a release's name."""
    version = request.headers.get("Stripe-Version", API_VERSION)
    found = VERSION_FORMAT.fullmatch(version)
    if found is None:
        raise errors.wrong_version(version)
    try:
        date.fromisoformat(found[1])
    except ValueError as error:
        raise errors.wrong_version(version) from error


def _signed(answer: SandboxAnswer, request: web.Request, request_id: str, public: bool) -> SandboxAnswer:
    """Add the headers that every answer has. A page of any origin may read the answers of a `public` endpoint."""
    answer.headers = {
        "Request-Id": request_id,
        "Stripe-Version": request.headers.get("Stripe-Version", API_VERSION),
        **(ANY_ORIGIN if public else {}),
        **answer.headers,
    }
    key = request.headers.get("Idempotency-Key")
    if key is not None and request.method == "POST":
        answer.headers["Idempotency-Key"] = key
    return answer


def _api_key(authorization: str) -> str | None:
    """Returns the key of a Bearer header, or of a Basic header, where it is the user name; None if there is none."""
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
    """Returns the idempotency key of a POST; Stripe ignores one on a GET."""
    key = request.headers.get("Idempotency-Key")
    if not key or request.method != "POST":
        return None
    return KeyedRequest(key, request.path, params.fingerprint(), request_id)
