"""The text that a run shows: on stderr, in colours on a terminal that supports them, in plain text elsewhere.

Owns every printed command: each can be copied into a shell in the folder that the run was started in. Change together:
commands.py, which these lines call, and the tests, which run them.
"""

import json
import math
import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from payment.actors.http.responses import PAYMENTS_PATH, payment_location

BOLD, DIM, GREEN, RED, CYAN, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
GOOD_CARD = "tok_visa"
DECLINING_CARD = "tok_chargeDeclined"
ASKING_CARD = "tok_threeDSecure2Required"
"""The bank of this card asks the customer to authenticate."""
DEFAULT_HOME = ".embedded"
ESCAPES = re.compile("\x1b\\[[0-9;]*m")
"""The escape sequences of colours, which take no columns."""


class Console:
    """Writes sentences to a stream."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"

    def paint(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{PLAIN}" if self._coloured else text

    def inform(self, text: str) -> None:
        """Show a line about the run."""
        self.show(f"{self.paint('embedded:', DIM)} {text}")

    @property
    def size(self) -> os.terminal_size | None:
        """Columns and rows of the terminal; None where the stream is no terminal, or does not report its size."""
        size = os.get_terminal_size(self._stream.fileno()) if self._stream.isatty() else None
        return size if size and size.columns and size.lines else None

    def warn(self, text: str) -> None:
        self.show(f"{self.paint('embedded:', RED)} {text}")

    def show(self, text: str) -> None:
        # One write: the service writes its log to the same terminal at the same time.
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Shell(Struct, frozen=True):
    """The command line of this package from the current folder."""

    python: str
    home: str

    @classmethod
    def here(cls, home: Path) -> "Shell":
        cwd, python = Path.cwd(), Path(sys.executable)
        short = python.relative_to(cwd) if python.is_relative_to(cwd) else python
        return cls(str(short), str(home))

    def command(self, *words: str) -> str:
        home = () if self.home == DEFAULT_HOME else ("--home", self.home)
        return shlex.join([self.python, "-m", "payment.devstack", *words, *home])


def pay_line(base_url: str, token: str, order_id: str, card: str, return_url: str | None = None) -> str:
    """Returns a curl command that pays an order. The bank's page sends the customer's browser to `return_url`
    afterwards.
    """
    back = {} if return_url is None else {"returnUrl": return_url}
    body = json.dumps({"orderId": order_id, "token": card, **back}, separators=(",", ":"))
    words = ["curl", "-sS", "-X", "POST", f"{base_url}{PAYMENTS_PATH}", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*words, "-H", "Content-Type: application/json", "-d", body, "-w", r"\n"])


def payment_line(base_url: str, token: str, payment_id: str) -> str:
    """Returns a curl command that shows a payment."""
    words = ["curl", "-sS", f"{base_url}{payment_location(payment_id)}", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*words, "-w", r"\n"])


class Tutorial(Struct, frozen=True, kw_only=True):
    """The tutorial of one run. `orders` is None where no order could be published.

    `page` is the address of the shop's page; None where there is none. `logs` is the folder of the servers' logs.
    """

    base_url: str
    took_s: float
    standing_on: Mapping[str, str]
    page: str | None
    orders: tuple[str, str, str] | None
    price: str
    token: str
    shell: Shell
    logs: str

    def fitting(self, console: Console) -> str:
        """Returns the tutorial, or its start where the terminal has too few rows: the pay command stands last then."""
        whole, size = self.text(console), console.size
        if size is None or self.orders is None or rows_of(whole, size.columns) < size.lines:
            return whole
        rows = {
            **({"pay in a browser": self.page} if self.page else {}),
            "all there is to try": self.shell.command("guide"),
            "stop": "Ctrl-C. The next run finds its data.",
        }
        head = console.paint(f"Ready after {self.took_s:.1f} s at {self.base_url}", BOLD, GREEN)
        step = console.paint(f"An order of {self.price} came in over NATS. Pay it, in another terminal:", BOLD)
        line = console.paint(self._pay(self.orders[0], GOOD_CARD), CYAN)
        return "\n" + "\n\n".join([head, _table(rows, console), step, line]) + "\n"

    def text(self, console: Console) -> str:
        """Returns the whole tutorial."""
        parts = [self._head(console), *(self._steps(console) if self.orders else ()), self._foot(console)]
        return "\n" + "\n\n".join(parts) + "\n"

    def _head(self, console: Console) -> str:
        ready = console.paint(f"Ready after {self.took_s:.1f} s at {self.base_url}", BOLD, GREEN)
        return "\n".join([ready, *(f"  {name:8} {where}" for name, where in self.standing_on.items())])

    def _steps(self, console: Console) -> list[str]:
        if self.orders is None:
            return []
        first, second, third = self.orders
        steps = (
            (f"An order of {self.price} came in over NATS. Pay it:", self._pay(first, GOOD_CARD)),
            ("Another one came in. Try a card that is declined:", self._pay(second, DECLINING_CARD)),
            (
                "A third one. Its card's bank asks the customer: pay, then open the answer's url in a browser:",
                self._pay(third, ASKING_CARD, self._back(third)),
            ),
            ("Cancel the order that was paid, and see the refund:", self.shell.command("cancel", first)),
        )
        return [
            f"{console.paint(f'{number}. {what}', BOLD)}\n\n{console.paint(line, CYAN)}"
            for number, (what, line) in enumerate(steps, 1)
        ]

    def _pay(self, order_id: str, card: str, return_url: str | None = None) -> str:
        return pay_line(self.base_url, self.token, order_id, card, return_url)

    def _back(self, order_id: str) -> str:
        """Returns where the bank's page leads back to: the shop's page of the order, or `/healthz` where there is no
        shop.
        """
        return f"{self.page}?order={order_id}" if self.page else f"{self.base_url}/healthz"

    def _foot(self, console: Console) -> str:
        rows = {
            **({"pay in a browser": self.page} if self.page else {}),
            "more orders": self.shell.command("order", "--price", "19.99", "--user", "u1"),
            "an order's story": self.shell.command("status", self.orders[0] if self.orders else "ORDER_ID"),
            "payments, live": self.shell.command("events"),
            "health": f"{self.base_url}/readyz  {self.base_url}/healthz",
            "metrics": f"{self.base_url}/metrics",
            "API": f"{self.base_url}/openapi.json",
            "logs": f"the service's here, on stdout; the servers' in {self.logs}/",
            "stop": "Ctrl-C. The next run finds its data.",
        }
        return _table(rows, console)


def rows_of(text: str, columns: int) -> int:
    """Returns how many rows of a terminal a text takes."""
    lines = ESCAPES.sub("", text).split("\n")
    return sum(max(1, math.ceil(len(line) / columns)) for line in lines)


def _table(rows: Mapping[str, str], console: Console) -> str:
    return "\n".join(f"{console.paint(f'{name:19}', DIM)} {what}" for name, what in rows.items())
