"""One run of the service and its servers and one Chromium for the module, and a browser context for each customer.

Playwright keeps an event loop running until it is stopped, which must happen before tests of other modules begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.browser.customer import Customer
from tests.e2e.browser.run import BrowserRun
from tests.support.servers.requirements import missing, require_program

CHROMIUM = Path("/usr/bin/chromium")
"""Debian's. Playwright's own browsers come from a server that is no package registry."""
CHROMIUM_ARGS = (
    "--no-sandbox",  # CI runs as root, for which Chromium has no sandbox
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.is_file():
        missing(f"needs Chromium at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserRun]:
    """`make run`'s own program: the servers, the service and the shop's page. Started only where there is a browser."""
    for name in ("nats-server", "nx-27017"):
        require_program(name)
    one = BrowserRun(tmp_path_factory.mktemp("run"))
    try:
        one.start()
        yield one
    finally:
        one.close()


@pytest.fixture
def customer(chromium: Browser, run: BrowserRun, request: pytest.FixtureRequest) -> Iterator[Customer]:
    """A customer at the shop's page, with a separate browser context."""
    with chromium.new_context(viewport={"width": 900, "height": 1100}) as context:
        yield Customer(context, run, request.node.name)
