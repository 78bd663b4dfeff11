"""The command line: `python -m payment.devstack.shop --home .embedded --port 8000`. `payment.devstack run` calls it.

Exit codes: 0 stopped by a signal; 69 there was no run in the home folder, or the port is taken.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import ClientSession, DummyCookieJar, web

from payment.devstack.bus import PeerServiceError
from payment.devstack.commands import Access
from payment.devstack.home import Home
from payment.devstack.ready_checks import LOOPBACK
from payment.devstack.servers import ServerProgram
from payment.devstack.shop.server import Shop
from payment.devstack.tutorial import DEFAULT_HOME

EX_UNAVAILABLE = 69


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m payment.devstack.shop", description="The shop's page.")
    parser.add_argument("--home", type=Path, default=Path(DEFAULT_HOME), help="the run's folder (%(default)s)")
    parser.add_argument("--port", type=int, required=True, help="where to listen, on loopback")
    options = parser.parse_args()
    try:
        asyncio.run(_serve(Home(options.home), options.port))
    except (PeerServiceError, OSError) as error:
        print(f"shop: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    return 0


async def _serve(home: Home, port: int) -> None:
    """Serve until a signal asks to stop.

    Raises:
        PeerServiceError: the folder has no run, or one without a Stripe sandbox.
        OSError: the port is taken.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    access, state = Access.of(home, os.environ), home.read_state()
    if state is None or ServerProgram.STRIPE not in state.ports:
        raise PeerServiceError(f"the run in {home.path} has no Stripe sandbox")
    stripe_url = f"http://{LOOPBACK}:{state.ports[ServerProgram.STRIPE]}"
    # Cookies belong to the browser: the shop keeps none between requests.
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        runner = web.AppRunner(Shop(access, stripe_url, session).application(), access_log=None)
        try:
            await runner.setup()
            await web.TCPSite(runner, LOOPBACK, port).start()
            await stop.wait()
        finally:
            await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
