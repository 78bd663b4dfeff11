"""The run that the browser's tests pay at: `payment.devstack run`, the address of its page, and the sandbox's accounts.

Change together with: tests/unit/devstack/devstack_world.py, whose run this is.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from payment.devstack.home import Home
from payment.devstack.servers import ServerProgram
from tests.support.servers.process import LOOPBACK, free_port
from tests.unit.devstack.devstack_world import EmbeddedRun

CONTROL_TIMEOUT_S = 5.0
"""For one question to the sandbox's own controls."""


class BrowserRun(EmbeddedRun):
    """A whole run on free ports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, PORT=str(free_port()))

    @property
    def bank(self) -> str:
        """The origin of the bank's page: the sandbox's."""
        state = Home(self.home).read_state()
        assert state is not None
        return f"http://{LOOPBACK}:{state.ports[ServerProgram.STRIPE]}"

    def charges(self, order_id: str) -> list[dict[str, Any]]:
        """What Stripe has charged for an order, failed charges included, oldest first."""
        with urllib.request.urlopen(f"{self.bank}/_sandbox/books", timeout=CONTROL_TIMEOUT_S) as response:
            charges: list[dict[str, Any]] = json.load(response)["charges"]
        return [charge for charge in charges if charge["transfer_group"] == order_id]
