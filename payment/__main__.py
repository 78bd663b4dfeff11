"""The operators' commands: `python -m payment COMMAND`. The service itself is `run.py`.

    python -m payment account            shows the Stripe account of the database, and the one of the key
    python -m payment account --move     makes the key's account the database's

The settings are the service's environment variables. Changes are logged; the other output is for an operator.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence

from payment.commands.account import AccountCommand
from payment.ops.logs import configure, flush
from payment.process.standard_streams import open_standard_streams, show
from payment.service import real_ports, secrets_of
from payment.settings.environment import EX_CONFIG, Settings, SettingsError


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns a parsed command line. A wrong one ends the process with exit code 2 and its usage."""
    parser = argparse.ArgumentParser(prog="python -m payment", description="The payment service's commands.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    account = commands.add_parser("account", help="which Stripe account the database belongs to", description=_ACCOUNT)
    account.add_argument("--move", action="store_true", help="the database belongs to the key's account from now on")
    account.add_argument("--force", action="store_true", help="move although orders are not settled yet")
    return parser.parse_args(argv)


_ACCOUNT = """Show which Stripe account, in which mode, the database belongs to, and which one STRIPE_KEY is for. Exit
codes: 0 they are the same, 1 they differ or nothing was moved, 69 MongoDB or Stripe can't be reached, 78 settings."""


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command. Returns the exit code."""
    open_standard_streams()
    options = arguments(argv)
    try:
        settings = Settings.from_environment(environ)
    except SettingsError as error:
        show(str(error), sys.stderr)
        return EX_CONFIG
    configure("info", "payment", settings.nats_client_id, secrets=secrets_of(settings))
    try:
        return asyncio.run(_account(settings, options))
    finally:
        flush()


async def _account(settings: Settings, options: argparse.Namespace) -> int:
    ports = real_ports(settings)
    command = AccountCommand(
        ports.store, ports.cards(), ports.clock, f"{settings.nats_client_id} (payment account)", sys.stdout
    )
    return await command.run(move=options.move, force=options.force)


if __name__ == "__main__":
    sys.exit(main())
