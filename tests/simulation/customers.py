"""The customers: they press pay, authenticate, lose patience, repeat requests, read their payment; and their HTTP.

Each `PressPlan` is one customer: one order, one instrument, until the outcome is known. A customer repeats a request
whose outcome is not known (202, "outcome unknown", no answer): a few times while faults are on, and at rest until it is
known (L4); by the same POST, or by a GET where the client has a new instrument for each submit. A client that got a
secret sends its customer to the bank, once. A customer belongs to the world: no fault of a process touches one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jwt

from payment.core.messages import Instrument, InstrumentKind
from tests.simulation.journal import (
    BankPageVisited,
    ChargeAnswered,
    ChargePosted,
    ConfirmedInBrowser,
    PaymentRead,
    PaymentRequested,
    RequestFailed,
)
from tests.simulation.network import Attempt
from tests.simulation.plan import OrderPlan, PressPlan
from tests.simulation.process import JWT_KEY
from tests.simulation.stripe import instrument_of

if TYPE_CHECKING:
    from tests.simulation.world import World

REPEAT_AFTER_S = 1.0
"""About how long a customer waits before it repeats a request, in seconds."""
PATIENCE_AT_REST_S = 12.0
"""At rest no customer gives up before the service answers, in seconds."""
LONGEST_RETRY_AFTER_S = 6 * 3600.0
"""A customer waits at most this long, whatever a Retry-After asks for, in seconds."""
LOST_PATIENCE = "patience ran out"
UNKNOWN = b"outcome unknown"
JSON = "Content-Type: application/json"
RETURN_URL = "https://shop.test/back"
OTHER_CARD = Instrument(InstrumentKind.TOKEN, "tok_amex")
"""The card with which a browser confirms by the secret."""
ANOTHER_CARD_S = 30.0
"""About how long a customer who failed at the bank takes to enter another card, in seconds."""
UNSETTLED_STATUSES = frozenset({"pending", "requires_action"})
"""Statuses of a payment after which the client GETs it again."""
RETRYABLE = frozenset({404, 409})
"""Answers after which a customer may try again: the order may become known, another attempt may settle."""
CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
RETRY_AFTER = re.compile(rb"\r\nRetry-After: *(\d+)", re.IGNORECASE)

OnAnswer = Callable[[int, bytes, int | None], None]


@functools.cache
def bearer(user: str) -> str:
    return jwt.encode({"id": user, "email": f"{user}@example.com", "iat": 1}, JWT_KEY, algorithm="HS256")


class Request:
    """One HTTP request and its answer, on a connection of its own. `ended` is called once."""

    def __init__(
        self,
        world: World,
        host: str,
        head: str,
        body: bytes,
        patience_s: float,
        on_answer: OnAnswer,
        lost: Callable[[str], None],
    ) -> None:
        self._on_answer, self._lost = on_answer, lost
        self._buffer = b""
        self._over = False
        self._timer = world.later(patience_s, self._give_up)
        text = f"{head}\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._attempt: Attempt = world.network.connect(host, self, text.encode() + body)

    def received(self, data: bytes) -> None:
        self._buffer += data
        head, parted, body = self._buffer.partition(b"\r\n\r\n")
        if not parted or self._over:
            return
        length = _number(CONTENT_LENGTH, head) or 0
        if len(body) < length:
            return
        self._end()
        self._on_answer(int(head.split(b" ", 2)[1]), body[:length], _number(RETRY_AFTER, head))

    def lost(self, reason: str) -> None:
        if not self._over:
            self._end()
            self._lost(reason)

    def _give_up(self) -> None:
        self.lost(LOST_PATIENCE)

    def _end(self) -> None:
        self._over = True
        self._timer.cancel()
        self._attempt.hang_up()


def _number(header: re.Pattern[bytes], head: bytes) -> int | None:
    found = header.search(head)
    return int(found[1]) if found else None


class Customer:
    """One customer, who wants to pay one order with one instrument."""

    def __init__(self, world: World, order: OrderPlan, press: PressPlan) -> None:
        self.known = False
        """The customer knows the outcome."""
        self.started = False
        self._world = world
        self._order = order
        self._press = press
        self._left = press.retries
        self._reads_left = press.reads
        self.under_way = False
        self._repeated = 0
        """How often the customer has repeated its request at rest."""
        self.again_at_s = 0.0
        """When the customer repeats its request at rest: not before the service's Retry-After."""
        self.bank_at_s: float | None = None
        """When the customer will come to the bank's page; None where no visit is to come."""
        self._went = False
        self._payment_id: str | None = None

    @property
    def waits(self) -> bool:
        """Whether the customer still has something to do."""
        return (
            self.under_way or (self.started and not self.known and not self.unresolvable) or self.bank_at_s is not None
        )

    @property
    def unresolvable(self) -> bool:
        """Whether, at rest, no operator corrects the order's document: the customer has to ask an operator."""
        edits, order_id = self._world.edits, self._order.id
        return self._world.at_rest and edits.is_corrupt(order_id) and order_id not in edits.coming

    def begin(self) -> None:
        self.started = True
        self._send()

    def repeat_at_rest(self) -> None:
        """At rest: repeat the request until the outcome is known, as often as Retry-After allows."""
        if self.unresolvable:
            return
        if self.started and not self.known and not self.under_way and self._world.now_s >= self.again_at_s:
            self._send()

    # ---------------------------------------------------------------------------------------------------------- POST

    def _send(self) -> None:
        if self.known or self.under_way:
            return
        if self._press.gets and self._payment_id is not None:
            self._ask()
            return
        self.under_way = True
        world, order, press = self._world, self._order, self._press
        number, host = world.next_request(), world.some_process()
        about = (press.customer, number, order.id, press.user, press.token)
        world.journal.add(ChargePosted(world.now_s, *about, host, press.client != ""))
        world.requested(host)

        def on_answer(status: int, body: bytes, retry_after_s: int | None) -> None:
            world.journal.add(ChargeAnswered(world.now_s, *about, status, body, retry_after_s))
            self._answer_received(status, body, retry_after_s)

        head = f"POST /api/v1/payments HTTP/1.1\r\nAuthorization: Bearer {bearer(press.user)}\r\n{JSON}"
        patience_s = PATIENCE_AT_REST_S if world.at_rest else press.patience_s
        Request(
            world, host, head, self._body(), patience_s, on_answer, lambda reason: self._request_failed(number, reason)
        )

    def _body(self) -> bytes:
        press = self._press
        body: dict[str, object] = {"orderId": self._order.id, instrument_of(press.token).kind.value: press.token}
        if press.client == "sdk":
            body["useStripeSdk"] = True
        elif press.client == "redirect":
            body["returnUrl"] = RETURN_URL
        return json.dumps(body).encode()

    def _answer_received(self, status: int, body: bytes, retry_after_s: int | None) -> None:
        self.under_way = False
        if status in (200, 201, 202):
            self._read(json.loads(body))
            self._read_later()
        unknown = status in (202, 500) or (status == 503 and UNKNOWN in body)
        self._learned(not unknown, retry_after_s)
        if unknown or ((status == 503 or status in RETRYABLE) and self._left > 0):
            self._again(min(float(retry_after_s or 0), 5.0))

    def _learned(self, known: bool, retry_after_s: int | None) -> None:
        self.known = known
        self.again_at_s = self._world.now_s + min(max(float(retry_after_s or 0), self._wait_s()), LONGEST_RETRY_AFTER_S)

    def _wait_s(self) -> float:
        """At rest each repetition waits longer than the one before: a wait of hours needs no request every second."""
        if self._world.at_rest:
            self._repeated += 1
        return min(1.5**self._repeated, LONGEST_RETRY_AFTER_S) if self._repeated else 0.0

    def _request_failed(self, number: int, reason: str) -> None:
        self.under_way = False
        self._world.journal.add(RequestFailed(self._world.now_s, self._press.customer, number, reason))
        self._again(0.0)

    def _again(self, after_s: float) -> None:
        if self._left > 0 and not self._world.at_rest:
            self._left -= 1
            self.known = False
            wait_s = after_s + REPEAT_AFTER_S * (0.2 + self._world.chances.next("repeat"))
            self._world.later(wait_s, self._send)

    # ------------------------------------------------------------------------------------------------------- the bank

    def _read(self, body: dict[str, Any]) -> None:
        """Read a successful answer: the payment's id, and perhaps the client secret."""
        self._payment_id = str(body["id"])
        press, secret = self._press, body.get("clientSecret")
        if secret is None or not press.bank or self._went:
            return
        self._went = True
        self.bank_at_s = self._world.now_s + press.bank_after_s
        self._world.later(press.bank_after_s, self._at_bank, str(secret))

    def _at_bank(self, secret: str) -> None:
        """The customer authenticates or fails; or the browser confirms by the secret, with another card."""
        self.bank_at_s = None
        world, press = self._world, self._press
        world.changes += 1
        if press.bank == "another card":
            self._confirm_in_browser(secret)
            return
        intent = world.stripe.accounts.with_secret(secret)
        assert intent is not None
        completes = press.bank == "completes"
        status = world.stripe.accounts.authenticate(intent.id, completes)
        world.journal.add(BankPageVisited(world.now_s, press.customer, intent.order_id, intent.id, completes, status))
        if press.bank == "fails, another card":
            again_s = ANOTHER_CARD_S * (0.1 + world.chances.next("another card"))
            self.bank_at_s = world.now_s + again_s
            world.later(again_s, self._confirm_in_browser, secret)

    def _confirm_in_browser(self, secret: str) -> None:
        self.bank_at_s = None
        world = self._world
        world.changes += 1
        intent = world.stripe.accounts.with_secret(secret)
        assert intent is not None
        outcome = world.stripe.accounts.browser_confirm(secret, OTHER_CARD)
        details = (intent.order_id, intent.id, OTHER_CARD.value, repr(outcome))
        world.journal.add(ConfirmedInBrowser(world.now_s, self._press.customer, *details))

    # ------------------------------------------------------------------------------------------------------------ GET

    def _read_later(self) -> None:
        if self._reads_left > 0:
            self._reads_left -= 1
            self._world.later(REPEAT_AFTER_S * self._world.chances.next("look"), self.read_payment)

    def read_payment(self) -> None:
        """GET the payment, if its id is known; the answer changes nothing."""
        if self._payment_id is not None:
            self._get(self._press.patience_s, lambda _status, _body: None, lambda _reason: None)

    def _ask(self) -> None:
        """GET the payment, to learn the outcome."""
        self.under_way = True

        def on_answer(status: int, body: dict[str, Any]) -> None:
            self.under_way = False
            if status == 200:
                self._read(body)
            settled = status == 200 and body["status"] not in UNSETTLED_STATUSES
            self._learned(settled or status in (403, 404), None)
            if not self.known:
                self._again(0.0)

        def lost(_reason: str) -> None:
            self.under_way = False
            self._again(0.0)

        self._get(PATIENCE_AT_REST_S if self._world.at_rest else self._press.patience_s, on_answer, lost)

    def _get(
        self, patience_s: float, reported: Callable[[int, dict[str, Any]], None], lost: Callable[[str], None]
    ) -> None:
        """By the payment's id or, every other time, by the order's."""
        world, press, payment_id = self._world, self._press, self._payment_id
        assert payment_id is not None
        by_order = world.chances.next("get by order") < 0.5
        number, host = world.next_request(), world.some_process()
        named = "" if by_order else payment_id
        world.journal.add(
            PaymentRequested(world.now_s, press.customer, number, self._order.id, named, press.user, host)
        )

        def on_answer(status: int, body: bytes, _retry_after_s: int | None) -> None:
            world.journal.add(
                PaymentRead(world.now_s, press.customer, number, self._order.id, press.user, status, body)
            )
            reported(status, json.loads(body))

        def on_failure(reason: str) -> None:
            world.journal.add(RequestFailed(world.now_s, press.customer, number, reason))
            lost(reason)

        path = f"/api/v1/payments?orderId={self._order.id}" if by_order else f"/api/v1/payments/{payment_id}"
        head = f"GET {path} HTTP/1.1\r\nAuthorization: Bearer {bearer(press.user)}"
        Request(world, host, head, b"", patience_s, on_answer, on_failure)
