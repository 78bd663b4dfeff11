"""The parts of Stripe's messages that are passed on have no secret."""

import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from payment.adapters.stripe.texts import TEXT_MAX_CHARS, broken_text, redacted
from payment.ops.redaction import MASK
from tests.unit.adapters.stripe.world import CLIENT_SECRET, CONFIRMATION_TOKEN, PAYMENT_METHOD, SECRET_KEY, TOKEN

SECRETS = [
    SECRET_KEY,
    "rk_live_4eC39HqLyjWDarjtT1zdp7dc",
    "pk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "whsec_4eC39HqLyjWDarjtT1zdp7dc",
    "sk_live_******abcd",
    "********ET42",
    TOKEN,
    "btok_1N3T00LkdIwHu7ixt44h1F8k",
    "src_1N3T00LkdIwHu7ixt44h1F8k",
    PAYMENT_METHOD,
    "pm_card_visa",
    CONFIRMATION_TOKEN,
    CLIENT_SECRET,
    "seti_1Mm8s8LkdIwHu7ix0OXBfTRG",
    "seti_1Mm8s8LkdIwHu7ix0OXBfTRG_secret_NXDICkPqPeiBTAFqWmkb",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("before", ["", "'", "key ", "https://x.test/?client_secret=", "("])
def test_a_secret_is_known_by_its_shape(secret: str, before: str) -> None:
    """Keys, card tokens, payment methods, confirmation tokens and client secrets leave nothing of themselves."""
    assert redacted(f"No such thing: {before}{secret}'.") == f"No such thing: {before}{MASK}'."


@pytest.mark.parametrize("innocent", ["pi_1N3T00LkdIwHu7ix", "ch_1", "re_1", "token_already_used", "payment_method"])
def test_ids_and_codes_stay(innocent: str) -> None:
    """An operator finds the payment by its id."""
    assert redacted(innocent) == innocent


def test_given_secrets_of_any_shape_are_masked() -> None:
    """A client may send anything as a token; what it did not send is no secret."""
    assert redacted("No such token: 'my-own'", "my-own", None, "") == f"No such token: '{MASK}'"


def test_a_secret_is_masked_before_the_text_is_cut() -> None:
    """Half a secret is one too."""
    text = redacted("x" * (TEXT_MAX_CHARS - 12) + " " + CLIENT_SECRET)
    assert text.endswith(f" {MASK}")
    assert len(redacted("x" * 5000)) == TEXT_MAX_CHARS


def test_a_lost_connection_is_described_in_a_sentence() -> None:
    """An operator reads the system's reason, and no class of a library; the address is not repeated."""
    key = ConnectionKey("api.stripe.test", 443, True, True, None, None, None)
    refused = aiohttp.ClientConnectorError(key, ConnectionRefusedError(111, "Connection refused"))
    assert broken_text("no connection", refused) == "no connection: Connection refused"
    tuple_of_python = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 443)")
    assert broken_text("no connection", aiohttp.ClientConnectorError(key, tuple_of_python)).endswith("tion refused")
    unknown = aiohttp.ClientConnectorError(key, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert broken_text("no connection", unknown) == "no connection: Name or service not known"
    nameless = aiohttp.ClientConnectorError(key, OSError())
    assert broken_text("no connection", nameless) == "no connection"
    assert broken_text("no whole answer in time", TimeoutError()) == "no whole answer in time"
    assert broken_text("the answer broke off", aiohttp.ClientPayloadError("secret")) == "the answer broke off"


def test_an_error_that_nothing_is_known_of_is_named() -> None:
    """By its class alone: its message may hold what was sent."""
    assert broken_text("an unknown exception", ZeroDivisionError("tok_1")) == "an unknown exception (ZeroDivisionError)"
