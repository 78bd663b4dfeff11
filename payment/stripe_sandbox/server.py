"""The sandbox's server: its routes as one aiohttp application, and an orderly start and end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession, web
from msgspec import Struct

from payment.stripe_sandbox.app import BODY_MAX_BYTES, Sandbox, SandboxSettings
from payment.stripe_sandbox.bank_page import BankPage
from payment.stripe_sandbox.control import Control
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.deliveries import Deliverer, poster
from payment.stripe_sandbox.overview import Overview

SHUTDOWN_S = 2.0
"""How long executing requests may take to end after SIGTERM, in seconds. Hanging ones end at once."""
KEEPALIVE_S = 120.0
"""How long an idle connection is kept, in seconds: longer than clients keep theirs, so that clients close it."""


class Forward(Struct, frozen=True):
    """The URL that every event is delivered to, and the signing secret that its receiver knows."""

    url: str
    secret: str

    def __repr__(self) -> str:
        return f"Forward(url={self.url!r})"


def application(sandbox: Sandbox) -> web.Application:
    """Returns the application: the controls, the bank's page and the endpoints, whose last route matches unknown
    paths.
    """
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    routes = [
        *Control(sandbox).routes(),
        *BankPage(sandbox.account).routes(),
        *Overview(sandbox.account).routes(),
        *sandbox.routes(),
    ]
    app.add_routes(routes)
    return app


@asynccontextmanager
async def serving(
    data: Path,
    settings: SandboxSettings,
    host: str,
    port: int,
    forward: Forward | None = None,
    account_id: str | None = None,
) -> AsyncIterator[tuple[str, int]]:
    """Serve on a port (0: a free one) while the block runs; yields the address and the port.

    `account_id` becomes the account's id. Raises DatabaseInUseError if another process uses the database, OSError if
    the port is taken.
    """
    database = Database(data, account_id=account_id)
    sandbox = Sandbox(database, settings)
    if forward is not None:
        sandbox.account.webhooks.ensure(forward.url, forward.secret)
    runner = web.AppRunner(
        application(sandbox), access_log=None, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=KEEPALIVE_S
    )
    try:
        async with delivering(sandbox):
            await runner.setup()
            await web.TCPSite(runner, host, port).start()
            bound = int(runner.addresses[0][1])
            name = f"[{host}]" if ":" in host else host
            yield f"http://{name}:{bound}", bound
    finally:
        await sandbox.close()
        await runner.cleanup()
        database.close()


@asynccontextmanager
async def delivering(sandbox: Sandbox) -> AsyncIterator[Deliverer]:
    """Deliver events to webhook endpoints while the block runs."""
    async with ClientSession() as session:
        deliverer = Deliverer(sandbox.database, sandbox.account.settle, poster(session))
        sandbox.deliver_with(deliverer)
        task = asyncio.create_task(deliverer.run())
        task.add_done_callback(_report)
        try:
            yield deliverer
        finally:
            task.cancel()
            await asyncio.wait([task])


def _report(task: asyncio.Task[None]) -> None:
    """Log a deliverer that died of a bug at once: asyncio itself would report it only at the end, because the task is
    referenced.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        context = {"message": "the webhook deliverer has died", "exception": error, "task": task}
        asyncio.get_running_loop().call_exception_handler(context)
