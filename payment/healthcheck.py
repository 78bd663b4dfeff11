"""`python -m payment.healthcheck`: requests `/healthz` of the service on this machine.

The Dockerfile's HEALTHCHECK. It uses the address of the settings, by the settings' own rules, and exits with 0
(healthy) or 1, with the reason on stdout, where `docker inspect` shows it. It starts every few seconds, so it imports
neither the settings nor the service: it takes 45 ms, most of it Python's own start.

Change together: `payment.process.listening`, and the Dockerfile's timeout.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from payment.process.listening import EVERY_INTERFACE, address_text, host_and_port
from payment.process.standard_streams import open_standard_streams, show

PATH = "/healthz"
DEADLINE_S = 3.0
"""For all addresses together: below the 4 s of the Dockerfile's HEALTHCHECK."""
ANSWER_BYTES = 16_384
"""Bytes of an answer that are read, at most: `/healthz` has some hundred."""
OK = 200
SERVER = "payment"
"""The name of this service in the header `Server` of its answers."""


class HealthAnswer(NamedTuple):
    """An answer to `GET /healthz`. `ours`: its header `Server` names this service."""

    status: int
    ours: bool
    body: str


def main(environ: Mapping[str, str]) -> int:
    """Request once and print the answer. Returns the exit code."""
    open_standard_streams()
    try:
        host, port = host_and_port(environ)
    except ValueError:
        show("HOST or PORT is malformed: run.py says how", sys.stdout)
        return 1
    if port == 0:
        show("PORT=0 takes any free port, which is not known here: set one", sys.stdout)
        return 1
    answer = ask(host, port)
    if answer is None:
        show(f"no answer on {address_text(host, port)}", sys.stdout)
        return 1
    show(f"{answer.status} {answer.body}", sys.stdout)
    return 0 if answer.status == OK else 1


def ask(host: str | None, port: int, deadline_s: float = DEADLINE_S) -> HealthAnswer | None:
    """Returns the first answer of the addresses at which a service with this host and port can be reached from here.

    None where no HTTP server answers within `deadline_s`.
    """
    ends_at = time.monotonic() + deadline_s
    for each in _reached_at(host):
        try:
            with socket.create_connection((each, port), timeout=_left_s(ends_at)) as connection:
                return _answer(connection, each, ends_at)
        except (OSError, ValueError):
            continue  # The next address, or none.
    return None


def _reached_at(host: str | None) -> tuple[str, ...]:
    if host is None or host == EVERY_INTERFACE[0]:
        return ("127.0.0.1", "::1")
    return ("::1",) if host == EVERY_INTERFACE[1] else (host,)


def _answer(connection: socket.socket, host: str, ends_at: float) -> HealthAnswer:
    name = f"[{host}]" if ":" in host else host
    connection.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    received = b""
    while len(received) < ANSWER_BYTES:
        connection.settimeout(_left_s(ends_at))
        piece = connection.recv(ANSWER_BYTES)
        if not piece:
            break
        received += piece
    head, _, body = received.decode("utf-8", "replace").partition("\r\n\r\n")
    version, status, *_ = head.split(maxsplit=2)
    if not version.startswith("HTTP/"):
        raise ValueError(version)
    return HealthAnswer(int(status), f"\r\nserver: {SERVER}\r\n" in f"{head.lower()}\r\n", body.strip())


def _left_s(ends_at: float) -> float:
    left_s = ends_at - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


if __name__ == "__main__":
    sys.exit(main(os.environ))
