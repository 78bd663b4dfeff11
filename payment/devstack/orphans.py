"""Pid files, and the end of processes that a run left behind when it was killed.

A pid alone proves nothing: the system gives it to a stranger one day. So each file holds the moment its process began
too, as the system tells it, and a process that began at another moment is left alone. On Linux the kernel ends the
children of a killed run by itself (lifeline.py) and there is nothing to be found here.
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
"""How long a survivor has to end by itself."""
KILL_S = 2.0
"""How long the system may take to end one that was killed."""
POLL_EVERY_S = 0.02
"""How often to look: nobody is told of the end of a process that is not its child."""
PS_S = 5.0
"""How long `ps` may take, where there is no /proc."""


class Note(Struct, frozen=True):
    """The content of a pid file."""

    pid: int
    began: str


def began(pid: int) -> str | None:
    """When a process began, in the system's own words; None where none runs under this pid (a zombie doesn't run)."""
    return _began_linux(pid) if sys.platform == "linux" else _began_elsewhere(pid)


def write_note(path: Path, pid: int) -> None:
    """Note a running process. One that has ended already needs no note."""
    start = began(pid)
    if start is not None:
        beside = path.with_name(f"{path.name}.new")
        beside.write_bytes(msgspec.json.encode(Note(pid, start)))
        beside.replace(path)


async def end_orphans(pids: Path) -> list[str]:
    """End what still runs of the processes noted in a folder, remove the notes, and name what was ended."""
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
        return None  # Notes appear whole: this is none of ours.


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
    """Clock ticks from the boot on, and which boot it was (proc(5), `stat`: the 3rd field and the 22nd)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # The 2nd field, a name in brackets, may hold blanks.
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _began_elsewhere(pid: int) -> str | None:
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=PS_S, check=False
    )
    state, _, start = asked.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()
