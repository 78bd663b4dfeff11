"""The run of the browser tests: `payment.devstack run`, the address of its page, and the charges at the sandbox.

Change together with: tests/unit/devstack/devstack_world.py, which it extends.
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
"""Time limit of one request to the sandbox's controls, in seconds."""


class BrowserRun(EmbeddedRun):
    """A run of `payment.devstack` with all its servers on free ports."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, PORT=str(free_port()))

    @property
    def bank(self) -> str:
        """Returns the origin of the bank's page: the sandbox's."""
        state = Home(self.home).read_state()
        assert state is not None
        return f"http://{LOOPBACK}:{state.ports[ServerProgram.STRIPE]}"

    def charges(self, order_id: str) -> list[dict[str, Any]]:
        """Returns Stripe's charges for an order, failed ones included, oldest first."""
        with urllib.request.urlopen(f"{self.bank}/_sandbox/books", timeout=CONTROL_TIMEOUT_S) as response:
            charges: list[dict[str, Any]] = json.load(response)["charges"]
        return [charge for charge in charges if charge["transfer_group"] == order_id]
