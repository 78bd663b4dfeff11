"""A customer pays in Chromium, on the shop's page, with the service, NATS, MongoDB and the sandbox.

The bank's page is the sandbox's, in a dialog (`useStripeSdk`) or in the whole tab (`returnUrl`). Each test ends with a
check of Stripe's own list of charges: an order has one succeeded charge, or none.
"""

from __future__ import annotations

import pytest

from tests.e2e.browser.customer import ASKS, ASKS_THEN_DECLINES, DECLINED, GOOD, Customer
from tests.e2e.browser.run import BrowserRun

pytestmark = [pytest.mark.servers, pytest.mark.slow]

ACCEPT, REFUSE = "Complete", "Fail"
"""The buttons of the bank's page."""

CONFIRM_BY_SECRET = """async (secret) => {
  const form = new URLSearchParams({ client_secret: secret, payment_method: 'pm_card_visa' })
  const headers = { Authorization: 'Bearer pk_test_embedded' }
  const path = `/stripe/v1/payment_intents/${secret.split('_secret_')[0]}/confirm`
  return (await fetch(path, { method: 'POST', headers, body: form })).json()
}"""
"""A page that confirms by a client secret alone, without the service: docs.stripe.com/api/payment_intents/confirm."""


@pytest.mark.parametrize("instrument", ["confirmationToken", "paymentMethod", "token", "named"])
def test_a_good_card_pays(customer: Customer, instrument: str) -> None:
    """Each kind of instrument is charged once, without authentication."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(GOOD, instrument=instrument)
    tab.sees_payment("paid")
    tab.sees_step("The service answered 201, paid.")
    tab.picture("paid")
    assert customer.charged(order_id) == 1
    assert tab.errors == []


def test_a_declined_card_is_followed_by_a_good_one(customer: Customer) -> None:
    """The page shows that the card was declined, and another card pays the same order."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(DECLINED)
    tab.sees_step("declined: The card was declined. Try another one.")
    tab.sees_payment("declined")
    tab.picture("declined")
    tab.pay(GOOD)
    tab.sees_payment("paid")
    assert customer.charged(order_id) == 1


def test_the_bank_is_answered_in_a_dialog(customer: Customer) -> None:
    """Nothing is charged while the dialog is open; then the page shows the payment."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS)
    tab.is_asked_on_the_page()
    tab.sees_payment("requires_action")
    tab.picture("bank-asks")
    assert customer.charged(order_id) == 0
    tab.answers_on_the_page(ACCEPT)
    tab.sees_payment("paid")
    tab.picture("paid")
    assert customer.charged(order_id) == 1
    assert tab.errors == []


def test_the_bank_is_answered_on_its_own_page(customer: Customer) -> None:
    """The tab goes to the bank and comes back to the order; the client secret is no longer in the address."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS, how="redirect")
    tab.is_asked_on_the_banks_page()
    tab.picture("bank-asks")
    tab.answers_on_the_banks_page(ACCEPT)
    tab.sees_step("You are back from the bank.")
    tab.sees_payment("paid")
    tab.picture("paid")
    assert tab.order_id == order_id
    assert "secret" not in tab.page.url
    assert customer.charged(order_id) == 1


@pytest.mark.parametrize("how", ["sdk", "redirect"])
def test_a_refused_authentication_leaves_the_order_payable(customer: Customer, how: str) -> None:
    """The attempt is declined, nothing is charged, and another card pays the order."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS, how=how)
    if how == "sdk":
        tab.answers_on_the_page(REFUSE)
    else:
        tab.is_asked_on_the_banks_page()
        tab.answers_on_the_banks_page(REFUSE)
    tab.sees_payment("declined")
    tab.picture("refused")
    assert customer.charged(order_id) == 0
    tab.pay(GOOD)
    tab.sees_payment("paid")
    assert customer.charged(order_id) == 1


def test_a_bank_may_decline_after_it_has_asked(customer: Customer) -> None:
    """The customer authenticates, and the bank declines all the same."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS_THEN_DECLINES)
    tab.answers_on_the_page(ACCEPT)
    tab.sees_payment("declined")
    tab.picture("declined")
    assert customer.charged(order_id) == 0


def test_a_page_that_can_not_ask_is_declined(customer: Customer) -> None:
    """Without `useStripeSdk` and `returnUrl` such a card is a 402 with its own code."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS, how="none")
    tab.sees_step("The service answered 402, authentication_required")
    tab.sees_payment("declined")
    assert customer.charged(order_id) == 0


@pytest.mark.parametrize("how", ["sdk", "redirect"])
def test_a_customer_who_left_half_way_comes_back_and_pays(customer: Customer, how: str) -> None:
    """The tab is closed while the bank asks. The order's page, opened anew, leads back to the bank."""
    left = customer.tab()
    order_id = left.place_order()
    left.pay(ASKS, how=how)
    if how == "sdk":
        left.is_asked_on_the_page()
    else:
        left.is_asked_on_the_banks_page()
    left.close()

    back = customer.tab()
    back.open_order(order_id)
    back.sees_payment("requires_action")
    back.picture("come-back")
    back.page.click("#continue")
    if how == "sdk":
        back.answers_on_the_page(ACCEPT)
    else:
        back.is_asked_on_the_banks_page()
        back.answers_on_the_banks_page(ACCEPT)
    back.sees_payment("paid")
    back.picture("paid")
    assert customer.charged(order_id) == 1


def test_a_customer_who_closes_the_dialog_goes_on_later(customer: Customer) -> None:
    """The payment stays open and uncharged; the page offers the bank's page again."""
    tab = customer.tab()
    order_id = tab.place_order()
    tab.pay(ASKS)
    tab.is_asked_on_the_page()
    tab.page.get_by_role("button", name="Not now").click()
    tab.sees_step("The bank's page ended: customer_closed")
    tab.sees_payment("requires_action")
    tab.page.locator("#continue").wait_for()
    tab.picture("closed")
    assert customer.charged(order_id) == 0
    tab.page.click("#continue")
    tab.answers_on_the_page(ACCEPT)
    tab.sees_payment("paid")
    assert customer.charged(order_id) == 1


def test_a_customer_who_left_half_way_takes_another_card(customer: Customer) -> None:
    """The first card's intent is cancelled for it, in the same request; its bank's page can't be completed any more."""
    left = customer.tab()
    order_id = left.place_order()
    left.pay(ASKS, how="redirect")
    left.is_asked_on_the_banks_page()

    other = customer.tab()
    other.open_order(order_id)
    other.sees_payment("requires_action")
    other.pay(GOOD)
    other.sees_payment("paid")
    other.picture("paid-with-another-card")
    assert customer.charged(order_id) == 1

    left.page.get_by_role("button", name=ACCEPT).click()
    left.page.wait_for_load_state()
    left.picture("late")
    assert customer.charged(order_id) == 1
    other.page.click("#look")
    other.sees_payment("paid")


def test_two_tabs_with_the_same_card_are_one_payment(customer: Customer) -> None:
    """Both tabs send the same token: one attempt, and both show it paid once one of them authenticates."""
    first, second = customer.tab(), customer.tab()
    order_id = first.place_order()
    second.open_order(order_id)
    first.pay(ASKS, instrument="named")
    first.is_asked_on_the_page()
    second.pay(ASKS, instrument="named")
    second.is_asked_on_the_page()
    first.answers_on_the_page(ACCEPT)
    first.sees_payment("paid")
    second.sees_payment("paid")
    second.picture("paid-in-both")
    assert customer.charged(order_id) == 1


def test_two_tabs_with_two_cards_charge_one(customer: Customer) -> None:
    """The second tab's card supersedes the first's, whose dialog closes; the order is charged once."""
    first, second = customer.tab(), customer.tab()
    order_id = first.place_order()
    second.open_order(order_id)
    first.pay(ASKS)
    first.is_asked_on_the_page()
    second.pay(ASKS)
    second.is_asked_on_the_page()
    second.answers_on_the_page(ACCEPT)
    second.sees_payment("paid")
    first.sees_payment("paid")
    first.picture("superseded")
    assert customer.charged(order_id) == 1


def test_an_order_cancelled_at_the_bank_is_not_charged(customer: Customer) -> None:
    """The order is cancelled in another tab while the bank asks: its dialog closes, and nothing was charged."""
    asked, other = customer.tab(), customer.tab()
    order_id = asked.place_order()
    other.open_order(order_id)
    asked.pay(ASKS)
    asked.is_asked_on_the_page()
    other.page.click("#cancel")
    other.sees_payment("cancelled")
    asked.sees_payment("cancelled")
    asked.picture("cancelled")
    assert customer.charged(order_id) == 0


def test_a_client_secret_used_behind_the_services_back_is_no_second_charge(customer: Customer) -> None:
    """After a refused authentication the page confirms the intent itself, by the secret that it was given.

    The service does not know it yet when the customer pays with another card: it finds the intent's charge, and keeps
    that one.
    """
    tab = customer.tab()
    order_id = tab.place_order()
    with tab.page.expect_response(lambda response: "/api/v1/payments" in response.url) as answered:
        tab.pay(ASKS)
    tab.answers_on_the_page(REFUSE)
    tab.sees_payment("declined")
    confirmed = tab.page.evaluate(CONFIRM_BY_SECRET, answered.value.json()["clientSecret"])
    assert confirmed["status"] == "succeeded"
    tab.pay(GOOD)
    tab.sees_payment("paid")
    tab.picture("paid-once")
    assert customer.charged(order_id) == 1


def test_no_card_number_reaches_the_service(customer: Customer, run: BrowserRun) -> None:
    """Numbers go to Stripe alone: the requests to the service hold none, and neither does its log."""
    tab = customer.tab()
    sent: list[str] = []
    tab.page.on("request", lambda request: sent.append(f"{request.url} {request.post_data or ''}"))
    tab.place_order()
    tab.pay(GOOD)
    tab.sees_payment("paid")
    to_service = [each for each in sent if "/api/v1/" in each]
    assert any("confirmationToken" in each for each in to_service)
    assert not any(GOOD in each for each in to_service)
    assert GOOD not in run.out.read_text()
