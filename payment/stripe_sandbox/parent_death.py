"""Ends this process when its parent is gone, however the parent ended.

On Linux the kernel sends SIGTERM when the parent dies. Elsewhere the parent's process id is looked at now and then:
an orphan gets another one.
"""

import asyncio
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
PARENT_CHECK_EVERY_S = 1.0
"""How often to look for the parent where the kernel sends no signal: soon enough for a person at a terminal."""


class ParentGoneError(Exception):
    """The parent had gone before the lifeline was tied."""


def tie_to_parent(parent_pid: int) -> None:
    """Have the kernel send SIGTERM when the parent dies. Raise ParentGoneError if it has died already.

    `parent_pid` is `os.getppid()` as it was first thing in this process.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    if os.getppid() != parent_pid:
        raise ParentGoneError(f"process {parent_pid} has ended")


async def parent_gone(parent_pid: int) -> None:
    """Return once the parent has gone."""
    while os.getppid() == parent_pid:  # noqa: ASYNC110 (no event marks a parent's end where the kernel sends no signal)
        await asyncio.sleep(PARENT_CHECK_EVERY_S)
