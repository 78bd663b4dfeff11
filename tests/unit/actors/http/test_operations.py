"""`payment.actors.http.operations`: what operators may see, and what it costs."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from payment.actors.http.operations import METRICS_EVERY_S
from payment.ops.health import Dependency
from tests.unit.actors.http.http_world import HttpWorld, http_world

OPS_KEY = "a-key-for-operators"
BEARER = {"Authorization": f"Bearer {OPS_KEY}"}
OTHERS = {
    "nothing": {},
    "an empty bearer": {"Authorization": "Bearer "},
    "another key": {"Authorization": "Bearer another-key-for-operators"},
    "a part of the key": {"Authorization": f"Bearer {OPS_KEY[:-1]}"},
    "more than the key": {"Authorization": f"Bearer {OPS_KEY}x"},
    "another scheme": {"Authorization": f"Basic {OPS_KEY}"},
    "no scheme": {"Authorization": OPS_KEY},
    "what is not ASCII": {"Authorization": "Bearer \xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9\xe9"},
}


@pytest_asyncio.fixture
async def world() -> AsyncIterator[HttpWorld]:
    async with http_world() as world:
        yield world


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[HttpWorld]:
    async with http_world(ops_key=OPS_KEY) as world:
        yield world


async def test_metrics_are_rendered_once_a_second_at_most(world: HttpWorld) -> None:
    """F51: however often they are asked for, they cost a millisecond a second."""
    rendered = 0
    render = world.metrics.render

    def counted() -> bytes:
        nonlocal rendered
        rendered += 1
        return render()

    world.metrics.render = counted  # type: ignore[method-assign]
    first = await world.get("/metrics")
    await world.clock.advance(METRICS_EVERY_S * 0.99)
    assert [(await world.get("/metrics")).body for _ in range(20)] == [first.body] * 20
    assert rendered == 1
    await world.clock.advance(METRICS_EVERY_S * 0.01)
    fresh = await world.get("/metrics")
    assert rendered == 2
    assert b'payment_http_requests_total{route="/metrics",status="200"} 21.0' in fresh.body


async def test_without_an_ops_key_all_is_for_all(world: HttpWorld) -> None:
    """As it was before there was one."""
    world.health.mark_down(Dependency.NATS, "no servers available")
    assert (await world.get("/metrics")).status == 200
    assert (await world.get("/readyz")).json["dependencies"]["nats"]["why"] == "no servers available"


@pytest.mark.parametrize("headers", OTHERS.values(), ids=OTHERS.keys())
async def test_metrics_want_the_ops_key(guarded: HttpWorld, headers: dict[str, str]) -> None:
    """401 with the challenge, and no metric."""
    got = await guarded.get("/metrics", headers)
    assert (got.status, got.code) == (401, "ops_key_required")
    assert got.headers["WWW-Authenticate"].startswith("Bearer")
    assert b"payment_" not in got.body


async def test_the_ops_key_opens_metrics_and_reasons(guarded: HttpWorld) -> None:
    """Also with the scheme in another case."""
    guarded.health.mark_down(Dependency.MONGODB, "connection refused")
    assert (await guarded.get("/metrics", {"Authorization": f"bearer {OPS_KEY}"})).status == 200
    got = await guarded.get("/readyz", BEARER)
    assert (got.status, got.json["dependencies"]["mongodb"]["why"]) == (503, "connection refused")


@pytest.mark.parametrize("headers", OTHERS.values(), ids=OTHERS.keys())
async def test_readiness_has_its_statuses_for_all(guarded: HttpWorld, headers: dict[str, str]) -> None:
    """A host that looks whether the process is well sends no key: the same statuses, and no reason."""
    guarded.health.mark_down(Dependency.MONGODB, "connection refused to mongo-7.internal")
    got = await guarded.get("/readyz", headers)
    assert (got.status, got.json["status"], got.json["phase"]) == (503, "unavailable", "ready")
    assert {name: context["up"] for name, context in got.json["dependencies"].items()} == {
        "http": True,
        "mongodb": False,
        "nats": True,
        "stripe": True,
    }
    assert b"refused" not in got.body
    assert (await guarded.get("/healthz", headers)).status == 200


async def test_nothing_is_kept_by_a_cache_on_the_way(world: HttpWorld) -> None:
    """An answer of before would be taken for the present: alive, ready, or paid."""
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/nothing"):
        assert (await world.get(path)).headers["Cache-Control"] == "no-store"
    assert (await world.post()).headers["Cache-Control"] == "no-store"
    assert (await world.show()).headers["Cache-Control"] == "no-store"
