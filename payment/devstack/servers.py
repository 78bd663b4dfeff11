"""The four servers that replace a platform's own: their programs and command lines.

All listen on loopback alone and keep their data in the home folder. Change together: setup.cfg's extra `embedded`, and
broker_program.py, which finds the one program that no Python package contains.
"""

import enum
import shutil
import sys
from pathlib import Path

from payment.devstack.home import Home
from payment.devstack.ready_checks import LOOPBACK

STREAMING_PROGRAM = "nats-streaming-server"
CLUSTER_ID = "ticketing"
"""The cluster id of the run's NATS Streaming: the contract's example."""


class Broker(enum.StrEnum):
    """The broker of a run: the program of `ServerProgram.NATS`. The value names its data folder."""

    JETSTREAM = "jetstream"
    STREAMING = "streaming"


class ServerProgram(enum.StrEnum):
    """A server that a run starts. The value names its log and its port."""

    NATS = "nats"
    MONGO = "mongo"
    STRIPE = "stripe"
    SHOP = "shop"

    def label(self, broker: Broker) -> str:
        """Returns the program's name for a person."""
        return _STREAMING_TITLE if (self, broker) == (ServerProgram.NATS, Broker.STREAMING) else _TITLES[self]

    def data(self, broker: Broker, home: Home) -> Path:
        """Returns the data folder. Each broker has its own: neither can read the other's data."""
        return home.data(broker if (self, broker) == (ServerProgram.NATS, Broker.STREAMING) else self)


_TITLES = {
    ServerProgram.NATS: "nats-server (JetStream)",
    ServerProgram.MONGO: "nx-27017 (MongoDB's protocol)",
    ServerProgram.STRIPE: "the Stripe sandbox",
    ServerProgram.SHOP: "the shop's page",
}
_STREAMING_TITLE = f"nats-streaming-server (cluster id {CLUSTER_ID})"


class ProgramMissingError(Exception):
    """A server's program is not installed."""


def command(server: ServerProgram, broker: Broker, home: Home, port: int) -> list[str]:
    """Returns the command line of a server.

    Raises:
        ProgramMissingError: the program is not installed.
    """
    data, at = str(server.data(broker, home)), str(port)
    match server:
        case ServerProgram.NATS if broker is Broker.STREAMING:
            place = ["-a", LOOPBACK, "-p", at, "-st", "file", "-dir", data]
            return [streaming_program(home), "-cid", CLUSTER_ID, *place]
        case ServerProgram.NATS:
            return [_program("nats-server"), "--addr", LOOPBACK, "--port", at, "--jetstream", "--store_dir", data]
        case ServerProgram.MONGO:
            # The server logs to a file and to stderr: one is enough. Its own pid file would block the next start.
            pid_file = home.pids / "mongo.nx.pid"
            pid_file.unlink(missing_ok=True)
            place = ["--host", LOOPBACK, "--port", at, "--db", f"{data}/payment.db"]
            return [_program("nx-27017"), *place, "--pid-file", str(pid_file), "--log-file", "/dev/null"]
        case ServerProgram.STRIPE:
            return [sys.executable, "-m", "payment.stripe_sandbox", "--port", at, "--data", data]
        case ServerProgram.SHOP:
            return [sys.executable, "-m", "payment.devstack.shop", "--port", at, "--home", str(home.path)]


def streaming_program(home: Home) -> str:
    """Returns the path of nats-streaming-server: on PATH, in Go's folder for programs, or where broker_program.py
    installed it.
    """
    found = shutil.which(STREAMING_PROGRAM)
    for folder in (Path.home() / "go" / "bin", home.programs):
        found = found or shutil.which(STREAMING_PROGRAM, path=str(folder.absolute()))
    if found is None:
        raise ProgramMissingError(f"{STREAMING_PROGRAM} is not installed")
    return found


def _program(name: str) -> str:
    # Not resolved: the python of a virtual environment is a link to one outside.
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise ProgramMissingError(
            f"{name} is not installed; `make run` installs it, and so does pip install .[embedded]"
        )
    return found
