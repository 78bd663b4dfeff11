"""Becomes another program that dies with its parent: `python -I -S parent_death.py PARENT_PID PROGRAM [ARGUMENT…]`.

On Linux the kernel kills the program when its parent ends, however that ended; elsewhere nothing does, and pid files
have to do (`orphans.py`). It is SIGKILL, not SIGTERM: a drain would go on against servers that die at the same
moment, and everything here keeps what it has acknowledged. It is a process of its own rather than a `preexec_fn`,
which may deadlock where the parent has threads, and imports next to nothing: it stands before the start of each child.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <sys/prctl.h>."""
EXIT_NOT_FOUND = 127
"""As a shell's: there is no such program, or it can't be run."""
EXIT_ORPHAN = 69
"""EX_UNAVAILABLE: the parent had ended before the tie was made."""


def become(parent_pid: int, command: list[str]) -> int:
    """Run `command` in this process's place. It returns, with an exit code, only where that fails."""
    if sys.platform == "linux":
        import ctypes

        # A failure would mean a kernel without prctl; pid files are the second net then.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Who died before the tie was made sends nothing: only now can it be told for sure.
    if os.getppid() != parent_pid:
        return EXIT_ORPHAN
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
    return EXIT_NOT_FOUND


if __name__ == "__main__":
    sys.exit(become(int(sys.argv[1]), sys.argv[2:]))
