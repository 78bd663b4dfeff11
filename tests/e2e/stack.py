"""The stack under test: real servers, real processes of the service, and access to their records.

Owns: the servers (for a module), the processes of the service (for a test), each on a free loopback port with its data
below the test's folder. Must never import the service, and observes it only through HTTP, the bus, Stripe's records,
its log and, where a test needs them, its documents. Change together with: `tests.support.servers`, and the contract's
environment.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pymongo import MongoClient
from pymongo.collection import Collection

from tests.e2e.client import JWT_KEY
from tests.support.servers.mongo import DATABASE, MongoServer, NxServer
from tests.support.servers.nats import NatsServer
from tests.support.servers.process import LOOPBACK, ServerProcess, free_port

ROOT = Path(__file__).parents[2]
STRIPE_KEY = "sk_test_51HouseSecretNeverToBeLogged"
CONTROL_TIMEOUT_S = 5.0  # one request to the sandbox's own controls, or to /readyz
COMMAND_TIMEOUT_S = 60.0  # a command of the service, which has its own deadlines
CHARGE = "payment_intents.confirm"  # the endpoint of most faults
DEFAULT_READY = frozenset({"ready"})  # the statuses of `/readyz` that mean that a process has started


class StripeSandbox(ServerProcess):
    """The Stripe sandbox as a process, without a rate limit unless a test sets one."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds its data: a sandbox over another folder is another account."""
        port = free_port()
        command = [sys.executable, "-m", "payment.stripe_sandbox", "--data", str(folder / "stripe")]
        command += ["--port", str(port), "--rate-per-s", "0", "--no-charges"]
        super().__init__(command, port=port, log=folder / "stripe.log", cwd=ROOT)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def fault(self, fault: str, endpoint: str = CHARGE, times: int | None = 1, **other: float | str) -> None:
        """Set a fault for the next `times` requests to an endpoint."""
        self._control("POST", "faults", {"fault": fault, "endpoint": endpoint, "times": times} | other)

    def faults(self) -> list[dict[str, Any]]:
        """Returns the pending faults."""
        pending: list[dict[str, Any]] = self._control("GET", "faults")["faults"]
        return pending

    def well(self) -> None:
        """Clear all faults and delays."""
        self._control("DELETE", "faults")
        self._control("POST", "settings", {"latency_ms": 0, "rate_per_s": 0})

    def settings(self, **change: float) -> None:
        self._control("POST", "settings", change)

    def audit(self) -> dict[str, Any]:
        return self._control("GET", "books")

    def charges(self, order: str) -> list[dict[str, Any]]:
        """Returns all charges of one order, failed ones included, oldest first."""
        return [charge for charge in self.audit()["charges"] if charge["transfer_group"] == order]

    def intents(self, order: str) -> list[dict[str, Any]]:
        """Returns all intents of one order, oldest first."""
        return [intent for intent in self.audit()["intents"] if intent["transfer_group"] == order]

    def customer(self, intent: str, *, authenticates: bool) -> None:
        """Let the customer complete the bank's page of an intent, or fail there."""
        self._control("POST", f"intents/{intent}/{'complete' if authenticates else 'fail'}")

    def fail_refund(self, refund: str) -> None:
        """Let the bank return a succeeded refund."""
        self._control("POST", f"refunds/{refund}/fail")

    def dispute(self, charge: str) -> str:
        """Let the bank dispute a charge. Returns the dispute's id."""
        return str(self._control("POST", f"charges/{charge}/dispute")["id"])

    def decide(self, dispute: str, *, won: bool) -> None:
        """Let the bank decide a dispute."""
        self._control("POST", f"disputes/{dispute}/{'win' if won else 'lose'}")

    def account(self) -> str:
        """Returns the id of its account."""
        return str(self.ask("GET", "/v1/account")["id"])

    def ask(self, method: str, path: str, **form: str) -> dict[str, Any]:
        """Send a request of another client with the secret key, as the dashboard would."""
        data = urllib.parse.urlencode(form).encode() if method == "POST" else None
        headers = {"Authorization": f"Bearer {STRIPE_KEY}"}
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S) as response:
            shown: dict[str, Any] = json.load(response)
        return shown

    def requests(self, endpoint: str = CHARGE) -> int:
        """Returns the number of requests to an endpoint since the sandbox started, by its own count."""
        return int(self.audit()["requests"].get(endpoint, {}).get("requests", 0))

    def _control(self, method: str, name: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{name}", data=data, method=method)
        with urllib.request.urlopen(request, timeout=CONTROL_TIMEOUT_S) as response:
            shown: dict[str, Any] = json.load(response)
        return shown


class ServiceProcess(ServerProcess):
    """One process of the service, by the Procfile's own command line. It is ready when `/readyz` reports a status of
    `ready_when`.
    """

    def __init__(self, env: Mapping[str, str], log: Path, *, ready_when: frozenset[str] = DEFAULT_READY) -> None:
        port = int(env["PORT"])
        self._ready_when = ready_when
        super().__init__(procfile_command(), port=port, log=log, ready=self._is_ready, env=env, cwd=ROOT)

    def readyz(self) -> tuple[int, dict[str, Any]] | None:
        """Returns status and body of `/readyz`; None where the process does not answer."""
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/readyz", timeout=CONTROL_TIMEOUT_S) as found:
                return found.status, json.load(found)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except (OSError, http.client.HTTPException):
            return None

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def lines(self) -> list[dict[str, Any]]:
        """Returns every line of the process's log, in all its runs. A line that is no JSON object fails the test."""
        raw = self.log.read_text().splitlines() if self.log.exists() else []
        lines = []
        for line in raw:
            assert line.startswith("{"), f"no JSON object on a line: {line!r}"
            lines.append(json.loads(line))
        return lines

    def logged(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Returns the log lines of one event with the given fields."""
        return [line for line in self.lines() if line["event"] == event and fields.items() <= line.items()]

    def memory_kb(self) -> int:
        """Returns resident memory in KB, as the kernel counts it."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def _is_ready(self) -> bool:
        found = self.readyz()
        return found is not None and found[1]["status"] in self._ready_when


def procfile_command() -> list[str]:
    """Returns the Procfile's command after `web:`."""
    line = (ROOT / "Procfile").read_text().strip()
    return shlex.split(line.removeprefix("web:"))


class Servers:
    """NATS, MongoDB and Stripe, shared by the tests of a module; each stack has its own database and consumers."""

    def __init__(self, folder: Path, mongo: Callable[[Path], MongoServer] = NxServer) -> None:
        self.nats = NatsServer(folder)
        self.mongo = mongo(folder)
        self.stripe = StripeSandbox(folder)

    def start(self) -> None:
        for server in self._all:
            if not server.running:
                server.start()

    def stop(self) -> None:
        for server in self._all:
            server.stop()

    @property
    def _all(self) -> tuple[ServerProcess, ...]:
        return (self.nats, self.mongo, self.stripe)


class ServiceStack:
    """The service with its servers: its environment, its processes, its collections."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.stripe = servers.stripe
        self.folder = folder
        self.name = f"t{uuid4().hex[:8]}"
        self.processes: list[ServiceProcess] = []

    def environment(self, **other: str) -> dict[str, str]:
        """Returns a whole environment for one process, with more or other variables where they are given."""
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        port = free_port()
        return {
            "PATH": path,
            "NATS_URL": self.servers.nats.url.replace("nats://", "http://"),
            "NATS_CLIENT_ID": f"{self.name}-{len(self.processes)}",
            "QUEUE_GROUP_NAME": self.name,
            "MONGO_URL": self.mongo_url(self.servers.mongo.port),
            "JWT_KEY": JWT_KEY,
            "STRIPE_KEY": STRIPE_KEY,
            "STRIPE_API_BASE": self.stripe.url,
            "HOST": LOOPBACK,
            "PORT": str(port),
        } | other

    def mongo_url(self, port: int) -> str:
        return f"mongodb://{LOOPBACK}:{port}/{self.database}"

    @property
    def database(self) -> str:
        return f"{DATABASE}_{self.name}"

    def service(self, ready_when: frozenset[str] = DEFAULT_READY, **env: str) -> ServiceProcess:
        """Returns a process that isn't started yet; each has its own client id, port and log."""
        log = self.folder / f"service-{len(self.processes)}.log"
        process = ServiceProcess(self.environment(**env), log, ready_when=ready_when)
        self.processes.append(process)
        return process

    async def start(self, **env: str) -> ServiceProcess:
        """Start a process; returns it once it is ready. The event loop runs in the meantime, because a proxy in it may
        connect the process to its servers.
        """
        process = self.service(DEFAULT_READY, **env)
        await asyncio.to_thread(process.start)
        return process

    def stop(self) -> None:
        """Kill every process of the service with SIGKILL: other tests check an orderly stop."""
        for process in self.processes:
            process.kill()
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.servers.mongo.url, timeoutMS=5_000, tz_aware=True)

    @property
    def orders(self) -> Collection[dict[str, Any]]:
        return self._client[self.database]["orders"]

    @property
    def dead_letters(self) -> Collection[dict[str, Any]]:
        return self._client[self.database]["dead_letters"]

    def order(self, order: str) -> dict[str, Any] | None:
        return self.orders.find_one({"_id": order})

    @property
    def account(self) -> Collection[dict[str, Any]]:
        return self._client[self.database]["account"]

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of the service's other commands with this Python, and the environment of a process."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def new_order(self) -> str:
        """Returns a new order id."""
        return uuid4().hex[:24]
