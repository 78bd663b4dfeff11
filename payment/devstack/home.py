"""The folder of the embedded default: what lies where, who may use it, and what the next run has to know.

    state.json   the ports of the last run and where it is reached; the neighbours' commands read it
    guide.json   what the last run showed; the command `tutorial` shows it again
    jwt.key      the secret that tokens are signed with, made once, for this user's eyes
    lock         held by the one run there may be at a time
    pids/        one file for each child; see survivors.py
    logs/        what the servers print, of this run and of the one before
    nats/ streaming/ mongo/ stripe/   their data
    bin/         the NATS Streaming server, where a run had to install it

A secret that came from the environment is never written here. Change together: `State`, household.py, commands.py.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

KEY_BYTES = 32
"""Of randomness: what HS256 can use."""
PRIVATE = 0o600
PRIVATE_FOLDER = 0o700


class HomeInUseError(Exception):
    """Another run is at work in the folder."""


class State(Struct):
    """What outlives a run. `ports` are by child; `own_nats` and `own_key` say whether the last run used ours;
    `cluster_id` is NATS Streaming's, or empty where events travelled over JetStream."""

    ports: dict[str, int] = msgspec.field(default_factory=dict)
    host: str = ""
    queue_group: str = ""
    cluster_id: str = ""
    own_nats: bool = True
    own_key: bool = True


class Home:
    """The folder at `path`, made where it is missing once `prepare` is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.pids = path / "pids"
        self.programs = path / "bin"

    def data(self, name: str) -> Path:
        return self.path / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Make the folders, for this user's eyes: the data hold card tokens."""
        for folder in (self.path, self.logs, self.pids, self.data("mongo")):
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run. The kernel lets go of it when this process ends, however it ends.

        Raises:
            HomeInUseError: another run holds it.
        """
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read(20).strip() or "unknown"
                raise HomeInUseError(f"another run is at work in {self.path} (process {holder})") from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def read_state(self) -> State | None:
        """What the last run wrote; None where there was none. What can't be read is no state: a run makes it anew."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_state(self, state: State) -> None:
        _write_private(self.path / "state.json", msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")

    def write_tutorial(self, tutorial: bytes) -> None:
        """Keep what was shown. It holds a signed token, so it is for this user's eyes."""
        _write_private(self.path / "guide.json", tutorial)

    def read_tutorial(self) -> bytes | None:
        """What the last run that became ready has shown; None where there was none."""
        try:
            return (self.path / "guide.json").read_bytes()
        except FileNotFoundError:
            return None

    def read_key(self) -> str | None:
        """The signing key that an earlier run made, if one did."""
        try:
            return (self.path / "jwt.key").read_text().strip() or None
        except FileNotFoundError:
            return None

    def key(self) -> str:
        """The signing key: the one of before, or a new one."""
        found = self.read_key()
        if found is None:
            found = secrets.token_urlsafe(KEY_BYTES)
            _write_private(self.path / "jwt.key", f"{found}\n".encode())
        return found


def _write_private(path: Path, data: bytes) -> None:
    """Replace a file as a whole. Nobody else may read it, not even for the moment in which it is written."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        file.write(data)
    beside.replace(path)
