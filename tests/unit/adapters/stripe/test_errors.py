"""The table of endings, each rule of it driven through the real stripe library against a server that answers so."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import stripe
from msgspec import Struct

from payment.adapters.stripe.cards import StripeCards
from payment.adapters.stripe.errors import (
    ANSWERS,
    BREAKS,
    RETRY_AFTER_MAX_S,
    CallKind,
    Ending,
    ErrorAnswer,
    judge_answer,
    judge_break,
    read_answer,
)
from payment.adapters.stripe.library import ANSWER_MAX_BYTES
from payment.core.messages import InstrumentKind, RefusalReason
from payment.ports.cards import Blocked, Declined, NotYet, Obstacle, Refunded, Refused, Unclear, UnexpectedState
from tests.support.servers.hostile_stripe import (
    HostileStripe,
    Step,
    close_after_reading,
    cut_body,
    flood,
    hang,
    raw,
    reply,
    reset_after_reading,
    reset_unread,
    stall_after_headers,
)
from tests.unit.adapters.stripe.world import (
    CONFIRM,
    CONFIRMATION_TOKEN,
    INTENT,
    PAYMENT_METHOD,
    REFUND,
    SECRET_KEY,
    TOKEN,
    a_charge,
    a_list,
    a_paid_intent,
    a_refund,
    an_error,
    cards_at,
    confirm_with,
)

REPLAYED = {"Idempotent-Replayed": "true"}


class Example(Struct):
    """An answer that a rule of the table is for."""

    status: int
    body: object
    headers: dict[str, str] = {}


CARD = "payment_method_data[card][token]"
OTHER_MODE = "No such token: 'tok_1'; a similar object exists in test mode, but a live mode key was used."
UNSUPPORTED = "This API surface is unsupported for your account."

EXAMPLES: dict[str, Example] = {
    "429 for a lock": Example(429, an_error(code="lock_timeout")),
    "429 for the rate": Example(429, an_error(code="rate_limit"), {"Retry-After": "2"}),
    "400 for the rate, in older versions": Example(400, an_error(code="rate_limit")),
    "409, the key is in use": Example(409, an_error(type="idempotency_error", code="idempotency_key_in_use")),
    "401, no valid secret key": Example(401, an_error(message=f"Invalid API Key provided: {SECRET_KEY}")),
    "400, other parameters for the key": Example(400, an_error(type="idempotency_error")),
    "402, authentication wanted": Example(
        402, an_error(type="invalid_request_error", code="authentication_required"), REPLAYED
    ),
    "402, declined": Example(
        402, an_error(type="card_error", code="card_declined", decline_code="insufficient_funds"), REPLAYED
    ),
    "authentication failed": Example(400, an_error(code="payment_intent_authentication_failure")),
    "unexpected state": Example(400, an_error(code="payment_intent_unexpected_state")),
    "token in use": Example(400, an_error(code="token_in_use", param=CARD)),
    "token used before": Example(400, an_error(code="token_already_used", param=CARD)),
    "confirmation token used before": Example(
        400, an_error(param="confirmation_token", message="This ConfirmationToken has already been used.")
    ),
    "payment method used before": Example(
        400, an_error(param="payment_method", message="The PaymentMethod was previously used with a PaymentIntent.")
    ),
    "payment method in no state to pay": Example(
        400, an_error(code="payment_method_unexpected_state", param="payment_method")
    ),
    "payment method that does not fit": Example(400, an_error(code="payment_intent_incompatible_payment_method")),
    "a parameter that Stripe does not know": Example(
        400, an_error(code="parameter_unknown", param="payment_method_data[card][x]")
    ),
    "a card token that can't pay": Example(400, an_error(code="resource_missing", param=CARD)),
    "a payment method that can't pay": Example(400, an_error(code="resource_missing", param="payment_method")),
    "a confirmation token that can't pay, expired too": Example(
        400, an_error(param="confirmation_token", message="This ConfirmationToken has expired.")
    ),
    "a return URL that Stripe refuses": Example(400, an_error(code="url_invalid", param="return_url")),
    "no such intent": Example(404, an_error(code="resource_missing", param="intent")),
    "404, no such intent, param not named": Example(404, an_error(code="resource_missing")),
    "something else that is missing": Example(400, an_error(code="resource_missing", param="token")),
    "4xx of a create, replayed": Example(400, an_error(code="amount_too_small", param="amount"), REPLAYED),
    "what this account may not use": Example(400, an_error(message=UNSUPPORTED)),
    "an object of the other mode": Example(404, an_error(code="resource_missing", param="id", message=OTHER_MODE)),
    "403, the secret key may not do this": Example(403, an_error(code="secret_key_required")),
    "amount too small": Example(400, an_error(code="amount_too_small")),
    "amount too large": Example(400, an_error(code="amount_too_large", param="amount")),
    "400, another fault of the amount": Example(400, an_error(code="parameter_invalid_integer", param="amount")),
    "400, any other fault": Example(400, an_error(param="automatic_payment_methods[enabled]")),
    "404, no such endpoint": Example(404, an_error(message="Unrecognized request URL")),
    "already refunded": Example(400, an_error(code="charge_already_refunded")),
    "disputed": Example(400, an_error(code="charge_disputed")),
    "400, any other fault of a refund": Example(400, an_error(code="charge_not_refundable")),
    "402, a refund that failed": Example(402, an_error(code="balance_insufficient")),
    "404, no such charge to refund": Example(404, an_error(code="resource_missing", param="charge")),
    "a read or cancel that is refused": Example(400, an_error(code="parameter_unknown")),
    "5xx, replayed": Example(500, an_error(type="api_error"), REPLAYED),
    "4xx of no kind above, replayed": Example(424, an_error(type="api_error"), REPLAYED),
    "5xx": Example(500, an_error(type="api_error")),
    "anything else": Example(418, an_error(type="teapot_error")),
}

OUTCOMES: dict[Ending, object] = {
    Ending.BAD_INSTRUMENT: RefusalReason.TOKEN,
    Ending.USED_INSTRUMENT: RefusalReason.TOKEN_USED,
    Ending.BAD_AMOUNT: RefusalReason.AMOUNT,
    Ending.BAD_REQUEST: RefusalReason.REQUEST,
    Ending.RATE_LIMITED: Obstacle.RATE_LIMITED,
    Ending.LOCKED: Obstacle.LOCKED,
    Ending.KEY_IN_USE: Obstacle.KEY_IN_USE,
    Ending.KEY_REFUSED: Obstacle.KEY_REFUSED,
    Ending.OPERATOR: (Obstacle.KEY_REFUSED, "alarm"),
    Ending.UNREACHABLE: Obstacle.UNREACHABLE,
    Ending.UNEXPECTED_STATE: "unexpected state",
    Ending.DECLINED: "declined",
    Ending.ALREADY_REFUNDED: "refunded",
    Ending.BLOCKED: "blocked",
    Ending.STORED: (True, False),
    Ending.OTHER_PARAMETERS: (True, True),
    Ending.UNCLEAR: (False, False),
    Ending.ALARM: (False, True),
}


def gist(outcome: object) -> object:
    """An outcome as `OUTCOMES` writes it."""
    match outcome:
        case Refused(reason=reason):
            return reason
        case NotYet(obstacle=obstacle, alarm=alarm):
            return (obstacle, "alarm") if alarm else obstacle
        case Unclear(stored=stored, alarm=alarm):
            return (stored, alarm)
        case UnexpectedState():
            return "unexpected state"
        case Declined():
            return "declined"
        case Refunded():
            return "refunded"
        case Blocked():
            return "blocked"
    raise AssertionError(outcome)


async def make(call: CallKind, cards: StripeCards) -> object:
    match call:
        case CallKind.CREATE:
            return await cards.create(INTENT)
        case CallKind.CONFIRM:
            return await cards.confirm(CONFIRM, "pi_1")
        case CallKind.RETRIEVE:
            return await cards.retrieve("pi_1")
        case CallKind.CANCEL:
            return await cards.cancel("pi_1")
        case CallKind.REFUND:
            return await cards.refund(REFUND)
        case CallKind.READ:
            return await cards.list_charges("o1", "p1")


@pytest.fixture
async def server() -> AsyncIterator[HostileStripe]:
    async with HostileStripe() as running:
        yield running


def answers_of_the_table() -> Iterator[object]:
    for rule in ANSWERS:
        for call in sorted(rule.calls, key=lambda call: call.value):
            yield pytest.param(rule.name, call, id=f"{rule.name}-{call.value}")


def answer_of(example: Example) -> ErrorAnswer | None:
    """The example as the adapter would read it."""
    error = stripe.APIError("", http_status=example.status, json_body=example.body, headers=example.headers)
    return read_answer(error)


def test_every_rule_has_an_example_and_every_example_a_rule() -> None:
    """A rule without an example, and an example without a rule, must not pass."""
    names = [rule.name for rule in ANSWERS]
    assert len(set(names)) == len(names)
    assert set(EXAMPLES) == set(names)
    assert {rule.name for rule in BREAKS} == set(BROKEN)


def test_every_ending_has_an_outcome_and_every_rule_a_source() -> None:
    """The table has no ending without an outcome, and no rule without a reason."""
    assert set(OUTCOMES) == set(Ending)
    assert {rule.ending for rule in ANSWERS} | {rule.ending for rule in BREAKS} == set(Ending)
    assert all(rule.source for rule in ANSWERS)
    assert all(rule.source for rule in BREAKS)


@pytest.mark.parametrize(("name", "call"), list(answers_of_the_table()))
async def test_an_answer_ends_as_its_rule_says(name: str, call: CallKind, server: HostileStripe) -> None:
    """Every rule of ANSWERS, for every call that it is for, gives its outcome through the real library (F12 to F16)."""
    example = EXAMPLES[name]
    rule = next(rule for rule in ANSWERS if rule.name == name)
    answer = answer_of(example)
    assert answer is not None
    assert judge_answer(call, answer) is rule
    server.script(reply(example.status, example.body, example.headers))
    if rule.ending is Ending.ALREADY_REFUNDED:
        server.script(reply(200, a_list(a_refund())), reply(200, a_charge()))
    async with cards_at(server.url) as cards:
        outcome = await make(call, cards)
    assert gist(outcome) == OUTCOMES[rule.ending]
    assert server.unused_steps == 0


@pytest.mark.parametrize("name", sorted(rule.name for rule in ANSWERS if rule.ending is Ending.OPERATOR))
async def test_an_operator_reads_what_to_change(name: str, server: HostileStripe) -> None:
    """It stops all charging, so the text explains more than Stripe's own."""
    example = EXAMPLES[name]
    server.script(reply(example.status, example.body, example.headers))
    async with cards_at(server.url) as cards:
        outcome = await cards.retrieve("pi_1")
    assert isinstance(outcome, NotYet)
    rule = next(rule for rule in ANSWERS if rule.name == name)
    assert outcome.text.startswith(f"{rule.advice}: ")
    assert "STRIPE_KEY" in rule.advice or "ask its support" in rule.advice


@pytest.mark.parametrize("message", [OTHER_MODE, UNSUPPORTED, "You can't use the Charges API."])
@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("code", ["resource_missing", "parameter_invalid_empty", None])
@pytest.mark.parametrize(
    ("kind", "value", "param"),
    [
        (InstrumentKind.TOKEN, TOKEN, CARD),
        (InstrumentKind.PAYMENT_METHOD, PAYMENT_METHOD, "payment_method"),
        (InstrumentKind.CONFIRMATION_TOKEN, CONFIRMATION_TOKEN, "confirmation_token"),
    ],
)
async def test_no_client_can_stop_all_charging(
    kind: InstrumentKind, value: str, param: str, status: int, code: str | None, message: str, server: HostileStripe
) -> None:
    """An error about a card, such as that it is of the other mode, concerns one customer only."""
    server.script(reply(status, an_error(code=code, param=param, message=message)))
    async with cards_at(server.url) as cards:
        assert gist(await cards.confirm(confirm_with(value, kind), "pi_1")) is RefusalReason.TOKEN


@pytest.mark.parametrize("param", [None, "payment_method_types", "intent"])
@pytest.mark.parametrize("message", [UNSUPPORTED, "New integrations can\u2019t use the Charges API."])
async def test_a_request_the_account_may_not_make_is_no_order_s_fault(
    message: str, param: str | None, server: HostileStripe
) -> None:
    """A new account that may not use this API must not have each order refused for it."""
    for call in CallKind:
        for status in (400, 403):
            server.script(reply(status, an_error(param=param, message=message)))
            async with cards_at(server.url) as cards:
                assert gist(await make(call, cards)) == OUTCOMES[Ending.OPERATOR]


NO_ERROR_OBJECTS = [
    b"",
    b"<html>go away</html>",
    b"{",
    b"\xff\xfe\xfd",
    b"null",
    b"[]",
    b"17",
    b'"no"',
    b"{}",
    b"[" * 50_000,
    b'{"error": "nope"}',
    b'{"error": "invalid_request"}',
    b'{"error": []}',
    b'{"error": null}',
    b'{"error": {}}',
    b'{"error": {"type": 4, "code": {}}}',
]


@pytest.mark.parametrize("call", list(CallKind))
@pytest.mark.parametrize("status", [200, 201, 204, 301, 307, 400, 401, 402, 403, 404, 409, 429, 500, 503, 999])
async def test_a_status_without_stripes_error_object_proves_nothing(
    call: CallKind, status: int, server: HostileStripe
) -> None:
    """A proxy's 401, 402 or 429 may stand for a request that was carried out: only Stripe's own word counts (F11)."""
    async with cards_at(server.url, call_timeout_s=2.0) as cards:
        for number, body in enumerate(NO_ERROR_OBJECTS, start=1):
            server.script(reply(status, body, {"Location": "/v1/elsewhere", "Connection": "close"}))
            assert gist(await make(call, cards)) == (False, False)
            assert len(server.requests) == number


PAID = a_paid_intent()
BROKEN: dict[str, list[Step]] = {
    "no connection": [],
    "no connection in time": [],
    "no whole answer in time": [hang(), stall_after_headers()],
    "the connection broke": [reset_unread(), reset_after_reading(), close_after_reading()],
    "the answer broke off": [
        cut_body(200, PAID),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{"),
        reply(200, b"not gzip", {"Content-Encoding": "gzip"}),
    ],
    "the answer is not HTTP": [raw(b"SSH-2.0-OpenSSH\r\n\r\n"), raw(b"HTTP/1.1 abc\r\n\r\n")],
    "the answer has no end": [flood(ANSWER_MAX_BYTES)],
    "an unknown exception": [],
}


def breaks_of_the_table() -> Iterator[object]:
    for name, steps in BROKEN.items():
        for number, step in enumerate(steps):
            for call in CallKind:
                yield pytest.param(name, step, call, id=f"{name}-{number}-{call.value}")


@pytest.mark.parametrize(("name", "step", "call"), list(breaks_of_the_table()))
async def test_a_broken_call_ends_as_its_rule_says(
    name: str, step: Step, call: CallKind, server: HostileStripe
) -> None:
    """Every rule of BREAKS gives its outcome, and its name, through the real library and real sockets (F09 to F11)."""
    server.script(step, step)  # aiohttp repeats a GET once by itself; a write it never does.
    slow_machine_s = 5.0 if name == "the answer has no end" else 0.3
    async with cards_at(server.url, call_timeout_s=slow_machine_s) as cards:
        outcome = await make(call, cards)
    assert isinstance(outcome, Unclear)
    assert (outcome.stored, outcome.alarm) == (False, False)
    assert outcome.text.startswith(name)
    assert call in (CallKind.READ, CallKind.RETRIEVE) or server.unused_steps == 1


@pytest.mark.parametrize("call", list(CallKind))
async def test_garbled_chunks_are_unclear(call: CallKind, server: HostileStripe) -> None:
    """A chunk size that is no number breaks the answer off, whatever aiohttp calls it (F11)."""
    server.script(raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n"))
    async with cards_at(server.url) as cards:
        assert gist(await make(call, cards)) == (False, False)


@pytest.mark.parametrize("call", list(CallKind))
async def test_a_refused_connection_means_that_nothing_was_sent(call: CallKind) -> None:
    """No connection: the very same call may be made again."""
    with socket.socket() as bound_and_not_listening:
        bound_and_not_listening.bind(("127.0.0.1", 0))
        port = bound_and_not_listening.getsockname()[1]
        async with cards_at(f"http://127.0.0.1:{port}") as cards:
            outcome = await make(call, cards)
    assert gist(outcome) is Obstacle.UNREACHABLE


async def test_an_unknown_host_means_that_nothing_was_sent() -> None:
    """A name that does not resolve never had a connection."""
    async with cards_at("http://stripe.invalid:1", call_timeout_s=5) as cards:
        assert gist(await cards.confirm(CONFIRM, "pi_1")) is Obstacle.UNREACHABLE


async def test_a_failed_tls_handshake_means_that_nothing_was_sent(server: HostileStripe) -> None:
    """A server that does not speak TLS gets no request."""
    async with cards_at(server.url.replace("http:", "https:")) as cards:
        server.script(reset_unread())
        outcome = await cards.confirm(CONFIRM, "pi_1")
    assert gist(outcome) is Obstacle.UNREACHABLE
    assert server.requests == []


@asynccontextmanager
async def a_full_queue() -> AsyncIterator[str]:
    """An address whose queue of connections is full: the handshake gets no answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(8)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listening.getsockname())
        host, port = listening.getsockname()
        yield f"http://{host}:{port}"
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("call", list(CallKind))
async def test_a_connection_that_takes_too_long_means_that_nothing_was_sent(call: CallKind) -> None:
    """A connect timeout comes before the first byte of the request."""
    async with a_full_queue() as url, cards_at(url, connect_timeout_s=0.1) as cards:
        outcome = await make(call, cards)
    assert gist(outcome) is Obstacle.UNREACHABLE
    assert isinstance(outcome, NotYet)
    assert outcome.text.startswith("no connection in time")


def test_an_unknown_exception_is_unclear() -> None:
    """An error that the table does not name proves nothing."""
    assert judge_break(ZeroDivisionError()).ending is Ending.UNCLEAR
    assert judge_break(ZeroDivisionError()).name == "an unknown exception"


async def test_an_exception_inside_the_library_is_unclear() -> None:
    """A request that can't even be encoded comes back as an outcome, not as an exception."""
    async with cards_at("http://127.0.0.1:1") as cards:
        outcome = await cards.list_charges("\ud800", "p1")
    assert isinstance(outcome, Unclear)
    assert outcome.text == "an unknown exception (UnicodeEncodeError)"


@pytest.mark.parametrize(
    ("headers", "replayed"),
    [
        ({}, False),
        ({"Idempotent-Replayed": "true"}, True),
        ({"Idempotent-Replayed": "false"}, False),
        ({"Original-Request": "req_1", "Request-Id": "req_1"}, False),
        ({"Original-Request": "req_1", "Request-Id": "req_2"}, True),
        ({"Original-Request": "req_1"}, False),
    ],
)
async def test_a_replay_is_distinguished_from_a_first_answer(
    headers: dict[str, str], replayed: bool, server: HostileStripe
) -> None:
    """Stripe names the original request on first answers too: only another one's name is a replay (F12)."""
    server.script(reply(500, an_error(type="api_error"), {"Request-Id": "req_0"} | headers))
    expected = replayed or headers == {"Original-Request": "req_1"}
    async with cards_at(server.url) as cards:
        assert gist(await cards.confirm(CONFIRM, "pi_1")) == (expected, False)
    answer = answer_of(Example(500, an_error(), headers))
    assert answer is not None
    assert answer.replayed is replayed


@pytest.mark.parametrize(
    ("header", "wish_s"),
    [
        *[("2", 2.0), ("0", 0.0), ("0.5", 0.5), ("86400", RETRY_AFTER_MAX_S)],
        *[("-1", None), ("nan", None), ("inf", None), ("", None), ("soon", None)],
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ],
)
async def test_stripes_wish_to_wait_is_heeded_within_reason(
    header: str, wish_s: float | None, server: HostileStripe
) -> None:
    """Retry-After in seconds is passed on, bounded; anything else is no wish (F14)."""
    server.script(reply(429, an_error(code="rate_limit"), {"Retry-After": header}))
    async with cards_at(server.url) as cards:
        outcome = await cards.confirm(CONFIRM, "pi_1")
    assert isinstance(outcome, NotYet)
    assert outcome.retry_after_s == wish_s


@pytest.mark.parametrize(
    ("reason", "account"),
    [("global-rate", True), ("global-concurrency", True), ("endpoint-rate", False), ("", False)],
)
async def test_a_429_says_whose_limit_was_met(reason: str, account: bool, server: HostileStripe) -> None:
    """The account's limit lowers the account's rate, and not that of one endpoint (F14)."""
    server.script(reply(429, an_error(code="rate_limit"), {"Stripe-Rate-Limited-Reason": reason} if reason else {}))
    async with cards_at(server.url) as cards:
        outcome = await cards.confirm(CONFIRM, "pi_1")
    assert isinstance(outcome, NotYet)
    assert (outcome.obstacle, outcome.account) == (Obstacle.RATE_LIMITED, account)


def test_an_error_without_a_status_is_no_answer() -> None:
    """The library raises such an error where nothing came back."""
    assert read_answer(stripe.StripeError("away")) is None


def test_the_repr_of_an_answer_has_no_text_of_stripe() -> None:
    """Its message may quote a token."""
    assert "tok_" not in repr(ErrorAnswer(status=400, type="t", message="No such token: 'tok_abc'"))
