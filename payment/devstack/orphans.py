"""Pid files, and ending the processes that a killed run left behind.

A pid alone proves nothing: the system reuses it for another process. So each file also holds the start time of its
process, as the system reports it, and a process with another start time is left alone. On Linux the kernel ends the
children of a killed run by itself (parent_death.py), and there are no orphans.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct

TERM_S = 5.0
"""How long an orphan has to end after SIGTERM, in seconds."""
KILL_S = 2.0
"""How long the system may take to end a killed process, in seconds."""
POLL_EVERY_S = 0.02
"""Between two polls, in seconds: the system reports the end of a process only to its parent."""
PS_S = 5.0
"""How long `ps` may take where there is no /proc, in seconds."""


class Note(Struct, frozen=True):
    """The content of a pid file."""

    pid: int
    began: str


def began(pid: int) -> str | None:
    """Returns a process's start time as the system reports it; None where none runs under this pid (a zombie doesn't
    run).
    """
    return _began_linux(pid) if sys.platform == "linux" else _began_elsewhere(pid)


def write_note(path: Path, pid: int) -> None:
    """Write the pid file of a running process. A process that has ended already gets none."""
    start = began(pid)
    if start is not None:
        beside = path.with_name(f"{path.name}.new")
        beside.write_bytes(msgspec.json.encode(Note(pid, start)))
        beside.replace(path)


async def end_orphans(pids: Path) -> list[str]:
    """End the running processes that are noted in a folder, remove the notes, and return the names of the ended
    processes.
    """
    ended = []
    for path in _notes(pids):
        note = _read(path)
        if note is not None and began(note.pid) == note.began:
            await _end(note)
            ended.append(path.stem)
        path.unlink(missing_ok=True)
    return ended


def _notes(pids: Path) -> list[Path]:
    return sorted(pids.glob("*.json"))


def _read(path: Path) -> Note | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Note)
    except msgspec.DecodeError:
        return None  # Notes are written atomically, so this file is not one of them.


async def _end(note: Note) -> None:
    for number, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, KILL_S)):
        try:
            os.kill(note.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if began(note.pid) != note.began:
                return
            await asyncio.sleep(POLL_EVERY_S)


def _began_linux(pid: int) -> str | None:
    """Returns the clock ticks since boot and the boot's id (proc(5), `stat`: the 3rd field and the 22nd)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # The 2nd field, a name in brackets, may contain spaces.
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _began_elsewhere(pid: int) -> str | None:
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=PS_S, check=False
    )
    state, _, start = asked.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()
