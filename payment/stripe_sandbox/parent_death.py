"""Ends this process when its parent has ended, however it ended.

On Linux the kernel sends SIGTERM when the parent dies. Elsewhere this process polls its parent's process id: an orphan
gets another parent.
"""

import asyncio
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
PARENT_CHECK_EVERY_S = 1.0
"""Between two polls of the parent where the kernel sends no signal, in seconds: soon enough for a person at a
terminal.
"""


class ParentGoneError(Exception):
    """The parent had ended before the kernel was asked to signal its death."""


def tie_to_parent(parent_pid: int) -> None:
    """Have the kernel send SIGTERM when the parent dies. Raises ParentGoneError if it has died already.

    `parent_pid` is `os.getppid()` at the start of this process.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
    if os.getppid() != parent_pid:
        raise ParentGoneError(f"process {parent_pid} has ended")


async def parent_gone(parent_pid: int) -> None:
    """Return once the parent has ended."""
    while os.getppid() == parent_pid:  # noqa: ASYNC110 (no event marks a parent's end where the kernel sends no signal)
        await asyncio.sleep(PARENT_CHECK_EVERY_S)
