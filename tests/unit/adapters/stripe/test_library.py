"""The stripe library as it is used here: bounded connections, no redirects, and not a word about tokens and keys."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from payment.adapters.stripe.cards import StripeCards
from payment.adapters.stripe.library import LeanClient, Verb, WholeAnswers, form_of, quieten_library
from payment.adapters.stripe.texts import TEXT_MAX_CHARS
from payment.core.messages import InstrumentKind
from payment.ports.cards import (
    Declined,
    NotYet,
    Obstacle,
    Refused,
    Unclear,
)
from tests.support.servers.hostile_stripe import HostileStripe, hang, reply
from tests.unit.adapters.stripe.world import (
    CLIENT_SECRET,
    CONFIRM,
    CONFIRMATION_TOKEN,
    PAYMENT_METHOD,
    SECRET_KEY,
    TOKEN,
    a_paid_intent,
    a_waiting_intent,
    an_error,
    cards_at,
    confirm_with,
)

ROOT = Path(__file__).parents[4]


@pytest.fixture
async def server() -> AsyncIterator[HostileStripe]:
    async with HostileStripe() as running:
        yield running


@pytest.fixture
async def cards(server: HostileStripe) -> AsyncIterator[StripeCards]:
    async with cards_at(server.url) as made:
        yield made


PARAMS: dict[str, object] = {
    "amount": 1999,
    "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
    "expand": ["latest_charge", "customer"],
    "nothing": None,
    "metadata": {"orderId": "o/1", "n": "ü"},
    "payment_method_data": {"type": "card", "card": {"token": "tok_ä [&]=+/ \n"}},
}


async def test_a_call_sends_what_the_librarys_own_would_have_sent(server: HostileStripe) -> None:
    """Only what it costs is ours: every header and every byte of a form is as `raw_request_async` makes it."""
    quieten_library()
    server.script(*(reply(200, {"data": []}) for _ in range(4)))
    async with aiohttp.ClientSession() as session:
        lean = LeanClient(SECRET_KEY, server.url, session)
        theirs = stripe.StripeClient(
            SECRET_KEY, base_addresses={"api": server.url}, http_client=WholeAnswers(session), max_network_retries=0
        )
        options = {"stripe_version": "2024-06-20"}
        await lean.call("post", "/v1/charges", PARAMS, "2024-06-20", "key-1")
        await theirs.raw_request_async("post", "/v1/charges", **PARAMS, **options, idempotency_key="key-1")
        await lean.call("get", "/v1/charges", PARAMS, "2024-06-20")
        await theirs.raw_request_async("get", "/v1/charges", **PARAMS, **options)
    posted, posted_by_theirs, got, got_by_theirs = server.requests
    assert posted == posted_by_theirs
    assert got == got_by_theirs
    assert got.query["expand[1]"] == "customer"


NAMES = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=6)
SCALARS = st.text(max_size=9) | st.integers() | st.sampled_from(["a b", "é", "[x]", "1+1=2&c", "%5B", "tok_1"])
VALUES = st.recursive(
    SCALARS | st.booleans() | st.none(),
    lambda inner: (
        st.dictionaries(NAMES, inner, max_size=3)
        | st.lists(SCALARS | st.dictionaries(NAMES, inner, max_size=2), max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_form_is_written_as_the_library_writes_it(params: dict[str, object]) -> None:
    """Lists, nested mappings, truth values and nothing at all, byte for byte."""
    theirs = urlencode(list(_api_encode(params))).replace("%5B", "[").replace("%5D", "]")
    assert form_of(params) == theirs


@pytest.mark.parametrize("verb", ["get", "post"])
async def test_a_call_without_a_key_sends_none(verb: Verb, server: HostileStripe) -> None:
    """The library would invent one for each POST: kept with the other headers, it would be the same for ever."""
    server.script(reply(200, {}), reply(200, {}), reply(200, {}))
    async with aiohttp.ClientSession() as session:
        lean = LeanClient(SECRET_KEY, server.url, session)
        await lean.call(verb, "/v1/things", {}, "2024-06-20", "key-1")
        await lean.call(verb, "/v1/things", {}, "2024-06-20")
    assert [request.headers.get("idempotency-key") for request in server.requests] == ["key-1", None]


@pytest.mark.parametrize(
    ("headers", "replayed"),
    [
        ({}, False),
        ({"Idempotent-Replayed": "true"}, True),
        ({"Original-Request": "req_1", "Request-Id": "req_1"}, False),
        ({"Original-Request": "req_1", "Request-Id": "req_2"}, True),
    ],
)
async def test_a_success_shows_whether_it_is_a_replay(
    headers: dict[str, str], replayed: bool, server: HostileStripe
) -> None:
    """A stored answer for a key shows only the past."""
    server.script(reply(200, {"id": "pi_1"}, {"Request-Id": "req_0"} | headers))
    async with aiohttp.ClientSession() as session:
        answer = await LeanClient(SECRET_KEY, server.url, session).call("post", "/v1/things", {}, "2024-06-20", "key-1")
    assert answer == ({"id": "pi_1"}, replayed)


async def test_a_body_that_is_no_json_is_the_librarys_error(server: HostileStripe) -> None:
    """And what only the library takes for JSON is what it returns."""
    async with aiohttp.ClientSession() as session:
        lean = LeanClient(SECRET_KEY, server.url, session)
        server.script(reply(200, b"<html>"), reply(200, b"\xff"), reply(200, b'{"amount": NaN, "id": "ch_1"}'))
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                await lean.call("post", "/v1/charges", {}, "2024-06-20", "key-1")
        body, _ = await lean.call("post", "/v1/charges", {}, "2024-06-20", "key-1")
    assert isinstance(body, dict)
    assert body["id"] == "ch_1"


async def test_a_redirect_is_not_followed(server: HostileStripe, cards: StripeCards) -> None:
    """A redirect would carry the card token to wherever it points."""
    server.script(reply(307, b"", {"Location": f"{server.url}/elsewhere"}))
    assert isinstance(await cards.confirm(CONFIRM, "pi_1"), Unclear)
    assert len(server.requests) == 1


async def test_a_call_that_finds_no_free_connection_never_leaves(server: HostileStripe) -> None:
    """The pool's bound holds, and what waited in vain may be made again."""
    async with cards_at(server.url, max_connections=1, connect_timeout_s=0.1, call_timeout_s=5) as cards:
        server.script(hang())
        first = asyncio.create_task(cards.confirm(CONFIRM, "pi_1"))
        await server.requests_arrived(1)
        outcome = await cards.confirm(CONFIRM, "pi_1")
        first.cancel()
    assert isinstance(outcome, NotYet)
    assert outcome.obstacle is Obstacle.UNREACHABLE
    assert len(server.requests) == 1


async def test_connections_are_kept_and_cookies_are_not(server: HostileStripe, cards: StripeCards) -> None:
    """A cookie that one answer sets must not be sent with the next customer's charge."""
    server.script(reply(200, a_paid_intent(), {"Set-Cookie": "session=1"}), reply(200, a_paid_intent()))
    await cards.confirm(CONFIRM, "pi_1")
    await cards.confirm(CONFIRM, "pi_1")
    assert "cookie" not in server.requests[1].headers


async def test_no_outcome_holds_a_token_or_a_key(server: HostileStripe, cards: StripeCards) -> None:
    """Stripe quotes both in its messages; texts go to logs and to customers."""
    quotes = f"No such token: '{TOKEN}'; key {SECRET_KEY}, sk_live_******abcd, rk_live_abc, tok_other, {'x' * 5000}"
    server.script(reply(400, an_error(param="payment_method", message=quotes)))
    server.script(reply(402, an_error(type="card_error", message=quotes)), reply(401, an_error(message=quotes)))
    for kind in (Refused, Declined, NotYet):
        outcome = await cards.confirm(CONFIRM, "pi_1")
        assert isinstance(outcome, kind)
        assert isinstance(outcome, Refused | Declined | NotYet)
        text = outcome.failure.text if isinstance(outcome, Declined) else outcome.text
        assert text.startswith("No such token: '[redacted]'; key [redacted], [redacted], [redacted], [redac")
        assert len(text) <= TEXT_MAX_CHARS


@pytest.mark.parametrize("secret", [TOKEN, PAYMENT_METHOD, CONFIRMATION_TOKEN, CLIENT_SECRET, "my-secret"])
async def test_an_instrument_of_any_form_is_redacted(secret: str, server: HostileStripe, cards: StripeCards) -> None:
    """A client may send anything, and Stripe quotes it; its return URL may hold a session of its own."""
    refusal = an_error(param="confirmation_token", message=f"No such thing: '{secret}' for https://x.test/?s=1")
    server.script(reply(400, refusal))
    request = confirm_with(secret, InstrumentKind.CONFIRMATION_TOKEN, return_url="https://x.test/?s=1")
    outcome = await cards.confirm(request, "pi_1")
    assert isinstance(outcome, Refused)
    assert outcome.text == "No such thing: '[redacted]' for [redacted]"


async def test_no_repr_holds_a_secret(server: HostileStripe, cards: StripeCards) -> None:
    """The adapter, its requests and its outcomes can be logged as they are."""
    server.script(reply(200, a_waiting_intent()), reply(200, a_waiting_intent()))
    request = confirm_with(TOKEN, use_stripe_sdk=True)
    shown = repr([cards, request, await cards.confirm(request, "pi_1"), await cards.retrieve("pi_1")])
    assert "Handover()" in shown
    assert not any(secret in shown for secret in (SECRET_KEY, TOKEN, CLIENT_SECRET))


async def test_no_logger_sees_a_request(
    server: HostileStripe, cards: StripeCards, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any log level, neither the library nor aiohttp writes down tokens, keys, client secrets or bodies."""
    server.script(reply(200, a_waiting_intent()), reply(400, an_error(message=TOKEN, param="payment_method")))
    server.script(reply(200, a_waiting_intent()))
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="stripe"):
        await cards.confirm(CONFIRM, "pi_1")
        await cards.confirm(CONFIRM, "pi_1")
        await cards.retrieve("pi_1")
    written = caplog.text + "".join(capfd.readouterr())
    assert "stripe" not in {record.name for record in caplog.records}
    assert not any(secret in written for secret in (TOKEN, SECRET_KEY, CLIENT_SECRET))


async def test_nothing_about_the_machine_is_sent(server: HostileStripe, cards: StripeCards) -> None:
    """Telemetry is off: no platform, no id of this host, no timings."""
    server.script(reply(200, a_paid_intent()), reply(200, a_paid_intent()))
    await cards.confirm(CONFIRM, "pi_1")
    await cards.confirm(CONFIRM, "pi_1")
    for request in server.requests:
        assert "x-stripe-client-telemetry" not in request.headers
        assert "telemetry_id" not in request.headers["x-stripe-client-user-agent"]
        assert '"platform"' not in request.headers["x-stripe-client-user-agent"]


CONFIRM_ONCE = """
import asyncio, sys
from tests.unit.adapters.stripe.world import CONFIRM, cards_at

async def main():
    async with cards_at(sys.argv[1], call_timeout_s=5) as cards:
        print(type(await cards.confirm(CONFIRM, "pi_1")).__name__)

asyncio.run(main())
"""


async def test_stripes_own_log_switch_prints_nothing(server: HostileStripe, tmp_path: Path) -> None:
    """STRIPE_LOG=debug makes the library print card tokens to stderr; and no file of its own is left behind."""
    server.script(reply(200, a_paid_intent(), {"Stripe-Notice": "a notice"}))
    environment = os.environ | {"STRIPE_LOG": "debug", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-B", "-W", "error::UserWarning", "-c", CONFIRM_ONCE, server.url],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "IntentAnswer\n", "")
    assert os.listdir(tmp_path) == []


async def test_closing_gives_back_the_connections(server: HostileStripe, recwarn: pytest.WarningsRecorder) -> None:
    """After close nothing is open, and a late call is an outcome, not an exception."""
    async with cards_at(server.url) as cards:
        server.script(reply(200, a_paid_intent()))
        await cards.confirm(CONFIRM, "pi_1")
    assert isinstance(await cards.confirm(CONFIRM, "pi_1"), Unclear)
    assert not [warning for warning in recwarn if "Unclosed" in str(warning.message)]
