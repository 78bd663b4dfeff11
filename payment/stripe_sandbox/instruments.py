"""The instruments of payments: payment methods, card tokens and confirmation tokens, their creation and use.

A card token makes one payment method. A payment method makes one payment, because the sandbox has no customers to
attach it to; a declined one may be tried again. A confirmation token confirms one intent. The test names (`tok_visa`,
`pm_card_visa`) can be used any number of times: each use creates a new payment method.
"""

from datetime import UTC, datetime
from typing import Any, NoReturn

from msgspec import Struct

from payment.stripe_sandbox.calls import ApiCall, Endpoint, Result
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError, ExecutionError, missing, no_such
from payment.stripe_sandbox.intent_objects import (
    CONFIRMATION_TOKEN_LIFE_S,
    ConfirmationToken,
    Token,
    new_payment_method,
)
from payment.stripe_sandbox.intent_records import StoredMethod
from payment.stripe_sandbox.objects import CARD_EXPIRES, card_on_charge, new_id
from payment.stripe_sandbox.params import Params
from payment.stripe_sandbox.tokens import (
    NOT_A_TEST_CARD,
    TEST_METHODS,
    TEST_NUMBERS,
    card_behind,
    card_key,
    card_of,
    is_single_use,
    passes_luhn,
)

NUMBER_DIGITS = range(12, 20)
CVC_DIGITS = range(3, 5)
CARD_FIELDS = ("card[number]", "card[exp_month]", "card[exp_year]", "card[cvc]")
OTHER_TOKENS = ("account[*]", "bank_account[*]", "cvc_update[*]", "person[*]", "pii[*]", "customer")
METHOD_FIELDS = (
    "type", *CARD_FIELDS, "card[token]", "billing_details[*]", "metadata", "metadata[*]", "allow_redisplay",
    "radar_options[*]",
)  # fmt: skip


def data_fields(prefix: str) -> tuple[str, ...]:
    """The parameters below `payment_method_data`."""
    return tuple(nested(prefix, field) for field in METHOD_FIELDS)


def nested(prefix: str, field: str) -> str:
    """`card[number]` below a prefix: `payment_method_data[card][number]`."""
    if not prefix:
        return field
    head, bracket, rest = field.partition("[")
    return f"{prefix}[{head}]{bracket}{rest}"


class CardData(Struct):
    """A card in a request: a token, or a number with expiry and security code."""

    token: str | None
    number: str | None
    expires: tuple[int, int]
    cvc: str | None
    billing: dict[str, Any] | None
    prefix: str

    def __repr__(self) -> str:
        return f"CardData(prefix={self.prefix!r})"


class Instruments:
    """Payment methods, card tokens and confirmation tokens of one account."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = database.intents

    def table(self) -> tuple[Endpoint, ...]:
        confirmation_tokens = "/v1/test_helpers/confirmation_tokens"
        create = self.create_confirmation_token
        return (
            Endpoint("tokens.create", "POST", "/v1/tokens", self.create_token, "token", public=True),
            Endpoint("tokens.retrieve", "GET", "/v1/tokens/{id}", self.retrieve_token, "token"),
            Endpoint(
                "payment_methods.create",
                "POST",
                "/v1/payment_methods",
                self.create_method,
                "payment_method",
                public=True,
            ),
            Endpoint(
                "payment_methods.retrieve", "GET", "/v1/payment_methods/{id}", self.retrieve_method, "payment_method"
            ),
            Endpoint(
                "test_helpers.confirmation_tokens.create", "POST", confirmation_tokens, create, "confirmation_token"
            ),
            Endpoint(
                "confirmation_tokens.create",
                "POST",
                "/v1/confirmation_tokens",
                self.create_confirmation_token_in_browser,
                "confirmation_token",
                public=True,
            ),
            Endpoint(
                "confirmation_tokens.retrieve",
                "GET",
                "/v1/confirmation_tokens/{id}",
                self.retrieve_confirmation_token,
                "confirmation_token",
            ),
        )

    # Endpoints

    def create_token(self, call: ApiCall) -> Result:
        call.params.allow(*CARD_FIELDS, "card[name]", "card[currency]", *_address_fields(), *OTHER_TOKENS)
        for name in OTHER_TOKENS:
            if call.params.has(name.removesuffix("[*]")):
                raise ApiError("The sandbox creates tokens only of cards.", param=name.removesuffix("[*]"))
        if not call.params.has("card"):
            raise missing("card")
        data = read_card(call.params, "", tokens=False)
        key = self._key_of_number(data)
        card = card_on_charge(card_of(key))
        card.exp_month, card.exp_year = data.expires
        card.name = call.params.text("card[name]")
        token = Token(id=new_id("tok"), card=card, created=int(self._database.now()))
        self._records.add_token(token, key)
        return token

    def retrieve_token(self, call: ApiCall) -> Result:
        call.params.allow()
        found = self._records.token(call.object_id)
        if found is None:
            raise no_such("token", call.object_id, param="token", status=404)
        return found[0]

    def create_method(self, call: ApiCall) -> Result:
        call.params.allow(*METHOD_FIELDS)
        return self.make(read_method_data(call.params, "")).object

    def retrieve_method(self, call: ApiCall) -> Result:
        call.params.allow()
        stored = self._records.method(call.object_id)
        if stored is None:
            raise no_such("PaymentMethod", call.object_id, param="payment_method", status=404)
        return stored.object

    def create_confirmation_token(self, call: ApiCall) -> Result:
        """Create a confirmation token with a secret key, as a test does in place of a browser."""
        call.params.allow(
            "payment_method",
            *data_fields("payment_method_data"),
            "payment_method_options[*]",
            "return_url",
            "setup_future_usage",
            "shipping[*]",
        )
        return self._new_confirmation_token(call)

    def create_confirmation_token_in_browser(self, call: ApiCall) -> Result:
        """Create a confirmation token with a publishable key, as Stripe.js does."""
        if not call.publishable:
            raise ApiError("This API call can only be made with a publishable API key.", status=401)
        return self.create_confirmation_token(call)

    def retrieve_confirmation_token(self, call: ApiCall) -> Result:
        call.params.allow()
        found = self._records.confirmation_token(call.object_id)
        if found is None:
            raise no_such("confirmation_token", call.object_id, param="confirmation_token", status=404)
        return found[0]

    def _new_confirmation_token(self, call: ApiCall) -> ConfirmationToken:
        params, now_s = call.params, int(self._database.now())
        name = params.text("payment_method")
        if name is None and not params.has("payment_method_data"):
            raise missing("payment_method_data")
        data = None if name is not None else read_method_data(params, "payment_method_data")
        return_url = read_url(params, "return_url")
        stored = self.named(name) if data is None else self.make(data)
        method = stored.object
        token = ConfirmationToken(
            id=new_id("ctoken"),
            created=now_s,
            expires_at=now_s + CONFIRMATION_TOKEN_LIFE_S,
            payment_method_options=params.tree("payment_method_options"),
            payment_method_preview={
                "allow_redisplay": method.allow_redisplay,
                "billing_details": method.billing_details,
                "card": method.card,
                "customer": None,
                "type": "card",
            },
            return_url=return_url,
            setup_future_usage=params.text("setup_future_usage"),
            shipping=params.tree("shipping"),
            use_stripe_sdk=True,
        )
        self._records.put_confirmation_token(token, stored.card)
        return token

    # For the intents

    def make(self, data: CardData) -> StoredMethod:
        """Returns a new payment method, and uses up the card token that it is made from. Raises ExecutionError if that
        fails.
        """
        key = (
            self._key_of_number(data)
            if data.token is None
            else self._use_token(data.token, nested(data.prefix, "card[token]"))
        )
        return self._store(key, data.billing, data.expires)

    def use_source(self, name: str) -> str:
        """Returns the key of the card of a source of the Charges API. Raises ExecutionError if it can't be used."""
        return self._use_token(name, "source")

    def named(self, name: str | None) -> StoredMethod:
        """Returns the payment method that a request names, `pm_card_…` included. Raises ExecutionError if it can't be
        used.
        """
        assert name is not None, "the caller has checked"
        if name in TEST_METHODS:
            return self._store(card_key(name), None, CARD_EXPIRES)
        stored = self._records.method(name)
        if stored is None:
            raise no_such("PaymentMethod", name, param="payment_method")
        if stored.used:
            message = (
                "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
                "shared with a connected account without Customer attachment, or was detached from a Customer. It "
                "may not be used again. To use a PaymentMethod multiple times, you must attach it to a Customer first."
            )
            raise ExecutionError(message, code="payment_method_unexpected_state", param="payment_method")
        return stored

    def use_confirmation_token(self, token_id: str, intent_id: str) -> tuple[ConfirmationToken, StoredMethod]:
        """Use up a confirmation token for an intent. Returns the token and its payment method."""
        found = self._records.confirmation_token(token_id)
        if found is None:
            raise no_such("confirmation_token", token_id, param="confirmation_token")
        token, key = found
        if token.payment_intent is not None:
            raise _unusable_confirmation_token("has already been used to confirm an Intent")
        if token.expires_at <= self._database.now():
            raise _unusable_confirmation_token("has expired")
        token.payment_intent = intent_id
        self._records.put_confirmation_token(token, key)
        preview = token.payment_method_preview
        expires = (preview["card"]["exp_month"], preview["card"]["exp_year"])
        return token, self._store(key, preview["billing_details"], expires)

    def _store(self, key: str, billing: dict[str, Any] | None, expires: tuple[int, int]) -> StoredMethod:
        method = new_payment_method(card_of(key), int(self._database.now()), billing=billing, expires=expires)
        self._records.add_method(method, key)
        return StoredMethod(method, key, used=False)

    def _use_token(self, name: str, param: str) -> str:
        """Use up a token and return the key of its card."""
        made = self._records.token(name)
        if made is not None:
            token, key = made
            if token.used:
                raise token_already_used(name, param)
            token.used = True
            self._records.change_token(token)
            return key
        if card_behind(name) is None:
            raise no_such("token", name, param=param)
        if is_single_use(name) and not self._database.use_token(name):
            raise token_already_used(name, param)
        return card_key(name)

    def _key_of_number(self, data: CardData) -> str:
        """Returns the key of the test card with a number. Raises ExecutionError, a card error, if there is none."""
        number = data.number or ""
        digits = number.isascii() and number.isdigit()
        if not digits or len(number) not in NUMBER_DIGITS or not passes_luhn(number):
            _refuse_card("incorrect_number", "Your card number is incorrect.", "number")
        month, year = data.expires
        today = datetime.fromtimestamp(self._database.now(), UTC)
        if month > 12:
            _refuse_card("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
        if (year, month) < (today.year, today.month) or year > today.year + 50:
            _refuse_card("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
        if data.cvc is not None and not (data.cvc.isdigit() and len(data.cvc) in CVC_DIGITS):
            _refuse_card("invalid_cvc", "Your card's security code is invalid.", "cvc")
        if number not in TEST_NUMBERS:
            decline = NOT_A_TEST_CARD
            _refuse_card(decline.code, decline.message, "number", decline.decline_code)
        return number


def token_already_used(name: str, param: str) -> ExecutionError:
    message = f"You cannot use a Stripe token more than once: {name}."
    return ExecutionError(message, code="token_already_used", param=param)


def read_method_data(params: Params, prefix: str) -> CardData:
    """Returns the card of `payment_method_data`, or of a payment method's own parameters."""
    kind = params.required(nested(prefix, "type"))
    if kind != "card":
        raise ApiError(f"Invalid type: {kind}. The sandbox supports only cards.", param=nested(prefix, "type"))
    if not params.has(nested(prefix, "card")):
        raise missing(nested(prefix, "card"))
    params.metadata()
    return read_card(params, prefix)


def read_card(params: Params, prefix: str, *, tokens: bool = True) -> CardData:
    """Returns a card's parameters, checked for completeness and form."""
    billing = params.tree(nested(prefix, "billing_details"))
    token = params.text(nested(prefix, "card[token]")) if tokens else None
    if token is not None:
        return CardData(token, None, CARD_EXPIRES, None, billing, prefix)
    number = params.required(nested(prefix, "card[number]")).replace(" ", "").replace("-", "")
    month = params.integer(nested(prefix, "card[exp_month]"))
    year = params.integer(nested(prefix, "card[exp_year]"))
    if month is None or year is None:
        raise missing(nested(prefix, "card[exp_month]" if month is None else "card[exp_year]"))
    cvc = params.text(nested(prefix, "card[cvc]"))
    return CardData(None, number, (month, year if year > 99 else 2000 + year), cvc, billing, prefix)


def read_url(params: Params, name: str) -> str | None:
    """Returns an absolute URL, or None where it is not given."""
    url = params.text(name)
    if url is not None and not url.partition("://")[2]:
        raise ApiError("Not a valid URL", code="url_invalid", param=name)
    return url


def _refuse_card(code: str, message: str, param: str, decline_code: str | None = None) -> NoReturn:
    raise ExecutionError(message, status=402, type="card_error", code=code, param=param, decline_code=decline_code)


def _unusable_confirmation_token(why: str) -> ExecutionError:
    return ExecutionError(f"The provided ConfirmationToken {why}.", param="confirmation_token")


def _address_fields() -> tuple[str, ...]:
    parts = ("line1", "line2", "city", "state", "zip", "country")
    return tuple(f"card[address_{part}]" for part in parts)
