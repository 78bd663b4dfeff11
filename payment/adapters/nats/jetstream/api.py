"""JetStream's own requests, as few as we need, and where our subjects are kept.

Owns: the stream that this service makes, and its consumers' settings. Must never: change a stream or a consumer that
somebody else made, or one of its own in anything but the stream's subjects. Change together with:
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
"""A JetStream that is there answers in milliseconds; one that elects a leader stays silent, and is asked again."""
MAX_ACK_PENDING_EVENTS = 1_000
"""Of one consumer, over all processes: more than all their mailboxes hold, few enough to be redelivered in a second."""
OUR_MARK = "Made by the payment service for the subjects that no other stream holds."
"""The description of a stream that is ours to extend."""
NS_PER_S = 1_000_000_000

ERR_SUBJECTS_OVERLAP = 10065
ERR_MAX_ACK_PENDING = 10121
"""The account or the stream allows fewer events without an acknowledgement than we ask for."""

T = TypeVar("T")


class JetStreamApiError(Struct, frozen=True):
    """The error of an answer. `err_code` is JetStream's own number for it."""

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
    """How many deliveries there were, redeliveries included, and the stream's number of the last event delivered."""

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
        super().__init__(f"JetStream says {error.code} {error.description} ({error.err_code})")
        self.error = error


class NotJetStream(TransportUnavailable):
    """Something answered that is no JetStream."""


def parse_answer(data: bytes, form: type[T]) -> T:
    """Read an answer; raises JetStreamRefused for an error, NotJetStream for what is no answer."""
    try:
        error = msgspec.json.decode(data, type=ApiAnswer).error
        if error is not None:
            raise JetStreamRefused(error)
        return msgspec.json.decode(data, type=form)
    except msgspec.DecodeError as problem:
        raise NotJetStream(f"something other than JetStream answered: {problem}") from None


def durable_name(queue_group: str, subject: str) -> str:
    """The name of a queue group's consumer for one subject; what a name can't hold becomes an underscore."""
    return re.sub(r"[.*>/\\\s]", "_", f"{queue_group}-{subject}")


class JetStreamApi:
    """Requests to JetStream over the connection there is now."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def account(self) -> None:
        """Ask whether JetStream is there for us; raises TransportUnavailable where it isn't."""
        await self._call("INFO", None, ApiAnswer)

    async def holder(self, subject: str) -> str | None:
        """The stream that takes this subject's messages, by name or by wildcard."""
        names = (await self._call("STREAM.NAMES", {"subject": subject}, Names)).streams
        return names[0] if names else None

    async def stream(self, name: str) -> StreamInfo | None:
        """A stream as it is."""
        return await self._find(f"STREAM.INFO.{name}", StreamInfo)

    async def create_stream(self, name: str, subjects: Sequence[str]) -> None:
        """Make a stream on disk that keeps everything: an event that aged away unread would be lost."""
        config = {"name": name, "description": OUR_MARK, "subjects": list(subjects), "storage": "file"}
        await self._call(f"STREAM.CREATE.{name}", {**config, "retention": "limits", "num_replicas": 1}, StreamInfo)

    async def update_stream(self, config: dict[str, Any]) -> None:
        await self._call(f"STREAM.UPDATE.{config['name']}", config, StreamInfo)

    async def find_consumer(self, stream: str, name: str) -> Consumer | None:
        """The durable consumer of that name as it is."""
        return await self._find(f"CONSUMER.INFO.{stream}.{name}", Consumer)

    async def consumer(self, stream: str, name: str, subject: str, ack_wait_s: float) -> Consumer:
        """The durable consumer of that name as it is, or a new one with our settings."""
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
            del config["max_ack_pending"]  # then the server takes what it allows
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
    """Where each of our subjects is kept: the stream that holds it already, or else one of ours."""

    def __init__(self, api: JetStreamApi, own_name: str, subjects: Sequence[str]) -> None:
        self._api = api
        self._own_name = own_name
        self._subjects = tuple(subjects)
        self._making = asyncio.Lock()

    async def locate(self, subject: str) -> str:
        """The name of the stream that holds the subject, made or extended now if there was none.

        Raises:
            TransportUnavailable: none holds it, and we may not or can't make one.
        """
        return await self._api.holder(subject) or await self._make(subject)

    async def _make(self, subject: str) -> str:
        async with self._making:
            # One stream for all that have none, rather than one made and then extended three times.
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
        """As `locate`, but nothing is made."""
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
        raise TransportUnavailable(f"no stream holds {', '.join(subjects)}, and {name} is somebody else's")

    def _is_ours(self, config: dict[str, Any]) -> bool:
        """Marked as ours; or it has the name that nobody else would give and only subjects of ours."""
        if config.get("description") == OUR_MARK:
            return True
        subjects = config.get("subjects") or ()
        return config["name"] != self._own_name and bool(subjects) and set(subjects) <= set(self._subjects)
