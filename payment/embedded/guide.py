"""What a person is shown: on stderr, in colours on a terminal that wants them, in plain text elsewhere.

Owns every printed command: each can be copied into a shell as it stands, from the folder the run was started in.
Change together: commands.py, which these lines call, and the tests, which run them.
"""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from payment.edge.answers import PAYMENTS_PATH, payment_location

BOLD, DIM, GREEN, RED, CYAN, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[36m", "\x1b[0m"
GOOD_CARD = "tok_visa"
DECLINING_CARD = "tok_chargeDeclined"
ASKING_CARD = "tok_threeDSecure2Required"
"""Its bank wants the customer to authenticate."""
DEFAULT_HOME = ".embedded"


class Voice:
    """Writes sentences to a stream."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self._stream = stream
        self._coloured = stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"

    def paint(self, text: str, *codes: str) -> str:
        return f"{''.join(codes)}{text}{PLAIN}" if self._coloured else text

    def say(self, text: str) -> None:
        """Say a line about the run."""
        self.show(f"{self.paint('embedded:', DIM)} {text}")

    def complain(self, text: str) -> None:
        self.show(f"{self.paint('embedded:', RED)} {text}")

    def show(self, text: str) -> None:
        # In one write: the service writes its log to the same terminal at the same time.
        self._stream.write(f"{text}\n")
        self._stream.flush()


class Shell(Struct, frozen=True):
    """How this package is called from the folder that we stand in."""

    python: str
    home: str

    @classmethod
    def here(cls, home: Path) -> "Shell":
        cwd, python = Path.cwd(), Path(sys.executable)
        short = python.relative_to(cwd) if python.is_relative_to(cwd) else python
        return cls(str(short), str(home))

    def command(self, *words: str) -> str:
        home = () if self.home == DEFAULT_HOME else ("--home", self.home)
        return shlex.join([self.python, "-m", "payment.embedded", *words, *home])


def pay_line(base_url: str, token: str, order_id: str, card: str) -> str:
    """A curl command that pays an order, with the customer's token in it."""
    words = ["curl", "-sS", "-X", "POST", f"{base_url}{PAYMENTS_PATH}", "-H", f"Authorization: Bearer {token}"]
    words += ["-H", "Content-Type: application/json", "-d", _body(order_id, card, None)]
    return shlex.join([*words, "-w", r"\n"])


def payment_line(base_url: str, token: str, payment_id: str) -> str:
    """A curl command that shows a payment."""
    words = ["curl", "-sS", f"{base_url}{payment_location(payment_id)}", "-H", f"Authorization: Bearer {token}"]
    return shlex.join([*words, "-w", r"\n"])


def headers_of(token: str) -> str:
    """The headers of a customer's request, as curl reads them from a file."""
    return f"Authorization: Bearer {token}\nContent-Type: application/json\n"


def _body(order_id: str, card: str, return_url: str | None) -> str:
    back = {} if return_url is None else {"returnUrl": return_url}
    return json.dumps({"orderId": order_id, "token": card, **back}, separators=(",", ":"))


class Guide(Struct, frozen=True, kw_only=True):
    """All that the guide needs to know. Without orders (none could be published) it shows none.

    `page` is the address of the shop's page; None where there is none. `headers` is the file that holds the customer's
    headers: a token in each line would make the guide longer than a terminal of 80 columns and 24 rows.
    """

    base_url: str
    took_s: float
    standing_on: Mapping[str, str]
    page: str | None
    orders: tuple[str, str, str] | None
    price: str
    headers: Path
    shell: Shell
    logs: Path

    def text(self, voice: Voice) -> str:
        """The guide, ready to be shown."""
        ready = voice.paint(f"Ready after {self.took_s:.1f} s at {self.base_url}", BOLD, GREEN)
        return "\n".join(["", ready, *self._steps(voice), "", self._foot(voice)]) + "\n"

    def _steps(self, voice: Voice) -> list[str]:
        if self.orders is None:
            return []
        first, second, third = self.orders
        steps = (
            (f"An order of {self.price} came in over NATS. Pay it:", self._pay(first, GOOD_CARD)),
            ("Another one came in. Try a card that is declined:", self._pay(second, DECLINING_CARD)),
            (
                "A third one. Its bank asks the customer: pay, then open the answer's url:",
                self._pay(third, ASKING_CARD, self._back(third)),
            ),
            ("Cancel the order that was paid, and see the refund:", self.shell.command("cancel", first)),
        )
        return [
            f"{voice.paint(f'{number}. {what}', BOLD)}\n{voice.paint(line, CYAN)}"
            for number, (what, line) in enumerate(steps, 1)
        ]

    def _pay(self, order_id: str, card: str, return_url: str | None = None) -> str:
        """The bank's page sends the customer's browser to `return_url` afterwards."""
        words = ["curl", "-sS", f"{self.base_url}{PAYMENTS_PATH}", "-H", f"@{self.headers}"]
        return shlex.join([*words, "-d", _body(order_id, card, return_url), "-w", r"\n"])

    def _back(self, order_id: str) -> str:
        """Where the bank's page leads back to: the shop's page of the order, or anything of ours that answers a GET."""
        return f"{self.page}?order={order_id}" if self.page else f"{self.base_url}/healthz"

    def _foot(self, voice: Voice) -> str:
        rows = {
            **({"browser": self.page} if self.page else {}),
            "order": self.shell.command("order", "--price", "19.99", "--user", "u1"),
            "status": self.shell.command("status", self.orders[0] if self.orders else "ORDER_ID"),
            "events": self.shell.command("events"),
            "look": f"{self.base_url}/readyz /healthz /metrics /openapi.json",
            "servers": ", ".join(f"{name} {where}" for name, where in self.standing_on.items()),
            "stop": f"Ctrl-C. The next run finds its data. Logs: here, and {self.logs}/",
        }
        return "\n".join(f"{voice.paint(f'{name:8}', DIM)} {what}" for name, what in rows.items())
