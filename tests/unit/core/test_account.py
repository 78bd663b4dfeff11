"""Which keys belong to the database's Stripe account, and what an operator reads where a key does not (F48)."""

import pytest

from payment.core.account import MOVE_COMMAND, StripeAccount, learned, mismatch

BOUND = StripeAccount("acct_1", False, "first key")
UNKNOWN = StripeAccount(None, False, "first key")


@pytest.mark.parametrize(
    ("bound", "retrieved", "same"),
    [
        (BOUND, BOUND, True),
        (BOUND, StripeAccount("acct_1", False, "a rolled key"), True),
        (BOUND, StripeAccount("acct_2", False, "first key"), False),
        (BOUND, StripeAccount("acct_1", True, "a live key"), False),
        (BOUND, StripeAccount("acct_1", None, "a sandbox's key"), True),
        (StripeAccount("acct_1", None, "f"), StripeAccount("acct_1", True, "g"), True),
        (BOUND, UNKNOWN, True),
        (BOUND, StripeAccount(None, False, "another key"), False),
        (UNKNOWN, BOUND, True),
        (UNKNOWN, StripeAccount("acct_1", False, "another key"), False),
        (UNKNOWN, StripeAccount(None, True, "first key"), False),
    ],
)
def test_a_key_is_for_the_account_by_its_id_or_as_the_same_key(
    bound: StripeAccount, retrieved: StripeAccount, same: bool
) -> None:
    """F48: an id decides where both are known, so a key may be rolled; an account that is not known to be right is
    another."""
    assert (mismatch(bound, retrieved) is None) is same


def test_the_words_name_both_accounts_their_modes_and_the_way_out() -> None:
    """They hold no secret: an account that is not known is named by a part of its key's digest."""
    words = mismatch(BOUND, StripeAccount(None, True, "0123456789abcdef"))
    assert words is not None
    for part in ("acct_1 (test mode)", "fingerprint 01234567", "(live mode)", "nothing is sent", MOVE_COMMAND):
        assert part in words
    assert "89abcdef" not in words


def test_the_id_of_an_account_is_learned_from_the_same_key_alone() -> None:
    """F48: the account was kept without an id while Stripe did not report one."""
    assert learned(UNKNOWN, BOUND) is BOUND
    assert learned(UNKNOWN, StripeAccount("acct_2", False, "another key")) is None
    assert learned(BOUND, BOUND) is None
    assert learned(UNKNOWN, UNKNOWN) is None
