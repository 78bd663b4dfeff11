"""The servers of one run and the environment of each child: pure functions of the run's own environment.

A variable that is set is used; for a missing one the run starts its own server. So a set `NATS_URL` or `MONGO_URL`
means no own server for it, and a test key in `STRIPE_KEY` means Stripe itself. Change together:
payment/settings/environment.py.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from payment.adapters.nats.login import NatsLogin
from payment.devstack.ready_checks import LOOPBACK, choose_port, require_free
from payment.devstack.servers import CLUSTER_ID, Broker, ServerProgram
from payment.ops.secret import Secret
from payment.process.listening import CannotListen, read_port

SANDBOX_KEY = "sk_test_embedded"
"""The key for the sandbox, which accepts any test key."""
SERVICE = "service"
NAME = "payment-service"
"""The client id and the queue group of the contract's examples."""
SERVICE_PORT = 8080
"""The service's default port, which is used where it is free."""
NOT_FOR_SERVERS = frozenset(("NATS_URL", "NATS_CREDS", "NATS_NKEY_SEED", "NATS_TLS_KEY", "MONGO_URL", "STRIPE_KEY"))
NOT_FOR_SERVERS |= {"JWT_KEY", "JWT_KEY_PREVIOUS"}
"""Variables that may hold secrets and that a server does not need."""
NOT_FOR_THE_SHOP = frozenset(("MONGO_URL", "STRIPE_KEY"))
"""The secrets of the shop: it signs its customer's tokens and publishes orders, and needs neither the database nor
Stripe's secret key.
"""
FOREIGN = {ServerProgram.NATS: "NATS_URL", ServerProgram.MONGO: "MONGO_URL", ServerProgram.STRIPE: "STRIPE_API_BASE"}
"""The variables that name a server which the run does not start."""
TEST_KEYS = ("sk_test_", "rk_test_")
EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": LOOPBACK}
"""Hosts that mean every interface, and the address of the service on this machine for each."""
OTHER_ACCOUNT = "belongs to the Stripe account"
"""The text of `/readyz` for a database of another account (payment.core.account)."""


class LiveKeyError(Exception):
    """`STRIPE_KEY` holds a key that moves real money."""


def given(environ: Mapping[str, str], name: str) -> str | None:
    """Returns a variable's value; None where it is not set, or blank."""
    return environ.get(name, "").strip() or None


def servers_wanted(environ: Mapping[str, str]) -> tuple[ServerProgram, ...]:
    """Returns the servers that a run starts.

    Raises:
        LiveKeyError: the key is live, and a run's demo orders must not charge real cards.
    """
    base, key = given(environ, "STRIPE_API_BASE"), given(environ, "STRIPE_KEY")
    if key is not None and base is None and not key.startswith(TEST_KEYS):
        raise LiveKeyError(
            "STRIPE_KEY holds no test key: make run pays demo orders, and accepts only sk_test_… or no key"
        )
    foreign = {
        ServerProgram.NATS: given(environ, "NATS_URL") is not None,
        ServerProgram.MONGO: given(environ, "MONGO_URL") is not None,
        ServerProgram.STRIPE: base is not None or key is not None,
        # The page's stand-in for Stripe.js works with the sandbox only; Stripe itself needs Stripe.js.
        ServerProgram.SHOP: base is not None or key is not None,
    }
    return tuple(server for server in ServerProgram if not foreign[server])


def choose_ports(
    environ: Mapping[str, str], wanted: tuple[ServerProgram, ...], last: Mapping[str, int]
) -> dict[str, int]:
    """Choose a port for each child. Servers keep the last run's port where it is free; the service uses 8080 where that
    is free.

    Raises:
        CannotListen: `PORT` is set, and malformed or taken, or `HOST` can't be listened on.
    """
    ports: dict[str, int] = {}
    host = given(environ, "HOST") or LOOPBACK
    try:
        shown = read_port(given(environ, "PORT") or "0")
    except ValueError:
        raise CannotListen("PORT wants a whole number from 0 to 65535", os.EX_CONFIG) from None
    if shown > 0:
        ports[SERVICE] = shown
        require_free(host, shown)
    else:
        require_free(host, 0)  # A host that can't be listened on has no free port either.
        ports[SERVICE] = choose_port(SERVICE_PORT, last.get(SERVICE), taken=set(), host=host)
    for server in wanted:
        ports[server] = choose_port(last.get(server), taken=set(ports.values()))
    return ports


def nats_login(environ: Mapping[str, str]) -> NatsLogin:
    """Returns the peer services' login for a NATS that the run does not start: the service's."""
    names = ("NATS_CREDS", "NATS_NKEY_SEED", "NATS_TLS_CERT", "NATS_TLS_KEY", "NATS_TLS_CA")
    values = [given(environ, name) for name in names]
    return NatsLogin(*(None if value is None else Secret(value) for value in values))


def service_command(program: Path) -> list[str]:
    """Returns the Procfile's command line, with the current Python."""
    return [sys.executable, str(program)]


def foreign_place(server: ServerProgram, shown: Mapping[str, str]) -> str:
    """Returns a text about the place of a server that the run does not start. It names the variable, because the
    address may hold credentials.
    """
    if server is ServerProgram.STRIPE and given(shown, "STRIPE_API_BASE") is None:
        return "Stripe itself, in test mode"
    return f"as set in {FOREIGN[server]}"


def service_environ(
    environ: Mapping[str, str], ports: Mapping[str, int], key: str, broker: Broker = Broker.JETSTREAM
) -> dict[str, str]:
    """Returns the service's environment: the run's own, with defaults for missing variables. `ports` are those of the
    run's servers.
    """
    shown = dict(environ)
    if ServerProgram.NATS in ports:
        shown["NATS_URL"] = f"nats://{LOOPBACK}:{ports[ServerProgram.NATS]}"
        shown["NATS_CLUSTER_ID"] = CLUSTER_ID if broker is Broker.STREAMING else ""  # Blank counts as not set.
    if ServerProgram.MONGO in ports:
        shown["MONGO_URL"] = f"mongodb://{LOOPBACK}:{ports[ServerProgram.MONGO]}/payment"
    if ServerProgram.STRIPE in ports:
        shown["STRIPE_API_BASE"] = f"http://{LOOPBACK}:{ports[ServerProgram.STRIPE]}"
    shown["JWT_KEY"] = key
    shown["PORT"] = str(ports[SERVICE])
    defaults = {"STRIPE_KEY": SANDBOX_KEY, "NATS_CLIENT_ID": NAME, "QUEUE_GROUP_NAME": NAME, "HOST": LOOPBACK}
    shown.update({name: value for name, value in defaults.items() if given(environ, name) is None})
    return shown


def server_environ(environ: Mapping[str, str], server: ServerProgram | None = None) -> dict[str, str]:
    """Returns the environment of a server of the run, without the secrets that it does not need."""
    secret = NOT_FOR_THE_SHOP if server is ServerProgram.SHOP else NOT_FOR_SERVERS
    return {name: value for name, value in environ.items() if name not in secret}


def other_account(folder: Path, *, own_data: bool) -> str:
    """Returns the advice for a database that belongs to another Stripe account, most likely to the sandbox's."""
    what = "the orders there were paid with another Stripe account than this run's, so nothing is sent to Stripe: "
    if not own_data:
        return what + "see python -m payment account"
    return what + f"begin anew with rm -r {folder}, or set STRIPE_KEY as it was (without it: the sandbox)"


def reached_at(environ: Mapping[str, str]) -> str:
    """Returns the host at which the service is reached from this machine."""
    host = given(environ, "HOST") or LOOPBACK
    return EVERYWHERE.get(host, host)
