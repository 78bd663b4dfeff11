"""What can go wrong between a client and NATS Streaming, and what the server means by the words it says.

Owns: the exceptions of this package and the table of the server's error strings. Source: nats-streaming-server 0.25.6.
"""

import enum


class StanError(Exception):
    """The base of all errors of this package. Each text can be shown: none holds an address or a credential."""


class CodecError(StanError):
    """These bytes are not the message that they should be, or a message can't be encoded."""


class ServerUnreachable(StanError):
    """No answer, or no connection. What was asked may have been done all the same."""


class Unacknowledged(ServerUnreachable):
    """The connection stands, and the server did not acknowledge a publish in time."""


class MessageTooLarge(StanError):
    """NATS takes no message of this size."""


class NoListener(ServerUnreachable):
    """NATS itself is there, and says that nobody listens on the subject."""


class NotStreaming(StanError):
    """NATS is there, but no NATS Streaming of this cluster id: nobody listens, or somebody else answers."""


class SessionLost(StanError):
    """The session is over. What waited for an acknowledgement in it may have been stored."""


class InvalidName(StanError):
    """The server would refuse this client id, channel or durable."""


class RefusedByServer(StanError):
    """The server said no. `said` are its own words."""

    def __init__(self, server_text: str) -> None:
        verdict, meaning = SERVER_ERRORS.get(server_text, (ErrorVerdict.LATER, ""))
        super().__init__(f"NATS Streaming says '{server_text}'" + (f": {meaning}" if meaning else ""))
        self.server_text = server_text
        self.verdict = verdict


class ClientIdTaken(RefusedByServer):
    """A living client has our client id: it answered the server's heartbeat just now."""


class ErrorVerdict(enum.Enum):
    """What to do about an error of the server."""

    LATER = "later"
    """Try again: it may pass."""
    SESSION_GONE = "session gone"
    """Open a new session."""
    MISTAKE = "mistake"
    """Ours, or in the configuration of either side: it won't pass by itself."""


def refused(server_text: str) -> RefusedByServer:
    """The exception for an error string of the server."""
    return ClientIdTaken(server_text) if server_text == CLIENT_ID_TAKEN else RefusedByServer(server_text)


CLIENT_ID_TAKEN = "stan: clientID already registered"
NO_CONNECT_REQUEST = "stan: invalid connection request"
"""The answer to an empty request: it registers nothing, and so serves to ask whether NATS Streaming is there."""

SERVER_ERRORS: dict[str, tuple[ErrorVerdict, str]] = {
    CLIENT_ID_TAKEN: (ErrorVerdict.LATER, "another living client has this client id"),
    "stan: unknown clientID": (ErrorVerdict.SESSION_GONE, "the server doesn't know this session any more"),
    "client has been replaced or is no longer registered": (
        ErrorVerdict.SESSION_GONE,
        "the server lost this session, or another client has taken its client id",
    ),
    # The channel's name is checked here before anything is sent: what is left is a session that the server forgot.
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
"""Each error string of the server, with what to do and what it means where its own words don't say so."""
