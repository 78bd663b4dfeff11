"""Amounts of money as Stripe counts them: minor units, the currencies that it charges in, and their limits.

Everywhere else in the service an amount is an `int` of minor units beside a lower-case currency code. These minor units
are Stripe's, not ISO 4217's. Every table here was copied from docs.stripe.com/currencies. To add a currency, enter it
in `CURRENCIES`, and in the other tables where it is not an ordinary one with two decimals.

Nothing here may round a price to another price: a price that can't be charged exactly is refused.
"""

import decimal
from decimal import Decimal


class BadPrice(Exception):
    """A price that is no exact amount of its currency. The text says why, without the price."""


LARGEST_AMOUNT_MINOR = 2**53 - 1
"""The largest whole number that a double holds exactly: peer services in JavaScript can't send larger exact amounts."""

TOLERANCE_MINOR = Decimal("0.000001")
"""Minor units. The rounding error of a peer service's double (19.989999999999998 for 19.99) stays below it; a real
fraction of a cent is far above it."""

_PRICE_DIGITS = 20
"""Digits before the point beyond which a price is above `LARGEST_AMOUNT_MINOR` in every currency (that has 16)."""

_CONTEXT = decimal.Context(
    prec=60, rounding=decimal.ROUND_HALF_EVEN, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[]
)
"""60 digits keep an amount of 16 and its fraction apart by far more than the tolerance. No operation in it raises."""


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Supported presentment currencies.
CURRENCIES = _codes(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp cny
    cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd
    jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad
    ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl
    thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
    """
)

# Zero-decimal currencies. MGA has fifths in ISO 4217 and none here; UGX, which Stripe lists too, is a special case.
_ZERO_DECIMAL = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")

# Three-decimal currencies: thousandths, of which the last digit must be 0.
_THREE_DECIMAL = _codes("bhd jod kwd omr tnd")

# Special cases: they have no fractions any more, but are written as if with two decimals, which are always 00.
_TWO_DECIMALS_OF_ZERO = frozenset({"isk", "ugx"})

# Minimum charge amounts. Strictly they hold for the currency that an account settles in: for another one Stripe
# compares after conversion, and its refusal decides. BGN is from an older capture of that page.
_MINIMUM_MINOR = {
    "aed": 200,
    "ars": 50,
    "aud": 50,
    "bgn": 100,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "cop": 50,
    "czk": 1_500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17_500,
    "idr": 50,
    "ils": 50,
    "inr": 50,
    "jpy": 50,
    "krw": 50,
    "mxn": 1_000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "php": 50,
    "pln": 200,
    "ron": 200,
    "rub": 50,
    "sek": 300,
    "sgd": 50,
    "thb": 1_000,
    "usd": 50,
    "zar": 50,
}
_LEAST_MINOR = 1
"""The minimum of a currency for which Stripe names none: a charge of 0 can't be made."""

# Maximum charge amounts: eight digits in general, more of them where a unit is worth little. Captures of that page
# differ about the latter, and card networks may allow less: an amount that Stripe itself refuses gets the same answer.
_GENERAL_MAXIMUM_MINOR = 99_999_999
_MAXIMUM_MINOR = {
    "cop": 9_999_999_999,
    "huf": 9_999_999_999,
    "idr": 999_999_999_999,
    "inr": 999_999_999,
    "jpy": 9_999_999_999,
    "lbp": 99_999_999_999,
}


def is_currency(code: str) -> bool:
    """Whether Stripe charges in this currency. `code` is an ISO 4217 code in lower case."""
    return code in CURRENCIES


def minor_units(price: Decimal, currency: str) -> int:
    """Returns the exact amount in minor units of a price in major units: 1999 of 19.99 usd. Zero is an amount.

    A price within `TOLERANCE_MINOR` of a minor unit is that unit.

    Raises:
        BadPrice: the price is negative, infinite, not a number, too large, or between two amounts that can be charged;
            or the currency is unknown.
    """
    if not is_currency(currency):
        raise BadPrice("the currency is not one that Stripe charges in")
    if not price.is_finite() or price < 0:
        raise BadPrice("the price is not a number from zero up")
    if price.adjusted() > _PRICE_DIGITS:
        raise BadPrice("the price is too large")
    decimals, step = _shape(currency)
    scaled = _CONTEXT.scaleb(price, decimals)
    amount = int(_CONTEXT.to_integral_value(scaled))
    if abs(_CONTEXT.subtract(scaled, Decimal(amount))) > TOLERANCE_MINOR or amount % step:
        raise BadPrice(f"the price has a fraction that can't be charged in {currency}")
    if amount > LARGEST_AMOUNT_MINOR:
        raise BadPrice("the price is too large")
    return amount


def within_stripe_limits(amount: int, currency: str) -> bool:
    """Whether Stripe can take this amount (minor units) as one charge: its minimum, its maximum or anything between."""
    minimum = _MINIMUM_MINOR.get(currency, _LEAST_MINOR)
    return minimum <= amount <= _MAXIMUM_MINOR.get(currency, _GENERAL_MAXIMUM_MINOR)


def _shape(currency: str) -> tuple[int, int]:
    """Returns how many decimals a currency has, and the number of minor units of which each amount is a multiple."""
    if currency in _ZERO_DECIMAL:
        return 0, 1
    if currency in _THREE_DECIMAL:
        return 3, 10
    if currency in _TWO_DECIMALS_OF_ZERO:
        return 2, 100
    return 2, 1
