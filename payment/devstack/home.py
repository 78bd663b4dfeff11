"""The folder of a local run: its layout, its lock, and the state that the next run reads.

    state.json   the ports of the last run and its address; the other commands read it
    guide.json   the tutorial of the last run; the command `guide` shows it again
    jwt.key      the signing key of tokens, generated once, readable only by this user
    lock         held by the running run: there may be only one at a time
    pids/        one file for each child; see orphans.py
    logs/        the output of the servers, of this run and of the one before
    nats/ streaming/ mongo/ stripe/   their data
    bin/         the NATS Streaming server, where a run had to install it

A secret that came from the environment is never written here. Change together: `State`, stack.py, commands.py.
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
"""Bytes of randomness: as many as HS256 can use."""
PRIVATE = 0o600
PRIVATE_FOLDER = 0o700


class HomeInUseError(Exception):
    """Another run uses the folder."""


class State(Struct):
    """The state that outlives a run. `ports` are by child. `own_nats` and `own_key` tell whether the last run used its
    own NATS and key. `cluster_id` is NATS Streaming's, or empty where JetStream carried the events.
    """

    ports: dict[str, int] = msgspec.field(default_factory=dict)
    host: str = ""
    queue_group: str = ""
    cluster_id: str = ""
    own_nats: bool = True
    own_key: bool = True


class Home:
    """The folder at `path`; `prepare` creates it where it is missing."""

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
        """Create the folders, readable only by this user: the data hold card tokens."""
        for folder in (self.path, self.logs, self.pids, self.data("mongo")):
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock for one run. The kernel releases it when this process ends, however it ends.

        Raises:
            HomeInUseError: another run holds it.
        """
        with (self.path / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read(20).strip() or "unknown"
                raise HomeInUseError(f"another run uses {self.path} (process {holder})") from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def read_state(self) -> State | None:
        """Returns the state of the last run; None where there was none or the file can't be read: a run writes it
        anew.
        """
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=State)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write_state(self, state: State) -> None:
        _write_private(self.path / "state.json", msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")

    def write_tutorial(self, tutorial: bytes) -> None:
        """Write the tutorial. It holds a signed token, so only this user may read it."""
        _write_private(self.path / "guide.json", tutorial)

    def read_tutorial(self) -> bytes | None:
        """Returns the tutorial of the last run that became ready; None where there was none."""
        try:
            return (self.path / "guide.json").read_bytes()
        except FileNotFoundError:
            return None

    def read_key(self) -> str | None:
        """Returns the signing key that an earlier run generated; None where there is none."""
        try:
            return (self.path / "jwt.key").read_text().strip() or None
        except FileNotFoundError:
            return None

    def key(self) -> str:
        """Returns the signing key of an earlier run, or a new one."""
        found = self.read_key()
        if found is None:
            found = secrets.token_urlsafe(KEY_BYTES)
            _write_private(self.path / "jwt.key", f"{found}\n".encode())
        return found


def _write_private(path: Path, data: bytes) -> None:
    """Replace a file as a whole. Other users can't read it, not even while it is written."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        file.write(data)
    beside.replace(path)
