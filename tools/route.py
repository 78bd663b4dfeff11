"""The route of a charge: every function of ours that runs from the arrival of a request until its 201 leaves.

    python -m tools.route            trace a charge; print the counts, and its main steps
    python -m tools.route --all      print every call, in order
    python -m tools.route --check    print nothing; fail where the charge does not pass through the main steps

It starts the real servers that a charge needs (nats-server, nx-27017 and the Stripe sandbox), runs the service in this
process as run.py does, places orders by events, charges them and records the calls of functions in `payment/`.

Owns `STEPS`: the functions that ARCHITECTURE names, in the order in which a charge calls them. It must never
describe a step by itself: the description is the first sentence of the function's docstring. Change together: `STEPS`,
and whatever function there is renamed or moved.

The route is deterministic but for timers: a tick of an actor may fall into a charge. So several orders are charged, and
the charge with the fewest calls counts. The service runs on asyncio's own event loop instead of uvloop, because its
transport is written in Python: that shows the moment at which the 201 leaves.
"""

import ast
import asyncio
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, BinaryIO

from pymongo import MongoClient

from payment.ops.health import Phase
from payment.ops.logs import configure
from payment.process.listening import listen
from payment.service import Service, real_ports, secrets_of
from payment.settings.environment import Settings
from tests.e2e.bus import Bus
from tests.e2e.client import PAYMENTS, identity
from tests.e2e.stack import Servers, ServiceStack
from tests.support.servers.process import LOOPBACK
from tests.support.servers.requirements import find_program
from tools.markdown import first_sentence

ROOT = Path(__file__).parents[1]
PROGRAMS = ("nats-server", "nx-27017")
NOT_COUNTED = ("payment/devstack/", "payment/stripe_sandbox/")
CHARGES = 3
"""Charges that are traced; the one with the fewest calls counts."""
START_DEADLINE_S = 20.0
ORDER_DEADLINE_S = 10.0
POLL_S = 0.02
QUIET_S = 0.1
"""Between an order's arrival and its charge: what the event started has ended then."""

STEPS: tuple[tuple[str, str], ...] = (
    ("payment/actors/http/auth.py", "authenticate"),
    ("payment/actors/http/requests.py", "parse_charge"),
    ("payment/actors/http/pending_requests.py", "PendingRequests.charge"),
    ("payment/actors/ledger/order_queues.py", "OrderQueues.add"),
    ("payment/actors/ledger/commit.py", "Commits._decide"),
    ("payment/core/decide.py", "decide"),
    ("payment/core/decide.py", "_with_new_attempt"),
    ("payment/core/pending.py", "with_deadline"),
    ("payment/actors/ledger/commit.py", "Commits._write"),
    ("payment/adapters/mongo/documents.py", "write_of"),
    ("payment/actors/ledger/in_flight.py", "InFlightEffects.release"),
    ("payment/actors/ledger/pending_charges.py", "PendingCharges.await_outcome"),
    ("payment/actors/stripe/scheduler.py", "StripeScheduler.release"),
    ("payment/actors/stripe/scheduler.py", "StripeScheduler.take"),
    ("payment/adapters/stripe/cards.py", "StripeCards.create"),
    ("payment/adapters/stripe/cards.py", "StripeCards.confirm"),
    ("payment/adapters/stripe/bodies.py", "read_intent"),
    ("payment/actors/stripe/outcomes.py", "result_of"),
    ("payment/actors/ledger/order_queues.py", "OrderQueues.add"),
    ("payment/core/decide.py", "decide"),
    ("payment/core/outcomes.py", "_charged"),
    ("payment/core/order.py", "next_state"),
    ("payment/core/attempts.py", "next_publication"),
    ("payment/actors/ledger/commit.py", "Commits._write"),
    ("payment/actors/ledger/in_flight.py", "InFlightEffects.release"),
    ("payment/actors/ledger/pending_charges.py", "PendingCharges.written"),
    ("payment/core/replies.py", "reply_to"),
    ("payment/actors/http/responses.py", "charge_answer"),
)
"""File and function of each main step. The calls of a charge contain them in this order; other calls lie between."""


@dataclass
class Trace:
    """The calls of one charge, in order. A coroutine that goes on after an `await` counts as no further call."""

    calls: list[tuple[str, str]] = field(default_factory=list)
    resumed: int = 0
    """How often a coroutine or generator went on."""
    changes: int = 0
    """Changes of file between one call and the next; coroutines that went on count here as well."""
    _file: str = ""

    def add(self, file: str, function: str, *, resumed: bool) -> None:
        self.changes += self._file not in ("", file)
        self._file = file
        if resumed:
            self.resumed += 1
        else:
            self.calls.append((file, function))

    def summary(self) -> str:
        """The figures, on one line."""
        files, functions = {file for file, _ in self.calls}, set(self.calls)
        return (
            f"{len(files)} files, {len(functions)} functions, {self.changes} changes of file, "
            f"{len(self.calls)} calls ({self.resumed} resumptions of coroutines besides)"
        )


class Recorder:
    """Records the calls of this thread from `start` until the first bytes of a response with status 201 are written."""

    def __init__(self) -> None:
        self.trace = Trace()
        self._files: dict[CodeType, str | None] = {}

    def start(self) -> None:
        sys.setprofile(self._called)

    def stop(self) -> None:
        sys.setprofile(None)

    def _called(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code not in self._files:
            self._files[code] = _counted(code)
        file = self._files[code]
        if file is not None:
            self.trace.add(file, code.co_qualname, resumed=_is_resumed(frame))
        elif code.co_name in ("write", "writelines") and code.co_filename.endswith("selector_events.py"):
            content = next(iter(frame.f_locals[name] for name in ("data", "list_of_data") if name in frame.f_locals))
            data = content if isinstance(content, bytes | bytearray | memoryview) else b"".join(content)
            if bytes(data[:16]).startswith(b"HTTP/1.1 201"):
                self.stop()


def _counted(code: CodeType) -> str | None:
    """Returns the file of a function of ours, from the root; None for all other code."""
    path = Path(code.co_filename)
    if not path.is_relative_to(ROOT / "payment"):
        return None
    file = path.relative_to(ROOT).as_posix()
    return None if file.startswith(NOT_COUNTED) else file


def _is_resumed(frame: FrameType) -> bool:
    """Whether a coroutine or generator goes on where it was suspended. RESUME's argument says so (0: a start)."""
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti + 1] & 0b11 != 0


# ------------------------------------------------------------------------------------------------------------ a charge


def trace() -> Trace:
    """Start everything, charge `CHARGES` orders; returns the trace with the fewest calls."""
    with tempfile.TemporaryDirectory(prefix="route-") as folder:
        servers = Servers(Path(folder))
        try:
            servers.start()
            with open(os.devnull, "wb") as log, asyncio.Runner() as runner:
                return runner.run(_charges(ServiceStack(servers, Path(folder)), log))
        finally:
            servers.stop()


async def _charges(stack: ServiceStack, log: BinaryIO) -> Trace:
    settings = Settings.from_environment(stack.environment())
    configure(settings.log_level, "payment", settings.nats_client_id, log, secrets=secrets_of(settings))
    service = Service(settings, real_ports(settings, listen(settings.host, settings.port)))
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop, asyncio.Event()))
    try:
        await _until(lambda: service.health.phase is Phase.READY, START_DEADLINE_S, "the service is ready")
        async with Bus(stack.servers.nats.url) as bus:
            traces = [await _charge(stack, bus, settings.port) for _ in range(CHARGES)]
        return min(traces, key=lambda trace: len(trace.calls))
    finally:
        stop.set()
        await running


async def _charge(stack: ServiceStack, bus: Bus, port: int) -> Trace:
    order = stack.new_order()
    await bus.create(order)
    with MongoClient[dict[str, Any]](stack.servers.mongo.url) as client:
        orders = client[stack.database]["orders"]
        await _until(lambda: orders.find_one({"_id": order}) is not None, ORDER_DEADLINE_S, "the order is stored")
    await asyncio.sleep(QUIET_S)
    recorder = Recorder()
    recorder.start()
    try:
        # The client runs in another thread, which is not traced.
        status = await asyncio.to_thread(_post, port, order)
    finally:
        recorder.stop()
    assert status == http.client.CREATED, f"the charge was answered with {status}"
    return recorder.trace


def _post(port: int, order: str) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=START_DEADLINE_S)
    headers = {"Authorization": f"Bearer {identity()}", "Content-Type": "application/json"}
    try:
        connection.request("POST", PAYMENTS, json.dumps({"orderId": order, "token": "tok_visa"}), headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


async def _until(met: Callable[[], bool], deadline_s: float, what: str) -> None:
    end = time.monotonic() + deadline_s
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:g} s: {what}")
        await asyncio.sleep(POLL_S)


# ----------------------------------------------------------------------------------------------------------- the steps


def problems(calls: Iterable[tuple[str, str]]) -> list[str]:
    """Returns what is wrong with `STEPS`: a step without a docstring, or the first that the calls do not lead to."""
    found = [f"{file}: {name} does not exist, or has no docstring" for file, name in STEPS if not sentence(file, name)]
    remaining = iter(calls)
    before = "its beginning"
    for file, name in STEPS:
        if (file, name) not in remaining:  # consumes the calls up to this step
            return [*found, f"{file}: a charge does not call {name} after {before}"]
        before = name
    return found


def steps() -> str:
    """The main steps as a numbered list in Markdown: file, function, and the first sentence of its docstring.

    A step that was named before has no sentence: it is the same function again.
    """
    lines = []
    for place, (file, name) in enumerate(STEPS):
        again = (file, name) in STEPS[:place]
        lines.append(f"{place + 1}. `{file}` `{name}`" + (" again." if again else f": {sentence(file, name)}"))
    return "\n".join(lines)


def sentence(file: str, function: str) -> str:
    """Returns the first sentence of a function's docstring; "" where it has none or does not exist."""
    return first_sentence(_docstrings(file).get(function, ""))


@cache
def _docstrings(file: str) -> dict[str, str]:
    return dict(_documented(ast.parse((ROOT / file).read_text()).body, ""))


def _documented(body: Iterable[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", ast.get_docstring(node) or ""
        elif isinstance(node, ast.ClassDef):
            yield from _documented(node.body, f"{prefix}{node.name}.")


# --------------------------------------------------------------------------------------------------------- the command


def main(arguments: list[str]) -> int:
    """Returns the exit code: 1 where the charge does not pass through the main steps in their order."""
    if arguments not in ([], ["--all"], ["--check"]):
        print("usage: python -m tools.route [--all | --check]", file=sys.stderr)
        return os.EX_USAGE
    if missing := [name for name in PROGRAMS if find_program(name) is None]:
        print(f"The route of a charge is not traced: there is no {' and no '.join(missing)}.", file=sys.stderr)
        return os.EX_UNAVAILABLE if os.environ.get("CI", "").lower() == "true" else os.EX_OK
    traced = trace()
    if arguments != ["--check"]:
        print(traced.summary())
        print("\n".join(f"{file} {name}" for file, name in traced.calls) if arguments else steps())
    found = problems(traced.calls)
    print("".join(f"{each}\n" for each in found), end="", file=sys.stderr)
    return 1 if found else os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
