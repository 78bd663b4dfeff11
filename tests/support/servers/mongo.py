"""MongoDB-protocol servers for the tests: `NxServer` (nx-27017, SQLite) and `MongoJavaServer` (an unrelated one, H2).

Owns: their command lines, data folders and ports. Must never: use their default port, pid file or log file (another
server on the machine may use it), or hide a difference between the two. Change together with: payment/devstack, which
starts nx-27017 too, and mongo_java/.

Both are standalone servers that ignore `w`, `wtimeout` and read concern. Both keep what they acknowledged with
`j: true` over `kill`: nx-27017 switches SQLite to synchronous=FULL, our Java runner commits H2 before it answers.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.support.servers.process import LOOPBACK, ServerProcess, free_port
from tests.support.servers.requirements import missing, require_program

PING_TIMEOUT_MS = 1000  # one check whether the server answers
BUILD_DEADLINE_S = 300  # Maven's first build on a machine downloads its plugins; later builds are fast
JVM_FLAGS = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")  # small, and quick to start
DATABASE = "payment"


class MongoServer(ServerProcess):
    """A server of the MongoDB protocol on loopback; `start` returns when it answers `ping`."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        super().__init__(command, port=port, log=log, ready=self.answers_ping)

    @property
    def url(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}/{DATABASE}"

    def answers_ping(self) -> bool:
        """Whether the server answers `ping` in time. (mongo-java-server has no `hello`.)"""
        client: MongoClient[dict[str, object]] = MongoClient(
            self.url, serverSelectionTimeoutMS=PING_TIMEOUT_MS, socketTimeoutMS=PING_TIMEOUT_MS
        )
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        finally:
            client.close()
        return True


class NxServer(MongoServer):
    """nx-27017 with its data in one SQLite file below `folder`."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        port = port or free_port()
        self.data = folder / "nx.db"
        self.pid_file = folder / "nx.pid"
        command = [str(require_program("nx-27017")), "--host", LOOPBACK, "--port", str(port)]
        command += ["--db", str(self.data), "--pid-file", str(self.pid_file)]
        command += ["--log-file", str(folder / "nx-server.log")]
        super().__init__(command, port, folder / "nx-output.log")

    def start(self, deadline_s: float = 30.0) -> None:
        # After a kill -9 nx-27017 refuses to start if another process now has the pid in its old pid file.
        self.pid_file.unlink(missing_ok=True)
        super().start(deadline_s)


class MongoJavaServer(MongoServer):
    """mongo-java-server with an H2 store below `folder`; with `memory=True` a restart loses everything."""

    def __init__(self, folder: Path, port: int | None = None, *, memory: bool = False) -> None:
        port = port or free_port()
        place = "memory" if memory else str(folder / "mongo-java.mv")
        command = [str(require_program("java")), *JVM_FLAGS, "-jar", str(built_jar()), str(port), place]
        super().__init__(command, port, folder / "mongo-java.log")


def built_jar() -> Path:
    """Returns the runnable jar, and builds it if it is missing; the test is skipped (in CI: fails) where it can't be
    built.
    """
    script = Path(__file__).with_name("mongo_java") / "build.sh"
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=BUILD_DEADLINE_S, check=False)
    if done.returncode != 0:
        missing(f"mongo-java-server can't be built: {(done.stderr or done.stdout)[-1000:]}")
    return Path(done.stdout.strip().splitlines()[-1])
