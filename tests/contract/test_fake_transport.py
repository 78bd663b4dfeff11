"""The fake transport keeps the transports' contract."""

from __future__ import annotations

import pytest

from payment.adapters.system import SystemClock
from payment.ports.transport import EventTransport
from tests.contract.transport_contract import TransportContract
from tests.support.fakes.transport import FakeBroker, FakeTransport


class FakeBench:
    deduplicates = True
    forgets = False

    def __init__(self) -> None:
        self._broker = FakeBroker(SystemClock(), ack_wait_s=1.0)

    def transport(self, name: str, group: str = "payment-service") -> EventTransport:
        return FakeTransport(self._broker, group)

    async def kill(self) -> None:
        self._broker.go_away()

    async def start(self) -> None:
        self._broker.come_back()

    async def begin_anew(self) -> None:
        self._broker.begin_anew()


class TestFakeTransport(TransportContract):
    @pytest.fixture
    def bench(self) -> FakeBench:
        return FakeBench()
