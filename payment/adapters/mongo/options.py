"""How the driver is set up: which of its options are ours whatever `MONGO_URL` says, and what a URL makes impossible.

Imports the driver's synchronous half alone, and reaches nothing: the settings check a URL by making the very client
that will be used. What the service promises (durable writes, reads from the primary, a write that is sent once, calls
that end) rests on the options here, and they win over those of the URL: keyword arguments win in the driver. The write
concern, the read concern and the read preference are set on the database (`payment.adapters.mongo.store`).

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
"""To find the primary. An election takes longer, but then callers are better told than kept."""

CONNECT_TIMEOUT_MS = 2_000
"""To open one connection."""

SOCKET_TIMEOUT_MS = 7_000
"""For one answer: longer than the write concern's own timeout, so that the server gets to say what happened."""

HEARTBEAT_MS = 1_000
"""Between the driver's own looks at the servers: a primary that is back is found within a second."""

POOL_CONNECTIONS = 8
"""Two commits, the sweep, reads: all that can be under way at once."""

WORDS_CHARS = 200
"""Longest text of the driver that is repeated."""


def client_options(app_name: str, socket_timeout_ms: int = SOCKET_TIMEOUT_MS) -> dict[str, Any]:
    """The keyword arguments of every client of ours. They win over the same options in a URL."""
    return {
        "appname": app_name,
        "connect": False,
        "connectTimeoutMS": CONNECT_TIMEOUT_MS,
        "heartbeatFrequencyMS": HEARTBEAT_MS,
        "maxPoolSize": POOL_CONNECTIONS,
        # A write is sent once: whether it was applied is found out by `writer`, not by sending it again.
        "retryWrites": False,
        "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
        "socketTimeoutMS": socket_timeout_ms,
        # A deadline over all, which the driver would take for the write concern's own timeout too.
        "timeoutMS": None,
    }


def problem_of(url: str) -> str | None:
    """Why no client can be made of this URL, in the driver's words without the URL's secrets; None: one can.

    Nothing is reached: of a `mongodb+srv://` address DNS is asked when the client is first used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an option that the driver doesn't know; it says so when it is used
        try:
            client: MongoClient[dict[str, Any]] = MongoClient(url, **client_options("check"))
        except (PyMongoError, OSError, ValueError, TypeError) as error:
            return fit_words(str(error), url)
        client.close()
    return None


def fit_words(words: str, url: str) -> str:
    """The driver's words, unless they hold anything of the URL that may be a secret."""
    words = " ".join(words.split())[:WORDS_CHARS]
    pieces = _secrets_of(url)
    if pieces is None or any(re.search(rf"(?<!\w){re.escape(piece)}(?!\w)", words) for piece in pieces):
        return "the driver refuses it"
    return words


def _secrets_of(url: str) -> set[str] | None:
    """Whatever of a URL may be a secret: user, password, and options for logins. None: it can't be taken apart."""
    try:
        # Without its options, which may be what is wrong with it. An address has no `@` in them, a password may.
        place, _, options = url.partition("?")
        if "@" in options:
            return None
        parts = parse_uri(place, validate=False, warn=False) if not url.startswith("mongodb+srv://") else None
    except (PyMongoError, OSError, ValueError):
        return None
    credentials, at, _ = url.partition("://")[2].rpartition("@")
    user, _, password = credentials.partition(":") if at else ("", "", "")
    pieces = {user, password}
    for option in url.rpartition("?")[2].split("&") if "?" in url else ():
        name, _, text = option.partition("=")
        if "password" in name.lower() or "properties" in name.lower():
            pieces.add(text)
    if parts is not None:
        pieces |= {parts["username"] or "", parts["password"] or ""}
    forms = {form for piece in pieces for form in (piece, unquote(piece), unquote_plus(piece))}
    return {form for form in forms if form}
