"""The ids port: everything unpredictable that the service makes up."""

import os
import random
from typing import Protocol


class Ids(Protocol):
    """Where new ids and jitter come from."""

    def new(self) -> str:
        """A new unique id: 32 hexadecimal digits."""

    def jitter(self) -> float:
        """A number from 0 up to but not including 1, to spread what would happen at once."""


class RandomIds:
    """Random ids: 128 bits, as many as anybody needs never to meet one twice."""

    def new(self) -> str:
        return os.urandom(16).hex()

    def jitter(self) -> float:
        return random.random()
