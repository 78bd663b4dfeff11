"""The ids port: everything unpredictable that the service makes up."""

import random
import uuid
from typing import Protocol


class Ids(Protocol):
    """Where new ids and jitter come from."""

    def new(self) -> str:
        """A new unique id: 32 hexadecimal digits."""

    def jitter(self) -> float:
        """A number from 0 up to but not including 1, to spread what would happen at once."""


class RandomIds:
    """Random ids (UUID version 4)."""

    def new(self) -> str:
        return uuid.uuid4().hex

    def jitter(self) -> float:
        return random.random()
