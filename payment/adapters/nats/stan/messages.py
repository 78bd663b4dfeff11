"""NATS Streaming's messages, as data: each class with the table of its fields on the wire.

The numbers have gaps: they are the protocol's. Unused fields (public key, checksum, CRC) are left out, and skipped when
they are received. Change together with: nothing, the protocol is at the end of its life.
"""

from typing import ClassVar

from payment.adapters.nats.stan.codec import Field, Kind, Message

DELIVER_ALL = 4
"""The start position (`First`) of a new durable. An existing durable goes on where it was, whatever is requested."""
PROTOCOL = 1
"""The version with pings and connection ids."""


class ConnectRequest(Message, frozen=True):
    """Asks for a session. `ping_interval` is in seconds; `conn_id` must be new each time."""

    client_id: str = ""
    heartbeat_inbox: str = ""
    protocol: int = 0
    conn_id: bytes = b""
    ping_interval: int = 0
    ping_max_out: int = 0

    FIELDS: ClassVar = (
        Field(1, "client_id", Kind.STRING),
        Field(2, "heartbeat_inbox", Kind.STRING),
        Field(3, "protocol", Kind.INT32),
        Field(4, "conn_id", Kind.BYTES),
        Field(5, "ping_interval", Kind.INT32),
        Field(6, "ping_max_out", Kind.INT32),
    )


class ConnectResponse(Message, frozen=True):
    """The subjects to use from now on, or an error. `sub_close_requests` is empty on a server before 0.3."""

    pub_prefix: str = ""
    sub_requests: str = ""
    unsub_requests: str = ""
    close_requests: str = ""
    error: str = ""
    sub_close_requests: str = ""
    ping_requests: str = ""
    ping_interval: int = 0
    ping_max_out: int = 0
    protocol: int = 0

    FIELDS: ClassVar = (
        Field(1, "pub_prefix", Kind.STRING),
        Field(2, "sub_requests", Kind.STRING),
        Field(3, "unsub_requests", Kind.STRING),
        Field(4, "close_requests", Kind.STRING),
        Field(5, "error", Kind.STRING),
        Field(6, "sub_close_requests", Kind.STRING),
        Field(7, "ping_requests", Kind.STRING),
        Field(8, "ping_interval", Kind.INT32),
        Field(9, "ping_max_out", Kind.INT32),
        Field(10, "protocol", Kind.INT32),
    )


class Ping(Message, frozen=True):
    """Asks whether the session still stands."""

    conn_id: bytes = b""

    FIELDS: ClassVar = (Field(1, "conn_id", Kind.BYTES),)


class PingResponse(Message, frozen=True):
    """Empty where the session is open, otherwise an error."""

    error: str = ""

    FIELDS: ClassVar = (Field(1, "error", Kind.STRING),)


class PubMsg(Message, frozen=True):
    """One message for a channel. `guid` comes back in its acknowledgement, and has no other use."""

    client_id: str = ""
    guid: str = ""
    subject: str = ""
    reply: str = ""
    data: bytes = b""
    conn_id: bytes = b""

    FIELDS: ClassVar = (
        Field(1, "client_id", Kind.STRING),
        Field(2, "guid", Kind.STRING),
        Field(3, "subject", Kind.STRING),
        Field(4, "reply", Kind.STRING),
        Field(5, "data", Kind.BYTES),
        Field(6, "conn_id", Kind.BYTES),
    )


class PubAck(Message, frozen=True):
    """Acknowledges the message of that guid, or has the error why it was not stored."""

    guid: str = ""
    error: str = ""

    FIELDS: ClassVar = (Field(1, "guid", Kind.STRING), Field(2, "error", Kind.STRING))


class MsgProto(Message, frozen=True):
    """One message as it is delivered. `timestamp` is when it was stored, in nanoseconds since 1970.

    Sequences begin at 1 in each channel, and again at 1 on a server that lost its data: only sequence and timestamp
    together identify a message. `redelivery_count` begins anew with each restart of the server, `redelivered` does not.
    """

    sequence: int = 0
    subject: str = ""
    reply: str = ""
    data: bytes = b""
    timestamp: int = 0
    redelivered: bool = False
    redelivery_count: int = 0

    FIELDS: ClassVar = (
        Field(1, "sequence", Kind.UINT64),
        Field(2, "subject", Kind.STRING),
        Field(3, "reply", Kind.STRING),
        Field(4, "data", Kind.BYTES),
        Field(5, "timestamp", Kind.INT64),
        Field(6, "redelivered", Kind.BOOL),
        Field(7, "redelivery_count", Kind.UINT32),
    )


class Ack(Message, frozen=True):
    """Acknowledges the message of that sequence. It gets no answer."""

    subject: str = ""
    sequence: int = 0

    FIELDS: ClassVar = (Field(1, "subject", Kind.STRING), Field(2, "sequence", Kind.UINT64))


class SubscriptionRequest(Message, frozen=True):
    """Asks for a channel's messages. `start_time_delta` is in nanoseconds before now."""

    client_id: str = ""
    subject: str = ""
    queue_group: str = ""
    inbox: str = ""
    max_in_flight: int = 0
    ack_wait_in_secs: int = 0
    durable_name: str = ""
    start_position: int = 0
    start_sequence: int = 0
    start_time_delta: int = 0

    FIELDS: ClassVar = (
        Field(1, "client_id", Kind.STRING),
        Field(2, "subject", Kind.STRING),
        Field(3, "queue_group", Kind.STRING),
        Field(4, "inbox", Kind.STRING),
        Field(5, "max_in_flight", Kind.INT32),
        Field(6, "ack_wait_in_secs", Kind.INT32),
        Field(7, "durable_name", Kind.STRING),
        Field(10, "start_position", Kind.INT32),
        Field(11, "start_sequence", Kind.UINT64),
        Field(12, "start_time_delta", Kind.INT64),
    )


class SubscriptionResponse(Message, frozen=True):
    """Where to send acks, or an error. Also the answer to a subscription's close. There is no field 1."""

    ack_inbox: str = ""
    error: str = ""

    FIELDS: ClassVar = (Field(2, "ack_inbox", Kind.STRING), Field(3, "error", Kind.STRING))


class UnsubscribeRequest(Message, frozen=True):
    """Closes a subscription. It must go to the subject for closing: on any other it would destroy the durable.

    `inbox` is the ack inbox. Where that is not known, the server accepts the inbox of the deliveries too.
    """

    client_id: str = ""
    subject: str = ""
    inbox: str = ""
    durable_name: str = ""

    FIELDS: ClassVar = (
        Field(1, "client_id", Kind.STRING),
        Field(2, "subject", Kind.STRING),
        Field(3, "inbox", Kind.STRING),
        Field(4, "durable_name", Kind.STRING),
    )


class CloseRequest(Message, frozen=True):
    """Ends a session. Its durables stay."""

    client_id: str = ""

    FIELDS: ClassVar = (Field(1, "client_id", Kind.STRING),)


class CloseResponse(Message, frozen=True):
    error: str = ""

    FIELDS: ClassVar = (Field(1, "error", Kind.STRING),)


ALL: tuple[type[Message], ...] = (
    ConnectRequest,
    ConnectResponse,
    Ping,
    PingResponse,
    PubMsg,
    PubAck,
    MsgProto,
    Ack,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
    CloseRequest,
    CloseResponse,
)
