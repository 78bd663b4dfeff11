"""Stripe for the bench: charges and PaymentIntents, fast, with configurable latency and rate limits.

    python -m bench.stripe_stand_in PORT

The sandbox (payment/stripe_sandbox) writes each object to a disk before it answers, and would dominate the measurement.
This stand-in answers bodies of the same size out of memory. It keeps one answer for each idempotency key, and reports
afterwards which orders were charged, how often and when. All contenders use it. Every card is charged.

    POST /v1/payment_intents[/ID/confirm | /ID/cancel], GET /v1/payment_intents/ID
    POST /v1/charges, GET /v1/charges, GET /v1/balance, GET /v1/account
    POST /_bench/settings   {"latency_ms", "endpoint_per_s", "account_per_s"} (0: no limit); resets the account
    GET  /_bench/audit      {"charges": {order: [seconds of CLOCK_MONOTONIC, …]}, "intents", "requests", "refused"}

As at Stripe (docs.stripe.com/rate-limits), each endpoint has a limit and the account has one for all of them together;
a request past either is answered 429 and not executed. A limit is a bucket that holds one second's worth. `requests`
and `refused` count by endpoint. Only health checks request balance and account, which are not limited.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from functools import partial
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import msgspec

from bench.http1 import Messages, answer, header
from bench.stripe_bodies import Asked, charge_body, intent_body, new_id

LOOPBACK = "127.0.0.1"
BACKLOG_CONNECTIONS = 1_024
INTENTS = "/v1/payment_intents"
BALANCE = b'{"object":"balance","available":[],"pending":[],"livemode":false}'
ACCOUNT = b'{"object":"account","id":"acct_bench"}'
EXPANDED = ("expand[]", "expand[0]")
"""The forms of `expand` that request the whole charge: curl's notation of a list, and the stripe library's."""


REPLAYED = b"Idempotent-Replayed: true\r\n"
ENDPOINT_LIMIT, ACCOUNT_LIMIT = b"endpoint-rate", b"global-rate"
"""Stripe's name of the exceeded limit (docs.stripe.com/rate-limits)."""


def error_body(code: str, message: str) -> bytes:
    return json.dumps({"error": {"type": "invalid_request_error", "code": code, "message": message}}).encode()


RATE_LIMITED = error_body("rate_limit", "Request rate limit exceeded.")
UNKNOWN = error_body("resource_missing", "No such object, or no such URL.")
MISSING = error_body("parameter_missing", "Missing required param: amount.")


class Bucket:
    """One rate limit: it holds at most one second's worth of requests. A rate of 0 limits nothing."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._most = max(1.0, per_s)
        self._left, self._filled_at = self._most, time.monotonic()

    def has_room(self, now: float) -> bool:
        self._left = min(self._most, self._left + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        return not self._per_s or self._left >= 1

    def take(self) -> None:
        self._left -= 1


class Intent:
    """One PaymentIntent: it makes at most one charge, and none once it is canceled."""

    def __init__(self, asked: Asked) -> None:
        self.id = new_id("pi")
        self.asked = asked
        self.status = "requires_payment_method"
        self.charge_id = b""
        self.charge = b""

    def body(self, *, expanded: bool) -> bytes:
        latest = (self.charge if expanded else b'"%b"' % self.charge_id) if self.charge else b"null"
        return intent_body(self.id, self.asked, self.status, latest)


class Reply(msgspec.Struct, frozen=True):
    """A response: its status, its body as JSON, and an optional header line."""

    status: int
    body: bytes
    header_line: bytes = b""

    def encoded(self) -> bytes:
        return answer(self.status, self.body, self.header_line)


class Request(msgspec.Struct, frozen=True):
    """A parsed request. `endpoint` is the unit of limits, `intent_id` is empty where the request names none."""

    endpoint: str
    intent_id: str
    key: bytes
    fields: dict[str, str]

    @property
    def expanded(self) -> bool:
        return any(self.fields.get(name) == "latest_charge" for name in EXPANDED)


class Account:
    """One Stripe account: its charges and intents, its latency and its rate limits."""

    def __init__(self) -> None:
        self.settle(0.0, 0.0, 0.0)

    def settle(self, latency_ms: float, endpoint_per_s: float, account_per_s: float) -> None:
        """Reset the account, and set latency and limits."""
        self.latency_s = latency_ms / 1_000
        self._endpoint_per_s = endpoint_per_s
        self._buckets: dict[str, Bucket] = {}
        self._whole = Bucket(account_per_s)
        self.charges: dict[str, list[float]] = {}
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._intents: dict[str, Intent] = {}
        self._stored: dict[bytes, Reply] = {}
        self._listed: dict[str, list[bytes]] = {}

    def refusal(self, endpoint: str) -> Reply | None:
        """Count a request to an endpoint. Returns 429 where it is past the endpoint's limit or the account's."""
        self.requests[endpoint] += 1
        bucket = self._buckets.get(endpoint)
        if bucket is None:
            bucket = self._buckets[endpoint] = Bucket(self._endpoint_per_s)
        now = time.monotonic()
        for each, reason in ((bucket, ENDPOINT_LIMIT), (self._whole, ACCOUNT_LIMIT)):
            if not each.has_room(now):
                self.refused[endpoint] += 1
                return Reply(429, RATE_LIMITED, b"Stripe-Rate-Limited-Reason: %b\r\n" % reason)
        bucket.take()
        self._whole.take()
        return None

    def perform(self, request: Request) -> Reply:
        """Execute a request; for a used idempotency key return its answer again."""
        stored = self._stored.get(request.key) if request.key else None
        if stored is not None:
            return Reply(stored.status, stored.body, REPLAYED)
        reply = self._performed(request)
        if request.key:
            self._stored[request.key] = reply
        return reply

    def audit(self) -> dict[str, Any]:
        return {
            "charges": self.charges,
            "intents": len(self._intents),
            "requests": self.requests,
            "refused": self.refused,
        }

    def _performed(self, request: Request) -> Reply:
        if request.endpoint == "charge":
            return Reply(200, self._charged(Asked.of(request.fields))[1])
        if request.endpoint == "list":
            return Reply(200, self._list(request.fields.get("transfer_group", "")))
        if request.endpoint == "create" and "amount" not in request.fields:
            return Reply(400, MISSING)  # a check of the key's permissions
        if request.endpoint == "create":
            intent = Intent(Asked.of(request.fields))
            self._intents[intent.id.decode()] = intent
            if request.fields.get("confirm") == "true":
                return self._confirmed(intent, request)
            return Reply(200, intent.body(expanded=request.expanded))
        intent_found = self._intents.get(request.intent_id)
        if intent_found is None:
            return Reply(404, UNKNOWN)
        if request.endpoint == "confirm":
            return self._confirmed(intent_found, request)
        if request.endpoint == "cancel":
            return self._canceled(intent_found, request)
        return Reply(200, intent_found.body(expanded=request.expanded))

    def _confirmed(self, intent: Intent, request: Request) -> Reply:
        if intent.status != "requires_payment_method":
            return _unexpected_state(intent)
        intent.status = "succeeded"
        intent.charge_id, intent.charge = self._charged(intent.asked, intent.id)
        return Reply(200, intent.body(expanded=request.expanded))

    def _canceled(self, intent: Intent, request: Request) -> Reply:
        if intent.status != "requires_payment_method":
            return _unexpected_state(intent)
        intent.status = "canceled"
        return Reply(200, intent.body(expanded=request.expanded))

    def _charged(self, asked: Asked, intent_id: bytes | None = None) -> tuple[bytes, bytes]:
        """Create a charge; returns its id and body."""
        charge_id, order = new_id("ch"), asked.order.decode()
        body = charge_body(charge_id, asked, intent_id)
        self.charges.setdefault(order, []).append(time.monotonic())
        self._listed.setdefault(order, []).append(body)
        return charge_id, body

    def _list(self, order: str) -> bytes:
        data = b",".join(reversed(self._listed.get(order, [])))
        return b'{"object":"list","url":"/v1/charges","has_more":false,"data":[%b]}' % data


def _unexpected_state(intent: Intent) -> Reply:
    return Reply(400, error_body("payment_intent_unexpected_state", f"This PaymentIntent is {intent.status}."))


def read_request(head: bytes, body: bytes) -> Request | None:
    """Returns the parsed request; None where there is no such URL."""
    method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
    path, _, query = target.partition("?")
    fields = dict(parse_qsl(body.decode())) if body else {name: found[0] for name, found in parse_qs(query).items()}
    key = header(head, b"idempotency-key")
    if path == "/v1/charges":
        return Request("charge" if method == "POST" else "list", "", key, fields)
    if path == INTENTS and method == "POST":
        return Request("create", "", key, fields)
    intent_id, _, action = path.removeprefix(f"{INTENTS}/").partition("/")
    if not path.startswith(f"{INTENTS}/") or (method, action) not in ACTIONS:
        return None
    return Request(ACTIONS[method, action], intent_id, key, fields)


ACTIONS = {("GET", ""): "retrieve", ("POST", "confirm"): "confirm", ("POST", "cancel"): "cancel"}


class Client(asyncio.Protocol):
    """One connection of a service. Answers are sent in the order in which they are ready: no client pipelines."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._messages = Messages()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.fed(data):
            self._take(head, body)

    def _take(self, head: bytes, body: bytes) -> None:
        path = head.split(b" ", 2)[1]
        account = self._account
        if path in (b"/v1/balance", b"/v1/account"):
            self._transport.write(answer(200, BALANCE if path == b"/v1/balance" else ACCOUNT))
        elif path == b"/_bench/audit":
            self._transport.write(answer(200, json.dumps(account.audit()).encode()))
        elif path == b"/_bench/settings":
            account.settle(**json.loads(body))
            self._transport.write(answer(200, b"{}"))
        elif (request := read_request(head, body)) is None:
            self._transport.write(answer(404, UNKNOWN))
        elif (refused := account.refusal(request.endpoint)) is not None:
            self._transport.write(refused.encoded())
        elif account.latency_s:
            asyncio.get_running_loop().call_later(account.latency_s, self._perform, request)
        else:
            self._perform(request)

    def _perform(self, request: Request) -> None:
        # Executed whether or not the client is still connected, as at Stripe.
        reply = self._account.perform(request)
        if not self._transport.is_closing():
            self._transport.write(reply.encoded())


async def listen(account: Account, port: int) -> asyncio.Server:
    """Serve an account on loopback."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(partial(Client, account), LOOPBACK, port, backlog=BACKLOG_CONNECTIONS)


async def serve(port: int) -> None:
    server = await listen(Account(), port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
