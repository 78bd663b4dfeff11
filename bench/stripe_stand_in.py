"""Stripe for the bench: charges as quickly as Python can, after a latency and within a rate that are set from outside.

    python -m bench.stripe_stand_in PORT

The sandbox (payment/stripe_sandbox) writes each charge to a disk before it answers, and would be what is measured.
This one answers the same body (made once by the sandbox's own types) out of memory. It keeps one answer for a key and
says afterwards which orders were charged, how often and when. The same for all contenders.

    POST /v1/charges            429 past the rate: a bucket that holds one second's worth, as the sandbox's does
    GET  /v1/charges, /v1/balance
    POST /_bench/settings       {"latency_ms", "rate_per_s" (0: any)}; also forgets the books
    GET  /_bench/books          {"charges": {order: [seconds of CLOCK_MONOTONIC, …]}, "requests", "refused"}
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import msgspec

from bench.http1 import Messages, answer, header
from payment.stripe_sandbox import objects, tokens

LOOPBACK = "127.0.0.1"
BACKLOG_CONNECTIONS = 1_024
REFUSED = b'{"error":{"type":"invalid_request_error","code":"rate_limit","message":"Request rate limit exceeded."}}'
AMOUNT_MARK = 987_654_321


def template() -> bytes:
    """A charge's body, with marks where each one differs."""
    card = tokens.TEST_CARDS["tok_visa"]
    source = objects.card_on_charge(card)
    charge = objects.Charge(
        id="@id@",
        amount=AMOUNT_MARK,
        amount_captured=AMOUNT_MARK,
        currency="@cur@",
        metadata={"@meta@": ""},
        transfer_group="@grp@",
        balance_transaction=objects.new_id("txn"),
        calculated_statement_descriptor="BENCH",
        captured=True,
        created=int(time.time()),
        description=None,
        disputed=False,
        failure_code=None,
        failure_message=None,
        outcome=objects.outcome_of(card),
        paid=True,
        payment_method=source.id,
        payment_method_details=objects.card_details(source),
        receipt_email=None,
        receipt_url=f"https://pay.stripe.com/receipts/{objects.new_id('rcpt')}",
        source=source,
        statement_descriptor=None,
        statement_descriptor_suffix=None,
        status="succeeded",
    )
    return msgspec.json.encode(charge)


class Account:
    """The books, the latency and the rate."""

    def __init__(self) -> None:
        self._template = template()
        self.settle(0.0, 0.0)

    def settle(self, latency_ms: float, rate_per_s: float) -> None:
        """Begin anew, with this latency and this rate."""
        self.latency_s = latency_ms / 1_000
        self.rate_per_s = rate_per_s
        self._tokens, self._filled_at = max(1.0, rate_per_s), time.monotonic()
        self.charges: dict[str, list[float]] = {}
        self.requests = self.refused = 0
        self._kept: dict[bytes, bytes] = {}
        self._listed: dict[str, list[bytes]] = {}

    def admits(self) -> bool:
        self.requests += 1
        if not self.rate_per_s:
            return True
        now = time.monotonic()
        self._tokens = min(max(1.0, self.rate_per_s), self._tokens + (now - self._filled_at) * self.rate_per_s)
        self._filled_at = now
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        return True

    def charge(self, key: bytes, form: bytes) -> bytes:
        """The body of the charge that this form asks for; for a key seen before, the one that it got."""
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        fields = dict(parse_qsl(form.decode()))
        metadata = {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}
        order = fields.get("transfer_group", "")
        body = (
            self._template.replace(b"@id@", objects.new_id("ch").encode())
            .replace(b"%d" % AMOUNT_MARK, fields["amount"].encode())
            .replace(b"@cur@", fields["currency"].encode())
            .replace(b'{"@meta@":""}', json.dumps(metadata).encode())
            .replace(b"@grp@", order.encode())
        )
        self.charges.setdefault(order, []).append(time.monotonic())
        self._listed.setdefault(order, []).append(body)
        if key:
            self._kept[key] = body
        return body

    def listed(self, query: str) -> bytes:
        group = parse_qs(query).get("transfer_group", [""])[0]
        data = b",".join(self._listed.get(group, ()))
        return b'{"object":"list","url":"/v1/charges","has_more":false,"data":[%b]}' % data

    def books(self) -> dict[str, Any]:
        return {"charges": self.charges, "requests": self.requests, "refused": self.refused}


class Client(asyncio.Protocol):
    """One connection of a service. Answers leave in the order in which they are ready: no client here pipelines."""

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
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        path, _, query = target.partition("?")
        account = self._account
        if method == "POST" and path == "/v1/charges":
            if not account.admits():
                self._transport.write(answer(429, REFUSED))
            elif account.latency_s:
                asyncio.get_running_loop().call_later(account.latency_s, self._charge, head, body)
            else:
                self._charge(head, body)
        elif path == "/v1/charges":
            self._transport.write(answer(200, account.listed(query)))
        elif path == "/v1/balance":
            self._transport.write(answer(200, b'{"object":"balance","available":[],"pending":[],"livemode":false}'))
        elif path == "/_bench/books":
            self._transport.write(answer(200, json.dumps(account.books()).encode()))
        elif path == "/_bench/settings":
            account.settle(**json.loads(body))
            self._transport.write(answer(200, b"{}"))
        else:
            self._transport.write(answer(404, b'{"error":{"type":"invalid_request_error","message":"Unknown."}}'))

    def _charge(self, head: bytes, body: bytes) -> None:
        # Charged whether or not the client is still there, as at Stripe.
        said = self._account.charge(header(head, b"idempotency-key"), body)
        if not self._transport.is_closing():
            self._transport.write(answer(200, said))


async def serve(port: int) -> None:
    account = Account()
    server = await asyncio.get_running_loop().create_server(
        lambda: Client(account), LOOPBACK, port, backlog=BACKLOG_CONNECTIONS
    )
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
