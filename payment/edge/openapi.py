"""The OpenAPI document, made from the tables that the service itself works by.

Routes and cases come from `payment.edge.routes`, statuses, bodies and headers from `payment.edge.answers.Case`, schemas
from the very types that bodies are encoded from, limits from the parser's constants. Nothing is said here that is also
said there. Only the request's schema is written by hand, as its parser is: `tests/edge/test_openapi.py` feeds both.
"""

import functools
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from payment.edge.answers import JSON, Case
from payment.edge.identity import COOKIE_NAMES
from payment.edge.json_text import ID_BYTES_MAX
from payment.edge.requests import TOKEN_CHARS_MAX, TOKEN_PATTERN
from payment.edge.routes import ANY_REQUEST, PAYMENT_ID_PATTERN, ROUTES, Operation, Route
from payment.ops.health import HealthView

VERSION = "1.0.0"
"""The version of the interface, not of the program."""

_REFERENCE = "#/components/schemas/{name}"

_HEADERS: dict[str, dict[str, object]] = {
    "Location": {"description": "Where the payment can be read.", "schema": {"type": "string"}},
    "Retry-After": {"description": "When to ask again, in seconds.", "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "How to show who asks.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods that the address takes.", "schema": {"type": "string"}},
    "Accept": {"description": "The media type that a body must have.", "schema": {"type": "string"}},
    "X-Request-ID": {"description": "The request's id, as given or made up.", "schema": {"type": "string"}},
}

_CHARGE_FORM = {
    "type": "object",
    "description": "Which order, with which card token. Unknown fields are ignored.",
    "required": ["orderId", "token"],
    "properties": {
        "orderId": {"type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX},
        "token": {"type": "string", "maxLength": TOKEN_CHARS_MAX, "pattern": TOKEN_PATTERN},
    },
}

_VIEWS: dict[Case, type[Struct]] = {Case.READY: HealthView, Case.NOT_READY: HealthView}
"""Bodies whose types belong to others."""

_REQUEST_ID_PARAMETER = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Taken over where it is 1 to 128 letters, digits and ._~+/=:@-",
    "schema": {"type": "string"},
}

_PAYMENT_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": PAYMENT_ID_PATTERN},
}


@functools.cache
def document() -> bytes:
    """The document as JSON."""
    bodies = sorted({body for case in Case if (body := body_type(case))}, key=lambda body: body.__name__)
    _, schemas = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
    tree = {
        "openapi": "3.1.0",
        "info": {"title": "Payment service", "version": VERSION, "description": "Charges an order's card once."},
        "paths": _paths(),
        "components": {
            "schemas": {**schemas, "ChargeForm": _CHARGE_FORM},
            "securitySchemes": _security_schemes(),
        },
    }
    return msgspec.json.encode(tree)


def body_type(case: Case) -> type[Struct] | None:
    """The type of a case's JSON body; None where the body is no JSON of ours."""
    return _VIEWS.get(case, case.value.body)


def _paths() -> dict[str, dict[str, object]]:
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: Route) -> dict[str, object]:
    operation: dict[str, object] = {
        "operationId": route.operation.value,
        "summary": route.summary,
        "parameters": [_REQUEST_ID_PARAMETER],
        "responses": _responses((*route.cases, *ANY_REQUEST)),
    }
    if route.operation is Operation.SHOW_PAYMENT:
        operation["parameters"] = [_PAYMENT_ID_PARAMETER, _REQUEST_ID_PARAMETER]
    if route.operation is Operation.CHARGE:
        schema = {"$ref": _REFERENCE.format(name="ChargeForm")}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    if route.identified:
        operation["security"] = [{name: []} for name in _security_schemes()]
    return operation


def _responses(cases: Iterable[Case]) -> dict[str, object]:
    """By status: several cases may share one, and then one shape and one set of headers too."""
    by_status: dict[str, list[Case]] = {}
    for case in cases:
        by_status.setdefault(str(case.value.status), []).append(case)
    return {status: _response(by_status[status]) for status in sorted(by_status)}


def _response(cases: list[Case]) -> dict[str, object]:
    first = cases[0].value
    headers = {name: _HEADERS[name] for name in ("X-Request-ID", *first.headers)}
    body = body_type(cases[0])
    schema: dict[str, Any] = {"type": "string" if first.content_type != JSON else "object"}
    if body is not None:
        schema = {"$ref": _REFERENCE.format(name=body.__name__)}
    description = " ".join(case.value.meaning for case in cases)
    return {"description": description, "headers": headers, "content": {first.content_type: {"schema": schema}}}


def _security_schemes() -> dict[str, dict[str, str]]:
    bearer = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    names = {"cookie" if index == 0 else f"cookie{index + 1}": name for index, name in enumerate(COOKIE_NAMES)}
    return bearer | {key: {"type": "apiKey", "in": "cookie", "name": name} for key, name in names.items()}
