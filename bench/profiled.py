"""Our service under a sampling profiler: `python -m bench.profiled FILE`, with the service's usual environment.

SIGUSR1 begins, SIGUSR2 ends and writes FILE: lines of `thread;outermost;…;innermost count`, as flame graphs are drawn
from. A sample is taken for every few milliseconds of CPU time that the process has used: the process is not slowed
down, waiting is not counted, and other processes on the machine have no effect. C functions count as the Python
function that called them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

import run

SAMPLE_EVERY_S = 0.001
"""CPU seconds between two samples. The kernel's tick may make it 4 ms."""
WAITING = ("selectors.py", "concurrent/futures/thread.py", "threading.py", "queue.py")
"""Files whose functions are waiting, not work."""


class Sampler:
    """Counts the stacks of working threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stacks: Counter[str] = Counter()

    def begin(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_EVERY_S, SAMPLE_EVERY_S)

    def sample(self, _: int, frame: FrameType | None) -> None:
        """The signal's handler runs in the main thread: where it waits, another thread has used the time."""
        if frame is not None and not _waits(frame):
            self._stacks[_stack("main", frame)] += 1
            return
        frames, main = sys._current_frames(), threading.main_thread().ident
        others = [each for thread, each in frames.items() if thread != main and not _waits(each)]
        self._stacks[_stack("other", others[0]) if others else "idle"] += 1

    def end(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        beside = self._path.with_suffix(".part")
        beside.write_text("".join(f"{stack} {count}\n" for stack, count in self._stacks.items()))
        os.replace(beside, self._path)


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(WAITING)


def _stack(thread: str, frame: FrameType | None) -> str:
    names = []
    while frame is not None:
        names.append(f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}")
        frame = frame.f_back
    return ";".join([thread, *reversed(names)])


def main(path: Path) -> int:
    sampler = Sampler(path)
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.begin)
    signal.signal(signal.SIGUSR2, sampler.end)
    return run.main([])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
