"""From a request to what it asks for: the body of POST /api/v1/payments, and the query of GET /api/v1/payments.

A body is declared as JSON, bounded in size, and must arrive whole within `BODY_S`. Every error names its field and
never repeats a value, which may be a card token or markup.

Change together: the contract's table of cases, and the request schema in `payment.actors.http.openapi`.
"""

import re
from collections.abc import Sequence

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from msgspec import Struct

from payment.actors.http.responses import JSON, Case, FieldError, Rendered, error
from payment.actors.json_text import BadJson, id_fault, read_json
from payment.actors.runtime.deadlines import DeadlineExceeded, within
from payment.core.messages import Authentication, Instrument, InstrumentKind
from payment.ports.clock import Clock

BODY_BYTES_MAX = 16_384
"""Largest body, in bytes. A charge's is about 100; the longest valid one, every character escaped, is under 16,000: a
return URL of 2,048 characters, and two ids of 255."""
BODY_S = 10.0
"""How long a body may take to arrive, in seconds. One packet is the rule; a phone in a tunnel may need some more."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

INSTRUMENT_CHARS_MAX = 255
"""Longest card token, payment method or confirmation token, in characters. Stripe's ids have at most 255."""

INSTRUMENT_PATTERNS = {
    InstrumentKind.TOKEN: r"^tok_[A-Za-z0-9_]+$",
    InstrumentKind.PAYMENT_METHOD: r"^pm_[A-Za-z0-9_]+$",
    InstrumentKind.CONFIRMATION_TOKEN: r"^ctoken_[A-Za-z0-9_]+$",
}
"""Stripe's ids, and its test tokens and test payment methods by name."""

RETURN_URL_CHARS_MAX = 2_048
"""Longest return URL, in characters: what every browser and router takes."""

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LOCAL = r"localhost|127\.0\.0\.1|\[::1\]"
RETURN_URL_PATTERN = (
    rf"^(?:https://(?:{_LABEL}(?:\.{_LABEL})*|\[::1\])|http://(?:{_LOCAL}))"
    r"(?::([0-9]{1,5}))?(?:[/?][!$-;=?-\[\]^_a-~]*)?$"
)
"""An absolute URL in printable ASCII. It has no credentials, which Stripe and the bank would see, and no fragment, in
which the query that Stripe appends would be lost. `http` leads to the customer's own machine only."""

_PORT_MAX = 65_535

_INSTRUMENTS = {kind: re.compile(pattern.strip("^$")) for kind, pattern in INSTRUMENT_PATTERNS.items()}
_RETURN_URL = re.compile(RETURN_URL_PATTERN.removeprefix("^").removesuffix("$"))

_WANTED = {
    InstrumentKind.TOKEN: "must be a card token: tok_ followed by letters, digits and underscores",
    InstrumentKind.PAYMENT_METHOD: "must be a payment method: pm_ followed by letters, digits and underscores",
    InstrumentKind.CONFIRMATION_TOKEN: "must be a confirmation token: ctoken_ and letters, digits and underscores",
}

_URL_WANTED = (
    f"must be an absolute https:// URL of at most {RETURN_URL_CHARS_MAX} ASCII characters, without credentials or a "
    "fragment (http:// only for localhost, 127.0.0.1 and [::1])"
)


class Rejected(Exception):
    """The request is not handled, and this is its answer. `close`: the rest of it is not read.

    `reason` is for the log, in words of ours; None where there is nothing to log.
    """

    def __init__(self, answer: Rendered, *, close: bool = False, reason: str | None = None) -> None:
        super().__init__(answer.case.name)
        self.answer = answer
        self.close = close
        self.reason = reason


class BadRequest(Exception):
    """The request can't be parsed. `errors` holds one error for each field that is wrong, or one for the body.

    `order_id` is the order that it names, where it names one properly: for the log.
    """

    def __init__(self, errors: list[FieldError], order_id: str | None = None) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors
        self.order_id = order_id


class ChargeForm(Struct, frozen=True):
    """What a client asks for: which order, what pays it, and how the customer can authenticate.

    Its parts keep the card's token and the return URL out of every repr.
    """

    order_id: str
    instrument: Instrument
    authentication: Authentication = Authentication()


async def read_body(request: web.BaseRequest, clock: Clock) -> bytes:
    """Returns the body of a request that must be JSON. As a rule it has come with its head: then this does not wait.

    Raises:
        Rejected: it is declared as something else, is too large, or does not arrive whole and in time.
    """
    headers = request.headers
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
        raise Rejected(_bad_media_type(f"The Content-Type must be {JSON}"))
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Rejected(_bad_media_type("The body must not be compressed or otherwise encoded"))
    if (request.content_length or 0) > BODY_BYTES_MAX:
        raise _too_large()
    expectation = headers.get("Expect")
    if expectation is not None and expectation.lower() != "100-continue":
        raise Rejected(error(Case.BAD_EXPECTATION, "Only 100-continue can be expected"), close=True)
    body = bytearray()
    try:
        if not _take(request, body):
            await within(clock, BODY_S, _read_rest(request, body), name="body")
    except DeadlineExceeded:
        late = error(Case.TOO_SLOW, "The body did not come in time")
        raise Rejected(late, close=True, reason="the body did not come in time") from None
    except (RequestPayloadError, ConnectionError):
        broken = error(Case.BAD_HTTP, "The body broke off or is not proper HTTP")
        raise Rejected(broken, close=True, reason="the body broke off or is not proper HTTP") from None
    return bytes(body)


def _take(request: web.BaseRequest, body: bytearray) -> bool:
    """Move what has come into `body`; True once that is all of it."""
    content = request.content
    if not content.at_eof():
        body += content.read_nowait()
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return content.at_eof()


async def _read_rest(request: web.BaseRequest, body: bytearray) -> None:
    transport = request.transport
    if "Expect" in request.headers and not body and transport is not None:
        transport.write(_CONTINUE)
    while not _take(request, body):
        body += await request.content.readany()


def _bad_media_type(message: str) -> Rendered:
    return error(Case.BAD_MEDIA_TYPE, message, headers=(("Accept", JSON),))


def _too_large() -> Rejected:
    answer = error(Case.BODY_TOO_LARGE, f"The body must be at most {BODY_BYTES_MAX} bytes long")
    return Rejected(answer, close=True, reason="the body is too large")


def parse_charge(body: bytes) -> ChargeForm:
    """Returns the charge that a request body asks for. Unknown fields are ignored.

    Raises:
        BadRequest: the body is not a JSON object; `orderId` is missing or malformed; there is not exactly one of
            `token`, `paymentMethod` and `confirmationToken`, or it is malformed; `useStripeSdk` or `returnUrl` is
            malformed, or both ask for something.
    """
    try:
        fields = read_json(body)
    except BadJson as bad:
        raise BadRequest([FieldError(f"The body {bad}")]) from None
    if not isinstance(fields, dict):
        raise BadRequest([FieldError("The body must be a JSON object")])
    faults: dict[str, str | None] = {"orderId": id_fault(fields["orderId"]) if "orderId" in fields else "is required"}
    order_id = str(fields["orderId"]) if faults["orderId"] is None else None
    given = [kind for kind in InstrumentKind if kind.value in fields]
    if not given:
        faults["token"] = "is required, or paymentMethod, or confirmationToken"
    for kind in given:
        value = fields[kind.value]
        if kind is not given[0]:
            beside = f"can't be given beside {given[0].value}"
            faults[kind.value] = f"{beside}: exactly one of token, paymentMethod and confirmationToken is taken"
        elif not isinstance(value, str):
            faults[kind.value] = "must be text"
        elif len(value) > INSTRUMENT_CHARS_MAX or not _INSTRUMENTS[kind].fullmatch(value):
            faults[kind.value] = _WANTED[kind]
    use_stripe_sdk = fields.get("useStripeSdk", False)
    if not isinstance(use_stripe_sdk, bool):
        faults["useStripeSdk"] = "must be true or false"
    if "returnUrl" in fields:
        both = "can't be given beside useStripeSdk: at most one of them is taken"
        faults["returnUrl"] = both if use_stripe_sdk is True else _return_url_fault(fields["returnUrl"])
    errors = [FieldError(f"{field} {fault}", field) for field, fault in faults.items() if fault is not None]
    if errors:
        raise BadRequest(errors, order_id)
    authentication = Authentication(use_stripe_sdk, fields.get("returnUrl"))
    return ChargeForm(fields["orderId"], Instrument(given[0], fields[given[0].value]), authentication)


def parse_order_query(values: Sequence[str]) -> str:
    """Returns the order's id, by all values that the query has for `orderId`.

    Raises:
        BadRequest: there is none, there are several, or it is no id.
    """
    fault = "must be given once" if len(values) > 1 else id_fault(values[0]) if values else "is required"
    if fault is not None:
        raise BadRequest([FieldError(f"orderId {fault}", "orderId")])
    return values[0]


def _return_url_fault(value: object) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    url = _RETURN_URL.fullmatch(value) if len(value) <= RETURN_URL_CHARS_MAX else None
    if url is None or int(url[1] or 1) not in range(1, _PORT_MAX + 1):
        return _URL_WANTED
    return None
