"""`HOST` and `PORT`: how they are read, what `listen` finds, and the text where it can't listen."""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from payment.process import listening
from payment.process.listening import CannotListen, Unfit, address_text, host_and_port, listen, read_host, read_port

LOOPBACK = "127.0.0.1"


def resolving(*addresses: tuple[str, int]) -> Callable[..., list[tuple[Any, ...]]]:
    """A `getaddrinfo` that returns these addresses."""

    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    return resolve


def failing(error: Exception) -> Callable[..., list[tuple[Any, ...]]]:
    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        raise error

    return resolve


def refusal(host: str | None, port: int, *more: Callable[..., list[tuple[Any, ...]]]) -> CannotListen:
    with pytest.raises(CannotListen) as raised:
        listen(host, port, *more)
    return raised.value


@pytest.fixture
def taken() -> Any:
    with socket.create_server((LOOPBACK, 0)) as sock:
        yield sock.getsockname()


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "::", "::1", "fe80::1%eth0", "localhost", "my-machine.local", "web_1", "a" * 63, "host.example."],
)
def test_addresses_and_host_names_are_taken_as_they_are(text: str) -> None:
    assert read_host(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[::1]", "without brackets"),
        ("http://0.0.0.0", "without http://"),
        ("127.0.0.1/8", "without http:// and without a path"),
        ("*", "leave HOST unset"),
        ("127.0.0.1:8080", "PORT, not in HOST"),
        ("host:80", "PORT, not in HOST"),
        ("127.0.0.1,::1", "one address alone"),
        ("::ffff:127.0.0.1", "without ::ffff:"),
        ("a..b", "neither"),
        ("-a", "neither"),
        ("a b", "neither"),
        ("a" * 64, "neither"),
        ("a." * 127, "neither"),
        ("é", "neither"),
    ],
)
def test_a_text_that_is_no_host_is_refused_with_a_fix(text: str, hint: str) -> None:
    """Some of these make `getaddrinfo` raise unexpected errors, so it never receives them."""
    with pytest.raises(Unfit, match=hint):
        read_host(text)


@pytest.mark.parametrize("text", ["", " 80", "8080.0", "-1", "65536", "٣", "9" * 5000])
def test_text_that_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        read_port(text)


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, (None, 8080)),
        ({"PORT": "", "HOST": " "}, (None, 8080)),
        ({"PORT": "0", "HOST": "::1"}, ("::1", 0)),
    ],
)
def test_an_environment_gives_host_and_port(environ: dict[str, str], found: tuple[str | None, int]) -> None:
    """Blank counts as not set, as for the settings."""
    assert host_and_port(environ) == found


def test_a_port_that_is_taken_is_named_with_the_commands_that_find_its_owner(taken: tuple[str, int]) -> None:
    error = refusal(*taken)
    assert (error.exit_code, error.taken) == (os.EX_UNAVAILABLE, True)
    assert f"port {taken[1]} of {LOOPBACK}: another process listens there" in str(error)
    assert f"lsof -nP -iTCP:{taken[1]}" in str(error)


def test_a_port_that_is_taken_on_loopback_is_taken_for_every_interface(taken: tuple[str, int]) -> None:
    assert refusal(None, taken[1]).taken


def test_an_address_of_another_machine_is_named() -> None:
    error = refusal("192.0.2.1", 0)  # reserved for documentation: no machine has it
    assert (error.exit_code, error.taken) == (os.EX_UNAVAILABLE, False)
    assert "192.0.2.1: this machine does not have that address" in str(error)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), os.EX_CONFIG),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), os.EX_UNAVAILABLE),
        (UnicodeError("label too long"), os.EX_CONFIG),
    ],
)
def test_a_host_without_an_address_may_come_from_the_shell(error: Exception, code: int) -> None:
    """zsh and tcsh keep the machine's name in HOST. A resolver that does not answer is no wrong setting."""
    found = refusal("mymachine", 80, failing(error))
    assert found.exit_code == code
    assert "HOST names mymachine, which has no address" in str(found)
    assert "Some shells set HOST" in str(found)


@pytest.mark.parametrize(
    ("number", "port", "hint"),
    [
        (errno.EACCES, 80, "ports below 1024 are for root"),
        (errno.EACCES, 8080, "Permission denied"),
        (errno.EMFILE, 80, "Too many open files"),
    ],
)
def test_any_refusal_of_the_machine_is_named(number: int, port: int, hint: str) -> None:
    found = listening._refused(None, port, OSError(number, "x"))
    assert found.exit_code == os.EX_UNAVAILABLE
    assert hint in str(found)
    assert f"port {port} of every interface" in str(found)


def test_of_several_addresses_all_are_listened_on_at_one_port_or_none(taken: tuple[str, int]) -> None:
    """Where one address is taken, the sockets that were opened before are closed."""
    with socket.create_server((LOOPBACK, 0)) as sock:
        free = sock.getsockname()
    assert refusal("two", 0, resolving(free, taken)).taken
    both = listen("two", 0, resolving((LOOPBACK, 0), ("127.0.0.2", 0)))
    assert [each.getsockname()[0] for each in both] == [LOOPBACK, "127.0.0.2"]
    assert len({each.getsockname()[1] for each in both}) == 1
    assert not any(each.getblocking() for each in both)
    for each in both:
        each.close()


def test_an_address_that_the_machine_does_not_have_is_left_out_where_it_has_another() -> None:
    """`localhost` resolves to `::1` too in many containers without IPv6."""
    [only] = listen("two", 0, resolving(("192.0.2.1", 0), (LOOPBACK, 0)))
    assert only.getsockname()[0] == LOOPBACK
    only.close()


@pytest.mark.parametrize("host", [None, "::"])
def test_no_host_means_every_interface(host: str | None) -> None:
    """And so does `::`: IPv4 clients reach it too, as with most other servers."""
    [both] = listen(host, 0)
    port = both.getsockname()[1]
    for address in (LOOPBACK, "::1"):
        socket.create_connection((address, port)).close()
    assert address_text(None, port) == f"port {port} of every interface"
    both.close()
