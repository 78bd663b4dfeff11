"""Captures what the service logs, as a reader of stdout receives it."""

import io
import json
from collections.abc import Iterable
from typing import Any

from payment.ops import logs


class Log:
    """A configured log, and the lines that it has written."""

    def __init__(self, level: str = "info", *, secrets: Iterable[str] = (), colours: bool = False) -> None:
        self.stream = io.BytesIO()
        logs.configure(level, "payment", "payment-web-1", self.stream, colours, secrets, now_s=lambda: 1_714_564_800.25)

    @property
    def text(self) -> str:
        return self.stream.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]
