"""Which parts of Stripe's messages may be passed on.

They reach logs, `/readyz` and customers, so no secret may be in them, nor the beginning of one. The shape of secrets
is in `payment.ops.redaction`.
"""

import os

import aiohttp

from payment.ops.redaction import Redactor

TEXT_MAX_CHARS = 300
"""Stripe's messages are one or two sentences."""

_REDACTOR = Redactor()
"""Knows secrets by their shapes; a client's own are given with each text."""


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
    return _REDACTOR.scrub(text, *filter(None, secrets), whole=True)[:TEXT_MAX_CHARS]
