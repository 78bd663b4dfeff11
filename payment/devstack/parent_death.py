"""Replaces itself with another program that dies with its parent: `python -I -S parent_death.py PARENT_PID PROGRAM
[ARGUMENT…]`.

On Linux the kernel kills the program when its parent ends, however it ended. Elsewhere nothing does, and the next run
ends it by its pid file (`orphans.py`). The signal is SIGKILL, not SIGTERM: a drain would go on against servers that die
at the same moment, and every program here keeps what it has acknowledged. This runs as a program rather than as a
`preexec_fn`, which may deadlock where the parent has threads. It imports next to nothing, because it delays the start
of each child.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
EXIT_NOT_FOUND = 127
"""As in a shell: there is no such program, or it can't be run."""
EXIT_ORPHAN = 69
"""EX_UNAVAILABLE: the parent had ended before the kernel was told to watch it."""


def become(parent_pid: int, command: list[str]) -> int:
    """Run `command` in this process's place. It returns, with an exit code, only where that fails."""
    if sys.platform == "linux":
        import ctypes

        # A failure would mean a kernel without prctl; the pid files remain then.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # For a parent that died before the prctl call the kernel sends no signal: it is checked now.
    if os.getppid() != parent_pid:
        return EXIT_ORPHAN
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
    return EXIT_NOT_FOUND


if __name__ == "__main__":
    sys.exit(become(int(sys.argv[1]), sys.argv[2:]))
