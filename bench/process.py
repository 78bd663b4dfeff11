"""A process's CPU time and memory, as the operating system reports them."""

from __future__ import annotations

import os
import threading
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SAMPLE_EVERY_S = 0.1


def cpu_s(pid: int) -> float:
    """Returns the CPU seconds of a process since its start, in user and kernel mode, over all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int) -> float:
    """Returns resident memory, in MB of 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) * 1_024 / 1e6


class MemoryPeak:
    """`with MemoryPeak(pid) as peak: …`: `peak.most_mb` is the maximum resident memory of the process in the block."""

    def __init__(self, pid: int) -> None:
        self.most_mb = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> MemoryPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            self.most_mb = max(self.most_mb, memory_mb(self._pid))
