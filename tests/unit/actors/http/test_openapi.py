"""The OpenAPI document and the server say the same: every case of every route is driven over a socket and compared."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors.http import requests as http_body
from payment.actors.http.examples import ANSWERS, REQUESTS
from payment.actors.http.openapi import document
from payment.actors.http.requests import BadRequest, parse_charge
from payment.actors.http.responses import Case, ErrorCode
from payment.actors.http.routes import ANY_REQUEST, ROUTES, Operation
from payment.core.messages import InstrumentKind
from payment.core.replies import (
    AmountRefused,
    CardWasDeclined,
    Conflict,
    Denied,
    InstrumentRefused,
    OutcomePending,
    Paid,
    PaymentStatus,
    PaymentView,
    RequiresAction,
    Unavailability,
    Unavailable,
)
from payment.ops.health import Dependency
from payment.ports.cards import Handover
from tests.unit.actors.http.http_world import (
    FORM,
    ORDER_ID,
    PAYMENT_ID,
    PAYMENTS,
    REDIRECT,
    SDK,
    Got,
    HttpWorld,
    bearer,
    http_world,
    raw_post,
    view,
)

DOCUMENT: dict[str, Any] = msgspec.json.decode(document())
Scenario = Callable[[HttpWorld], Awaitable[Got]]


def ledger_says(reply: Any, retry_after_s: int | None = None, handover: Handover | None = None) -> Scenario:
    """A right charge, with this reply of the ledger."""

    async def scenario(world: HttpWorld) -> Got:
        world.ledger.says(reply, retry_after_s, handover)
        return await world.post()

    return scenario


def ledger_finds(
    found: PaymentView | Unavailable | None, headers: dict[str, str] | None = None, handover: Handover | None = None
) -> Scenario:
    """A right request to see a payment, with this reply of the ledger."""

    async def scenario(world: HttpWorld) -> Got:
        world.ledger.finds(found, handover)
        return await world.show(headers=headers)

    return scenario


def ledger_finds_by_order(
    found: PaymentView | Unavailable | None, headers: dict[str, str] | None = None, query: str = f"orderId={ORDER_ID}"
) -> Scenario:
    """A right request to find an order's payment, with this reply of the ledger."""

    async def scenario(world: HttpWorld) -> Got:
        world.ledger.finds(found)
        return await world.find(query, headers)

    return scenario


def posts(body: object, **headers: str) -> Scenario:
    return lambda world: world.post(body, bearer() | {name.replace("_", "-"): text for name, text in headers.items()})


def gets(path: str) -> Scenario:
    return lambda world: world.get(path)


async def slow_body(world: HttpWorld) -> Got:
    posting = asyncio.create_task(world.raw(raw_post(b"Content-Length: 50\r\n", b"{")))
    await world.until(lambda: world.clock.sleepers == 2)
    await world.clock.advance(http_body.BODY_S)
    return await posting


async def not_ready(world: HttpWorld) -> Got:
    world.health.mark_down(Dependency.MONGODB, "away")
    return await world.get("/readyz")


def with_stuck(stuck: Callable[[], list[str]]) -> Scenario:
    async def scenario(world: HttpWorld) -> Got:
        world.stuck = stuck
        return await world.get("/healthz")

    return scenario


async def without_the_ops_key(_: HttpWorld) -> Got:
    async with http_world(ops_key="a-key-for-operators") as guarded:
        return await guarded.get("/metrics")


async def crashing_charge(world: HttpWorld) -> Got:
    world.ledger.answer = None  # type: ignore[assignment]  # not a reply at all: our own bug
    return await world.post()


SCENARIOS: dict[tuple[Operation, Case], Scenario] = {
    # The contract's table, in its order.
    (Operation.CHARGE, Case.CHARGED): ledger_says(Paid(PAYMENT_ID, ORDER_ID, "ch_1")),
    (Operation.CHARGE, Case.ALREADY_CHARGED): ledger_says(Paid(PAYMENT_ID, ORDER_ID, "ch_1", replayed=True)),
    (Operation.CHARGE, Case.OUTCOME_PENDING): ledger_says(OutcomePending(PAYMENT_ID, ORDER_ID), 12),
    (Operation.CHARGE, Case.REQUIRES_ACTION): ledger_says(RequiresAction(PAYMENT_ID, ORDER_ID), 3, REDIRECT),
    (Operation.CHARGE, Case.BAD_JSON): posts(b"[]"),
    (Operation.CHARGE, Case.BAD_FIELD): posts({"orderId": 7}),
    (Operation.CHARGE, Case.BAD_MEDIA_TYPE): posts(FORM, Content_Type="text/plain"),
    (Operation.CHARGE, Case.BODY_TOO_LARGE): posts(b" " * (http_body.BODY_BYTES_MAX + 1)),
    (Operation.CHARGE, Case.NOT_AUTHENTICATED): lambda world: world.post(headers={}),
    (Operation.CHARGE, Case.DECLINED): ledger_says(CardWasDeclined(PAYMENT_ID, "generic_decline", "No.")),
    (Operation.CHARGE, Case.AUTHENTICATION_REQUIRED): ledger_says(
        CardWasDeclined(PAYMENT_ID, "authentication_required", "Your card was declined.", authentication=True)
    ),
    (Operation.CHARGE, Case.BAD_CARD): ledger_says(InstrumentRefused(InstrumentKind.PAYMENT_METHOD, "No such card")),
    (Operation.CHARGE, Case.NOT_OWNER): ledger_says(Denied.NOT_YOURS),
    (Operation.CHARGE, Case.NO_SUCH_ORDER): ledger_says(Denied.UNKNOWN),
    (Operation.CHARGE, Case.ORDER_CANCELLED): ledger_says(Conflict.CANCELLED),
    (Operation.CHARGE, Case.ORDER_EXPIRED): ledger_says(Conflict.EXPIRED),
    (Operation.CHARGE, Case.ALREADY_PAID): ledger_says(Conflict.PAID),
    (Operation.CHARGE, Case.UNDER_WAY): ledger_says(Conflict.UNDER_WAY),
    (Operation.CHARGE, Case.BAD_AMOUNT): ledger_says(AmountRefused("Too small")),
    (Operation.CHARGE, Case.TOO_MANY_ATTEMPTS): ledger_says(Denied.TOO_MANY_ATTEMPTS),
    (Operation.CHARGE, Case.TOO_MANY_DECLINES): ledger_says(Denied.TOO_MANY_DECLINES, 1_200),
    (Operation.CHARGE, Case.UNAVAILABLE): ledger_says(Unavailable(Unavailability.STORE_AWAY)),
    (Operation.CHARGE, Case.OUTCOME_UNKNOWN): ledger_says(Unavailable(Unavailability.WRITE_UNKNOWN)),
    (Operation.FIND_PAYMENT, Case.PAYMENT): ledger_finds_by_order(view()),
    (Operation.FIND_PAYMENT, Case.BAD_FIELD): ledger_finds_by_order(view(), query=""),
    (Operation.FIND_PAYMENT, Case.NOT_AUTHENTICATED): ledger_finds_by_order(view(), headers={}),
    (Operation.FIND_PAYMENT, Case.NOT_OWNER): ledger_finds_by_order(view(), headers=bearer("u2")),
    (Operation.FIND_PAYMENT, Case.NO_SUCH_PAYMENT): ledger_finds_by_order(None),
    (Operation.FIND_PAYMENT, Case.UNAVAILABLE): ledger_finds_by_order(Unavailable(Unavailability.STORE_AWAY)),
    (Operation.SHOW_PAYMENT, Case.PAYMENT): ledger_finds(view(PaymentStatus.REQUIRES_ACTION, None), handover=SDK),
    (Operation.SHOW_PAYMENT, Case.NOT_AUTHENTICATED): ledger_finds(view(), headers={}),
    (Operation.SHOW_PAYMENT, Case.NOT_OWNER): ledger_finds(view(), headers=bearer("u2")),
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
    (Operation.METRICS, Case.NO_OPS_KEY): without_the_ops_key,
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
    if "oneOf" in schema:
        found = [faults(value, each, where) for each in schema["oneOf"]]
        if found.count([]) != 1:
            return min(found, key=len) or [f"{where} matches several of what excludes each other"]
    if "not" in schema and not faults(value, schema["not"], where):
        return [f"{where} is what it must not be"]
    if "const" in schema and value != schema["const"]:
        return [f"{where}: {value!r} is not {schema['const']!r}"]
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
KNOWN_WORDS = (
    frozenset(["$ref", "anyOf", "oneOf", "not", "type", "enum", "const", "items", "properties", "required", "default"])
    | {"additionalProperties", "discriminator", "minLength", "maxLength", "pattern", "format", "minimum"}
    | {"title", "description"}
)


def test_every_case_of_every_route_is_driven() -> None:
    """A case that is documented and never driven would be an unchecked promise."""
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
    if case.value.code is not None:
        assert [error["code"] for error in got.errors] == [case.value.code.value] * len(got.errors)


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
    """And every schema is used; every link names an operation and its parameter."""
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', document().decode()))
    assert referred == set(DOCUMENT["components"]["schemas"])
    operations = {each["operationId"]: each for place in DOCUMENT["paths"].values() for each in place.values()}
    for operation in operations.values():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                named = {parameter["name"] for parameter in operations[link["operationId"]]["parameters"]}
                assert set(link["parameters"]) <= named


def test_every_answer_that_names_a_payment_links_to_it() -> None:
    """From the answer to a charge to `getPayment`, by the id in the body."""
    linked = {}
    for status, response in responses_of(Operation.CHARGE).items():
        for example in response["content"]["application/json"]["examples"].values():
            assert ("id" in example["value"]) == ("links" in response), status
        if "links" in response:
            (linked[status],) = response["links"].values()
    assert set(linked) == {"200", "201", "202", "402"}
    assert {(link["operationId"], *link["parameters"].items()) for link in linked.values()} == {
        ("getPayment", ("id", "$response.body#/id"))
    }


def test_every_answer_has_an_example_that_fits_its_schema() -> None:
    """Each case with JSON of ours, by itself and where the document shows it."""
    without = {case for case in Case if case not in ANSWERS}
    assert without == {Case.METRICS, Case.DOCUMENT, Case.NO_SUCH_ROUTE, Case.BAD_METHOD}
    for route in ROUTES:
        for case in (*route.cases, *ANY_REQUEST):
            content = responses_of(route.operation)[str(case.value.status)]["content"]
            for name, body in ANSWERS.get(case, {}).items():
                assert content["application/json"]["examples"][name] == {"value": body}
                assert faults(body, content["application/json"]["schema"]) == [], name
                if case.value.code is not None:
                    assert {error["code"] for error in body["errors"]} == {case.value.code.value}


def test_every_form_of_a_request_has_an_example_that_the_parser_takes() -> None:
    """All three instruments, and both ways to authenticate."""
    body = DOCUMENT["paths"][PAYMENTS]["post"]["requestBody"]["content"]["application/json"]
    assert {name: example["value"] for name, example in body["examples"].items()} == REQUESTS
    forms = [parse_charge(msgspec.json.encode(form)) for form in REQUESTS.values()]
    assert {form.instrument.kind for form in forms} == set(InstrumentKind)
    assert {form.authentication.use_stripe_sdk for form in forms} == {True, False}
    assert any(form.authentication.return_url for form in forms)
    assert all(faults(form, FORM_SCHEMA) == [] for form in REQUESTS.values())


def test_the_words_for_errors_are_a_schema() -> None:
    """Clients are generated from it."""
    assert sorted(DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"]) == sorted(code.value for code in ErrorCode)


def test_what_excludes_each_other_is_said_so() -> None:
    """The next action and the two kinds of 202 are one of several, and a payment's id has a pattern."""
    schemas = DOCUMENT["components"]["schemas"]
    for body in ("RequiresActionBody", "PaymentBody"):
        assert len(schemas[body]["properties"]["nextAction"]["oneOf"]) == 2
        assert schemas[body]["properties"]["id"]["pattern"] == "^[0-9a-f]{32}$"
    assert len(responses_of(Operation.CHARGE)["202"]["content"]["application/json"]["schema"]["oneOf"]) == 2


def test_cases_that_share_a_status_share_headers_and_media_type() -> None:
    """The document describes a status once for all its cases. Only a 202 has two kinds of body."""
    for route in ROUTES:
        by_status: dict[int, set[object]] = {}
        for case in (*route.cases, *ANY_REQUEST):
            row = case.value
            body = row.body if row.status != 202 else None
            by_status.setdefault(row.status, set()).add((body, row.headers, row.content_type))
        assert all(len(shapes) == 1 for shapes in by_status.values()), route.operation


def test_only_what_wants_an_identity_asks_for_one() -> None:
    """Bearer token or either cookie, on the three payment routes."""
    secured = {
        each["operationId"] for place in DOCUMENT["paths"].values() for each in place.values() if each.get("security")
    }
    assert secured == {"chargeOrder", "findPayment", "getPayment"}
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {scheme.get("name") for scheme in schemes.values()} == {None, "session", "express:sess"}


FORM_SCHEMA = {"$ref": "#/components/schemas/ChargeForm"}
ORDER_IDS = st.one_of(st.text("aZ9-é ", max_size=260), st.integers(), st.none())


def _instruments(prefix: str) -> "st.SearchStrategy[object]":
    return st.one_of(
        st.text("abzAZ09_", max_size=260).map(lambda text: prefix + text), st.text("tok_visa ", max_size=12), st.none()
    )


RETURN_URLS = st.one_of(
    st.sampled_from(
        ["https://shop.example.com/a?b=c", "http://localhost:3000", "http://shop.example.com/", "https://a:b@c/"]
    ),
    st.text("az0/?#@:.[]", max_size=30).map(lambda text: "https://a" + text),
    st.integers(2_020, 2_060).map(lambda length: "https://a.example/" + "x" * (length - 18)),
    st.none(),
)
FORMS = st.fixed_dictionaries(
    {},
    optional={
        "orderId": ORDER_IDS,
        "token": _instruments("tok_"),
        "paymentMethod": _instruments("pm_"),
        "confirmationToken": _instruments("ctoken_"),
        "useStripeSdk": st.sampled_from([True, False, None, "true"]),
        "returnUrl": RETURN_URLS,
        "more": st.integers(),
    },
)
GOOD_FORMS = st.sampled_from(sorted(REQUESTS)).map(lambda name: REQUESTS[name])


@given(st.one_of(FORMS, st.builds(lambda good, other: good | other, GOOD_FORMS, FORMS)))
def test_what_the_parser_takes_the_schema_takes(form: dict[str, object]) -> None:
    """No request that is accepted breaks the document; the parser may be stricter about bytes, and a port's number."""
    try:
        parse_charge(msgspec.json.encode(form))
    except BadRequest:
        order_id, url = form.get("orderId"), form.get("returnUrl")
        plain = isinstance(order_id, str) and order_id.isascii() and not order_id.isspace()
        has_port = isinstance(url, str) and re.match(r"https?://[^/?]*:\d", url) is not None
        assert faults(form, FORM_SCHEMA) or not plain or has_port
    else:
        assert faults(form, FORM_SCHEMA) == []


def test_a_request_in_the_documents_words_is_taken() -> None:
    """The address and the media type that the document names are those that work."""
    body = DOCUMENT["paths"][PAYMENTS]["post"]["requestBody"]
    ((media_type, content),) = body["content"].items()
    assert (media_type, content["schema"]) == ("application/json", FORM_SCHEMA)
    assert faults(FORM, FORM_SCHEMA) == []
