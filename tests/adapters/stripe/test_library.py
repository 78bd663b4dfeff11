"""The stripe library as we bent it: bounded connections, no redirects, and not a word about tokens and keys."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import stripe

from payment.ports.cards import (
    Declined,
    NotYet,
    Obstacle,
    Refused,
    Unclear,
)
from payment.ports.stripe_cards import TEXT_MAX_CHARS, StripeCards
from payment.ports.stripe_library import LeanClient, WholeAnswers, quieten_library
from tests.ports.stripe_world import (
    CHARGE,
    SECRET_KEY,
    TOKEN,
    a_charge,
    an_error,
    cards_at,
)
from tests.servers.hostile_stripe import HostileStripe, hang, reply

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def server() -> AsyncIterator[HostileStripe]:
    async with HostileStripe() as running:
        yield running


@pytest.fixture
async def cards(server: HostileStripe) -> AsyncIterator[StripeCards]:
    async with cards_at(server.url) as made:
        yield made


PARAMS: dict[str, object] = {"amount": 1999, "source": "tok_ä [&]=+/ \n", "metadata": {"orderId": "o/1", "n": "ü"}}


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
        await lean.call("/v1/charges", PARAMS, "2024-06-20", "key-1")
        await theirs.raw_request_async("post", "/v1/charges", **PARAMS, **options, idempotency_key="key-1")
        await lean.call("/v1/charges", PARAMS, "2024-06-20", None)
        await theirs.raw_request_async("get", "/v1/charges", **PARAMS, **options)
    posted, posted_by_theirs, got, got_by_theirs = server.requests
    assert posted == posted_by_theirs
    assert got == got_by_theirs


async def test_what_is_no_json_is_the_librarys_error(server: HostileStripe) -> None:
    """And what only the library takes for JSON is what it says."""
    async with aiohttp.ClientSession() as session:
        lean = LeanClient(SECRET_KEY, server.url, session)
        server.script(reply(200, b"<html>"), reply(200, b"\xff"), reply(200, b'{"amount": NaN, "id": "ch_1"}'))
        for _ in range(2):
            with pytest.raises(stripe.APIError):
                await lean.call("/v1/charges", {}, "2024-06-20", "key-1")
        body = await lean.call("/v1/charges", {}, "2024-06-20", "key-1")
    assert isinstance(body, dict)
    assert body["id"] == "ch_1"


async def test_a_redirect_is_not_followed(server: HostileStripe, cards: StripeCards) -> None:
    """A redirect would carry the card token to wherever it points."""
    server.script(reply(307, b"", {"Location": f"{server.url}/elsewhere"}))
    assert isinstance(await cards.charge(CHARGE), Unclear)
    assert len(server.requests) == 1


async def test_a_call_that_finds_no_free_connection_never_leaves(server: HostileStripe) -> None:
    """The pool's bound holds, and what waited in vain may be made again."""
    async with cards_at(server.url, max_connections=1, connect_timeout_s=0.1, call_timeout_s=5) as cards:
        server.script(hang())
        first = asyncio.create_task(cards.charge(CHARGE))
        await server.requests_arrived(1)
        outcome = await cards.charge(CHARGE)
        first.cancel()
    assert isinstance(outcome, NotYet)
    assert outcome.obstacle is Obstacle.UNREACHABLE
    assert len(server.requests) == 1


async def test_connections_are_kept_and_cookies_are_not(server: HostileStripe, cards: StripeCards) -> None:
    """What one answer sets must not travel with the next customer's charge."""
    server.script(reply(200, a_charge(), {"Set-Cookie": "session=1"}), reply(200, a_charge()))
    await cards.charge(CHARGE)
    await cards.charge(CHARGE)
    assert "cookie" not in server.requests[1].headers


async def test_no_outcome_holds_a_token_or_a_key(server: HostileStripe, cards: StripeCards) -> None:
    """Stripe quotes both in its messages; texts go to logs and to customers."""
    quotes = f"No such token: '{TOKEN}'; key {SECRET_KEY}, sk_live_******abcd, rk_live_abc, tok_other, {'x' * 5000}"
    server.script(reply(400, an_error(param="source", message=quotes)))
    server.script(reply(402, an_error(type="card_error", message=quotes)), reply(401, an_error(message=quotes)))
    for kind in (Refused, Declined, NotYet):
        outcome = await cards.charge(CHARGE)
        assert isinstance(outcome, kind)
        assert isinstance(outcome, Refused | Declined | NotYet)
        assert outcome.text.startswith("No such token: '[redacted]'; key [redacted], [redacted], [redacted], [redac")
        assert len(outcome.text) <= TEXT_MAX_CHARS


async def test_a_token_of_any_form_is_redacted(server: HostileStripe, cards: StripeCards) -> None:
    """A customer may send anything as a token, and Stripe quotes it."""
    server.script(reply(400, an_error(param="source", message="No such token: 'my-secret'")))
    charge = type(CHARGE)(**{name: getattr(CHARGE, name) for name in CHARGE.__struct_fields__} | {"token": "my-secret"})
    outcome = await cards.charge(charge)
    assert isinstance(outcome, Refused)
    assert outcome.text == "No such token: '[redacted]'"


async def test_the_key_is_in_no_repr(cards: StripeCards) -> None:
    """Whoever logs the adapter logs no secret."""
    assert SECRET_KEY not in repr(cards)


async def test_no_logger_sees_a_request(
    server: HostileStripe, cards: StripeCards, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """At any log level, neither the library nor aiohttp writes down tokens, keys or bodies."""
    server.script(reply(200, a_charge()), reply(400, an_error(message=TOKEN, param="source")))
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="stripe"):
        await cards.charge(CHARGE)
        await cards.charge(CHARGE)
    written = caplog.text + "".join(capfd.readouterr())
    assert "stripe" not in {record.name for record in caplog.records}
    assert TOKEN not in written
    assert SECRET_KEY not in written


async def test_nothing_is_told_about_the_machine(server: HostileStripe, cards: StripeCards) -> None:
    """Telemetry is off: no platform, no id of this host, no timings."""
    server.script(reply(200, a_charge()), reply(200, a_charge()))
    await cards.charge(CHARGE)
    await cards.charge(CHARGE)
    for request in server.requests:
        assert "x-stripe-client-telemetry" not in request.headers
        assert "telemetry_id" not in request.headers["x-stripe-client-user-agent"]
        assert '"platform"' not in request.headers["x-stripe-client-user-agent"]


CHARGE_ONCE = """
import asyncio, sys
from tests.ports.stripe_world import CHARGE, cards_at

async def main():
    async with cards_at(sys.argv[1], call_timeout_s=5) as cards:
        print(type(await cards.charge(CHARGE)).__name__)

asyncio.run(main())
"""


async def test_stripes_own_log_switch_prints_nothing(server: HostileStripe, tmp_path: Path) -> None:
    """STRIPE_LOG=debug makes the library print card tokens to stderr; and no file of its own is left behind."""
    server.script(reply(200, a_charge(), {"Stripe-Notice": "a notice"}))
    environment = os.environ | {"STRIPE_LOG": "debug", "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-B", "-W", "error::UserWarning", "-c", CHARGE_ONCE, server.url],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "Charged\n", "")
    assert os.listdir(tmp_path) == []


async def test_closing_gives_back_the_connections(server: HostileStripe, recwarn: pytest.WarningsRecorder) -> None:
    """After close nothing is open, and a late call is an outcome, not an exception."""
    async with cards_at(server.url) as cards:
        server.script(reply(200, a_charge()))
        await cards.charge(CHARGE)
    assert isinstance(await cards.charge(CHARGE), Unclear)
    assert not [warning for warning in recwarn if "Unclosed" in str(warning.message)]
