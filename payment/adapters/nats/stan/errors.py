"""The exceptions of a NATS Streaming client, and the meaning of the server's error strings.

Owns: the exceptions of this package and the table of the server's error strings. Source: nats-streaming-server 0.25.6.
"""

import enum


class StanError(Exception):
    """The base of all errors of this package. Each text can be shown: none holds an address or a credential."""


class CodecError(StanError):
    """The bytes are not the expected message, or a message can't be encoded."""


class ServerUnreachable(StanError):
    """No answer, or no connection. The server may have executed the request all the same."""


class Unacknowledged(ServerUnreachable):
    """The connection is open, and the server did not acknowledge a publish in time."""


class MessageTooLarge(StanError):
    """The message is larger than NATS accepts."""


class NoListener(ServerUnreachable):
    """NATS answers that the subject has no subscriber."""


class NotStreaming(StanError):
    """NATS runs, but no NATS Streaming of this cluster id: the subject has no subscriber, or another program
    answers.
    """


class SessionLost(StanError):
    """The session is over. Messages that waited for an acknowledgement may have been stored."""


class InvalidName(StanError):
    """The server would refuse this client id, channel or durable."""


class RefusedByServer(StanError):
    """The server refused a request. `server_text` is its error string."""

    def __init__(self, server_text: str) -> None:
        verdict, meaning = SERVER_ERRORS.get(server_text, (ErrorVerdict.LATER, ""))
        super().__init__(f"NATS Streaming answers '{server_text}'" + (f": {meaning}" if meaning else ""))
        self.server_text = server_text
        self.verdict = verdict


class ClientIdTaken(RefusedByServer):
    """A living client has our client id: it answered the server's heartbeat just now."""


class ErrorVerdict(enum.Enum):
    """How to handle an error of the server."""

    LATER = "later"
    """Try again: it may pass."""
    SESSION_GONE = "session gone"
    """Open a new session."""
    MISTAKE = "mistake"
    """A bug of the client, or a wrong configuration of either side: it won't pass by itself."""


def refused(server_text: str) -> RefusedByServer:
    """The exception for an error string of the server."""
    return ClientIdTaken(server_text) if server_text == CLIENT_ID_TAKEN else RefusedByServer(server_text)


CLIENT_ID_TAKEN = "stan: clientID already registered"
NO_CONNECT_REQUEST = "stan: invalid connection request"
"""The answer to an empty request. Such a request registers nothing, so it serves to check that NATS Streaming runs."""

SERVER_ERRORS: dict[str, tuple[ErrorVerdict, str]] = {
    CLIENT_ID_TAKEN: (ErrorVerdict.LATER, "another living client has this client id"),
    "stan: unknown clientID": (ErrorVerdict.SESSION_GONE, "the server doesn't know this session any more"),
    "client has been replaced or is no longer registered": (
        ErrorVerdict.SESSION_GONE,
        "the server lost this session, or another client has taken its client id",
    ),
    # The client checks a channel's name before it sends anything, so this error means a session that the server forgot.
    "stan: invalid publish request": (ErrorVerdict.SESSION_GONE, "the server doesn't know this session any more"),
    "stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed": (ErrorVerdict.MISTAKE, ""),
    "stan: clientID missing": (ErrorVerdict.MISTAKE, ""),
    NO_CONNECT_REQUEST: (ErrorVerdict.MISTAKE, ""),
    "stan: duplicate durable registration": (ErrorVerdict.LATER, "this durable is still online under our client id"),
    "stan: durable name of a durable queue subscriber can't contain the character ':'": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid subject": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid start position": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid ack wait time, should be >= 1s": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid MaxInflight, should be >= 1": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid subscription request": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid unsubscribe request": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid close request": (ErrorVerdict.MISTAKE, ""),
    "stan: invalid subscription": (ErrorVerdict.LATER, "the server doesn't have this subscription"),
    "stan: unknown channel": (ErrorVerdict.LATER, ""),
    "stan: channel is being deleted": (ErrorVerdict.LATER, ""),
    "too many channels": (ErrorVerdict.MISTAKE, "its limit max_channels is reached"),
    "too many subscriptions per channel": (ErrorVerdict.MISTAKE, "its limit max_subs is reached"),
}
"""Each error string of the server, with what to do about it, and its meaning where the string itself is unclear."""
