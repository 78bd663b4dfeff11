"""The number of files that the process may open: raised at the start as far as the system allows, and never lowered.

The usual soft limit is 1,024 (256 on macOS), and each of thousands of waiting requests has a connection of its own. A
hard limit may be infinite, and then macOS refuses to set it (EINVAL), though it accepts a large number.
"""

from typing import Protocol

FILES_WANTED = 32_768
"""Files: 16,384 connections of clients, the service's own files, and as many again to spare. Not
the system's maximum, which may be a thousand million."""
FILES_TRIED = (FILES_WANTED, 24_576, 10_240, 4_096, 1_024)
"""Limits to try, from the highest on. Every macOS accepts 10,240 (its OPEN_MAX); 24,576 is below each larger limit that
it has for a process (kern.maxfilesperproc)."""


class Limits(Protocol):
    """The part of the module `resource` that is used here."""

    RLIM_INFINITY: int
    RLIMIT_NOFILE: int

    def getrlimit(self, resource: int, /) -> tuple[int, int]: ...

    def setrlimit(self, resource: int, limits: tuple[int, int], /) -> None: ...


def raise_file_limit(limits: Limits) -> None:
    """Raise the soft limit to `FILES_WANTED`, or as near to it as the system allows."""
    for files in FILES_TRIED:
        soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
        most = files if hard == limits.RLIM_INFINITY else min(files, hard)
        if soft == limits.RLIM_INFINITY or soft >= most:
            return
        try:
            limits.setrlimit(limits.RLIMIT_NOFILE, (most, hard))
        except (ValueError, OSError):
            continue
        return


def file_limit(limits: Limits) -> int:
    """Returns how many files the process may open now; `FILES_WANTED` where there is no limit."""
    soft, _ = limits.getrlimit(limits.RLIMIT_NOFILE)
    return FILES_WANTED if soft == limits.RLIM_INFINITY else soft
