"""A struck target is started again, and may be struck before its start was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.plan import plan_of
from tests.chaos.site import Site

pytestmark = pytest.mark.servers

SERVICE = "service-0"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A round's site without running servers: a process of the service starts without them."""
    site = Site(plan_of(0), tmp_path)
    yield site
    site.stop()


async def test_a_process_may_be_struck_in_the_turn_of_its_start(site: Site) -> None:
    """The next strike waits for the end of the last one, and comes before the measurement of the start has begun."""
    await site.start_again(SERVICE)
    site.all[SERVICE].kill()
    await site.all_ready()
    assert site.ready_s == []


async def test_a_start_is_not_taken_for_the_one_after_it(site: Site) -> None:
    """How long one start took says nothing about the next one."""
    await site.start_again(SERVICE)
    service = site.all[SERVICE]
    first = service.pid
    service.kill()
    service.start()
    assert service.running
    assert not service.runs_as(first)
    assert service.runs_as(service.pid)
