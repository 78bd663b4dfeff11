"""The JetStream API requests that the service sends, and the stream that holds each of its subjects.

Owns: the stream that this service creates, and the settings of its consumers. Must never: change a stream or a consumer
that another program created, or anything of its own stream but the subjects. Change together with:
`payment.adapters.nats.jetstream.transport`.

Requests are written out here rather than left to nats-py, which drops the settings it doesn't know when it reads a
stream's configuration: writing such a configuration back would reset them.
Source: NATS documentation, "JetStream wire API reference", and the answers of nats-server 2.15.
"""

import asyncio
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from payment.adapters.nats.connection import NatsConnection, NoResponders
from payment.ports.transport import TransportUnavailable

API_TIMEOUT_S = 3.0
"""A running JetStream answers in milliseconds. One that elects a leader does not answer, and the request is repeated.
"""
MAX_ACK_PENDING_EVENTS = 1_000
"""Unacknowledged events of one consumer, over all processes: more than all their mailboxes hold, and few enough to be
redelivered within a second.
"""
OUR_MARK = "Made by the payment service for the subjects that no other stream holds."
"""The description that marks a stream as created by this service, which may extend it."""
NS_PER_S = 1_000_000_000

ERR_SUBJECTS_OVERLAP = 10065
ERR_MAX_ACK_PENDING = 10121
"""JetStream's error code: the account or the stream allows fewer unacknowledged events than requested."""

T = TypeVar("T")


class JetStreamApiError(Struct, frozen=True):
    """The error of an answer. `err_code` is JetStream's error code."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class ApiAnswer(Struct, frozen=True):
    error: JetStreamApiError | None = None


class Names(Struct, frozen=True):
    streams: list[str] | None = None


class StreamState(Struct, frozen=True):
    consumer_count: int = 0


class StreamInfo(Struct, frozen=True):
    """A stream as the server knows it; `config` is its whole configuration."""

    config: dict[str, Any]
    state: StreamState = StreamState()


class Delivered(Struct, frozen=True):
    """The number of deliveries, redeliveries included, and the stream's sequence number of the last event delivered."""

    consumer_seq: int = 0
    stream_seq: int = 0


class Consumer(Struct, frozen=True):
    """A durable consumer as the server knows it; `config` is its whole configuration.

    `num_pending` events have not been delivered yet; `num_ack_pending` were, and have no acknowledgement.
    """

    stream_name: str
    name: str
    config: dict[str, Any]
    created: str = ""
    num_pending: int = 0
    num_ack_pending: int = 0
    paused: bool = False
    delivered: Delivered = Delivered()
    ack_floor: Delivered = Delivered()


class JetStreamRefused(TransportUnavailable):
    """JetStream answered with an error."""

    def __init__(self, error: JetStreamApiError) -> None:
        super().__init__(f"JetStream answers {error.code} {error.description} ({error.err_code})")
        self.error = error


class NotJetStream(TransportUnavailable):
    """The answer did not come from JetStream."""


def parse_answer(data: bytes, form: type[T]) -> T:
    """Decode an answer. Raises JetStreamRefused for an error, NotJetStream for anything that JetStream does not
    send.
    """
    try:
        error = msgspec.json.decode(data, type=ApiAnswer).error
        if error is not None:
            raise JetStreamRefused(error)
        return msgspec.json.decode(data, type=form)
    except msgspec.DecodeError as problem:
        raise NotJetStream(f"something other than JetStream answered: {problem}") from None


def durable_name(queue_group: str, subject: str) -> str:
    """The name of a queue group's consumer for one subject. Characters that a name can't hold become underscores."""
    return re.sub(r"[.*>/\\\s]", "_", f"{queue_group}-{subject}")


class JetStreamApi:
    """Requests to JetStream over the current connection."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def account(self) -> None:
        """Request the account's JetStream information. Raises TransportUnavailable where JetStream is not enabled or
        does not answer.
        """
        await self._call("INFO", None, ApiAnswer)

    async def holder(self, subject: str) -> str | None:
        """Returns the name of the stream that stores this subject, by name or by wildcard; None if there is none."""
        names = (await self._call("STREAM.NAMES", {"subject": subject}, Names)).streams
        return names[0] if names else None

    async def stream(self, name: str) -> StreamInfo | None:
        """Returns a stream's configuration and state; None if there is no such stream."""
        return await self._find(f"STREAM.INFO.{name}", StreamInfo)

    async def create_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Create a stream on disk without an age limit: an event that expired before it was read would be lost."""
        config = {"name": name, "description": OUR_MARK, "subjects": list(subjects), "storage": "file"}
        await self._call(f"STREAM.CREATE.{name}", {**config, "retention": "limits", "num_replicas": 1}, StreamInfo)

    async def update_stream(self, config: dict[str, Any]) -> None:
        await self._call(f"STREAM.UPDATE.{config['name']}", config, StreamInfo)

    async def find_consumer(self, stream: str, name: str) -> Consumer | None:
        """Returns the durable consumer of that name; None if there is none."""
        return await self._find(f"CONSUMER.INFO.{stream}.{name}", Consumer)

    async def consumer(self, stream: str, name: str, subject: str, ack_wait_s: float) -> Consumer:
        """Returns the durable consumer of that name unchanged, or a new one with the settings of this service."""
        found = await self.find_consumer(stream, name)
        if found is not None:
            return found
        config = {
            "name": name,
            "durable_name": name,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": round(ack_wait_s * NS_PER_S),
            "filter_subject": subject,
            "max_ack_pending": MAX_ACK_PENDING_EVENTS,
        }
        try:
            return await self._create_consumer(stream, config)
        except JetStreamRefused as refused:
            if refused.error.err_code != ERR_MAX_ACK_PENDING:
                raise
            del config["max_ack_pending"]  # the server then uses its own limit
            return await self._create_consumer(stream, config)

    async def _create_consumer(self, stream: str, config: dict[str, Any]) -> Consumer:
        path = f"CONSUMER.CREATE.{stream}.{config['name']}.{config['filter_subject']}"
        return await self._call(path, {"stream_name": stream, "config": config}, Consumer)

    async def _find(self, path: str, form: type[T]) -> T | None:
        try:
            return await self._call(path, None, form)
        except JetStreamRefused as refused:
            if refused.error.code == 404:
                return None
            raise

    async def _call(self, path: str, body: object, form: type[T]) -> T:
        data = b"" if body is None else msgspec.json.encode(body)
        try:
            answer = await self._connection.request(f"$JS.API.{path}", data, API_TIMEOUT_S)
        except NoResponders as error:
            raise TransportUnavailable(f"JetStream is not enabled ({error})") from None
        return parse_answer(answer.data, form)


class Streams:
    """Finds the stream of each subject: the one that stores it already, or else a stream of this service."""

    def __init__(self, api: JetStreamApi, own_name: str, subjects: Sequence[str]) -> None:
        self._api = api
        self._own_name = own_name
        self._subjects = tuple(subjects)
        self._making = asyncio.Lock()

    async def locate(self, subject: str) -> str:
        """Returns the name of the stream that stores the subject, and creates or extends one where none does.

        Raises:
            TransportUnavailable: no stream stores the subject, and creating one failed or is not permitted.
        """
        return await self._api.holder(subject) or await self._make(subject)

    async def _make(self, subject: str) -> str:
        async with self._making:
            # All subjects without a stream go into one at once, which saves creating it and extending it three times.
            homeless = [each for each in self._subjects if await self._api.holder(each) is None]
            if subject not in homeless:
                return await self.locate_existing(subject)
            try:
                return await self._take_in(homeless)
            except JetStreamRefused as refused:
                if refused.error.err_code != ERR_SUBJECTS_OVERLAP:
                    raise
            return await self._take_in([subject])

    async def locate_existing(self, subject: str) -> str:
        """As `locate`, but creates nothing."""
        holder = await self._api.holder(subject)
        if holder is None:
            raise TransportUnavailable(f"no stream holds {subject}")
        return holder

    async def _take_in(self, subjects: list[str]) -> str:
        for name in (self._own_name, f"{self._own_name}-payments"):
            found = await self._api.stream(name)
            if found is None:
                await self._api.create_stream(name, subjects)
                return name
            config = found.config
            if self._is_ours(config):
                await self._api.update_stream({**config, "subjects": [*(config.get("subjects") or ()), *subjects]})
                return name
        raise TransportUnavailable(f"no stream holds {', '.join(subjects)}, and {name} was created by another program")

    def _is_ours(self, config: dict[str, Any]) -> bool:
        """True for a stream that is marked as created by this service, or that has our fallback name and only subjects
        of ours.
        """
        if config.get("description") == OUR_MARK:
            return True
        subjects = config.get("subjects") or ()
        return config["name"] != self._own_name and bool(subjects) and set(subjects) <= set(self._subjects)
