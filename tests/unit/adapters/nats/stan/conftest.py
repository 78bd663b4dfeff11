"""A wire without a network, and a clock that stands still, for each test."""

import pytest

from tests.support.fakes.clock import FakeClock
from tests.unit.adapters.nats.stan.fake_wire import FakeWire


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
