"""The sandbox on a socket: its routes as one aiohttp application, and a server for it that starts and ends cleanly."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from payment.stripe_sandbox.app import BODY_MAX_BYTES, Sandbox, Settings
from payment.stripe_sandbox.bank_page import BankPage
from payment.stripe_sandbox.books import Books
from payment.stripe_sandbox.control import Control

SHUTDOWN_S = 2.0
"""How long requests under way may take to end after SIGTERM. Hanging ones are let go at once."""
KEEPALIVE_S = 120.0
"""How long an idle connection is kept: longer than clients keep theirs, so that they are the ones to close it."""


def application(sandbox: Sandbox) -> web.Application:
    """The controls, the bank's page and the endpoints, whose last route takes all that is left."""
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.add_routes([*Control(sandbox).routes(), *BankPage(sandbox.account).routes(), *sandbox.routes()])
    return app


@asynccontextmanager
async def serving(data: Path, settings: Settings, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
    """Serve on a port (0: a free one) as long as the block lasts; gives the address and the port.

    Raise BooksInUseError if another process has the books, OSError if the port is taken.
    """
    books = Books(data)
    sandbox = Sandbox(books, settings)
    runner = web.AppRunner(
        application(sandbox), access_log=None, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=KEEPALIVE_S
    )
    try:
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        bound = int(runner.addresses[0][1])
        name = f"[{host}]" if ":" in host else host
        yield f"http://{name}:{bound}", bound
    finally:
        await sandbox.close()
        await runner.cleanup()
        books.close()
