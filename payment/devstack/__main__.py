"""The command line: `python -m payment.devstack run`, and the commands of the peer services.

Exit codes: 0 done, or stopped by a signal; 1 another run uses the folder, or too few events came in time; 2 bad
arguments; 65 there is no such order, or the event is invalid; 69 a server does not answer or a program is missing, or a
port is taken; 78 this run must not begin. `run` also returns the service's own exit code.
"""

import argparse
import asyncio
import math
import os
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

from payment.devstack import commands
from payment.devstack.bus import PeerServiceError
from payment.devstack.home import Home, HomeInUseError
from payment.devstack.plan import LiveKeyError
from payment.devstack.servers import Broker, ProgramMissingError
from payment.devstack.stack import EX_UNAVAILABLE, run
from payment.devstack.tutorial import DEFAULT_HOME, Console
from payment.process.listening import CannotListen
from payment.process.standard_streams import open_standard_streams
from payment.settings.environment import EX_CONFIG
from payment.stripe_sandbox.parent_death import ParentGoneError, tie_to_parent

EXIT_IN_USE = 1
ORDER_LIFE_S = 900.0
"""How long the orders of `order` can be paid, in seconds."""


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--home", type=Path, default=Path(DEFAULT_HOME), help="the data's folder (%(default)s)")
    parser = argparse.ArgumentParser(prog="python -m payment.devstack", description="The service and all its servers.")
    subs = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return subs.add_parser(name, help=text, description=text, parents=[shared])

    running = add("run", "start the servers and the service, and show how to pay an order")
    running.add_argument("--die-with-parent", action="store_true", help="stop when the process that started it is gone")
    running.add_argument(
        "--broker",
        type=Broker,
        choices=list(Broker),
        default=Broker.JETSTREAM,
        metavar="|".join(Broker),
        help="the broker of events (%(default)s); with NATS_URL set, NATS_CLUSTER_ID decides",
    )
    ordering = add("order", "publish order:created; print the order's id and the command that pays it")
    ordering.add_argument("--price", type=_price, required=True, help="in major units, such as 19.99")
    ordering.add_argument("--user", required=True, help="who orders")
    ordering.add_argument("--currency", help="ISO code (the service's CURRENCY)")
    ordering.add_argument("--expires-in-s", type=_number, default=ORDER_LIFE_S, help="payable for (%(default)s)")
    ordering.add_argument("--id", help="the order's id (a new one)")
    cancelling = add("cancel", "publish order:cancelled; show the refund of a paid order")
    cancelling.add_argument("id", help="the order's id")
    cancelling.add_argument("--force", action="store_true", help="also where no such order was announced")
    add("token", "print a signed token").add_argument("--user", required=True, help="whose")
    following = add("events", "print the payment:* events as they come, one JSON object a line")
    following.add_argument("--all", action="store_true", help="begin with those that are there already")
    following.add_argument("--count", type=int, help="end after COUNT events")
    following.add_argument("--timeout-s", type=_number, help="end after TIMEOUT_S seconds")
    add("status", "print an order's events and its payment").add_argument("id", help="the order's id")
    add("guide", "print the whole tutorial of the run again")
    return parser.parse_args(argv)


def main() -> int:
    parent_pid = os.getppid()
    open_standard_streams()
    options = arguments()
    home, console = Home(options.home), Console(sys.stderr, os.environ)
    try:
        if options.what == "run":
            if options.die_with_parent:
                tie_to_parent(parent_pid)
            return asyncio.run(run(home, os.environ, console, options.broker))
        return _command(options, home)
    except (HomeInUseError, ParentGoneError) as error:
        console.warn(str(error))
        return EXIT_IN_USE
    except commands.UnknownOrderError as error:
        console.warn(str(error))
        return os.EX_DATAERR
    except LiveKeyError as error:
        console.warn(str(error))
        return EX_CONFIG
    except CannotListen as error:
        console.warn(str(error))
        return error.exit_code
    except (PeerServiceError, ProgramMissingError, OSError) as error:
        console.warn(str(error))
        return EX_UNAVAILABLE


def _command(options: argparse.Namespace, home: Home) -> int:
    # A reader that closes the pipe (`| head`) ends a command quietly, and so does Ctrl-C.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.what == "token":
        return commands.token(options, home, os.environ)
    if options.what == "guide":
        return commands.tutorial(home, Console(sys.stdout, os.environ))
    work = {
        "order": commands.order,
        "cancel": commands.cancel,
        "events": commands.events,
        "status": commands.status,
    }[options.what]
    try:
        return asyncio.run(work(options, home, os.environ))
    except KeyboardInterrupt:
        return 0 if options.what == "events" else 128 + signal.SIGINT


def _price(text: str) -> float:
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text} is not a number") from None
    if not price.is_finite():
        raise argparse.ArgumentTypeError(f"{text} is not a number that JSON can hold")
    return float(price)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is not finite")
    return number


if __name__ == "__main__":
    sys.exit(main())
