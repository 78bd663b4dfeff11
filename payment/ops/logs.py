"""The log: one JSON object a line on stdout, or coloured lines where stdout is a terminal.

Owns how a line is made: structlog's bound loggers, the fields of a task's context, one renderer, and libraries' own
loggers and uncaught exceptions in the same stream. `payment.ops.log_schema` has the events and fields,
`payment.ops.redaction` keeps secrets out, `payment.ops.log_writer` writes a line without waiting for the reader.

It must never raise into the code that logs. A line costs about 20 µs: log a few for a charge, none for a retry.

    log = get_logger()
    log.info(Event.EVENT_PUBLISHED, subject="payment:created", order_id=order_id)
    log.error(Event.ACTOR_CRASHED, actor="stripe", exc_info=error)
"""

import asyncio
import atexit
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextvars import ContextVar, Token
from functools import cache
from types import MappingProxyType, TracebackType
from typing import Any, cast

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from payment.ops.log_schema import Event
from payment.ops.log_writer import ByteStream, LineWriter
from payment.ops.redaction import Redactor, plain_fields

_LIBRARY_FLOOR = logging.INFO
"""The lowest level of libraries that is logged: at debug, pymongo and stripe log whole documents and requests."""
_CONSOLE_EVENT_CHARS = 20
"""Width of the column of events on a terminal. Longer events are rare."""

_FORMATTING_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Exceptions of a library's log message whose arguments do not fit its format."""

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x09, 0x0A)}
"""Characters that a terminal would execute, and the escapes that are shown instead."""
_CONTROLS |= {code: f"\\u{code:04x}" for code in (0x2028, 0x2029)}
"""A terminal would obey these: they are shown instead."""

_CONTEXT: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=MappingProxyType({}))
"""The fields that `log_context` adds to each line of a task."""

_LINE_BREAKS = tuple((mark.encode(), b"\\u%04x" % ord(mark)) for mark in "\u0085\u2028\u2029")
"""Line breaks of Unicode beyond ASCII, and their escapes. JSON allows them, and some readers would split a line
there."""

ExcInfo = bool | BaseException | tuple[type[BaseException] | None, BaseException | None, TracebackType | None] | None


class _Sink:
    """The logger that structlog calls with a finished line: each level's method writes it."""

    def __init__(self, writer: LineWriter) -> None:
        self.writer = writer
        self.debug = self.info = writer.write_soon
        self.warning = self.error = self.critical = writer.write

    def __call__(self, *_names: object) -> "_Sink":
        """Return itself: it is its own factory, since every logger writes to one stream."""
        return self


class Renderer:
    """The last structlog processor: turns the fields of a call and of its context into one line of bytes."""

    def __init__(
        self, service: str, client_id: str, redactor: Redactor, *, colours: bool, now_s: Callable[[], float]
    ) -> None:
        self._identity = {"service": service, "client_id": client_id}
        self._redactor = redactor
        self._now_s = now_s
        self._second = (-1, "")
        self._encode = msgspec.json.Encoder().encode
        self._console = _console() if colours else None

    def __call__(self, _logger: object, level: str, fields: MutableMapping[str, Any]) -> bytes:
        event = fields.pop("event", Event.LIBRARY)
        exception = _traceback(fields.pop("exc_info", None))
        plain = plain_fields({"event": str(event), **_CONTEXT.get(), **fields})
        if exception is not None:
            plain["exception"] = exception
        # The other fields are made here or are validated settings: they hold no text from outside.
        line = {"ts": self._timestamp(), "level": level, "event": plain["event"], **self._identity, **plain}
        return self._for_console(line) if self._console else self._as_json(line, fit=self._redactor.fit(plain))

    def render_lost(self, lines: int) -> bytes:
        """Returns the line that reports the number of lost lines."""
        return self(None, "warning", {"event": Event.LOG_LINES_LOST, "count": lines})

    def _timestamp(self) -> str:
        """Returns the time now, UTC, ISO 8601 with milliseconds.

        The part before the milliseconds is formatted once a second, which makes lines cheap.
        """
        seconds, milliseconds = divmod(int(self._now_s() * 1_000), 1_000)
        second, text = self._second
        if seconds != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = (seconds, text)
        return f"{text}.{milliseconds:03d}Z"

    def _as_json(self, line: dict[str, object], *, fit: bool) -> bytes:
        if fit:
            try:
                return _one_line(self._encode(line))
            except UnicodeEncodeError:
                pass  # Lone surrogates: cleaning makes it valid Unicode.
        return _one_line(self._encode(self._redactor.clean(line)))

    def _for_console(self, line: dict[str, object]) -> bytes:
        shown = {name: value for name, value in line.items() if name not in self._identity}
        clean = {name: _visible(value) for name, value in self._redactor.clean(shown).items()}
        console = cast("structlog.dev.ConsoleRenderer", self._console)
        return (console(None, "", clean) + "\n").encode("utf-8", "backslashreplace")


def _one_line(text: bytes) -> bytes:
    if not text.isascii():
        for mark, escaped in _LINE_BREAKS:
            text = text.replace(mark, escaped)
    return text + b"\n"


class LibraryHandler(logging.Handler):
    """Logs the records of libraries' own loggers as `library` lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except _FORMATTING_ERRORS as error:
            message = f"{record.msg} (its arguments do not fit: {type(error).__name__})"
        level = max(_LIBRARY_FLOOR, min(record.levelno, logging.CRITICAL)) // 10 * 10
        get_logger().log(level, Event.LIBRARY, logger=record.name, message=message, exc_info=record.exc_info)


def configure(
    level: str,
    service: str,
    client_id: str,
    stream: ByteStream | None = None,
    colours: bool | None = None,
    secrets: Iterable[str] = (),
    now_s: Callable[[], float] = time.time,
) -> None:
    """Write the log of this process to a binary stream (by default stdout's) from now on.

    `colours` None: coloured where the stream is a terminal. `secrets` are this process's own keys and passwords, which
    are masked wherever they occur, in any shape. `now_s` is the wall clock, in seconds since 1970.
    """
    stream = sys.stdout.buffer if stream is None else stream
    if colours is None:
        colours = bool(getattr(stream, "isatty", lambda: False)())
    renderer = Renderer(service, client_id, Redactor(secrets), colours=colours, now_s=now_s)
    structlog.configure(
        processors=[renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Sink(LineWriter(stream, renderer.render_lost)),
        cache_logger_on_first_use=False,
    )
    get_logger.cache_clear()
    _route_library_logs(level)


def _route_library_logs(level: str) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(LibraryHandler())
    # An operator needs the libraries' warnings; their lines at info help only in a search for a fault.
    own = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(_LIBRARY_FLOOR if own <= logging.DEBUG else max(own, logging.WARNING))


@cache
def get_logger() -> FilteringBoundLogger:
    """Returns the log as it was configured last. It is bound once: structlog's own proxy binds anew for each line."""
    return cast("FilteringBoundLogger", structlog.get_logger().bind())


class log_context:  # noqa: N801  # It is used as a function, in `with`.
    """Add these fields to every line that this task logs within the `with` block.

    structlog's own context reads all context variables for each line, which costs too much for each request.
    """

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token: Token[Mapping[str, object]] = _CONTEXT.set({**_CONTEXT.get(), **self._fields})

    def __exit__(self, *_: object) -> None:
        _CONTEXT.reset(self._token)


def flush() -> None:
    """Write the lines that wait for a slow reader, for at most `CLOSING_S`. Call it last in a process."""
    sink = structlog.get_config()["logger_factory"]
    if isinstance(sink, _Sink):
        sink.writer.close()


def install_hooks() -> None:
    """Log warnings and uncaught exceptions too. Only for the process's entry point."""
    logging.captureWarnings(True)
    sys.excepthook = lambda _kind, error, _traceback: _report_uncaught("uncaught in the main thread", error)
    threading.excepthook = lambda args: _report_uncaught("uncaught in a thread", args.exc_value)
    sys.unraisablehook = lambda args: _report_uncaught(args.err_msg or "ignored by Python", args.exc_value)
    atexit.register(flush)


def loop_exception_handler(_loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """For `loop.set_exception_handler`: log what asyncio would print to stderr. Of the context only the message."""
    _report_uncaught(str(context.get("message", "")), context.get("exception"))


def _report_uncaught(message: str, error: BaseException | None) -> None:
    get_logger().critical(Event.UNCAUGHT_EXCEPTION, message=message, exc_info=error)


def _traceback(exc_info: ExcInfo) -> str | None:
    match exc_info:
        case True:
            error = sys.exception()
        case BaseException():
            error = exc_info
        case (_, error, _):
            pass
        case _:
            return None
    return None if error is None else "".join(traceback.format_exception(error)).rstrip()


def _console() -> structlog.dev.ConsoleRenderer:
    return structlog.dev.ConsoleRenderer(
        colors=True, force_colors=True, sort_keys=False, timestamp_key="ts", pad_event_to=_CONSOLE_EVENT_CHARS
    )


def _visible(value: object) -> object:
    return value.translate(_CONTROLS) if isinstance(value, str) else value
