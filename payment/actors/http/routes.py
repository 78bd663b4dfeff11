"""Every address that the service answers at, and every case that it may answer with there.

The HTTP actor registers its handlers by this table and `payment.actors.http.openapi` prints it, so what is documented
and what is served are the same list. Change together: `ROUTES`, and the handlers of `HttpActor`.
"""

import enum
import re

from msgspec import Struct

from payment.actors.http.responses import PAYMENT_ID_PATTERN, PAYMENTS_PATH, Case

OTHER = "other"
"""Stands for the template of an address that is not served: labels and log fields never hold what was sent."""


class Operation(enum.Enum):
    """What can be asked of the service. The value is the OpenAPI document's operation id."""

    CHARGE = "chargeOrder"
    SHOW_PAYMENT = "getPayment"
    FIND_PAYMENT = "findPayment"
    ALIVE = "isAlive"
    READY = "isReady"
    METRICS = "getMetrics"
    DOCUMENT = "getOpenApiDocument"


class Route(Struct, frozen=True):
    """One operation at one address. `cases` are its own; `ANY_REQUEST` comes on top."""

    operation: Operation
    method: str
    template: str
    summary: str
    cases: tuple[Case, ...]
    identified: bool = False
    """Whether it needs the user's JWT, and a reply of the ledger."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it is reached by: HEAD goes where GET goes."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


PAYMENT_TEMPLATE = f"{PAYMENTS_PATH}/{{id}}"

ANY_REQUEST = (Case.BAD_HTTP, Case.HEAD_TOO_LARGE, Case.CRASHED)
"""What may happen to a request before its route is known, and on every route."""

ROUTES = (
    Route(
        Operation.CHARGE,
        "POST",
        PAYMENTS_PATH,
        "Charge an order's card, once however often the request is repeated",
        (
            Case.CHARGED,
            Case.ALREADY_CHARGED,
            Case.OUTCOME_PENDING,
            Case.REQUIRES_ACTION,
            Case.BAD_JSON,
            Case.BAD_FIELD,
            Case.BAD_CARD,
            Case.NOT_AUTHENTICATED,
            Case.DECLINED,
            Case.AUTHENTICATION_REQUIRED,
            Case.NOT_OWNER,
            Case.NO_SUCH_ORDER,
            Case.TOO_SLOW,
            Case.ORDER_CANCELLED,
            Case.ORDER_EXPIRED,
            Case.ALREADY_PAID,
            Case.UNDER_WAY,
            Case.BODY_TOO_LARGE,
            Case.BAD_MEDIA_TYPE,
            Case.BAD_EXPECTATION,
            Case.BAD_AMOUNT,
            Case.TOO_MANY_ATTEMPTS,
            Case.TOO_MANY_DECLINES,
            Case.UNAVAILABLE,
            Case.OUTCOME_UNKNOWN,
        ),
        identified=True,
    ),
    Route(
        Operation.FIND_PAYMENT,
        "GET",
        PAYMENTS_PATH,
        "The payment of an order; for its owner only",
        (
            Case.PAYMENT,
            Case.BAD_FIELD,
            Case.NOT_AUTHENTICATED,
            Case.NOT_OWNER,
            Case.NO_SUCH_PAYMENT,
            Case.UNAVAILABLE,
        ),
        identified=True,
    ),
    Route(
        Operation.SHOW_PAYMENT,
        "GET",
        PAYMENT_TEMPLATE,
        "A payment by its id; for its owner only",
        (Case.PAYMENT, Case.NOT_AUTHENTICATED, Case.NOT_OWNER, Case.NO_SUCH_PAYMENT, Case.UNAVAILABLE),
        identified=True,
    ),
    Route(Operation.ALIVE, "GET", "/healthz", "Whether the process works", (Case.ALIVE, Case.STUCK)),
    Route(Operation.READY, "GET", "/readyz", "Whether charges are taken", (Case.READY, Case.NOT_READY)),
    Route(Operation.METRICS, "GET", "/metrics", "Metrics for Prometheus", (Case.METRICS, Case.NO_OPS_KEY)),
    Route(Operation.DOCUMENT, "GET", "/openapi.json", "This document", (Case.DOCUMENT,)),
)


def is_payment_id(text: str) -> bool:
    """Whether the text looks like a payment's id."""
    return _PAYMENT_ID.fullmatch(text) is not None


_PAYMENT_ID = re.compile(PAYMENT_ID_PATTERN.strip("^$"))
