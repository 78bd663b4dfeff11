"""The stripe library, adapted to this service: whole, bounded answers, no output of its own, and one cheap call.

Owns what the library does beside the calls themselves: its transport, what it makes of a request, and its process-wide
settings. It decides nothing about payments. It uses three of the library's internal names (`_requestor`, that one's
`_interpret_response`, `_util.STRIPE_LOG`): read this module before the library is updated.
"""

import logging
import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import quote_plus

import aiohttp
import msgspec
import stripe

Verb = Literal["get", "post"]

ANSWER_MAX_BYTES = 8 * 1024 * 1024
"""A page of 100 charges is about half a MiB. A longer answer is not Stripe's."""


class AnswerTooLargeError(Exception):
    """Stripe's answer is longer than what we are ready to hold in memory."""


class WholeAnswers(stripe.AIOHTTPClient):
    """The library's aiohttp client, which reads answers whole, within a bound, and follows no redirect.

    A redirect would carry a card token to another address. The exceptions of aiohttp come out as they are: the
    library's own wrapper hides some of them, and lets others pass while a body is read.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session=session)
        self._own_session = session

    async def request_async(  # type: ignore[override]
        self, method: str, url: str, headers: dict[str, str], post_data: bytes | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        async with self._own_session.request(
            method.upper(), url, headers=headers, data=post_data, allow_redirects=False
        ) as response:
            chunks, size_bytes = [], 0
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size_bytes += len(chunk)
                if size_bytes > ANSWER_MAX_BYTES:
                    raise AnswerTooLargeError
            return b"".join(chunks), response.status, response.headers


class LeanClient(stripe.StripeClient):
    """The library's client, with a call that costs a third of its `raw_request_async`.

    That one asks the environment and the platform for each request, makes an idempotency key that it throws away, and
    formats log records that are switched off. Headers and errors are the library's here too; bodies are parsed by
    msgspec, and headers are made once.
    """

    def __init__(self, secret_key: str, api_base: str, session: aiohttp.ClientSession) -> None:
        self._transport = WholeAnswers(session)
        super().__init__(
            secret_key, base_addresses={"api": api_base}, max_network_retries=0, http_client=self._transport
        )
        self._secret_key = secret_key
        self._api_base = api_base
        self._kept_headers: dict[tuple[str, str], dict[str, str]] = {}

    async def call(
        self, verb: Verb, path: str, params: Mapping[str, object], version: str, key: str | None = None
    ) -> tuple[object, bool]:
        """One request, once, under an idempotency key where there is one. Returns plain JSON, and whether Stripe
        repeated what it had stored for the key.

        Raises:
            stripe.StripeError: Stripe answered with an error, or with what is no JSON.
            Exception: what the transport raised, as it is.
        """
        form = form_of(params)
        headers = self._kept_headers.get((verb, version)) or self._make_headers(verb, version)
        if key is not None:
            headers = headers | {"Idempotency-Key": key}
        url = self._api_base + path
        if verb == "get":
            body, status, answered = await self._transport.request_async(
                verb, f"{url}?{form}" if form else url, headers
            )
        else:
            body, status, answered = await self._transport.request_async(verb, url, headers, form.encode())
        if 200 <= status < 300:
            try:
                return msgspec.json.decode(body), is_replayed(answered)
            except (msgspec.DecodeError, UnicodeDecodeError):
                pass  # The library decides what is no JSON.
        return self._requestor._interpret_response(body, status, answered, "V1").data, is_replayed(answered)

    def _make_headers(self, verb: Verb, version: str) -> dict[str, str]:
        """The library's headers for a method and a version. In one process they never change, so they are kept.

        Without the idempotency key that the library invents for each POST: a cancel has none, for a stored error must
        not prevent the next one, and a kept key would be sent with every request.
        """
        options: stripe.RequestOptions = {"api_key": self._secret_key, "stripe_version": version}
        headers = dict(self._requestor.request_headers(verb, "V1", options))
        headers.pop("Idempotency-Key", None)
        self._kept_headers[verb, version] = headers
        return headers


def is_replayed(headers: Mapping[str, str]) -> bool:
    """Whether Stripe repeats what it stored for the key: a header says so.

    `Original-Request` alone is on first answers too: there it equals `Request-Id`.
    """
    if headers.get("Idempotent-Replayed", "").lower() == "true":
        return True
    original, this = headers.get("Original-Request"), headers.get("Request-Id")
    return original is not None and this is not None and original != this


def form_of(params: Mapping[str, object]) -> str:
    """Parameters as Stripe takes them, `metadata[orderId]=…`, `expand[0]=…`: byte for byte as the library writes them.

    Names are our own constants and are not quoted. Lists hold texts, numbers and mappings.
    """
    pairs: list[str] = []
    for name, value in params.items():
        _add(pairs, name, value)
    return "&".join(pairs)


def _add(pairs: list[str], name: str, value: object) -> None:
    # By exact types: a form is written twice for each charge, and an abstract class's check costs more than the rest.
    kind = type(value)
    if kind is str or kind is int:
        pairs.append(f"{name}={_quoted(str(value))}")
    elif kind is bool:
        pairs.append(f"{name}=true" if value else f"{name}=false")
    elif isinstance(value, dict):
        for inner, each in value.items():
            _add(pairs, f"{name}[{inner}]", each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _add(pairs, f"{name}[{index}]", each)
    elif value is not None:
        pairs.append(f"{name}={_quoted(str(value))}")


_NOTHING_TO_QUOTE = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
"""Most values are ids and numbers."""


def _quoted(text: str) -> str:
    return text if _NOTHING_TO_QUOTE(text) else quote_plus(text, safe="[]")


def quieten_library() -> None:
    """The library's settings are the process's: no telemetry, and no log of requests, which hold card tokens.

    Telemetry would also write a file under the home directory and tell Stripe the platform. The environment variable
    STRIPE_LOG makes the library print every request to stderr, past all logging, and has no other switch.
    """
    stripe.enable_telemetry = False
    stripe.log = None
    stripe._util.STRIPE_LOG = None
    logging.getLogger("stripe").addFilter(_is_warning)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
