"""The Dockerfile's HEALTHCHECK requests the address that the service listens on, by the settings' own rules."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payment import healthcheck
from payment.healthcheck import HealthAnswer, ask, main

ROOT = Path(__file__).parents[2]
ALIVE = b'HTTP/1.1 200 OK\r\nServer: payment\r\nContent-Length: 18\r\n\r\n{"status":"alive"}'
STUCK = b'HTTP/1.1 503 Service Unavailable\r\nserver: payment\r\n\r\n{"status":"stuck"}'
FOREIGN = b"HTTP/1.0 200 OK\r\nServer: SimpleHTTP/0.6\r\n\r\n<html>"


@contextmanager
def answering(answer: bytes, host: str = "127.0.0.1") -> Iterator[int]:
    """Returns the port of a server that gives one answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(5)


@pytest.mark.parametrize(("answer", "code"), [(ALIVE, 0), (STUCK, 1), (b"", 1), (b"220 smtp\r\n", 1)])
def test_only_a_200_is_healthy(answer: bytes, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(answer) as port:
        assert main({"HOST": "127.0.0.1", "PORT": str(port)}) == code
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(
    ("bound", "host"), [("127.0.0.1", ""), ("127.0.0.1", "0.0.0.0"), ("::1", "::1"), ("::1", "::"), ("::1", "")]
)
def test_it_asks_the_address_that_is_listened_on(bound: str, host: str) -> None:
    """`HOST=::1` is not reached over IPv4, and every interface is reached over loopback."""
    with answering(ALIVE, bound) as port:
        assert main({"HOST": host, "PORT": str(port)}) == 0


@pytest.mark.parametrize(
    ("environ", "why"), [({"PORT": "http"}, "malformed"), ({"HOST": "[::1]"}, "malformed"), ({"PORT": "0"}, "PORT=0")]
)
def test_it_reports_settings_that_name_no_address(
    environ: dict[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(environ) == 1
    assert why in capsys.readouterr().out


def test_a_blank_port_is_the_default_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing listens there, the text says so."""
    main({"PORT": "", "HOST": "127.0.0.9"})
    assert "port 8080 of 127.0.0.9" in capsys.readouterr().out


def test_the_answer_of_another_program_is_recognized() -> None:
    with answering(FOREIGN) as port:
        assert ask("127.0.0.1", port) == HealthAnswer(200, False, "<html>")
    with answering(ALIVE) as port:
        assert ask("127.0.0.1", port) == HealthAnswer(200, True, '{"status":"alive"}')


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert ask("127.0.0.1", silent.getsockname()[1], deadline_s=0.05) is None


def test_it_imports_nothing_of_the_service() -> None:
    """It starts every few seconds: the settings alone would take three times as long as the whole check."""
    shown = "import sys, payment.healthcheck; print(*sorted(name for name in sys.modules if 'payment' in name))"
    done = subprocess.run([sys.executable, "-c", shown], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("payment")}
    assert ours == {
        "payment",
        "payment.healthcheck",
        "payment.process",
        "payment.process.listening",
        "payment.process.standard_streams",
    }


def test_the_image_uses_it() -> None:
    assert f'"-m", "{healthcheck.__name__}"' in (ROOT / "Dockerfile").read_text()
