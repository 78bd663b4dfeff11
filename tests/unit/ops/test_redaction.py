"""Secrets are logged on every path, and searched for in the output."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.ops import logs
from payment.ops.log_schema import Event
from payment.ops.redaction import FIELD_CHARS, MARGIN_CHARS, MASK, Redactor
from tests.unit.ops.capture import Log

JWT_KEY = 'a very "odd" key/with=ümlauts'
PASSWORD = "p@ss/w0rd"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"

SECRETS = {
    "secret key": ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqL"),
    "restricted key": ("rk_test_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqL"),
    "webhook key": ("whsec_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqL"),
    "card token": ("tok_1N3T00LkdIwHu7ixt44h1F8k", "1N3T00Lk"),
    "payment method": ("pm_1PqXyzLkdIwHu7ixt44h1F8k", "1PqXyzLk"),
    "confirmation token": ("ctoken_1NnQUf2eZvKYlo2CIObdtbnb", "1NnQUf2e"),
    "client secret": ("pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH", "YrKJUKri"),
    "client secret of a SetupIntent": ("seti_1Mm8s8LkdIwHu7ix0OXBfTRG_secret_NXDICkPqPeiBTAFqWmkb", "NXDICkPq"),
    "JWT": (JWT, "c2lnbmF0dXJl"),
    "session cookie": ("session=eyJqd3QiOiJleUpoYkdjaU9pSklVekkxTmlKOSJ9", "ZXlKaGJHY|OiJleUpo"),
    "bearer": ("Authorization: Bearer dGhlIHRva2VuIG9mIGEgdXNlcg", "dGhlIHRva2Vu"),
    "bearer in capitals": ("BEARER dGhlIHRva2VuIG9mIGEgdXNlcg", "dGhlIHRva2Vu"),
    "publishable key": ("pk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqL"),
    "a key as Stripe shows it": ("sk_live_******abcd, ********ET42", "abcd|ET42"),
    "address of MongoDB": ("mongodb://pay:hunter22@db-1,db-2/payment", "hunter22"),
    "addresses of NATS": ("nats://a:hunter22@n1:4222,nats://b:hunter23@n2:4222", "hunter2"),
    "token in an address": ("nats://hunter22token@n1:4222", "hunter22"),
    "password in words": ("connect failed: password='hunter22'", "hunter22"),
    "our own key": (f"bad key {JWT_KEY} given", "ümlauts"),
    "our own password": (f"login as pay with {PASSWORD}", "w0rd"),
    "our own password, encoded": ("login with p%40ss%2Fw0rd", "w0rd"),
}


@dataclass
class Holder:
    """An object whose repr shows what it holds."""

    token: str


class ShownError(Exception):
    """An exception with its secret in arguments and notes."""


def raised(secret: str) -> BaseException:
    try:
        try:
            raise ShownError(secret)
        except ShownError as inner:
            outer = RuntimeError(f"while using {secret}")
            outer.add_note(f"it was {secret}")
            raise outer from inner
    except RuntimeError as error:
        return error


def as_library(secret: str) -> None:
    logging.getLogger("stripe").warning("sent %s as %r in %s", secret, {"source": secret}, secret.encode())


def as_context(secret: str) -> None:
    with logs.log_context(request_id=secret):
        logs.get_logger().info(Event.HTTP_REQUEST)


def as_loop(secret: str) -> None:
    loop = asyncio.new_event_loop()
    logs.loop_exception_handler(loop, {"message": secret, "exception": raised(secret), "task": Holder(secret)})
    loop.close()


PATHS: dict[str, Callable[[str], object]] = {
    "a field": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason=secret),
    "a bound field": lambda secret: logs.get_logger().bind(reason=secret).info(Event.EVENT_PUBLISHED),
    "the context": as_context,
    "the event itself": lambda secret: logs.get_logger().info(secret),
    "an unlisted field": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, token=secret),
    "a list": lambda secret: logs.get_logger().info(Event.SETTINGS_INVALID, problems=[secret, (secret,)]),
    "a mapping": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason={"error": {"reason": secret}}),
    "a name in a mapping": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason={"source": secret}),
    "bytes": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason=secret.encode()),
    "an object": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason=Holder(secret)),
    "an exception": lambda secret: logs.get_logger().error(Event.ACTOR_CRASHED, exc_info=raised(secret)),
    "an exception as a field": lambda secret: logs.get_logger().error(Event.ACTOR_CRASHED, error=raised(secret)),
    "an exception's text": lambda secret: logs.get_logger().error(Event.ACTOR_CRASHED, error=str(raised(secret))),
    "a library": as_library,
    "the loop's handler": as_loop,
    "after much text": lambda secret: logs.get_logger().info(
        Event.EVENT_PUBLISHED, reason="x " * (FIELD_CHARS // 2 - 8) + secret
    ),
    "beside a lone surrogate": lambda secret: logs.get_logger().info(Event.EVENT_PUBLISHED, reason="\ud800 " + secret),
}


@pytest.mark.parametrize("colours", [False, True], ids=["as JSON", "on a terminal"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_comes_out(kind: str, path: str, colours: bool) -> None:
    """A secret of any kind, on any path into the log, is not in the output."""
    secret, showing = SECRETS[kind]
    log = Log(secrets=[JWT_KEY, PASSWORD], colours=colours)
    PATHS[path](secret)
    assert log.text
    assert not re.search(showing, log.text), log.text


def test_a_masked_line_keeps_the_rest() -> None:
    """Only the secret is masked: the rest of the line remains."""
    log = Log()
    logs.get_logger().warning(Event.DEPENDENCY_LOST, dependency="mongodb", reason="mongodb://u:p@db-1:27017 refused")
    assert log.lines[0]["reason"] == f"mongodb://{MASK}@db-1:27017 refused"


@pytest.mark.parametrize(
    "innocent",
    [
        "65f1c0ffee65f1c0ffee1234",
        "ch_3MmlLrLkdIwHu7ix0snN0B15",
        "re_1Nispe2eZvKYlo2Cd31jOCgZ",
        "pi_3MtwBwLkdIwHu7ix28a3tqPa",
        "confirm-pi_3MtwBwLkdIwHu7ix28a3tqPa-2",
        "payment_method_unexpected_state",
        "confirmation_token",
        "token_already_used",
        "idempotency_key_in_use",
        "http://nats-srv:4222",
        "stok_et",
        "payment:created",
    ],
)
def test_ids_codes_and_plain_addresses_are_left_alone(innocent: str) -> None:
    """Values that operators need are not masked."""
    assert Redactor().scrub(innocent) == innocent


@given(st.text(max_size=200), st.sampled_from([secret for secret, _ in SECRETS.values()]), st.text(max_size=200))
def test_the_cheap_test_never_misses_what_scrubbing_would_mask(before: str, secret: str, after: str) -> None:
    """Lines that pass the cheap test are written unchanged, so it must err towards suspicion."""
    redactor = Redactor([JWT_KEY, PASSWORD])
    text = before + secret + after
    assert redactor.suspicious(text) or redactor.scrub(text) == text


@given(st.integers(min_value=0, max_value=2 * MARGIN_CHARS), st.booleans())
def test_a_cut_never_leaves_half_a_secret(position: int, keep_end: bool) -> None:
    """Wherever a text is cut, no part of a known secret remains at the edge."""
    secret = "correct-horse-battery-staple"
    filler = "." * (FIELD_CHARS + 2 * MARGIN_CHARS)
    text = filler[:position] + secret + filler[position:]
    short = Redactor([secret]).short(text, FIELD_CHARS, keep_end=keep_end)
    assert len(short) <= FIELD_CHARS + 1
    assert not re.search("[corehsbatypl-]{4}", short.replace(MASK, ""))


def test_nothing_of_a_shape_stays_where_customers_read() -> None:
    """The log shows an engineer which kind of secret it was; a customer's text does not."""
    text = "No such token: 'tok_1N3T00Lk' of my-own"
    assert Redactor().scrub(text) == f"No such token: 'tok_{MASK}' of my-own"
    assert Redactor().scrub(text, "my-own", "", whole=True) == f"No such token: '{MASK}' of {MASK}"


@pytest.mark.parametrize(
    ("value", "secret", "shown"),
    [
        ("payment-service", False, True),
        ("nats://n1:4222", False, True),
        ("nats://***@n1:4222", False, True),
        ("sk_live_4eC39Hq", True, False),
        ("nats://u:p@n1:4222", True, False),
        ("SUA" + "A" * 55, True, False),
        ("a-sixteen-chars-key", True, False),
        ("x-a-sixteen-chars-key", True, False),
        ("short", False, False),
        ("'short'", False, False),
        ("shorter", False, True),
        ("a longer password", False, False),
        ("tok_visa", False, False),
    ],
)
def test_a_value_of_the_environment_is_a_secret_or_may_be_shown(value: str, secret: bool, shown: bool) -> None:
    """A long key makes a secret of what holds it; a password, or a short key, is only not repeated."""
    redactor = Redactor(["a longer password"], keys=["a-sixteen-chars-key", "short"])
    assert (redactor.is_secret(value), redactor.may_be_shown(value)) == (secret, shown)


def test_hostile_text_is_scrubbed_in_time() -> None:
    """No text makes the patterns search for a long time."""
    redactor = Redactor()
    begun = time.process_time()
    for text in ("://" * 30_000, "eyJ" * 30_000, "Bearer " * 10_000, "sk_" * 30_000, "password" * 10_000):
        redactor.short(text, FIELD_CHARS)
    assert time.process_time() - begun < 2.0
