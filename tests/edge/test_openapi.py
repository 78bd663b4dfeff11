"""The OpenAPI document and the server say the same: every case of every route is driven over a socket and compared."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors import http_wire
from payment.core.replies import (
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    Paid,
    Pending,
    TokenRefused,
    Unavailability,
    Unavailable,
)
from payment.edge.answers import Case
from payment.edge.openapi import document
from payment.edge.requests import BadRequest, parse_charge
from payment.edge.routes import ANY_REQUEST, ROUTES, Operation
from payment.ops.health import Dependency
from tests.actors.http_world import (
    FORM,
    ORDER_ID,
    PAYMENT_ID,
    PAYMENTS,
    Got,
    HttpWorld,
    bearer,
    http_world,
    raw_post,
    view,
)

DOCUMENT: dict[str, Any] = msgspec.json.decode(document())
Scenario = Callable[[HttpWorld], Awaitable[Got]]


def ledger_says(reply: Any, retry_after_s: int | None = None) -> Scenario:
    """A right charge, to which the ledger says this."""

    async def scenario(world: HttpWorld) -> Got:
        world.ledger.says(reply, retry_after_s)
        return await world.post()

    return scenario


def ledger_finds(found: Any, headers: dict[str, str] | None = None) -> Scenario:
    """A right request to see a payment, to which the ledger says this."""

    async def scenario(world: HttpWorld) -> Got:
        world.ledger.found = found
        return await world.show(headers=headers)

    return scenario


def posts(body: object, **headers: str) -> Scenario:
    return lambda world: world.post(body, bearer() | {name.replace("_", "-"): text for name, text in headers.items()})


def gets(path: str) -> Scenario:
    return lambda world: world.get(path)


async def slow_body(world: HttpWorld) -> Got:
    posting = asyncio.create_task(world.raw(raw_post(b"Content-Length: 50\r\n", b"{")))
    await world.until(lambda: world.clock.sleepers == 2)
    await world.clock.advance(http_wire.BODY_S)
    return await posting


async def not_ready(world: HttpWorld) -> Got:
    world.health.mark_down(Dependency.MONGODB, "away")
    return await world.get("/readyz")


def with_stuck(stuck: Callable[[], list[str]]) -> Scenario:
    async def scenario(world: HttpWorld) -> Got:
        world.stuck = stuck
        return await world.get("/healthz")

    return scenario


async def crashing_charge(world: HttpWorld) -> Got:
    world.ledger.answer = None  # type: ignore[assignment]  # no answer that anybody knows: our own bug
    return await world.post()


SCENARIOS: dict[tuple[Operation, Case], Scenario] = {
    # The contract's table, in its order.
    (Operation.CHARGE, Case.CHARGED): ledger_says(Paid(PAYMENT_ID, ORDER_ID, "ch_1")),
    (Operation.CHARGE, Case.ALREADY_CHARGED): ledger_says(Paid(PAYMENT_ID, ORDER_ID, "ch_1", replayed=True)),
    (Operation.CHARGE, Case.OUTCOME_PENDING): ledger_says(Pending(PAYMENT_ID, ORDER_ID), 12),
    (Operation.CHARGE, Case.BAD_BODY): posts({"orderId": 7}),
    (Operation.CHARGE, Case.BAD_MEDIA_TYPE): posts(FORM, Content_Type="text/plain"),
    (Operation.CHARGE, Case.BODY_TOO_LARGE): posts(b" " * (http_wire.BODY_BYTES_MAX + 1)),
    (Operation.CHARGE, Case.NOT_AUTHENTICATED): lambda world: world.post(headers={}),
    (Operation.CHARGE, Case.DECLINED): ledger_says(CardWasDeclined("generic_decline", "Your card was declined.")),
    (Operation.CHARGE, Case.BAD_TOKEN): ledger_says(TokenRefused("No such token")),
    (Operation.CHARGE, Case.NOT_YOURS): ledger_says(Denied.NOT_YOURS),
    (Operation.CHARGE, Case.NO_SUCH_ORDER): ledger_says(Denied.UNKNOWN),
    (Operation.CHARGE, Case.CONFLICT): ledger_says(Conflict.CANCELLED),
    (Operation.CHARGE, Case.BAD_AMOUNT): ledger_says(AmountRefused("Too small")),
    (Operation.CHARGE, Case.TOO_MANY_ATTEMPTS): ledger_says(Denied.TOO_MANY_ATTEMPTS),
    (Operation.CHARGE, Case.UNAVAILABLE): ledger_says(Unavailable(Unavailability.WRITE_UNKNOWN)),
    (Operation.SHOW_PAYMENT, Case.PAYMENT): ledger_finds(view()),
    (Operation.SHOW_PAYMENT, Case.NOT_AUTHENTICATED): ledger_finds(view(), headers={}),
    (Operation.SHOW_PAYMENT, Case.NOT_YOURS): ledger_finds(view(), headers=bearer("u2")),
    (Operation.SHOW_PAYMENT, Case.NO_SUCH_PAYMENT): ledger_finds(None),
    (Operation.SHOW_PAYMENT, Case.UNAVAILABLE): ledger_finds(Unavailable(Unavailability.STORE_AWAY)),
    # What HTTP adds.
    (Operation.CHARGE, Case.TOO_SLOW): slow_body,
    (Operation.CHARGE, Case.BAD_EXPECTATION): posts(FORM, Expect="a miracle"),
    (Operation.ALIVE, Case.ALIVE): gets("/healthz"),
    (Operation.ALIVE, Case.STUCK): with_stuck(lambda: ["mongo"]),
    (Operation.READY, Case.READY): gets("/readyz"),
    (Operation.READY, Case.NOT_READY): not_ready,
    (Operation.METRICS, Case.METRICS): gets("/metrics"),
    (Operation.DOCUMENT, Case.DOCUMENT): gets("/openapi.json"),
    # What may happen to any request: once with a body, once without.
    (Operation.CHARGE, Case.BAD_HTTP): lambda world: world.raw(raw_post(b"Content-Length: -1\r\n")),
    (Operation.CHARGE, Case.HEAD_TOO_LARGE): posts(FORM, X_Large="x" * 9_000),
    (Operation.CHARGE, Case.CRASHED): crashing_charge,
    (Operation.ALIVE, Case.BAD_HTTP): lambda world: world.raw(b"GET /healthz HTTP/1.1\r\n\r\n"),
    (Operation.ALIVE, Case.HEAD_TOO_LARGE): lambda world: world.get("/healthz", {"X-Large": "x" * 9_000}),
    (Operation.ALIVE, Case.CRASHED): with_stuck(lambda: ["x"] * (1 // 0)),
}


def responses_of(operation: Operation) -> dict[str, Any]:
    route = next(route for route in ROUTES if route.operation is operation)
    responses: dict[str, Any] = DOCUMENT["paths"][route.template][route.method.lower()]["responses"]
    return responses


def faults(value: object, schema: dict[str, Any], where: str = "$") -> list[str]:
    """What keeps a value from matching a schema, for the words of JSON Schema that the document uses, and no others."""
    unknown = set(schema) - KNOWN_WORDS
    assert not unknown, f"{where}: this test does not know {unknown}"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return faults(value, DOCUMENT["components"]["schemas"][name], where)
    if "anyOf" in schema:
        return min((faults(value, each, where) for each in schema["anyOf"]), key=len)
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is none of {schema['enum']}"]
    if "type" in schema and not isinstance(value, TYPES[schema["type"]]):
        return [f"{where}: {value!r} is no {schema['type']}"]
    if isinstance(value, dict):
        return _object_faults(value, schema, where)
    if isinstance(value, list):
        return [
            fault for index, each in enumerate(value) for fault in faults(each, schema["items"], f"{where}[{index}]")
        ]
    return _text_faults(value, schema, where) if isinstance(value, str) else []


def _object_faults(value: dict[str, object], schema: dict[str, Any], where: str) -> list[str]:
    found = [f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    properties, further = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, each in value.items():
        if name in properties:
            found += faults(each, properties[name], f"{where}.{name}")
        elif further is False:
            found.append(f"{where}.{name} is not described")
        elif isinstance(further, dict):
            found += faults(each, further, f"{where}.{name}")
    return found


def _text_faults(value: str, schema: dict[str, Any], where: str) -> list[str]:
    fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
    return [] if fits and re.search(schema.get("pattern", ""), value) else [f"{where} is too long or malformed"]


TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "null": type(None),
}
KNOWN_WORDS = frozenset(
    ["$ref", "anyOf", "type", "enum", "items", "properties", "required", "additionalProperties", "default"]
) | {"minLength", "maxLength", "pattern", "minimum", "title", "description"}


def test_every_case_of_every_route_is_driven() -> None:
    """A case that is documented and never seen would be a promise that nobody checked."""
    documented = {(route.operation, case) for route in ROUTES for case in route.cases}
    everywhere = {(operation, case) for operation in (Operation.CHARGE, Operation.ALIVE) for case in ANY_REQUEST}
    assert set(SCENARIOS) == documented | everywhere


@pytest.mark.parametrize(("operation", "case"), SCENARIOS, ids=lambda value: value.name)
async def test_what_the_server_answers_is_what_the_document_says(operation: Operation, case: Case) -> None:
    """Status, media type, headers and the body's schema of each case, as they come over a socket."""
    async with http_world() as world:
        got = await SCENARIOS[operation, case](world)
    assert got.status == case.value.status, got
    described = responses_of(operation)[str(got.status)]
    ((media_type, content),) = described["content"].items()
    assert got.headers["Content-Type"] == media_type
    sent = {name.lower() for name in got.headers}
    assert {name.lower() for name in described["headers"]} <= sent
    assert case.value.meaning in described["description"]
    body = got.json if media_type == "application/json" else got.body.decode()
    assert faults(body, content["schema"]) == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation.name)
async def test_a_place_takes_the_methods_that_are_documented_and_no_others(route: Any) -> None:
    """What the document does not name is 405, and Allow says what it does name (and HEAD, where there is GET)."""
    path = route.template.replace("{id}", PAYMENT_ID)
    documented = {method.upper() for method in DOCUMENT["paths"][route.template]}
    async with http_world() as world:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            got = await world.request(method, path)
            assert (got.status == 405) == (method not in documented), method
            if got.status == 405:
                assert set(got.headers["Allow"].split(", ")) - {"HEAD"} == documented


async def test_the_document_is_served_as_it_is_made() -> None:
    """`/openapi.json` needs no token and names every route once."""
    async with http_world() as world:
        got = await world.get("/openapi.json")
    assert got.json == DOCUMENT
    assert set(DOCUMENT["paths"]) == {route.template for route in ROUTES}
    operations = [each["operationId"] for place in DOCUMENT["paths"].values() for each in place.values()]
    assert sorted(operations) == sorted(operation.value for operation in Operation)


def test_every_reference_leads_somewhere() -> None:
    """And every schema is used."""
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', document().decode()))
    assert referred == set(DOCUMENT["components"]["schemas"])


def test_cases_that_share_a_status_share_shape_and_headers() -> None:
    """The document describes a status once for all its cases."""
    for route in ROUTES:
        by_status: dict[int, set[object]] = {}
        for case in (*route.cases, *ANY_REQUEST):
            row = case.value
            by_status.setdefault(row.status, set()).add((row.body, row.headers, row.content_type))
        assert all(len(shapes) == 1 for shapes in by_status.values()), route.operation


def test_only_what_wants_an_identity_asks_for_one() -> None:
    """Bearer token or either cookie, on the two payment routes."""
    secured = {
        each["operationId"] for place in DOCUMENT["paths"].values() for each in place.values() if each.get("security")
    }
    assert secured == {"chargeOrder", "getPayment"}
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {scheme.get("name") for scheme in schemes.values()} == {None, "session", "express:sess"}


FORM_SCHEMA = {"$ref": "#/components/schemas/ChargeForm"}
ORDER_IDS = st.one_of(st.text("aZ9-é ", max_size=260), st.integers(), st.none())
TOKENS = st.one_of(st.from_regex(r"\Atok_[A-Za-z0-9_]{0,260}\Z"), st.text("tok_visa ", max_size=12), st.none())
FORMS = st.fixed_dictionaries({}, optional={"orderId": ORDER_IDS, "token": TOKENS, "more": st.integers()})


@given(FORMS)
def test_what_the_parser_takes_the_schema_takes(form: dict[str, object]) -> None:
    """Nobody who keeps to what we accept is told otherwise by the document; the parser may be stricter about bytes."""
    try:
        parse_charge(msgspec.json.encode(form))
    except BadRequest:
        order_id = form.get("orderId")
        plain = isinstance(order_id, str) and order_id.isascii() and not order_id.isspace()
        assert faults(form, FORM_SCHEMA) or not plain
    else:
        assert faults(form, FORM_SCHEMA) == []


def test_a_request_in_the_documents_words_is_taken() -> None:
    """The address and the media type that the document names are those that work."""
    body = DOCUMENT["paths"][PAYMENTS]["post"]["requestBody"]
    assert body["content"] == {"application/json": {"schema": FORM_SCHEMA}}
    assert faults(FORM, FORM_SCHEMA) == []
