"""Prices in major units become exact minor units of Stripe's, or are refused."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.core import money
from payment.core.money import BadPrice, is_currency, minor_units, within_stripe_limits

EXACT = [
    ("19.99", "usd", 1999),
    ("0.57", "usd", 57),
    ("1.10", "usd", 110),
    ("4.35", "usd", 435),
    ("8.20", "usd", 820),
    ("999999.99", "usd", 99_999_999),
    ("0", "usd", 0),
    ("-0.0", "usd", 0),
    ("1E+3", "usd", 100_000),
    ("500", "jpy", 500),
    ("5", "mga", 5),
    ("5", "isk", 500),
    ("5", "ugx", 500),
    ("5.12", "kwd", 5120),
    ("90071992547409.91", "usd", 2**53 - 1),
]
NOISY = [
    ("19.989999999999998", "usd", 1999),
    ("0.30000000000000004", "usd", 30),
    ("1.0999999999999999", "usd", 110),
    ("8.200000000000001", "usd", 820),
    ("499.99999999999994", "jpy", 500),
    ("5.1200000000000001", "kwd", 5120),
    ("19.98999999", "usd", 1999),
]
BAD = [
    ("19.999", "usd"),
    ("0.001", "usd"),
    ("19.9899999", "usd"),
    ("0.5", "jpy"),
    ("5.2", "mga"),
    ("5.5", "isk"),
    ("5.01", "ugx"),
    ("5.124", "kwd"),
    ("-0.01", "usd"),
    ("-1E-30", "usd"),
    ("NaN", "usd"),
    ("sNaN", "usd"),
    ("Infinity", "usd"),
    ("-Infinity", "usd"),
    ("90071992547409.92", "usd"),
    ("1E+400", "usd"),
    ("1E+999999999999999", "usd"),
    ("10", "xxx"),
    ("10", "USD"),
    ("10", ""),
]


@pytest.mark.parametrize(("price", "currency", "amount"), EXACT + NOISY)
def test_a_price_becomes_the_exact_amount(price: str, currency: str, amount: int) -> None:
    """A price, with or without a peer service's float noise, becomes the intended amount."""
    assert minor_units(Decimal(price), currency) == amount


@pytest.mark.parametrize(("price", "currency"), BAD)
def test_price_without_an_exact_amount_is_a_bad_price(price: str, currency: str) -> None:
    """F35: no price is rounded to another one, and nothing but BadPrice is raised."""
    with pytest.raises(BadPrice):
        minor_units(Decimal(price), currency)


@given(st.integers(0, 2**53 - 1), st.sampled_from(sorted(money.CURRENCIES)))
def test_every_whole_number_of_chargeable_units_comes_back(units: int, currency: str) -> None:
    """Writing an amount as a price and reading it again gives the same amount, in every currency."""
    decimals, step = money._shape(currency)
    amount = units - units % step
    assert minor_units(Decimal(amount).scaleb(-decimals), currency) == amount


@given(st.integers(0, 99_999_999))
def test_every_amount_survives_a_double(cents: int) -> None:
    """A peer service may divide its cents by 100 in floating point, up to Stripe's maximum."""
    assert minor_units(Decimal(repr(cents / 100)), "usd") == cents


@given(st.decimals(allow_nan=True, allow_infinity=True), st.sampled_from(["usd", "jpy", "kwd", "isk", "nope"]))
def test_any_price_is_an_amount_or_a_bad_price(price: Decimal, currency: str) -> None:
    """Every number is an amount, or raises BadPrice."""
    try:
        amount = minor_units(price, currency)
    except BadPrice:
        return
    assert 0 <= amount <= money.LARGEST_AMOUNT_MINOR


@pytest.mark.parametrize("price", ["1E-999999999999", "0." + "0" * 100_000 + "1"])
def test_a_vanishing_price_is_zero(price: str) -> None:
    """A price of next to nothing is within the tolerance of zero, with any number of digits."""
    assert minor_units(Decimal(price), "usd") == 0


@pytest.mark.parametrize(
    ("currency", "least", "most"),
    [
        ("usd", 50, 99_999_999),
        ("gbp", 30, 99_999_999),
        ("eur", 50, 99_999_999),
        ("jpy", 50, 9_999_999_999),
        ("huf", 17_500, 9_999_999_999),
        ("idr", 50, 999_999_999_999),
        ("bhd", 1, 99_999_999),
    ],
)
def test_stripe_takes_amounts_between_its_limits(currency: str, least: int, most: int) -> None:
    """F35: the smallest and the largest charge pass, one minor unit beyond either does not."""
    assert within_stripe_limits(least, currency)
    assert within_stripe_limits(most, currency)
    assert not within_stripe_limits(least - 1, currency)
    assert not within_stripe_limits(most + 1, currency)


def test_nothing_can_be_charged_in_no_currency() -> None:
    """A charge of zero is refused in every currency."""
    assert not any(within_stripe_limits(0, currency) for currency in money.CURRENCIES)


def test_a_currency_is_a_lower_case_code_that_stripe_lists() -> None:
    """Known codes are recognized as they are kept: in lower case."""
    assert is_currency("usd")
    assert not is_currency("USD")
    assert not is_currency("xxx")


def test_the_tables_speak_of_known_currencies() -> None:
    """A special rule for a currency that can't be charged would be a slip."""
    tables = (
        money._ZERO_DECIMAL,
        money._THREE_DECIMAL,
        money._TWO_DECIMALS_OF_ZERO,
        money._MINIMUM_MINOR,
        money._MAXIMUM_MINOR,
    )
    for table in tables:
        assert set(table) <= money.CURRENCIES
