"""A client of the service that knows only the contract's HTTP section: identities, requests and answers.

Owns: tokens of identity, and one HTTP session. Must never import the service. Change together with: the contract.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.support.servers.process import LOOPBACK

JWT_KEY = "the-platforms-jwt-secret-never-to-be-logged"
PAYMENTS = "/api/v1/payments"
ANSWER_TIMEOUT_S = 40.0  # a charge may wait as long as a router allows


def identity(user: object = "u1", key: str = JWT_KEY, algorithm: str = "HS256", **claims: object) -> str:
    """Returns a JWT of the platform for `user`, with more or other claims where they are given.

    Signed without a library, which would warn of keys and refuse claims that the tests need.
    """
    everything = {"id": user, "email": "u1@example.com", "iat": int(time.time())} | claims
    signed = f"{_part({'alg': algorithm, 'typ': 'JWT'})}.{_part(everything)}"
    if algorithm == "none":
        return f"{signed}."
    digest = hmac.new(key.encode(), signed.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def session_cookie(token: str, *, urlsafe: bool = False, padded: bool = True) -> str:
    """Returns the value of the platform's cookie-session cookie with a JWT."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(json.dumps({"jwt": token}).encode()).decode()
    return text if padded else text.rstrip("=")


@dataclass(frozen=True)
class Answer:
    """An answer. `body` is the JSON, or the text where it is no JSON."""

    status: int
    body: Any
    headers: dict[str, str]
    took_s: float

    @property
    def message(self) -> str:
        """The first error's message."""
        return str(self.body["errors"][0]["message"])


class Client:
    """Talks to one process of the service. `async with Client(port) as client: …`."""

    def __init__(self, port: int) -> None:
        self._base = f"http://{LOOPBACK}:{port}"

    async def __aenter__(self) -> Client:
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        self._session = aiohttp.ClientSession(
            self._base, timeout=timeout, connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def pay(self, order: str, token: str = "tok_visa", user: str = "u1", **other: object) -> Answer:
        """Request a charge of an order, as `user`. `other` are more fields of the body; a None leaves `token` out."""
        headers = {"Authorization": f"Bearer {identity(user)}"}
        body = {"orderId": order, "token": token, **other}
        body = {name: value for name, value in body.items() if value is not None}
        return await self.send("POST", PAYMENTS, body, headers)

    async def payment_of(self, order: str, user: str = "u1") -> Answer:
        """Get the payment of an order."""
        headers = {"Authorization": f"Bearer {identity(user)}"}
        return await self.send("GET", f"{PAYMENTS}?orderId={order}", None, headers)

    async def payment(self, payment_id: str, user: str = "u1") -> Answer:
        """Get a payment."""
        headers = {"Authorization": f"Bearer {identity(user)}"}
        return await self.send("GET", f"{PAYMENTS}/{payment_id}", None, headers)

    async def ready(self) -> Answer:
        return await self.send("GET", "/readyz")

    async def metrics(self) -> str:
        return str((await self.send("GET", "/metrics")).body)

    async def send(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Send any request. Bytes are sent unchanged, with the content type of `headers`; all else as JSON."""
        headers = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            headers.setdefault("Content-Type", "application/json")
        started = time.monotonic()
        # A file-like body is sent in pieces: 3 MB at once would be a warning of aiohttp's.
        content = io.BytesIO(data) if data is not None else None
        async with self._session.request(method, path, data=content, headers=headers) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            took_s = time.monotonic() - started
            return Answer(response.status, json.loads(text) if is_json else text, dict(response.headers), took_s)
