"""The advice of a run whose data belong to another Stripe account (F48)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.stack import StripeSandbox
from tests.unit.devstack.devstack_world import EmbeddedRun, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.slow]


def test_a_database_of_another_account_is_explained_with_what_to_do(tmp_path: Path) -> None:
    """F48: first the sandbox, then a key of Stripe: nothing is paid, and the run shows how to begin anew."""
    first = EmbeddedRun(tmp_path).start()
    first.close()
    stripe = StripeSandbox(tmp_path / "another account")
    stripe.start()
    second = EmbeddedRun(tmp_path, STRIPE_API_BASE=stripe.url, STRIPE_KEY="sk_test_mine")
    try:
        second.start(ready=False)
        wait_until(lambda: f"begin anew with rm -r {second.home}" in second.printed, "the advice")
    finally:
        second.close()
        stripe.stop()
