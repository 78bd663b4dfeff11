"""Stripe's own clients for Python, Node and Go get the documented answers from the Stripe sandbox.

Each client runs one program (story.py, story.js, story.go) against a sandbox of its own: it creates, confirms,
authenticates, is declined, refunds, cancels, repeats and lists. Its types read every answer, so a field of the wrong
shape ends the program.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import STRIPE_KEY, StripeSandbox
from tests.e2e.stripe_clients.clients import CLIENTS, story

pytestmark = [pytest.mark.servers, pytest.mark.slow]

Steps = dict[str, dict[str, Any]]


@pytest.fixture(scope="module", params=CLIENTS)
def steps(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steps]:
    """The results of one client, by step."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    sandbox = StripeSandbox(folder)
    sandbox.start()
    try:
        yield story(request.param, folder, sandbox.url, STRIPE_KEY)
    finally:
        sandbox.stop()


def test_a_created_intent_has_no_card_and_no_charge(steps: Steps) -> None:
    """The intent has the sent parameters, and a client secret that begins with the intent's id."""
    assert steps["create"] == {
        "status": "requires_payment_method",
        "amount": 1999,
        "currency": "usd",
        "order": "order-paid",
        "group": "order-paid",
        "secret": True,
        "charge": None,
    }


def test_a_confirmed_intent_is_charged(steps: Steps) -> None:
    """`expand` returns the charge, which names its intent and its card."""
    assert steps["pay"] == {
        "status": "succeeded",
        "received": 1999,
        "paid": True,
        "intent": True,
        "brand": "visa",
        "last4": "4242",
    }


def test_a_refund_gives_the_whole_charge_back(steps: Steps) -> None:
    """A refund by the intent's id is one of its charge, and is listed for the intent."""
    assert steps["refund"] == {
        "status": "succeeded",
        "amount": 1999,
        "charge": True,
        "refunded": True,
        "given_back": 1999,
    }
    assert steps["refunds"] == {"same": True}


def test_a_card_that_asks_for_authentication_is_charged_once_it_was_given(steps: Steps) -> None:
    """Nothing is charged before the bank's page is answered; then the intent has succeeded."""
    assert steps["ask complete"] == {"status": "requires_action", "next": "redirect_to_url", "charge": None}
    assert steps["bank complete"] == {"status": "succeeded", "next": None, "code": None, "charged": True}


def test_a_failed_authentication_leaves_the_intent_without_a_card(steps: Steps) -> None:
    """`last_payment_error` has Stripe's code for it, and nothing is charged."""
    assert steps["ask fail"] == {"status": "requires_action", "next": "redirect_to_url", "charge": None}
    assert steps["bank fail"] == {
        "status": "requires_payment_method",
        "next": None,
        "code": "payment_intent_authentication_failure",
        "charged": False,
    }


def test_a_declined_card_raises_the_clients_card_error(steps: Steps) -> None:
    """Its error carries the intent; another card pays it, and both charges are listed, the newest first."""
    assert steps["decline"] == {
        "http": 402,
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "generic_decline",
        "intent": True,
        "status": "requires_payment_method",
    }
    assert steps["another card"] == {"status": "succeeded", "charges": ["succeeded", "failed"]}


def test_a_cancelled_intent_is_never_charged(steps: Steps) -> None:
    """Its confirm raises the client's error for an invalid request."""
    assert steps["cancel"] == {"status": "canceled", "reason": "abandoned"}
    assert steps["confirm a cancelled one"] == {"http": 400, "code": "payment_intent_unexpected_state"}


def test_an_idempotency_key_makes_one_intent(steps: Steps) -> None:
    """The second create with the key is answered with the first's intent."""
    assert steps["same key"] == {"same": True}


def test_an_unknown_intent_is_missing(steps: Steps) -> None:
    """404 with Stripe's code."""
    assert steps["missing"] == {"http": 404, "code": "resource_missing"}


def test_the_clients_own_paging_lists_every_intent_once(steps: Steps) -> None:
    """Six intents in pages of two, the newest first."""
    assert steps["list"] == {"newest_first": True, "count": 6}
