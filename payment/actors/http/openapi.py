"""The OpenAPI document, made from the tables that the service itself works by.

Routes and cases come from `payment.actors.http.routes`, statuses, bodies and headers from
`payment.actors.http.responses.Case`, schemas from the types that bodies are encoded from, examples from
`payment.actors.http.examples`, limits from the parser's constants. Nothing is repeated here that is said there. Only
the request's schema is written by hand, as its parser is: `tests/unit/actors/http/test_openapi.py` feeds both.
"""

import functools
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from payment.actors.http.auth import COOKIE_NAMES
from payment.actors.http.examples import ANSWERS, ORDER_ID, REQUESTS
from payment.actors.http.requests import (
    INSTRUMENT_CHARS_MAX,
    INSTRUMENT_PATTERNS,
    RETURN_URL_CHARS_MAX,
    RETURN_URL_PATTERN,
)
from payment.actors.http.responses import JSON, PAYMENT_ID_PATTERN, Case
from payment.actors.http.routes import ANY_REQUEST, ROUTES, Operation, Route
from payment.actors.json_text import ID_BYTES_MAX
from payment.ops.health import HealthView

VERSION = "1.1.0"
"""The version of the interface, not of the program."""

_REFERENCE = "#/components/schemas/{name}"

_HEADERS: dict[str, dict[str, object]] = {
    "Location": {"description": "Where the payment can be read.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "When to repeat the request, in seconds.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
    "Allow": {"description": "The methods that the address takes.", "schema": {"type": "string"}},
    "Accept": {"description": "The media type that a body must have.", "schema": {"type": "string"}},
    "X-Request-ID": {"description": "The request's id, as given or made up.", "schema": {"type": "string"}},
}

_ORDER_ID_SCHEMA = {"type": "string", "minLength": 1, "maxLength": ID_BYTES_MAX}

_CHARGE_FORM = {
    "type": "object",
    "description": "Which order, exactly one of what can pay it, and at most one way in which the customer can "
    "authenticate. Unknown fields are ignored.",
    "required": ["orderId"],
    "properties": {
        "orderId": _ORDER_ID_SCHEMA,
        **{
            kind.value: {"type": "string", "maxLength": INSTRUMENT_CHARS_MAX, "pattern": pattern}
            for kind, pattern in INSTRUMENT_PATTERNS.items()
        },
        "useStripeSdk": {
            "type": "boolean",
            "default": False,
            "description": "True: the browser will call `stripe.handleNextAction` with the client secret.",
        },
        "returnUrl": {
            "type": "string",
            "format": "uri",
            "maxLength": RETURN_URL_CHARS_MAX,
            "pattern": RETURN_URL_PATTERN,
            "description": "Where the bank's page sends the customer back to. Stripe appends its query parameters.",
        },
    },
    "oneOf": [{"required": [kind.value]} for kind in INSTRUMENT_PATTERNS],
    "not": {"required": ["useStripeSdk", "returnUrl"], "properties": {"useStripeSdk": {"const": True}}},
}

_VIEWS: dict[Case, type[Struct]] = {Case.READY: HealthView, Case.NOT_READY: HealthView}
"""Bodies whose types belong to others."""

_REQUEST_ID_PARAMETER = {
    "name": "X-Request-ID",
    "in": "header",
    "required": False,
    "description": "Returned as it is where it is 1 to 128 letters, digits and ._~+/=:@-",
    "schema": {"type": "string"},
}

_PAYMENT_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": PAYMENT_ID_PATTERN},
}

_ORDER_ID_PARAMETER = {
    "name": "orderId",
    "in": "query",
    "required": True,
    "description": "The order whose payment is wanted.",
    "schema": _ORDER_ID_SCHEMA,
    "example": ORDER_ID,
}

_PARAMETERS: dict[Operation, tuple[dict[str, object], ...]] = {
    Operation.SHOW_PAYMENT: (_PAYMENT_ID_PARAMETER,),
    Operation.FIND_PAYMENT: (_ORDER_ID_PARAMETER,),
}

_WITH_PAYMENT_ID = frozenset({"200", "201", "202", "402"})
"""Statuses of a charge whose bodies name the payment."""

_PAYMENT_LINK = {
    "payment": {
        "operationId": Operation.SHOW_PAYMENT.value,
        "parameters": {"id": "$response.body#/id"},
        "description": "The payment, by the `id` of this answer.",
    }
}


@functools.cache
def document() -> bytes:
    """The document as JSON."""
    bodies = sorted({body for case in Case if (body := body_type(case))}, key=lambda body: body.__name__)
    _, components = msgspec.json.schema_components(bodies, ref_template=_REFERENCE)
    schemas = _with_exclusive_unions(components)
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


def _with_exclusive_unions(schema: Any) -> Any:
    """The schema with `oneOf` for each union whose members a field tells apart, where msgspec writes `anyOf`."""
    if isinstance(schema, list):
        return [_with_exclusive_unions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"anyOf": "oneOf"} if "discriminator" in schema else {}
    return {renamed.get(word, word): _with_exclusive_unions(each) for word, each in schema.items()}


def _paths() -> dict[str, dict[str, object]]:
    paths: dict[str, dict[str, object]] = {}
    for route in ROUTES:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route)
    return paths


def _operation(route: Route) -> dict[str, object]:
    responses = _responses((*route.cases, *ANY_REQUEST))
    operation: dict[str, object] = {
        "operationId": route.operation.value,
        "summary": route.summary,
        "parameters": [*_PARAMETERS.get(route.operation, ()), _REQUEST_ID_PARAMETER],
        "responses": responses,
    }
    if route.operation is Operation.CHARGE:
        content = {"schema": {"$ref": _REFERENCE.format(name="ChargeForm")}, "examples": _examples(REQUESTS)}
        operation["requestBody"] = {"required": True, "content": {JSON: content}}
        operation["responses"] = _with_links(responses)
    if route.identified:
        operation["security"] = [{name: []} for name in _security_schemes()]
    return operation


def _responses(cases: Iterable[Case]) -> dict[str, dict[str, object]]:
    """By status: several cases may share one, and then one set of headers and one media type too."""
    by_status: dict[str, list[Case]] = {}
    for case in cases:
        by_status.setdefault(str(case.value.status), []).append(case)
    return {status: _response(by_status[status]) for status in sorted(by_status)}


def _with_links(responses: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {
        status: response | {"links": _PAYMENT_LINK} if status in _WITH_PAYMENT_ID else response
        for status, response in responses.items()
    }


def _response(cases: list[Case]) -> dict[str, object]:
    first = cases[0].value
    content: dict[str, object] = {"schema": _body_schema(cases)}
    examples = {name: body for case in cases for name, body in ANSWERS.get(case, {}).items()}
    if examples:
        content["examples"] = _examples(examples)
    return {
        "description": " ".join(case.value.meaning for case in cases),
        "headers": {name: _HEADERS[name] for name in ("X-Request-ID", *first.headers)},
        "content": {first.content_type: content},
    }


def _body_schema(cases: list[Case]) -> dict[str, Any]:
    """A reference to the one type of body of these cases, or one to each of them."""
    bodies = dict.fromkeys(body for case in cases if (body := body_type(case)))
    references = [{"$ref": _REFERENCE.format(name=body.__name__)} for body in bodies]
    if not references:
        return {"type": "string" if cases[0].value.content_type != JSON else "object"}
    return references[0] if len(references) == 1 else {"oneOf": references}


def _examples(examples: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {"value": value} for name, value in examples.items()}


def _security_schemes() -> dict[str, dict[str, str]]:
    bearer = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    names = {"cookie" if index == 0 else f"cookie{index + 1}": name for index, name in enumerate(COOKIE_NAMES)}
    return bearer | {key: {"type": "apiKey", "in": "cookie", "name": name} for key, name in names.items()}
