"""The test tokens of docs.stripe.com/testing, by name, and what becomes of a charge with each.

Stripe's named tokens can be used any number of times. Beside them stands one family of our own: `tok_once_` and
anything after it is a token that charges fine once and is then used up, as a token of a real card is.
"""

from msgspec import Struct

ONCE_PREFIX = "tok_once_"
TOKEN_CHARS = 255
"""Stripe's ids are no longer; neither is what we would keep of a single-use token."""


class Decline(Struct, frozen=True):
    """How a card is declined: Stripe's error code and decline code, its message, the parameter to blame."""

    code: str
    decline_code: str
    message: str
    param: str | None = None
    blocked: bool = False
    """Blocked by Stripe itself as too risky: it was never sent to the card's network."""


class TestCard(Struct, frozen=True):
    """The card behind a token."""

    __test__ = False  # not a test, whatever pytest thinks of its name

    brand: str
    number_end: str
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    risk_level: str = "normal"
    disputed: bool = False
    refund_begins: str = "succeeded"
    refund_ends: str = "succeeded"
    """A refund's status at first, and some time later."""


GENERIC_TEXT = "Your card was declined."
TOO_OFTEN_TEXT = "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."
TRY_AGAIN_TEXT = "An error occurred while processing your card. Try again in a little bit."

DECLINES: dict[str, tuple[str, Decline]] = {
    "chargeDeclined": ("0002", Decline("card_declined", "generic_decline", GENERIC_TEXT)),
    "chargeDeclinedInsufficientFunds": (
        "9995",
        Decline("card_declined", "insufficient_funds", "Your card has insufficient funds."),
    ),
    "chargeDeclinedLostCard": ("9987", Decline("card_declined", "lost_card", GENERIC_TEXT)),
    "chargeDeclinedStolenCard": ("9979", Decline("card_declined", "stolen_card", GENERIC_TEXT)),
    "chargeDeclinedFraudulent": ("0019", Decline("card_declined", "fraudulent", GENERIC_TEXT, blocked=True)),
    "chargeDeclinedVelocityLimitExceeded": (
        "6975",
        Decline("card_declined", "card_velocity_exceeded", TOO_OFTEN_TEXT),
    ),
    "chargeDeclinedExpiredCard": (
        "0069",
        Decline("expired_card", "expired_card", "Your card has expired.", "exp_month"),
    ),
    "chargeDeclinedIncorrectCvc": (
        "0127",
        Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "cvc"),
    ),
    "chargeDeclinedProcessingError": ("0119", Decline("processing_error", "processing_error", TRY_AGAIN_TEXT)),
    "chargeCustomerFail": ("0341", Decline("card_declined", "generic_decline", GENERIC_TEXT)),
    "radarBlock": ("4954", Decline("card_declined", "fraudulent", GENERIC_TEXT, blocked=True)),
}

BRANDS: dict[str, TestCard] = {
    "visa": TestCard("Visa", "4242"),
    "visa_debit": TestCard("Visa", "5556", "debit"),
    "mastercard": TestCard("MasterCard", "4444"),
    "mastercard_debit": TestCard("MasterCard", "8210", "debit"),
    "mastercard_prepaid": TestCard("MasterCard", "5100", "prepaid"),
    "amex": TestCard("American Express", "0005"),
    "discover": TestCard("Discover", "1117"),
    "diners": TestCard("Diners Club", "0004"),
    "jcb": TestCard("JCB", "0505", country="JP"),
    "unionpay": TestCard("UnionPay", "0005", country="CN"),
    "us": TestCard("Visa", "4242"),
    "gb": TestCard("Visa", "0000", country="GB"),
    "de": TestCard("Visa", "0002", country="DE"),
    "fr": TestCard("Visa", "0003", country="FR"),
    "jp": TestCard("Visa", "0003", country="JP"),
}

SPECIAL: dict[str, TestCard] = {
    "bypassPending": TestCard("Visa", "0077"),
    "riskLevelElevated": TestCard("Visa", "9235", risk_level="elevated"),
    "riskLevelHighest": TestCard("Visa", "4954", risk_level="highest"),
    "createDispute": TestCard("Visa", "0259", disputed=True),
    "createDisputeProductNotReceived": TestCard("Visa", "2685", disputed=True),
    "pendingRefund": TestCard("Visa", "7726", refund_begins="pending"),
    "refundFail": TestCard("Visa", "5126", refund_ends="failed"),
}


def _named() -> dict[str, TestCard]:
    """Every name. Stripe's page has spelt the declining ones with and without the brand over the years."""
    cards = {f"tok_{name}": card for name, card in (BRANDS | SPECIAL).items()}
    for name, (number_end, decline) in DECLINES.items():
        card = TestCard("Visa", number_end, decline=decline, risk_level="highest" if decline.blocked else "normal")
        cards[f"tok_{name}"] = cards[f"tok_visa_{name}"] = card
    return cards


TEST_CARDS = _named()


def card_behind(token: str) -> TestCard | None:
    """The card that a token stands for, or None if there is no such token."""
    if is_single_use(token):
        return BRANDS["visa"]
    return TEST_CARDS.get(token)


def is_single_use(token: str) -> bool:
    return token.startswith(ONCE_PREFIX) and len(ONCE_PREFIX) < len(token) <= TOKEN_CHARS
