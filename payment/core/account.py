"""Which Stripe account, in which mode, the database belongs to, and whether a secret key is for that one. Pure.

Two accounts behind one database charge customers twice: an account that has never seen an order lists no charge of it.
So the account is kept in the database, and a key of another account sends nothing (F48).
"""

from datetime import datetime

from msgspec import Struct

MOVE_COMMAND = "python -m payment account --move"
"""How an operator says that another account is meant."""


class StripeAccount(Struct, frozen=True):
    """The account that a secret key is for, as far as Stripe says it. None of this is secret.

    `id`: `acct_…`; None where Stripe does not say it to this key. `live`: by the key's prefix; None where that is none
    of Stripe's. `fingerprint`: a digest of the key and of the address that it is used at, which tells the same key
    again where the id is not known.
    """

    id: str | None
    live: bool | None
    fingerprint: str

    def __str__(self) -> str:
        name = self.id or f"with the key of fingerprint {self.fingerprint[:8]}, whose account is not known"
        return f"{name} ({_MODES[self.live]})"


class BoundAccount(Struct, frozen=True):
    """The account that the database belongs to, since when (UTC), and by which process or command (its client id)."""

    account: StripeAccount
    since: datetime
    by: str


def mismatch(bound: StripeAccount, of_key: StripeAccount) -> str | None:
    """Returns why the key is not for the database's account, in words for an operator; None where it is.

    Ids decide where both are known, so a key may be rolled. Else only the same key at the same address is the same
    account: an account that is not known to be the right one counts as another.
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
    """Returns the account with what the same key shows now and did not when it was kept; None where nothing is new."""
    if bound.id is None and of_key.id is not None and mismatch(bound, of_key) is None:
        return of_key
    return None


_MODES = {True: "live mode", False: "test mode", None: "mode not known"}
