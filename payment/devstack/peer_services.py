"""The platform's other services, as the commands imitate them: their connection to the bus, their ids, their tokens."""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jwt

from payment.actors.http.responses import payment_location
from payment.adapters.nats.login import NatsLogin
from payment.devstack import ready_checks
from payment.devstack.bus import TICKET_CHARS, Bus, PeerServiceError
from payment.devstack.bus_jetstream import JetStreamBus
from payment.devstack.bus_streaming import StreamingBus
from payment.settings.values import nats_servers

NOT_FOUND = 404
"""The status for a payment that does not exist, where the token was accepted."""


def new_order_id() -> str:
    return secrets.token_hex(TICKET_CHARS // 2)


def signed_token(key: str, user_id: str) -> str:
    """Returns a token as the platform's auth service signs it: without `exp`, because the platform's session cookies
    expire.
    """
    claims = {"id": user_id, "email": f"{user_id}@example.com", "iat": int(time.time())}
    return jwt.encode(claims, key, algorithm="HS256")


async def takes_tokens_of(host: str, port: int, key: str) -> bool:
    """Whether the program at this address accepts tokens signed with `key`, as a run's own service does."""
    token = signed_token(key, "nobody")
    answer = await ready_checks.get(host, port, payment_location("none"), (("Authorization", f"Bearer {token}"),))
    return answer is not None and answer[0] == NOT_FOUND


@asynccontextmanager
async def connected(url: str, cluster_id: str, login: NatsLogin) -> AsyncIterator[Bus]:
    """Connect to the bus at `url`, a list as in `NATS_URL`: NATS Streaming of that cluster id, or JetStream where it is
    "".

    Raises:
        PeerServiceError: no server answers.
    """
    try:
        addresses = nats_servers(url)
    except ValueError:
        raise PeerServiceError("NATS_URL is no list of addresses like nats://host:4222") from None
    servers = [address.reveal() for address in addresses]
    name = "NATS Streaming" if cluster_id else "NATS"
    try:
        opening = StreamingBus.open(servers, cluster_id, login) if cluster_id else JetStreamBus.open(servers, login)
        bus: Bus = await opening
    except PeerServiceError as error:
        where = ", ".join(map(str, addresses))
        raise PeerServiceError(f"no {name} at {where} ({error}): is `make run` running?") from None
    try:
        yield bus
    finally:
        await bus.close()
