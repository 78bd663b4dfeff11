"""A customer at the shop's page: clicks, checks of the page, and screenshots.

Screenshots go to build/screenshots/, `<test>-<number>-<what>.png`, and are kept as artefacts of the run. Playwright
itself waits: it polls the page for an element, at most `SEEN_MS`.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlparse

from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect

from tests.e2e.browser.run import BrowserRun

SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"
SEEN_MS = 20_000
"""The longest wait for an element of a page, in milliseconds: a charge takes one second, on a busy machine ten."""

GOOD = "4242424242424242"
ASKS = "4000000000003220"
ASKS_THEN_DECLINES = "4000008400001629"
DECLINED = "4000000000000002"


class Tab:
    """One tab with the shop's page."""

    def __init__(self, page: Page, run: BrowserRun, name: str) -> None:
        self.page = page
        self._run = run
        self._name = name
        self._shots = 0
        self.errors: list[str] = []
        page.set_default_timeout(SEEN_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    @property
    def order_id(self) -> str:
        """Returns the id of the order that the page shows, from its address."""
        return parse_qs(urlparse(self.page.url).query)["order"][0]

    def place_order(self) -> str:
        """Open the shop and place an order; returns its id."""
        self.page.goto(self._run.shop_page)
        self.page.click("#place")
        self.page.wait_for_url(re.compile("order="))
        return self.order_id

    def open_order(self, order_id: str) -> None:
        """Open the page of an order that was placed before."""
        self.page.goto(f"{self._run.shop_page}?order={order_id}")

    def pay(self, card: str, *, instrument: str = "confirmationToken", how: str = "sdk") -> None:
        """Choose a card and press Pay. Returns at once; later calls check the result on the page."""
        self.page.select_option("#card", card)
        self.page.select_option("#instrument", instrument)
        self.page.select_option("#how", how)
        self.page.click("#pay")

    def sees_payment(self, status: str) -> None:
        """Check that the page shows this status of the payment."""
        expect(self.page.locator("#payment")).to_have_attribute("data-status", status, timeout=SEEN_MS)

    def sees_step(self, text: str) -> None:
        """Check that one of the steps on the page contains a text."""
        expect(self.steps.filter(has_text=text).first).to_be_visible(timeout=SEEN_MS)

    @property
    def steps(self) -> Locator:
        return self.page.locator("#steps li")

    @property
    def dialog(self) -> FrameLocator:
        """Returns the bank's page, inside the shop's."""
        return self.page.frame_locator("dialog iframe")

    def is_asked_on_the_page(self) -> None:
        """Check that the bank's page is open in a dialog, and can be answered."""
        expect(self.dialog.locator("button").first).to_be_visible(timeout=SEEN_MS)

    def is_asked_on_the_banks_page(self) -> None:
        """Check that the tab shows the bank's page instead of the shop's."""
        self.page.wait_for_url(re.compile(re.escape(self._run.bank)), timeout=SEEN_MS)

    def answers_on_the_page(self, button: str) -> None:
        """Press a button of the bank's page in the dialog, by its text."""
        self.dialog.get_by_role("button", name=button).click(timeout=SEEN_MS)

    def answers_on_the_banks_page(self, button: str) -> None:
        """Press a button of the bank's page, which then leads back to the shop's."""
        self.page.get_by_role("button", name=button).click(timeout=SEEN_MS)
        self.page.wait_for_url(re.compile(re.escape(self._run.shop_page)), timeout=SEEN_MS)

    def picture(self, what: str) -> None:
        """Save a screenshot of the tab."""
        self._shots += 1
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{self._name}-{self._shots}-{what}.png")

    def close(self) -> None:
        """Close the tab."""
        self.page.close()


class Customer:
    """One customer with one browser and any number of tabs."""

    def __init__(self, context: BrowserContext, run: BrowserRun, name: str) -> None:
        self._context = context
        self._run = run
        self._name = re.sub(r"[^\w]+", "-", name).strip("-")
        self._tabs = 0

    def tab(self) -> Tab:
        self._tabs += 1
        return Tab(self._context.new_page(), self._run, f"{self._name}-tab{self._tabs}")

    def charged(self, order_id: str) -> int:
        """Returns how many succeeded charges the order has at Stripe."""
        return sum(charge["status"] == "succeeded" for charge in self._run.charges(order_id))
