"""Which parts of Stripe's messages may be passed on.

They reach logs, `/readyz` and customers, so no secret may be in them. `payment.ops.redaction` guards the log a second
time: a new shape goes into both.
"""

import os
import re

import aiohttp

TEXT_MAX_CHARS = 300
"""Stripe's messages are one or two sentences."""

MASK = "[redacted]"

SECRETS = re.compile(
    r"\b(?:sk|rk|pk|ek|tok|btok|ctoken|src|pm|seti|whsec)_[\w*]+"  # keys; what a customer pays with; SetupIntents
    r"|\*{4,}\w+"  # a key as Stripe masks it, down to its last characters
    r"|\b\w+_secret_\w*"  # client secrets: `pi_…_secret_…`
)
"""The shapes of secrets in Stripe's messages (docs.stripe.com/keys, /api/payment_intents/object)."""


def broken_text(name: str, error: Exception) -> str:
    """Returns the text for a call that brought no whole answer. `name` is that of its rule in `BREAKS`.

    The exception's own message may hold an address or what was sent: only the system's reason is passed on. An
    exception that is not known is named by its class.
    """
    if isinstance(error, aiohttp.ClientConnectorError):
        # Of a refused connection asyncio's text is a tuple of Python; a resolver's has numbers of its own, below 0.
        number = error.os_error.errno or 0
        reason = os.strerror(number) if number > 0 else error.os_error.strerror
        return f"{name}: {redacted(reason)}" if reason else name
    return name if isinstance(error, aiohttp.ClientError | TimeoutError) else f"{name} ({type(error).__name__})"


def redacted(text: str, *secrets: str | None) -> str:
    """The text without these secrets and without anything of a secret's shape, cut to `TEXT_MAX_CHARS`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return SECRETS.sub(MASK, text)[:TEXT_MAX_CHARS]
