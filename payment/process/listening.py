"""The address that the service listens on: how `HOST` and `PORT` are read, and the sockets that listen there.

The settings, the service, `run.py --check` and `payment.healthcheck` share these rules. The health check starts every
few seconds, so this module must import nothing heavy. Change together: `payment.healthcheck`.
"""

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

BACKLOG_CONNECTIONS = 4_096
"""Connections that the kernel keeps until they are accepted. A client that finds the backlog full tries again after 1,
3 and 7 s, and later clients may be served before it."""
RECEIVE_BUFFER_BYTES = 65_536
SEND_BUFFER_BYTES = 131_072
"""Bytes that the kernel buffers of one connection in each direction, before it doubles them for its own needs. Requests
have at most 16 KB and a head, answers 20 KB. By default the kernel buffers megabytes for a client that sends without
end or never reads."""

PORT_DEFAULT = "8080"
PORT_MAX = 65_535
HOST_CHARS_MAX = 253
"""Longest host name that DNS can hold."""
PRIVILEGED_PORTS = 1_024
"""Only root may listen on lower ports, unless the system is set otherwise."""
EX_UNAVAILABLE, EX_CONFIG = os.EX_UNAVAILABLE, os.EX_CONFIG
EVERY_INTERFACE = ("0.0.0.0", "::")

ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address that this machine does not have, or of IPv6 where it has none."""

Address = tuple[socket.AddressFamily, Any]
"""A family, and an address in the form that its sockets use."""

_DIGITS = re.compile("[0-9]{1,9}")
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_UNKNOWN_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class Unfit(ValueError):
    """A value that can't be used. The text says how to fix it, and holds nothing of the value."""


class CannotListen(OSError):
    """The service can't listen on the address. The text names it and says what to do.

    `exit_code` is 78 where a setting is wrong, and 69 where the machine refuses. `taken`: another process listens
    there.
    """

    def __init__(self, text: str, exit_code: int, *, taken: bool = False) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.taken = taken


def read_port(text: str) -> int:
    """`PORT`: a whole number from 0 to 65535. Raises ValueError."""
    if _DIGITS.fullmatch(text) is None or int(text) > PORT_MAX:
        raise ValueError
    return int(text)


def read_host(text: str) -> str:
    """`HOST`: an IPv4 or IPv6 address, or a host name. Only `listen` finds out whether it exists.

    Raises:
        Unfit: it is neither. The text says what is wrong where that is known.
    """
    if text.startswith("[") and text.endswith("]"):
        raise Unfit("an IPv6 address stands without brackets here")
    if "://" in text or "/" in text:
        raise Unfit("the address alone, without http:// and without a path")
    if text == "*":
        raise Unfit("leave HOST unset to listen on every interface")
    if "," in text:
        raise Unfit("one address alone; without HOST every interface is listened on")
    if not is_host(text):
        raise Unfit("the port stands in PORT, not in HOST" if ":" in text else "neither an address nor a host name")
    if ":" in text and ipaddress.IPv6Address(text).ipv4_mapped is not None:
        raise Unfit("an IPv4 address stands without ::ffff: here")
    return text


def is_host(text: str) -> bool:
    """Whether it is an IP address or a host name. Some other texts make a resolver raise unexpected errors."""
    if ":" in text:
        try:
            ipaddress.IPv6Address(text)
        except ValueError:
            return False
        return True
    return len(text) <= HOST_CHARS_MAX and _NAME.fullmatch(text) is not None


def host_and_port(environ: Mapping[str, str]) -> tuple[str | None, int]:
    """Returns host (None: every interface) and port of an environment; blank counts as not set. Raises ValueError."""
    host, port = environ.get("HOST", ""), environ.get("PORT", "")
    return (read_host(host) if host.strip() else None), read_port(port if port.strip() else PORT_DEFAULT)


def address_text(host: str | None, port: int) -> str:
    """Returns an address as text for an operator."""
    return f"port {port} of {'every interface' if host is None else host}"


def listen(
    host: str | None, port: int, resolve: Callable[..., Iterable[tuple[Any, ...]]] = socket.getaddrinfo
) -> list[socket.socket]:
    """Returns non-blocking sockets that listen. `host` None or `::`: one socket for every interface, IPv4 and IPv6.

    Of a name with several addresses all that this machine has are used, on one port: `localhost` often resolves to
    `::1` on machines without IPv6. `resolve` has the signature of `socket.getaddrinfo`.

    Raises:
        CannotListen: no such host, no such address here, or a port that is taken or not permitted.
    """
    dual = (host is None or host == EVERY_INTERFACE[1]) and socket.has_dualstack_ipv6()
    if host is None:
        addresses: list[Address] = [(socket.AF_INET6 if dual else socket.AF_INET, ("", port))]
    else:
        addresses = _addresses(host, port, resolve)
    opened: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, (name, wanted, *scope) in addresses:
            same_port = opened[0].getsockname()[1] if opened else wanted
            try:
                opened.append(_open(family, (name, same_port, *scope), dual=dual))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
        if absent is not None and not opened:
            raise absent
    except OSError as error:
        for each in opened:
            each.close()
        raise _refused(host, port, error) from None
    return opened


def _open(family: socket.AddressFamily, address: Any, *, dual: bool) -> socket.socket:
    listening = socket.create_server(address, family=family, backlog=BACKLOG_CONNECTIONS, dualstack_ipv6=dual)
    listening.setblocking(False)
    # An accepted connection inherits the buffer sizes of the listening socket.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listening


def _addresses(host: str, port: int, resolve: Callable[..., Iterable[tuple[Any, ...]]]) -> list[Address]:
    try:
        found = resolve(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        code = EX_CONFIG if error.errno in _UNKNOWN_NAME else EX_UNAVAILABLE
        raise CannotListen(_unknown(host, error.strerror or "no such host"), code) from None
    except UnicodeError:  # The codec `idna` refuses an empty or too long part of a name.
        raise CannotListen(_unknown(host, "no valid name"), EX_CONFIG) from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _unknown(host: str, why: str) -> str:
    return (
        f"HOST names {host}, which has no address: {why}. Some shells set HOST to the machine's name: "
        "unset it to listen on every interface, or set an address"
    )


def _refused(host: str | None, port: int, error: OSError) -> CannotListen:
    at = f"can't listen on {address_text(host, port)}"
    match error.errno:
        case errno.EADDRINUSE:
            text = (
                f"{at}: another process listens there. `lsof -nP -iTCP:{port} -sTCP:LISTEN` or "
                f"`ss -ltnp 'sport = :{port}'` shows which; stop it, or set another PORT"
            )
            return CannotListen(text, EX_UNAVAILABLE, taken=True)
        case errno.EACCES | errno.EPERM if port < PRIVILEGED_PORTS:
            text = f"{at}: ports below {PRIVILEGED_PORTS} are for root; set another PORT, or grant CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            text = f"{at}: this machine does not have that address; set HOST to one that it has, or unset it"
        case _:
            text = f"{at}: {os.strerror(error.errno) if error.errno else error}"
    return CannotListen(text, EX_UNAVAILABLE)
