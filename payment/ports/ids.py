"""The ids port: the new ids and random numbers that the service needs."""

from typing import Protocol


class Ids(Protocol):
    """The source of new ids and of jitter."""

    def new(self) -> str:
        """A new unique id: 32 hexadecimal digits."""

    def jitter(self) -> float:
        """A number from 0 up to but not including 1, by which simultaneous retries are spread over time."""
