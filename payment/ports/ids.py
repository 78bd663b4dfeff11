"""The ids port: everything unpredictable that the service makes up."""

from typing import Protocol


class Ids(Protocol):
    """Where new ids and jitter come from."""

    def new(self) -> str:
        """A new unique id: 32 hexadecimal digits."""

    def jitter(self) -> float:
        """A number from 0 up to but not including 1, to spread what would happen at once."""
