"""The progress line on a terminal: scenario, step, remaining time. Nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

CLEAR = "\r\x1b[2K"


class Progress:
    """`expected_s` is the duration of each scenario on a quiet machine. The remaining time is scaled by the durations
    so far.
    """

    def __init__(
        self,
        expected_s: dict[str, float],
        stream: TextIO = sys.stderr,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._expected_s = expected_s
        self._stream = stream
        self._monotonic = monotonic
        self._began = monotonic()
        self._done_s = 0.0
        self._scenario = ""

    def scenario(self, name: str) -> None:
        """Note that a scenario begins and the one before has ended."""
        self._done_s += self._expected_s.get(self._scenario, 0.0)
        self._scenario = name
        self.step("begins")

    def step(self, what: str) -> None:
        if self._stream.isatty():
            self._stream.write(f"{CLEAR}{self._scenario}: {what}   about {left(self.left_s)} left")
            self._stream.flush()

    def clear(self) -> None:
        if self._stream.isatty():
            self._stream.write(CLEAR)
            self._stream.flush()

    @property
    def left_s(self) -> float:
        """Returns the seconds that remain, scaled by the durations of the scenarios so far."""
        spent_s, all_s = self._monotonic() - self._began, sum(self._expected_s.values())
        slowness = max(1.0, spent_s / self._done_s) if self._done_s else 1.0
        return max(0.0, all_s * slowness - spent_s)


def left(seconds: float) -> str:
    """Returns a duration in minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
