"""The test cards of docs.stripe.com/testing: their numbers, their `tok_…` and `pm_card_…` names, and the result of
each.

Stripe's named tokens and payment methods can be used any number of times. Tokens with the prefix `tok_once_` are an
addition of the sandbox: such a token charges once and is then used up, like a token of a real card.
"""

import enum

from msgspec import Struct

ONCE_PREFIX = "tok_once_"
TOKEN_CHARS = 255
"""Longest id in characters: Stripe's are no longer, and neither is a stored single-use token."""


class Decline(Struct, frozen=True):
    """A decline: Stripe's error code and decline code, its message, and the parameter at fault."""

    code: str
    decline_code: str
    message: str
    param: str | None = None
    blocked: bool = False
    """Whether Stripe itself blocked the charge as too risky, before it was sent to the card's network."""


class CardAuthentication(enum.Enum):
    """A card's handling of 3-D Secure."""

    NONE = "none"
    """Not supported, or the card is not enrolled: a request for it has no effect."""
    OPTIONAL = "optional"
    """Performed where the merchant requests it (`request_three_d_secure`), otherwise not."""
    REQUIRED = "required"
    REQUIRED_ON_SESSION = "required_on_session"
    """Set up for payments without the customer (`off_session`); required while the customer is there."""


class TestCard(Struct, frozen=True):
    """A test card, and the result of a payment with it."""

    __test__ = False  # pytest would take the class for a test by its name

    brand: str
    number: str
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    risk_level: str = "normal"
    disputed: bool = False
    dispute_reason: str = "fraudulent"
    inquiry: bool = False
    """Whether the dispute is only an inquiry: the charge can still be refunded."""
    refund_begins: str = "succeeded"
    refund_ends: str = "succeeded"
    """A refund's first status, and its final one."""
    authentication: CardAuthentication = CardAuthentication.NONE
    lookup_fails: bool = False
    """Whether the bank's 3-D Secure server does not answer: an authentication is declined at once."""
    checks: tuple[str | None, str | None, str | None] = ("unchecked", "unchecked", "pass")
    """The bank's checks of address line 1, postal code and CVC, where they were sent."""

    @property
    def number_end(self) -> str:
        return self.number[-4:]

    def asks_for_authentication(self, *, requested: bool, off_session: bool) -> bool:
        """Whether a payment requires the bank's page. `requested`: the merchant requests 3-D Secure."""
        match self.authentication:
            case CardAuthentication.REQUIRED:
                return True
            case CardAuthentication.REQUIRED_ON_SESSION:
                return not off_session
            case CardAuthentication.OPTIONAL:
                return requested
            case CardAuthentication.NONE:
                return False

    def decline_without_customer(self) -> Decline | None:
        """Returns the card's decline where the customer can't authenticate, as in the Charges API; None if it is
        charged.
        """
        if self.asks_for_authentication(requested=False, off_session=False):
            return AUTHENTICATION_REQUIRED
        return self.decline


GENERIC_TEXT = "Your card was declined."
TOO_OFTEN_TEXT = "Your card was declined for making repeated attempts too frequently or exceeding its amount limit."
TRY_AGAIN_TEXT = "An error occurred while processing your card. Try again in a little bit."

GENERIC_DECLINE = Decline("card_declined", "generic_decline", GENERIC_TEXT)
INSUFFICIENT_FUNDS = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
NOT_A_TEST_CARD = Decline(
    "card_declined",
    "test_mode_live_card",
    "Your card was declined. Your request was in test mode, but used a non test (live) card. "
    "For a list of valid test cards, visit: https://stripe.com/docs/testing.",
    "number",
)

_DECLINED_NUMBERS: dict[str, tuple[str, Decline]] = {
    "chargeDeclined": ("4000000000000002", GENERIC_DECLINE),
    "chargeDeclinedInsufficientFunds": ("4000000000009995", INSUFFICIENT_FUNDS),
    "chargeDeclinedLostCard": ("4000000000009987", Decline("card_declined", "lost_card", GENERIC_TEXT)),
    "chargeDeclinedStolenCard": ("4000000000009979", Decline("card_declined", "stolen_card", GENERIC_TEXT)),
    "chargeDeclinedFraudulent": (
        "4100000000000019",
        Decline("card_declined", "fraudulent", GENERIC_TEXT, blocked=True),
    ),
    "chargeDeclinedVelocityLimitExceeded": (
        "4000000000006975",
        Decline("card_declined", "card_velocity_exceeded", TOO_OFTEN_TEXT),
    ),
    "chargeDeclinedExpiredCard": (
        "4000000000000069",
        Decline("expired_card", "expired_card", "Your card has expired.", "exp_month"),
    ),
    "chargeDeclinedIncorrectCvc": (
        "4000000000000127",
        Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "cvc"),
    ),
    "chargeDeclinedProcessingError": (
        "4000000000000119",
        Decline("processing_error", "processing_error", TRY_AGAIN_TEXT),
    ),
    "chargeCustomerFail": ("4000000000000341", GENERIC_DECLINE),
    "radarBlock": ("4000000000004954", Decline("card_declined", "fraudulent", GENERIC_TEXT, blocked=True)),
}
DECLINES: dict[str, tuple[str, Decline]] = {
    name: (number[-4:], decline) for name, (number, decline) in _DECLINED_NUMBERS.items()
}
"""Each declining name with the last digits of its number and its decline."""

BRANDS: dict[str, TestCard] = {
    "visa": TestCard("Visa", "4242424242424242"),
    "visa_debit": TestCard("Visa", "4000056655665556", "debit"),
    "mastercard": TestCard("MasterCard", "5555555555554444"),
    "mastercard_debit": TestCard("MasterCard", "5200828282828210", "debit"),
    "mastercard_prepaid": TestCard("MasterCard", "5105105105105100", "prepaid"),
    "amex": TestCard("American Express", "378282246310005"),
    "amex_threeDSecureNotSupported": TestCard("American Express", "378282246310005"),
    "discover": TestCard("Discover", "6011111111111117"),
    "diners": TestCard("Diners Club", "3056930009020004"),
    "jcb": TestCard("JCB", "3566002020360505", country="JP"),
    "unionpay": TestCard("UnionPay", "6200000000000005", country="CN"),
}

UNNAMED: tuple[TestCard, ...] = (
    TestCard("MasterCard", "2223003122003222"),
    TestCard("American Express", "371449635398431"),
    TestCard("Discover", "6011000990139424"),
    TestCard("Discover", "6011981111111113", "debit"),
    TestCard("Diners Club", "36227206271667"),
    TestCard("Visa", "4000002500001001", "debit", "FR"),
    TestCard("MasterCard", "5555552500001001", "debit", "FR"),
    TestCard("UnionPay", "6200000000000047", "debit", "CN"),
    TestCard("UnionPay", "6205500000000000004", country="CN"),
    *(
        TestCard("Visa", f"4000582600000{end}", country="GB", authentication=CardAuthentication.REQUIRED)
        for end in ("094", "045", "102", "110")
    ),
)
"""Numbers of Stripe's page without a name."""

COUNTRIES: dict[str, str] = {
    "us": "4242424242424242", "ar": "4000000320000021", "br": "4000000760000002", "ca": "4000001240000000",
    "cl": "4000001520000001", "co": "4000001700000003", "cr": "4000001880000005", "ec": "4000002180000000",
    "mx": "4000004840008001", "pa": "4000005910000000", "py": "4000006000000066", "pe": "4000006040000068",
    "uy": "4000008580000003", "ae": "4000007840000001", "at": "4000000400000008", "be": "4000000560000004",
    "bg": "4000001000000000", "by": "4000001120000005", "hr": "4000001910000009", "cy": "4000001960000008",
    "cz": "4000002030000002", "dk": "4000002080000001", "ee": "4000002330000009", "fi": "4000002460000001",
    "fr": "4000002500000003", "de": "4000002760000016", "gi": "4000002920000005", "gr": "4000003000000030",
    "hu": "4000003480000005", "ie": "4000003720000005", "it": "4000003800000008", "lv": "4000004280000005",
    "li": "4000004380000004", "lt": "4000004400000000", "lu": "4000004420000006", "mt": "4000004700000007",
    "nl": "4000005280000002", "no": "4000005780000007", "pl": "4000006160000005", "pt": "4000006200000007",
    "ro": "4000006420000001", "sa": "4000006820000007", "si": "4000007050000006", "sk": "4000007030000001",
    "es": "4000007240000007", "se": "4000007520000008", "ch": "4000007560000009", "gb": "4000008260000000",
    "au": "4000000360000006", "cn": "4000001560000002", "hk": "4000003440000004", "in": "4000003560000008",
    "jp": "4000003920000003", "my": "4000004580000002", "nz": "4000005540000008", "sg": "4000007020000003",
    "tw": "4000001580000008", "th_credit": "4000007640000003",
}  # fmt: skip
"""Visa credit cards by country. Debit cards are `SPECIAL`."""


def _visa(number: str, **rest: object) -> TestCard:
    return TestCard("Visa", number, **rest)  # type: ignore[arg-type]


SPECIAL: dict[str, TestCard] = {
    "gb_debit": _visa("4000058260000005", funding="debit", country="GB"),
    "th_debit": _visa("4000057640000008", funding="debit", country="TH"),
    "bypassPending": _visa("4000000000000077"),
    "bypassPendingInternational": _visa("4000003720000278", country="IE"),
    "domesticPricing": _visa("4000000000000093"),
    "avsFail": _visa("4000000000000010", checks=("fail", "fail", "pass")),
    "avsLine1Fail": _visa("4000000000000028", checks=("fail", "pass", "pass")),
    "avsZipFail": _visa("4000000000000036", checks=("pass", "fail", "pass")),
    "avsUnchecked": _visa("4000000000000044", checks=("unavailable", "unavailable", "pass")),
    "cvcCheckFail": _visa("4000000000000101", checks=("unchecked", "unchecked", "fail")),
    "riskLevelElevated": _visa("4000000000009235", risk_level="elevated"),
    "riskLevelHighest": _visa("4000000000004954", risk_level="highest"),
    "createDispute": _visa("4000000000000259", disputed=True),
    "createDisputeProductNotReceived": _visa("4000000000002685", disputed=True, dispute_reason="product_not_received"),
    "createDisputeInquiry": _visa("4000000000001976", disputed=True, inquiry=True),
    "createMultipleDisputes": _visa("4000000404000079", disputed=True),
    "createIssuerFraudRecord": _visa("4000000000005423"),
    "pendingRefund": _visa("4000000000007726", refund_begins="pending"),
    "refundFail": _visa("4000000000005126", refund_ends="failed"),
    "threeDSecure2Required": _visa("4000000000003220", authentication=CardAuthentication.REQUIRED),
    "threeDSecureRequired": _visa("4000000000003063", authentication=CardAuthentication.REQUIRED),
    "threeDSecureRequiredChargeDeclined": _visa(
        "4000008400001629", authentication=CardAuthentication.REQUIRED, decline=GENERIC_DECLINE
    ),
    "threeDSecureRequiredProcessingError": _visa(
        "4000008400001280", authentication=CardAuthentication.REQUIRED, lookup_fails=True
    ),
    "threeDSecureOptional": _visa("4000000000003055", authentication=CardAuthentication.OPTIONAL),
    "threeDSecureOptionalProcessingError": _visa(
        "4000000000003097", authentication=CardAuthentication.OPTIONAL, lookup_fails=True
    ),
    "authenticationRequiredOnSetup": _visa(
        "4000002500003155", country="FR", authentication=CardAuthentication.REQUIRED
    ),
    "authenticationRequired": _visa("4000002760003184", country="DE", authentication=CardAuthentication.REQUIRED),
    "authenticationRequiredSetupForOffSession": _visa(
        "4000003800000446", country="IT", authentication=CardAuthentication.REQUIRED_ON_SESSION
    ),
    "authenticationRequiredChargeDeclinedInsufficientFunds": _visa(
        "4000008260003178", country="GB", authentication=CardAuthentication.REQUIRED, decline=INSUFFICIENT_FUNDS
    ),
}


def _by_suffix() -> dict[str, TestCard]:
    """Returns the cards by name without its prefix. Stripe's page has spelt some names with and without the brand over
    the years.
    """
    countries = {code: TestCard("Visa", number, country=code[:2].upper()) for code, number in COUNTRIES.items()}
    cards = BRANDS | countries | SPECIAL
    cards |= {f"visa_{name}": card for name, card in SPECIAL.items()}
    for name, (number, decline) in _DECLINED_NUMBERS.items():
        card = TestCard("Visa", number, decline=decline, risk_level="highest" if decline.blocked else "normal")
        cards[name] = cards[f"visa_{name}"] = card
    return cards


_BY_SUFFIX = _by_suffix()
TEST_CARDS = {f"tok_{name}": card for name, card in _BY_SUFFIX.items()}
"""The test tokens."""
TEST_METHODS = {f"pm_card_{name}": card for name, card in _BY_SUFFIX.items()}
"""The test payment methods."""
TEST_NUMBERS = {card.number: card for card in (*UNNAMED, *reversed(_BY_SUFFIX.values()))}
"""The cards by number. Of two names with one number the first counts: 4000000000004954 charges, `tok_radarBlock` does
not.
"""


def card_behind(token: str) -> TestCard | None:
    """Returns the card of a named or single-use token, or None if there is no such token."""
    if is_single_use(token):
        return BRANDS["visa"]
    return TEST_CARDS.get(token)


def card_key(name: str) -> str:
    """Returns the key under which the database stores a card: the number, or the existing name without its prefix."""
    if is_single_use(name):
        return "visa"
    return name.removeprefix("tok_").removeprefix("pm_card_")


def card_of(key: str) -> TestCard:
    """Returns the card of a key of `card_key`. Raises KeyError if there is none."""
    card = _BY_SUFFIX.get(key)
    return TEST_NUMBERS[key] if card is None else card


def is_single_use(token: str) -> bool:
    return token.startswith(ONCE_PREFIX) and len(ONCE_PREFIX) < len(token) <= TOKEN_CHARS


def passes_luhn(number: str) -> bool:
    """Whether a card number's check digit is right."""
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
