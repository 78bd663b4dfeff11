"""stripe-mock, which checks requests against Stripe's published specification, accepts the adapter's requests.

Its answers are samples that belong to no order, so the adapter's outcomes are not checked here. The tests check the
status of each answer in stripe-mock's own log. It knows every parameter of every endpoint, refuses unknown ones, and
checks types, enumerations and what is required.

It refuses one thing: `payment_method_data[type]=card` with a card token. Stripe accepts it (docs.stripe.com/payments/
payment-intents/migration), and its public specification does not list it, nor do Stripe's clients.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from payment.adapters.stripe.cards import API_VERSION, StripeCards
from payment.core.effects import ConfirmIntent, IntentReference, RefundCharge
from payment.core.messages import Authentication, Instrument, InstrumentKind
from tests.e2e.stripe_clients.clients import INSTALL
from tests.support.servers.process import LOOPBACK, ServerProcess, free_port
from tests.support.servers.requirements import find_program, missing

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PROGRAM = "stripe-mock"
INSTALLED = Path.home() / ".cache" / "payment-tests" / "bin" / PROGRAM
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
INTENT = IntentReference(
    order_id="order-1",
    payment_id="payment-1",
    number=1,
    key="intent-payment-1-1",
    id=None,
    amount=1999,
    currency="usd",
    api_version=API_VERSION,
    list_after=datetime(2027, 1, 1, tzinfo=UTC),
)
REFUND = RefundCharge(
    order_id="order-1",
    payment_id="payment-1",
    attempt=1,
    charge_id="ch_1",
    key="refund-1",
    api_version=API_VERSION,
)
CONFIRM = "POST /v1/payment_intents/pi_1/confirm"


class StripeMock(ServerProcess):
    """stripe-mock over HTTP, and its log: the requests it was sent, and how it answered each."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        # Without an address of its own its HTTPS would listen on every interface, on a fixed port.
        command = [str(require_mock()), "-http-addr", f"{LOOPBACK}:{port}"]
        command += ["-https-addr", f"{LOOPBACK}:{free_port()}"]
        super().__init__(command, port=port, log=folder / "stripe-mock.log")

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def answered(self) -> list[tuple[str, int]]:
        """Returns each request, as method and path without its query, and the status of its answer, in order."""
        log = self.log.read_text()
        requests = re.findall(r"^Request: (\w+ [^\s?]+)", log, re.MULTILINE)
        statuses = re.findall(r"^Response: .*status=(\d+)", log, re.MULTILINE)
        return [(request, int(status)) for request, status in zip(requests, statuses, strict=True)]


def require_mock() -> Path:
    """The program's path; the test is skipped (in CI: fails) where it isn't installed."""
    installed = INSTALLED if INSTALLED.is_file() else None
    return find_program(PROGRAM) or installed or missing(f"needs the program {PROGRAM!r}: {INSTALL} installs it")


@pytest.fixture
def mock(tmp_path: Path) -> Iterator[StripeMock]:
    one = StripeMock(tmp_path)
    one.start()
    yield one
    one.stop()


@pytest.fixture
async def cards(mock: StripeMock) -> AsyncIterator[StripeCards]:
    cards = StripeCards("sk_test_123", mock.url, max_connections=2)
    yield cards
    await cards.close()


def confirmation(kind: InstrumentKind, value: str, authentication: Authentication) -> ConfirmIntent:
    return ConfirmIntent(
        intent=INTENT,
        attempt=1,
        send=1,
        instrument=Instrument(kind=kind, value=value),
        authentication=authentication,
        issued_at=NOON,
        not_before=NOON,
        not_after=NOON,
    )


async def test_every_request_but_the_confirm_is_in_stripes_specification(mock: StripeMock, cards: StripeCards) -> None:
    """Create, retrieve, cancel, list, refund and check: each is sent, and each is accepted."""
    await cards.create(INTENT)
    await cards.retrieve("pi_1")
    await cards.cancel("pi_1")
    await cards.list_charges("order-1", "payment-1")
    await cards.refund(REFUND)
    await cards.find_refund("ch_1")
    await cards.check()
    answered = mock.answered()
    assert {request for request, _ in answered} == {
        "POST /v1/payment_intents",
        "GET /v1/payment_intents/pi_1",
        "POST /v1/payment_intents/pi_1/cancel",
        "GET /v1/charges",
        "POST /v1/refunds",
        "GET /v1/refunds",
        "GET /v1/charges/ch_1",
        "GET /v1/account",
    }
    assert {status for _, status in answered} == {200}


@pytest.mark.parametrize(
    "authentication",
    [Authentication(), Authentication(True, None), Authentication(False, "https://shop.example/back?order=1")],
    ids=["none", "sdk", "redirect"],
)
@pytest.mark.parametrize(
    ("kind", "value"),
    [(InstrumentKind.PAYMENT_METHOD, "pm_card_visa"), (InstrumentKind.CONFIRMATION_TOKEN, "ctoken_1")],
)
async def test_a_confirm_is_in_stripes_specification(
    mock: StripeMock, cards: StripeCards, kind: InstrumentKind, value: str, authentication: Authentication
) -> None:
    """With each way in which a client can authenticate its customer."""
    await cards.confirm(confirmation(kind, value, authentication), "pi_1")
    assert mock.answered() == [(CONFIRM, 200)]


async def test_a_card_token_is_what_the_specification_does_not_list(mock: StripeMock, cards: StripeCards) -> None:
    """stripe-mock refuses it, and names that parameter: this is the only exception, and shows that refusals are
    detected.
    """
    await cards.confirm(confirmation(InstrumentKind.TOKEN, "tok_visa", Authentication()), "pi_1")
    assert mock.answered() == [(CONFIRM, 400)]
    assert "object property 'payment_method_data' validation failed" in mock.log.read_text()
