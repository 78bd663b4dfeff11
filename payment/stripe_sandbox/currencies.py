"""Which currencies can be charged, and which amounts of each: docs.stripe.com/currencies.

All amounts are in Stripe's minor units, which are not always ISO's. Stripe's minimum depends on the currency that an
account is paid out in; where its page gives none, the minimum here is 1.
"""

from payment.stripe_sandbox.errors import ApiError


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


CURRENCIES = _codes(
    """
    usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf
    clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl hrk htg huf idr
    ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr
    mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd
    shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar
    zmw
    """
)

ZERO_DECIMAL = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
THREE_DECIMAL = _codes("bhd jod kwd omr tnd")

MINIMUM = {
    "usd": 50,
    "aed": 200,
    "aud": 50,
    "bgn": 100,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "czk": 1500,
    "dkk": 250,
    "eur": 50,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "inr": 50,
    "jpy": 50,
    "mxn": 1000,
    "myr": 200,
    "nok": 300,
    "nzd": 50,
    "pln": 200,
    "ron": 200,
    "sek": 300,
    "sgd": 50,
    "thb": 1000,
}

MAXIMUM = 99_999_999
"""Eight digits, in every currency. (For a few, such as IDR, Stripe allows more.)"""

STEP = dict.fromkeys(THREE_DECIMAL, 10) | {"isk": 100, "ugx": 100}
"""The last digit of three decimals must be 0; ISK and UGX are written with two decimals that must be 00."""


def check_currency(currency: str) -> None:
    if currency not in CURRENCIES:
        known = ", ".join(sorted(CURRENCIES))
        raise ApiError(
            f"Invalid currency: {currency}. Stripe currently supports these currencies: {known}", param="currency"
        )


def check_amount(amount: int, currency: str) -> None:
    """Raise ApiError for an amount that can't be charged: too small, too large, or with a fraction that the currency
    does not have.
    """
    least = MINIMUM.get(currency, 1)
    if amount < least:
        shown = formatted_amount(least, currency)
        raise ApiError(f"Amount must be at least {shown}", code="amount_too_small", param="amount")
    if amount > MAXIMUM:
        shown = formatted_amount(MAXIMUM, currency)
        raise ApiError(f"Amount must be no more than {shown}", code="amount_too_large", param="amount")
    if amount % STEP.get(currency, 1):
        message = f"Invalid amount. In {currency}, it must be divisible by {STEP[currency]}."
        raise ApiError(message, code="invalid_charge_amount", param="amount")


def formatted_amount(amount: int, currency: str) -> str:
    """Returns an amount in minor units for a message: `$0.50 usd`, `50 jpy`."""
    if currency in ZERO_DECIMAL:
        return f"{amount} {currency}"
    decimals = 3 if currency in THREE_DECIMAL else 2
    whole, part = divmod(amount, 10**decimals)
    return f"{'$' if currency == 'usd' else ''}{whole:,}.{part:0{decimals}d} {currency}"
