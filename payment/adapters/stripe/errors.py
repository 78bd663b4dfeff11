"""The tables that say how each failed call to Stripe has ended, and what is known after it.

`ANSWERS` judges what Stripe answered instead of a success, `BREAKS` judges calls that brought no whole answer. Rules
are tried from the top and the first that fits decides, so the order is part of the meaning. Three principles:

- Only evidence settles. An answer counts as Stripe's own where its body is Stripe's error object. A status alone, with
  a proxy's HTML or with nothing, may stand for a request that Stripe carried out: it is unclear, with any status.
- "Nothing happened" is concluded only from what Stripe documents to come before, or instead of, the execution of the
  endpoint, and of connections that never came about. Stripe stores the answer of a request whose execution began,
  400s and 402s too: a replayed decline is the same decline.
- What a client named (its card, its return URL) is judged before anything that would stop all charging: no client may
  do that by what it sends.

It never calls Stripe. Change together: `Ending` here, `payment.adapters.stripe.cards` (which turns endings into
outcomes), and `tests/unit/adapters/stripe/test_errors.py`, which has an example for every rule.
"""

import enum
import math
from collections.abc import Container, Mapping

import aiohttp
import stripe
from msgspec import Struct

from payment.adapters.stripe.library import AnswerTooLargeError, is_replayed
from payment.ports.cards import NotYet, Obstacle, Unclear

ERRORS = "https://docs.stripe.com/api/errors"
CODES = "https://docs.stripe.com/error-codes"
LOW_LEVEL = "https://docs.stripe.com/error-low-level"
IDEMPOTENCY = "https://docs.stripe.com/api/idempotent_requests"
RATE_LIMITS = "https://docs.stripe.com/rate-limits"
REFUNDS = "https://docs.stripe.com/refunds"
DECLINES = "https://docs.stripe.com/declines/codes"
CONFIRMING = "https://docs.stripe.com/api/payment_intents/confirm"
CONFIRMATION_TOKENS = "https://docs.stripe.com/api/confirmation_tokens/object"
CHARGES_MIGRATION = "https://docs.stripe.com/payments/payment-intents/migration/charges"
KEYS = "https://docs.stripe.com/keys"
AIOHTTP = "https://docs.aiohttp.org/en/stable/client_reference.html#client-exceptions"
UNDOCUMENTED = "What is documented nowhere proves nothing"

RETRY_AFTER_MAX_S = 60.0
"""The longest `Retry-After` that is obeyed, in seconds: a garbled header must not stop all charging for days."""

SURFACE = "Stripe does not let this account make payments this way: ask its support to allow PaymentIntents"
MODE = "STRIPE_KEY is of the other mode, test or live, than this payment: set the key of the mode it was made in"
ACCOUNT = "STRIPE_KEY belongs to another Stripe account, or to its other mode, than this payment: set the right key"


class CallKind(enum.Enum):
    """The kinds of call. `RETRIEVE` reads an intent, `READ` anything else: neither changes anything at Stripe."""

    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"
    REFUND = "refund"
    READ = "read"


class Ending(enum.Enum):
    """How a call without a success can end."""

    DECLINED = "declined"
    BAD_INSTRUMENT = "refused: an instrument that can't be used"
    USED_INSTRUMENT = "refused: an instrument used before"
    BAD_AMOUNT = "refused: amount"
    BAD_REQUEST = "refused: request"
    UNEXPECTED_STATE = "the intent's state forbids it"
    RATE_LIMITED = "not yet: rate limited"
    LOCKED = "not yet: locked"
    KEY_IN_USE = "not yet: idempotency key in use"
    KEY_REFUSED = "not yet: secret key refused"
    OPERATOR = "not yet: an operator has to change something, with an alarm"
    UNREACHABLE = "not yet: no connection"
    ALREADY_REFUNDED = "already refunded: find its id"
    BLOCKED = "blocked"
    STORED = "unclear, stored for the key"
    OTHER_PARAMETERS = "unclear, stored for the key, with an alarm"
    UNCLEAR = "unclear"
    ALARM = "unclear, with an alarm"


class ErrorAnswer(Struct, frozen=True):
    """An answer of Stripe other than a success. `type` is None where the body is not Stripe's error object.

    `message` is as Stripe wrote it and may quote the token: it is not for logs, so the repr leaves it out.
    """

    status: int
    type: str | None = None
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None
    message: str | None = None
    replayed: bool = False
    retry_after_s: float | None = None
    of_account: bool = False
    """The limit that was met is the account's as a whole, not one endpoint's (docs.stripe.com/rate-limits)."""

    def __repr__(self) -> str:
        return f"ErrorAnswer(status={self.status}, type={self.type!r}, code={self.code!r}, replayed={self.replayed})"


class Rule(Struct, frozen=True):
    """One rule of `ANSWERS`: it fits where each field that is set does.

    `param` also fits `param[…]`, its parts; `NO_PARAM` fits an answer that names none. `message_has` are lower-case
    parts of Stripe's message, of which one must be there: only where Stripe has no code for the case. `source` is the
    page that documents it; in `CODES` the code (with hyphens) is its anchor. `advice` is for an operator.
    """

    name: str
    calls: frozenset[CallKind]
    status: Container[int]
    type: str | None
    code: str | None
    param: str | None
    ending: Ending
    source: str
    from_stripe: bool = True
    replayed: bool | None = None
    message_has: tuple[str, ...] = ()
    advice: str = ""

    def fits(self, call: CallKind, answer: ErrorAnswer) -> bool:
        return (
            call in self.calls
            and answer.status in self.status
            and (answer.type is not None or not self.from_stripe)
            and self.type in (None, answer.type)
            and self.code in (None, answer.code)
            and self._fits_param(answer.param or NO_PARAM)
            and self.replayed in (None, answer.replayed)
            and self._fits_message(answer.message)
        )

    def _fits_param(self, param: str) -> bool:
        return self.param is None or param == self.param or param.startswith(f"{self.param}[")

    def _fits_message(self, message: str | None) -> bool:
        if not self.message_has:
            return True
        lowered = (message or "").lower()
        return any(part in lowered for part in self.message_has)


class Break(Struct, frozen=True):
    """One rule of `BREAKS`: it fits any of these exceptions."""

    name: str
    raised: tuple[type[Exception], ...]
    ending: Ending
    source: str


def _only(status: int) -> range:
    return range(status, status + 1)


S400, S401, S402, S403, S404 = (_only(status) for status in (400, 401, 402, 403, 404))
S409, S429 = _only(409), _only(429)
MISSING = frozenset({400, 404})
"""A missing object is 404 if the path names it, and 400 (404 in older versions) if a parameter does."""
S4XX, S5XX, EVERY = range(400, 500), range(500, 600), range(1000)

ALL = frozenset(CallKind)
CREATE, CONFIRM, CANCEL, REFUND = (
    frozenset({call}) for call in (CallKind.CREATE, CallKind.CONFIRM, CallKind.CANCEL, CallKind.REFUND)
)
READS = frozenset({CallKind.READ, CallKind.RETRIEVE})
OF_AN_INTENT = CONFIRM | CANCEL | frozenset({CallKind.RETRIEVE})
KEYED = CREATE | CONFIRM | REFUND
INVALID = "invalid_request_error"
ANY = None
NO_PARAM = ""

USED = ("already been used", "already used", "previously used", "more than once")
UNSUPPORTED = ("surface is unsupported", "use the charges api")
OTHER_MODE = ("a similar object exists in live mode", "a similar object exists in test mode")

# fmt: off
ANSWERS: tuple[Rule, ...] = (
    # First answers that say nothing about the request itself. None is stored for the key: the limiters and the check of
    # the secret key come before the idempotency layer, and a request that meets a concurrent one is not executed.
    Rule("429 for a lock", ALL, S429, ANY, "lock_timeout", ANY, Ending.LOCKED, RATE_LIMITS),
    Rule("429 for the rate", ALL, S429, ANY, ANY, ANY, Ending.RATE_LIMITED, LOW_LEVEL),
    Rule("400 for the rate, in older versions", ALL, S400, ANY, "rate_limit", ANY, Ending.RATE_LIMITED, CODES),
    Rule("409, the key is in use", ALL, S409, ANY, "idempotency_key_in_use", ANY, Ending.KEY_IN_USE, IDEMPOTENCY),
    Rule("401, no valid secret key", ALL, S401, ANY, ANY, ANY, Ending.KEY_REFUSED, ERRORS),
    # Stripe compares the parameters with those of the key's first request; ours are frozen together with the key.
    Rule("400, other parameters for the key", ALL, S400, "idempotency_error", ANY, ANY,
         Ending.OTHER_PARAMETERS, IDEMPOTENCY),

    # A confirm: what became of the card. Card errors are 402 and come from the execution; another 402 is not known.
    Rule("402, authentication wanted", CONFIRM, S402, ANY, "authentication_required", ANY, Ending.DECLINED, DECLINES),
    Rule("402, declined", CONFIRM, S402, "card_error", ANY, ANY, Ending.DECLINED, ERRORS),
    # On an intent that is retrieved this code may be of an earlier card: it is a decline only as a confirm's answer.
    Rule("authentication failed", CONFIRM, S4XX, ANY, "payment_intent_authentication_failure", ANY,
         Ending.DECLINED, CODES),
    Rule("unexpected state", CONFIRM | CANCEL, S400, ANY, "payment_intent_unexpected_state", ANY,
         Ending.UNEXPECTED_STATE, CODES),

    # Faults of the client's card or return URL. A token in use by a concurrent request is soon used, or free again.
    Rule("token in use", CONFIRM, S400, INVALID, "token_in_use", ANY, Ending.LOCKED, CODES),
    Rule("token used before", CONFIRM, S400, INVALID, "token_already_used", ANY, Ending.USED_INSTRUMENT, CODES),
    Rule("confirmation token used before", CONFIRM, S400, INVALID, ANY, "confirmation_token",
         Ending.USED_INSTRUMENT, CONFIRMATION_TOKENS, message_has=USED),
    Rule("payment method used before", CONFIRM, S400, INVALID, ANY, "payment_method",
         Ending.USED_INSTRUMENT, CONFIRMING, message_has=USED),
    Rule("payment method in no state to pay", CONFIRM, S400, INVALID, "payment_method_unexpected_state", ANY,
         Ending.BAD_INSTRUMENT, CODES),
    Rule("payment method that does not fit", CONFIRM, S400, INVALID, "payment_intent_incompatible_payment_method", ANY,
         Ending.BAD_INSTRUMENT, CODES),
    Rule("a parameter that Stripe does not know", CONFIRM, S400, INVALID, "parameter_unknown", ANY,
         Ending.BAD_REQUEST, CODES),
    # `resource_missing`, `parameter_invalid_empty` and the like: `param` names the field at fault. One that is of
    # another mode or account is the client's fault here, or its page has the wrong publishable key.
    Rule("a card token that can't pay", CONFIRM, MISSING, INVALID, ANY, "payment_method_data[card]",
         Ending.BAD_INSTRUMENT, ERRORS),
    Rule("a payment method that can't pay", CONFIRM, MISSING, INVALID, ANY, "payment_method",
         Ending.BAD_INSTRUMENT, ERRORS),
    Rule("a confirmation token that can't pay, expired too", CONFIRM, MISSING, INVALID, ANY, "confirmation_token",
         Ending.BAD_INSTRUMENT, CONFIRMATION_TOKENS),
    Rule("a return URL that Stripe refuses", CONFIRM, S400, INVALID, ANY, "return_url", Ending.BAD_REQUEST, ERRORS),

    # The intent itself. Its id came from Stripe, so an account that does not know it is another one, or its other mode.
    Rule("no such intent", OF_AN_INTENT, MISSING, INVALID, "resource_missing", "intent",
         Ending.OPERATOR, ERRORS, advice=ACCOUNT),
    Rule("404, no such intent, param not named", OF_AN_INTENT, S404, INVALID, "resource_missing", NO_PARAM,
         Ending.OPERATOR, ERRORS, advice=ACCOUNT),
    # But for the intent, a confirm names nothing that can be missing but what the client pays with.
    Rule("something else that is missing", CONFIRM, MISSING, INVALID, "resource_missing", ANY,
         Ending.BAD_INSTRUMENT, CODES),

    # An error that a create's key replays is of the past: the next intent's create asks again.
    Rule("4xx of a create, replayed", CREATE, S4XX, ANY, ANY, ANY, Ending.STORED, IDEMPOTENCY, replayed=True),

    # Requests that Stripe does not let the account, or this key, make: no order is at fault.
    Rule("what this account may not use", ALL, frozenset({400, 403}), ANY, ANY, ANY,
         Ending.OPERATOR, CHARGES_MIGRATION, message_has=UNSUPPORTED, advice=SURFACE),
    Rule("an object of the other mode", ALL - CONFIRM, MISSING, INVALID, "resource_missing", ANY,
         Ending.OPERATOR, KEYS, message_has=OTHER_MODE, advice=MODE),
    Rule("403, the secret key may not do this", ALL, S403, ANY, ANY, ANY, Ending.KEY_REFUSED, ERRORS),

    # A create, and what a confirm shares with it.
    Rule("amount too small", CREATE | CONFIRM, S400, INVALID, "amount_too_small", ANY, Ending.BAD_AMOUNT, CODES),
    Rule("amount too large", CREATE | CONFIRM, S400, INVALID, "amount_too_large", ANY, Ending.BAD_AMOUNT, CODES),
    Rule("400, another fault of the amount", CREATE | CONFIRM, S400, INVALID, ANY, "amount", Ending.BAD_AMOUNT, ERRORS),
    Rule("400, any other fault", CREATE | CONFIRM, S400, INVALID, ANY, ANY, Ending.BAD_REQUEST, ERRORS),
    Rule("404, no such endpoint", CREATE | CONFIRM, S404, INVALID, ANY, ANY, Ending.BAD_REQUEST, ERRORS),

    # A refund: any fault means that the money was not given back, and an operator may have to act. A dispute
    # replaces the refund; too little balance passes; a missing charge may mean that the account was changed.
    Rule("already refunded", REFUND, S400, ANY, "charge_already_refunded", ANY, Ending.ALREADY_REFUNDED, CODES),
    Rule("disputed", REFUND, S400, ANY, "charge_disputed", ANY, Ending.BLOCKED, CODES),
    Rule("400, any other fault of a refund", REFUND, S400, INVALID, ANY, ANY, Ending.BLOCKED, REFUNDS),
    Rule("402, a refund that failed", REFUND, S402, ANY, ANY, ANY, Ending.BLOCKED, ERRORS),
    Rule("404, no such charge to refund", REFUND, S404, INVALID, ANY, ANY, Ending.BLOCKED, ERRORS),

    # These name only what Stripe gave us: if they are refused, the fault is ours, or the key is another account's.
    Rule("a read or cancel that is refused", READS | CANCEL, S4XX, INVALID, ANY, ANY, Ending.ALARM, ERRORS),

    # The rest proves only that a replayed answer is replayed until the key expires, 500s included.
    Rule("5xx, replayed", KEYED, S5XX, ANY, ANY, ANY, Ending.STORED, IDEMPOTENCY, replayed=True),
    Rule("4xx of no kind above, replayed", CONFIRM | REFUND, S4XX, ANY, ANY, ANY,
         Ending.STORED, LOW_LEVEL, replayed=True),
    # Stripe's documentation: treat the result of a 500 as indeterminate.
    Rule("5xx", ALL, S5XX, ANY, ANY, ANY, Ending.UNCLEAR, LOW_LEVEL, from_stripe=False),
    Rule("anything else", ALL, EVERY, ANY, ANY, ANY, Ending.UNCLEAR, UNDOCUMENTED, from_stripe=False),
)

BREAKS: tuple[Break, ...] = (
    # aiohttp raises these two while connecting (DNS, TCP, TLS, a slot in the pool): before a byte of the request is
    # written, and for no other reason. Everything below may have been carried out.
    Break("no connection", (aiohttp.ClientConnectorError,), Ending.UNREACHABLE, AIOHTTP),
    Break("no connection in time", (aiohttp.ConnectionTimeoutError,), Ending.UNREACHABLE, AIOHTTP),
    Break("no whole answer in time", (TimeoutError,), Ending.UNCLEAR, LOW_LEVEL),
    Break("the connection broke", (aiohttp.ClientConnectionError,), Ending.UNCLEAR, LOW_LEVEL),
    Break("the answer broke off", (aiohttp.ClientPayloadError,), Ending.UNCLEAR, LOW_LEVEL),
    Break("the answer is not HTTP", (aiohttp.ClientResponseError,), Ending.UNCLEAR, LOW_LEVEL),
    Break("the answer has no end", (AnswerTooLargeError,), Ending.UNCLEAR, UNDOCUMENTED),
    Break("an unknown exception", (Exception,), Ending.UNCLEAR, UNDOCUMENTED),
)
# fmt: on


def judge_answer(call: CallKind, answer: ErrorAnswer) -> Rule:
    """Returns the first rule of `ANSWERS` that fits. The last one fits everything."""
    return next(rule for rule in ANSWERS if rule.fits(call, answer))


def judge_break(error: Exception) -> Break:
    """Returns the first rule of `BREAKS` that fits. The last one fits everything."""
    return next(rule for rule in BREAKS if isinstance(error, rule.raised))


def read_answer(error: stripe.StripeError) -> ErrorAnswer | None:
    """Returns Stripe's answer from the library's exception. None: it has no status, so Stripe did not answer."""
    if error.http_status is None:
        return None
    headers: Mapping[str, str] = error.headers or {}
    body = error.json_body
    details = body.get("error") if isinstance(body, dict) else None
    fields: dict[str, object] = details if isinstance(details, dict) else {}
    return ErrorAnswer(
        status=error.http_status,
        type=_text(fields, "type"),
        code=_text(fields, "code"),
        decline_code=_text(fields, "decline_code"),
        param=_text(fields, "param"),
        message=_text(fields, "message"),
        replayed=is_replayed(headers),
        retry_after_s=_retry_after_s(headers.get("Retry-After")),
        of_account=headers.get("Stripe-Rate-Limited-Reason", "").startswith("global-"),
    )


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _retry_after_s(value: str | None) -> float | None:
    """The header's seconds, the only form that Stripe uses; None for anything else."""
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(seconds, RETRY_AFTER_MAX_S) if math.isfinite(seconds) and seconds >= 0 else None


OBSTACLES = {
    Ending.RATE_LIMITED: Obstacle.RATE_LIMITED,
    Ending.LOCKED: Obstacle.LOCKED,
    Ending.KEY_IN_USE: Obstacle.KEY_IN_USE,
    Ending.KEY_REFUSED: Obstacle.KEY_REFUSED,
    Ending.OPERATOR: Obstacle.KEY_REFUSED,
    Ending.UNREACHABLE: Obstacle.UNREACHABLE,
}

STORED = frozenset({Ending.STORED, Ending.OTHER_PARAMETERS})
ALARMED = frozenset({Ending.ALARM, Ending.OTHER_PARAMETERS})


class NoSuccess(Struct, frozen=True):
    """A call without a success: how it ended, in a text without secrets, and Stripe's answer where there was one."""

    ending: Ending
    text: str
    answer: ErrorAnswer | None = None

    @property
    def forbidden(self) -> bool:
        """Whether our key may not make this call: 403."""
        return self.answer is not None and self.answer.status == 403


def nothing_known(ended: NoSuccess) -> NotYet | Unclear:
    """Returns whether the call certainly did nothing, or it is not known what it did: where its ending says no more."""
    obstacle = OBSTACLES.get(ended.ending)
    if obstacle is None:
        return Unclear(text=ended.text, stored=ended.ending in STORED, alarm=ended.ending in ALARMED)
    alarm = ended.ending is Ending.OPERATOR
    if ended.answer is None:
        return NotYet(obstacle, ended.text, alarm=alarm)
    return NotYet(obstacle, ended.text, ended.answer.retry_after_s, alarm, ended.answer.of_account)
