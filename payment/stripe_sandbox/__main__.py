"""The command line: `stripe-sandbox --port 0 --data DIR`.

Prints one line with its address once it listens. SIGTERM and SIGINT end it cleanly, with exit code 0.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from payment.stripe_sandbox.app import SandboxSettings
from payment.stripe_sandbox.database import DatabaseInUseError
from payment.stripe_sandbox.endpoints import REFUND_DELAY_S
from payment.stripe_sandbox.idempotency import KEY_LIFE_S
from payment.stripe_sandbox.parent_death import ParentGoneError, parent_gone, tie_to_parent
from payment.stripe_sandbox.rate_limits import ACCOUNT_RATE_PER_S, RATE_PER_S
from payment.stripe_sandbox.server import Forward, serving

EXIT_UNAVAILABLE = 69
"""EX_UNAVAILABLE: the port or the data directory is in use."""
SECRET_VARIABLE = "STRIPE_WEBHOOK_SECRET"
"""The variable that the payment service reads too, so that both can be started with one environment."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stripe-sandbox", description="A sandbox of Stripe's payments API.")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the directory of its database")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=12111, help="port to listen on, 0 for a free one (%(default)s)")
    parser.add_argument(
        "--rate-per-s",
        type=_positive,
        default=RATE_PER_S,
        help="requests a second to one endpoint, 0: any (%(default)s)",
    )
    parser.add_argument(
        "--account-rate-per-s",
        type=_positive,
        help=f"requests a second to all endpoints, 0: any ({ACCOUNT_RATE_PER_S}, or any with --rate-per-s 0)",
    )
    parser.add_argument(
        "--account", metavar="ID", help="the account's id (generated with the database, and kept in it)"
    )
    parser.add_argument(
        "--no-charges", action="store_true", help="refuse POST /v1/charges, as Stripe does for a new account"
    )
    parser.add_argument(
        "--public-url", metavar="URL", help="base URL of the bank's page for browsers (default: that of the request)"
    )
    parser.add_argument(
        "--forward-to",
        metavar="URL",
        help=f"deliver every event here, signed with the secret in the environment variable {SECRET_VARIABLE}",
    )
    parser.add_argument("--latency-ms", type=_positive, default=0.0, help="time each request takes (%(default)s)")
    parser.add_argument(
        "--key-life-s", type=_positive, default=KEY_LIFE_S, help="life of idempotency keys (%(default)s)"
    )
    parser.add_argument(
        "--refund-delay-s", type=_positive, default=REFUND_DELAY_S, help="until late refunds settle (%(default)s)"
    )
    parser.add_argument("--require-key", metavar="KEY", help="the only accepted secret key (default: any sk_test_ key)")
    parser.add_argument("--port-file", type=Path, metavar="FILE", help="write the port to this file")
    parser.add_argument("--pid-file", type=Path, metavar="FILE", help="write the process id to this file")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the process that started it is gone")
    options = parser.parse_args(argv)
    if options.forward_to is not None and not os.environ.get(SECRET_VARIABLE):
        parser.error(f"--forward-to needs {SECRET_VARIABLE} in the environment")
    return options


def _positive(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return number


def main() -> int:
    parent_pid = os.getppid()
    options = arguments()
    try:
        if options.die_with_parent:
            tie_to_parent(parent_pid)
        asyncio.run(_run(options, parent_pid))
    except (DatabaseInUseError, ParentGoneError, OSError) as error:
        print(f"stripe sandbox: {error}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    return 0


async def _run(options: argparse.Namespace, parent_pid: int) -> None:
    """Serve until a signal, or until the parent process has ended."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings = SandboxSettings(
        latency_ms=options.latency_ms,
        rate_per_s=options.rate_per_s,
        account_rate_per_s=options.account_rate_per_s,
        charges=not options.no_charges,
        key_life_s=options.key_life_s,
        refund_delay_s=options.refund_delay_s,
        require_key=options.require_key,
        public_url=options.public_url,
    )
    forward = Forward(options.forward_to, os.environ[SECRET_VARIABLE]) if options.forward_to else None
    serve = serving(options.data, settings, options.host, options.port, forward, options.account)
    async with serve as (url, port):
        with _notes({options.port_file: port, options.pid_file: os.getpid()}):
            print(f"stripe sandbox listening on {url}", flush=True)
            await _first(stop.wait(), *([parent_gone(parent_pid)] if options.die_with_parent else []))


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of the awaitables has ended, and cancel the others."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


@contextmanager
def _notes(numbers: dict[Path | None, int]) -> Iterator[None]:
    """Files that each hold a number while this process serves. They are written atomically, because another process may
    poll them.
    """
    notes = {path: number for path, number in numbers.items() if path is not None}
    for path, number in notes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        beside.write_text(f"{number}\n")
        beside.replace(path)
    try:
        yield
    finally:
        for path in notes:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
