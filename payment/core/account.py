"""The Stripe account that the database belongs to, and whether a secret key is for that account. Pure.

Two Stripe accounts behind one database charge customers twice: an account that has never charged an order lists no
charge of it. So the database keeps the account, and a process whose key is for another account sends nothing to Stripe
(F48).
"""

from datetime import datetime

from msgspec import Struct

MOVE_COMMAND = "python -m payment account --move"
"""The command by which an operator moves the database to another Stripe account."""


class StripeAccount(Struct, frozen=True):
    """The account that a secret key is for, as far as Stripe shows it. No field is secret.

    `id`: `acct_…`; None where Stripe does not show it to this key. `live`: the mode, by the key's prefix; None where
    the prefix is not one of Stripe's. `fingerprint`: a digest of the key and of the API address that it is used at,
    which recognizes the same key where the id is not known.
    """

    id: str | None
    live: bool | None
    fingerprint: str

    def __str__(self) -> str:
        name = self.id or f"with the key of fingerprint {self.fingerprint[:8]}, whose account is not known"
        return f"{name} ({_MODES[self.live]})"


class BoundAccount(Struct, frozen=True):
    """The account that the database belongs to, since when (UTC), and the client id that bound it."""

    account: StripeAccount
    since: datetime
    by: str


def mismatch(bound: StripeAccount, of_key: StripeAccount) -> str | None:
    """Returns why the key's account is not the database's, in a sentence for an operator; None where it is the same.

    Where both ids are known they decide, so a key may be rolled. Otherwise only the same key at the same address counts
    as the same account: an account that is not certainly the same one counts as another.
    """
    modes_differ = None not in (bound.live, of_key.live) and bound.live is not of_key.live
    known = bound.id is not None and of_key.id is not None
    same = bound.id == of_key.id if known else bound.fingerprint == of_key.fingerprint
    if same and not modes_differ:
        return None
    return (
        f"the database belongs to the Stripe account {bound}, and STRIPE_KEY is for {of_key}: nothing is sent to "
        f"Stripe. Set the key of that account, or move the database to the key's account: {MOVE_COMMAND}"
    )


def learned(bound: StripeAccount, of_key: StripeAccount) -> StripeAccount | None:
    """Returns the key's account where it has an id that the kept account lacks; None where nothing is new."""
    if bound.id is None and of_key.id is not None and mismatch(bound, of_key) is None:
        return of_key
    return None


_MODES = {True: "live mode", False: "test mode", None: "mode not known"}
