"""The driver's options, which override those of `MONGO_URL`, and the check whether a URL can be used.

The service's guarantees (durable writes, reads from the primary, a write that is sent once, calls that end) depend on
the options here. They override those of the URL, because the driver prefers keyword arguments. The write concern, the
read concern and the read preference are set on the database (`payment.adapters.mongo.store`).

The check makes a client of the driver with the same options as the service's. It imports only the synchronous half of
the driver, and reaches no server.

Change together: `payment.settings.values.mongo_url`, which reports what `problem_of` finds.
"""

import re
import warnings
from typing import Any
from urllib.parse import unquote, unquote_plus

from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

SERVER_SELECTION_TIMEOUT_MS = 2_000
"""To find the primary. An election takes longer, but then an error is of more use to callers than a wait."""

CONNECT_TIMEOUT_MS = 2_000
"""To open one connection."""

SOCKET_TIMEOUT_MS = 7_000
"""For one answer: longer than the write concern's own timeout, so that the server can report what happened."""

HEARTBEAT_MS = 1_000
"""Between the driver's own checks of the servers: a primary that is back is found within a second."""

POOL_CONNECTIONS = 8
"""Two commits, the sweep, reads: no more calls run at a time."""

TEXT_CHARS = 200
"""The longest text of the driver that is shown."""


def client_options(app_name: str, socket_timeout_ms: int = SOCKET_TIMEOUT_MS) -> dict[str, Any]:
    """Returns the keyword arguments of each client. They override the same options in a URL."""
    return {
        "appname": app_name,
        "connect": False,
        "connectTimeoutMS": CONNECT_TIMEOUT_MS,
        "heartbeatFrequencyMS": HEARTBEAT_MS,
        "maxPoolSize": POOL_CONNECTIONS,
        # A write is sent once: the field `writer` of the stored document shows whether it was applied.
        "retryWrites": False,
        "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
        "socketTimeoutMS": socket_timeout_ms,
        # A deadline for all, which the driver would also use as the write concern's own timeout.
        "timeoutMS": None,
    }


def problem_of(url: str) -> str | None:
    """Returns why no client can be made of this URL, in the driver's text without the URL's secrets; None: one can.

    No server is reached: the driver resolves a `mongodb+srv://` address when the client is first used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # about an option that the driver doesn't know: the service's own client warns again
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(url, **client_options("check"))
        except (PyMongoError, OSError, ValueError, TypeError) as error:
            return without_secrets(str(error), url)
        client.close()
    return None


def without_secrets(text: str, url: str) -> str:
    """Returns the driver's text, or a general one if it contains a part of the URL that may be a secret."""
    text = " ".join(text.split())[:TEXT_CHARS]
    pieces = _secrets_of(url)
    if pieces is None or any(re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", text) for piece in pieces):
        return "the driver refuses it"
    return text


def _secrets_of(url: str) -> set[str] | None:
    """Returns the parts of a URL that may be secrets: user, password, options for logins. None: it can't be parsed."""
    try:
        # Parsed without its options, because they may be the malformed part. An `@` in them may belong to a password.
        address, _, options = url.partition("?")
        if "@" in options:
            return None
        parts = parse_uri(address, validate=False, warn=False) if not url.startswith("mongodb+srv://") else None
    except (PyMongoError, OSError, ValueError):
        return None
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    user, _, password = credentials.partition(":") if at else ("", "", "")
    pieces = {user, password}
    for option in url.rpartition("?")[2].split("&") if "?" in url else ():
        name, _, value = option.partition("=")
        if "password" in name.lower() or "properties" in name.lower():
            pieces.add(value)
    if parts is not None:
        pieces |= {parts["username"] or "", parts["password"] or ""}
    forms = {form for piece in pieces for form in (piece, unquote(piece), unquote_plus(piece))}
    return {form for form in forms if form}
