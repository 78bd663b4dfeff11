"""Checks of our key: its account, its permissions for the calls that the service makes, its mode and its digest.

No check changes anything at Stripe, or carries an idempotency key. Nothing is concluded about any order here. No key,
and no part of one, may leave this module: a digest is one-way, and a key has far more secrets than can be tried.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable

from payment.adapters.stripe.bodies import Body, Success, read_id
from payment.adapters.stripe.errors import CallKind, Ending, NoSuccess, nothing_known
from payment.adapters.stripe.library import Verb
from payment.core.account import StripeAccount
from payment.ports.cards import NotYet, Obstacle, Permission, Unclear

NO_SUCH_INTENT, NO_SUCH_CHARGE = "pi_permission_check", "ch_permission_check"
"""Ids that Stripe never gives. Its 404 for them shows that the key may ask: without the permission the answer is 403,
whatever the request names (docs.stripe.com/keys/restricted-api-keys)."""

HARMLESS: dict[Permission, tuple[CallKind, Verb, str, Body]] = {
    # A create without an amount is refused for that, if the key may create: nothing is made, and no key is used.
    Permission.CREATE: (CallKind.CREATE, "post", "/v1/payment_intents", {}),
    Permission.CONFIRM: (CallKind.CONFIRM, "post", f"/v1/payment_intents/{NO_SUCH_INTENT}/confirm", {}),
    Permission.RETRIEVE: (CallKind.RETRIEVE, "get", f"/v1/payment_intents/{NO_SUCH_INTENT}", {}),
    Permission.CANCEL: (CallKind.CANCEL, "post", f"/v1/payment_intents/{NO_SUCH_INTENT}/cancel", {}),
    Permission.LIST: (CallKind.READ, "get", "/v1/charges", {"limit": 1}),
    Permission.REFUND: (CallKind.REFUND, "post", "/v1/refunds", {"charge": NO_SUCH_CHARGE}),
}
"""A call for each permission that changes nothing, whatever its answer is."""

NAMED_ACCOUNT = re.compile(r"on account '(acct_[A-Za-z0-9]{1,64})'")
"""How Stripe names the account of a restricted key that it refuses (403): "The provided key 'rk_…' does not have the
required permissions for this endpoint on account 'acct_…'". No permission lets such a key read `GET /v1/account`
everywhere (github.com/stripe/stripe-node/issues/2246, github.com/dj-stripe/dj-stripe/pull/1131)."""

FINGERPRINT_CHARS = 32
"""Hexadecimal digits, 128 bits: no two keys have the same by chance."""

LIVE_PREFIXES, TEST_PREFIXES = ("sk_live_", "rk_live_"), ("sk_test_", "rk_test_")
"""docs.stripe.com/keys: secret and restricted keys of both modes."""

Request = Callable[[CallKind, Verb, str, Body], Awaitable[Success | NoSuccess]]
"""One request: its kind, method, path and parameters."""


class KeyChecks:
    """The checks of one key at one address."""

    def __init__(self, request: Request, secret_key: str, api_base: str) -> None:
        self._request = request
        self._live = mode_of(secret_key)
        self._fingerprint = fingerprint_of(secret_key, api_base)

    async def account(self) -> StripeAccount | NotYet | Unclear:
        """Ask for the key's account: `GET /v1/account`.

        A restricted key may well charge and not read its account, and a sandbox may have none. Then the refusal names
        the account, or it stays unknown; and what is refused is asked again of what we do need. A key that is refused
        there too would be refused at every payment.
        """
        ended = await self._request(CallKind.READ, "get", "/v1/account", {})
        account_id = _account_of(ended)
        if account_id is None:
            for path in ("/v1/balance", "/v1/payment_intents"):
                if isinstance(ended, NoSuccess) and _may_be_asked_elsewhere(ended):
                    ended = await self._request(CallKind.READ, "get", path, {})
        if account_id is not None or isinstance(ended, Success):
            return StripeAccount(account_id, self._live, self._fingerprint)
        if ended.ending is Ending.ALARM:
            return Unclear(text=f"Stripe, or what is at this address, does not know our requests: {ended.text}")
        return nothing_known(ended)

    async def permission(self, permission: Permission) -> NotYet | Unclear | None:
        """Make a call of this kind that can't change anything, and see whether Stripe refuses our key or the call."""
        call, verb, path, params = HARMLESS[permission]
        ended = await self._request(call, verb, path, params)
        if isinstance(ended, Success):
            return None
        answer = ended.answer
        if answer is None or answer.type is None or answer.status >= 500 or ended.ending is Ending.RATE_LIMITED:
            return nothing_known(ended)
        return NotYet(Obstacle.KEY_REFUSED, ended.text) if answer.status in (401, 403) else None


def _account_of(ended: Success | NoSuccess) -> str | None:
    """The account that the answer to `GET /v1/account` names, also where it refuses a restricted key."""
    if isinstance(ended, Success):
        account_id = read_id(ended.body)
        return account_id if ended.body.get("object", "account") == "account" else None
    if ended.answer is None or ended.answer.status != 403:
        return None
    named = NAMED_ACCOUNT.search(ended.answer.message or "")
    return None if named is None else named[1]


def _may_be_asked_elsewhere(ended: NoSuccess) -> bool:
    """Whether this endpoint alone may be refused to us, be unknown there, or fail."""
    answer = ended.answer
    return answer is not None and (answer.status in (403, 404) or answer.status >= 500 or ended.ending is Ending.ALARM)


def mode_of(secret_key: str) -> bool | None:
    """Whether a key is a live one. None: its prefix is none of Stripe's, as a sandbox's may be."""
    if secret_key.startswith(LIVE_PREFIXES):
        return True
    return False if secret_key.startswith(TEST_PREFIXES) else None


def fingerprint_of(secret_key: str, api_base: str) -> str:
    """A digest of a key and of the address that it is used at: at another address the same text is another key."""
    return hashlib.sha256(f"{api_base}\0{secret_key}".encode()).hexdigest()[:FINGERPRINT_CHARS]
