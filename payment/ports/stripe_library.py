"""The stripe library, bent to this service: whole, bounded answers, and silence.

Owns what the library does beside the calls themselves: its transport and its process-wide settings. It decides nothing
about payments. It leans on two of the library's inner names, so a new version of the library is read here first.
"""

import logging

import aiohttp
import stripe

from payment.ports.stripe_errors import AnswerTooLargeError

ANSWER_MAX_BYTES = 8 * 1024 * 1024
"""A page of 100 charges is about half a MiB. Past this it is not Stripe who answers."""


class WholeAnswers(stripe.AIOHTTPClient):
    """The library's aiohttp client, which reads answers whole, within a bound, and follows no redirect.

    A redirect would carry a card token to wherever it points. The exceptions of aiohttp come out as they are: the
    library's own wrapper hides some of them, and lets others pass while a body is read.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        super().__init__(session=session)
        self._own_session = session

    async def request_async(  # type: ignore[override]
        self, method: str, url: str, headers: dict[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, object]:
        async with self._own_session.request(
            method.upper(), url, headers=headers, data=post_data, allow_redirects=False
        ) as response:
            return await _read_bounded(response.content), response.status, response.headers


async def _read_bounded(content: aiohttp.StreamReader) -> bytes:
    chunks, size_bytes = [], 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > ANSWER_MAX_BYTES:
            raise AnswerTooLargeError
    return b"".join(chunks)


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
