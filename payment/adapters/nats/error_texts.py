"""The reasons for a failed or lost connection to NATS that an operator reads in `/readyz`, the log and `--check`.

Owns: the sentence for each error of nats-py, of TLS and of the socket. Must never: quote a URL, a credential, or the
name of a Python class. Change together with: `payment.adapters.nats.link`, which puts the server's address before them.

The server's own errors come as text (`-ERR '…'`); the sentences here match nats-server 2.15.
"""

import os
import socket
import ssl

import nats.errors
from aiohttp import ClientConnectorCertificateError, ClientConnectorError, WSServerHandshakeError

from payment.adapters.nats.login import LoginError

SERVER_ERRORS = (
    ("authorization violation", "the server does not take our user, password, token or key (authorization violation)"),
    ("authentication timeout", "the server waited too long for our credentials (authentication timeout)"),
    ("authentication expired", "our credentials have expired (authentication expired)"),
    ("authentication revoked", "our credentials were revoked (authentication revoked)"),
    ("account authentication expired", "the account's credentials have expired (account authentication expired)"),
    ("maximum connections exceeded", "the server has as many connections as it takes (maximum connections exceeded)"),
    (
        "maximum account active connections exceeded",
        "our account has as many connections as it may have (maximum account active connections exceeded)",
    ),
    ("maximum subscriptions exceeded", "we have as many subscriptions as we may have (maximum subscriptions exceeded)"),
    ("maximum payload violation", "a message was larger than the server takes (maximum payload violation)"),
    ("secure connection - tls required", "the server wants TLS: NATS_URL must begin with tls://"),
    ("slow consumer", "the server gave us up for reading too slowly (slow consumer)"),
    ("server shutdown", "the server is shutting down"),
    ("stale connection", "the server missed our answers to its pings (stale connection)"),
)
"""The beginning of each error text of the server, in lower case, and its meaning."""


def describe(error: BaseException) -> str:
    """Returns a sentence for an error. It holds no URL, no credential and no name of a Python class."""
    match error:
        case LoginError():
            return f"{error.variable}: {error}"
        case ClientConnectorCertificateError():
            return describe(error.certificate_error)
        case ClientConnectorError():
            return describe(error.os_error)
        case WSServerHandshakeError():
            return f"no websocket there: HTTP status {error.status}"
        case nats.errors.NoServersError():
            return "no server can be reached"
        case nats.errors.UnexpectedEOF() | EOFError():
            return "the server closed the connection without a reason"
        case nats.errors.StaleConnectionError():
            return "the server missed our answers to its pings (stale connection)"
        case nats.errors.AuthorizationError():
            return SERVER_ERRORS[0][1]
        case nats.errors.MaxPayloadError():
            return "the message is larger than the server takes (max_payload)"
        case nats.errors.ConnectionClosedError() | nats.errors.ConnectionDrainingError():
            return "the connection was closed"
        case nats.errors.OutboundBufferLimitError():
            return "the connection was lost while something was being sent"
        case nats.errors.SecureConnRequiredError() | nats.errors.SecureConnWantedError():
            return "the server offers no TLS, and NATS_URL asks for it"
        case TimeoutError():
            return "no answer in time"
        case nats.errors.Error():
            return _server_error(str(error))
        case ssl.SSLCertVerificationError():
            why = error.verify_message or "it can not be verified"
            return f"TLS: the server's certificate is not accepted: {why} (NATS_TLS_CA takes a CA of your own)"
        case ssl.SSLError():
            return f"TLS: the handshake failed ({_tls_reason(error)})"
        case socket.gaierror():
            return f"its name can't be resolved ({error.strerror or 'DNS failure'})"
        case ConnectionError(errno=None):
            return "the server closed the connection"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(text)) if text:
            return text
        case ValueError():
            return "its address or an option can't be used"
        case _:
            return "an error that has no description"


def _server_error(text: str) -> str:
    sentence = text.removeprefix("nats: ").strip("'\" \r\n")
    lowered = sentence.lower()
    for beginning, meaning in SERVER_ERRORS:
        if lowered.startswith(beginning):
            return meaning
    return sentence or "the server reported an error without a text"


def _tls_reason(error: ssl.SSLError) -> str:
    reason = str(error.reason or error.strerror or "no reason given")
    return reason.replace("_", " ").lower()
