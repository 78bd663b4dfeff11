"""The three servers that stand in for what a platform has: their programs and command lines.

All listen on loopback alone and keep their data in the home folder. Change together: setup.cfg's extra `embedded`.
"""

import enum
import shutil
import sys
from pathlib import Path

from payment.embedded.home import Home
from payment.embedded.probe import LOOPBACK


class Server(enum.StrEnum):
    """A server of ours. The value names its folder, its log and its port."""

    NATS = "nats"
    MONGO = "mongo"
    STRIPE = "stripe"

    @property
    def label(self) -> str:
        return _TITLES[self]


_TITLES = {
    Server.NATS: "nats-server (JetStream)",
    Server.MONGO: "nx-27017 (MongoDB's protocol)",
    Server.STRIPE: "the Stripe sandbox",
}


class ProgramMissingError(Exception):
    """A server's program is not installed."""


def command(server: Server, home: Home, port: int) -> list[str]:
    """The command line of a server.

    Raises:
        ProgramMissingError: it is neither beside this Python nor on PATH.
    """
    data, at = str(home.data(server)), str(port)
    match server:
        case Server.NATS:
            return [_program("nats-server"), "--addr", LOOPBACK, "--port", at, "--jetstream", "--store_dir", data]
        case Server.MONGO:
            # Its log comes twice, to a file and to stderr: one is enough. Its own pid file would stop the next start.
            pid_file = home.pids / "mongo.nx.pid"
            pid_file.unlink(missing_ok=True)
            place = ["--host", LOOPBACK, "--port", at, "--db", f"{data}/payment.db"]
            return [_program("nx-27017"), *place, "--pid-file", str(pid_file), "--log-file", "/dev/null"]
        case Server.STRIPE:
            return [sys.executable, "-m", "payment.embedded.sandbox", "--port", at, "--data", data]


def _program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)  # Not resolved: an environment's python is a link out of it.
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise ProgramMissingError(
            f"{name} is not installed; `make run` installs it, and so does pip install .[embedded]"
        )
    return found
