"""One run of `make bench`: the servers, the load generator and the contenders, and the operations that scenarios share.

Owns every process that it starts, and its folder. Change together with: `bench.contender`, `bench.load`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bench.contender import BEFORE, OURS, Contender, new_orders
from bench.load import Job, Result
from bench.process import cpu_s
from bench.progress import Progress
from tests.e2e.stack import ROOT
from tests.support.servers.process import LOOPBACK, ServerProcess, free_port

CONTROL_TIMEOUT_S = 30.0
ROUNDS, QUICK_ROUNDS = 5, 2
CLIENTS = 32
WARM_CHARGES, WARM_CHARGES_OF_OTHERS = 6_000, 500
"""Charges that warm the service up. It learns its rate to Stripe from 25 a second, a fifth more each second: after this
many charges (some 20 s) the rate exceeds what two cores can do. The other contenders learn nothing.
"""
SETTLE_S = 0.5
"""In seconds after the last answer: the remaining work of a charge (publish, mark as published) is part of its cost."""


def _end(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


class Measured(msgspec.Struct):
    """One load and its CPU cost for the contender. `taking_in_cpu_s` is the cost of receiving its orders before the
    load.
    """

    result: Result
    cpu_s: float
    taking_in_cpu_s: float = 0.0

    @property
    def charged(self) -> int:
        return sum(status in (200, 201) for status in self.result.status)

    @property
    def per_s(self) -> float:
        return self.charged / (self.result.ended_at - self.result.began_at)

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of a charge."""
        return self.cpu_s * 1_000 / self.charged

    @property
    def taking_in_cpu_ms(self) -> float:
        """CPU milliseconds of receiving an order, before it was paid."""
        return self.taking_in_cpu_s * 1_000 / self.charged


class Bench:
    """`with Bench(folder, progress, quick=False) as bench: …`. `before` is a checkout of release 0.1.0."""

    def __init__(self, folder: Path, progress: Progress, *, quick: bool, before: Path | None = None) -> None:
        self.folder = folder
        self.before = before
        self.progress = progress
        self.quick = quick
        self.rounds = QUICK_ROUNDS if quick else ROUNDS
        self.capacity_per_s: dict[str, float] = {}
        port = free_port()
        command = [sys.executable, "-m", "bench.stripe_stand_in", str(port)]
        self._stripe = ServerProcess(command, port=port, log=folder / "stripe.log", cwd=ROOT)
        self._contenders: list[Contender] = []
        self._warm: dict[str, Contender] = {}

    def __enter__(self) -> Bench:
        # A bench that is ended by SIGTERM (`timeout` sends it) stops its servers.
        signal.signal(signal.SIGTERM, _end)
        self._stripe.start()
        command = [sys.executable, "-m", "bench.load"]
        self._load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        for contender in list(self._contenders):
            self.dismiss(contender)
        self._load.terminate()
        self._load.communicate()  # Waits, and closes the pipes.
        self._stripe.stop()

    @property
    def stripe_url(self) -> str:
        return f"http://{LOOPBACK}:{self._stripe.port}"

    def contender(self, name: str, *, counted: bool = False, program: Sequence[str] = (), **settings: str) -> Contender:
        """Start a new contender; returns it once it is ready."""
        root = self.before if name == BEFORE and self.before is not None else ROOT
        contender = Contender(name, self, counted=counted, program=program, root=root, **settings)
        self._contenders.append(contender)
        contender.start()
        return contender

    def warm(self, name: str) -> Contender:
        """Returns a warm contender; all scenarios share it."""
        if name not in self._warm:
            self.progress.step(f"warming up {name}")
            contender = self.contender(name)
            self.stripe()
            self.charge(contender, WARM_CHARGES if contender.is_ours else WARM_CHARGES_OF_OTHERS)
            self._warm[name] = contender
        return self._warm[name]

    def dismiss(self, contender: Contender) -> None:
        self._contenders.remove(contender)
        self._warm = {name: each for name, each in self._warm.items() if each is not contender}
        contender.stop()

    def stripe(self, latency_ms: float = 0.0, endpoint_per_s: float = 0.0, account_per_s: float = 0.0) -> None:
        """Reset the Stripe stand-in, and set its latency and limits. A rate of 0 limits nothing."""
        limits = {"endpoint_per_s": endpoint_per_s, "account_per_s": account_per_s}
        self._control("settings", {"latency_ms": latency_ms} | limits)

    def audit(self) -> dict[str, Any]:
        return self._control("audit")

    def load(self, job: Job) -> Result:
        """Run a job; returns when its last request has ended."""
        assert self._load.stdin is not None
        assert self._load.stdout is not None
        self._load.stdin.write(msgspec.json.encode(job) + b"\n")
        self._load.stdin.flush()
        return msgspec.json.decode(self._load.stdout.readline(), type=Result)

    def charge(self, contender: Contender, count: int, clients: int = CLIENTS, pause_s: float = 0.0) -> Measured:
        """Pay `count` new orders with `clients` concurrent clients, and measure the cost."""
        orders = new_orders(count)
        before_s = cpu_s(contender.pid)
        contender.take_in(orders)
        taking_in_s = cpu_s(contender.pid) - before_s
        job = Job(port=contender.port, orders=orders, clients=clients, pause_s=pause_s)
        return msgspec.structs.replace(self.measured(contender, job), taking_in_cpu_s=taking_in_s)

    def measured(self, contender: Contender, job: Job) -> Measured:
        before_s = cpu_s(contender.pid)
        result = self.load(job)
        time.sleep(SETTLE_S)
        measured = Measured(result, cpu_s(contender.pid) - before_s)
        if not measured.charged:
            raise RuntimeError(f"{contender.name} has charged no order: {contender.process.log_tail()}")
        return measured

    def capacity(self, name: str = OURS) -> float:
        """Returns charges a second with 32 concurrent clients: as `cpu` has measured it, or measured now."""
        if name not in self.capacity_per_s:
            self.capacity_per_s[name] = self.charge(self.warm(name), 2_000).per_s
        return self.capacity_per_s[name]

    def _control(self, what: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.stripe_url}/_bench/{what}", data, CONTROL_TIMEOUT_S) as response:
            document: dict[str, Any] = json.load(response)
        return document
