"""The log, as a reader of stdout receives it."""

import asyncio
import enum
import json
import logging
import time
import warnings
from datetime import UTC, datetime

import pytest

from payment.ops import logs
from payment.ops.log_schema import Event
from tests.unit.ops.capture import Log


class Outcome(enum.Enum):
    PAID = "paid"


def test_a_line_is_one_json_object_with_process_time_and_event() -> None:
    """Every line has the five fields on which every reader relies, and its own."""
    log = Log()
    logs.get_logger().info(Event.CHARGE_FINISHED, outcome=Outcome.PAID, amount=1999, total_ms=12.5)
    assert log.text.count("\n") == 1
    assert log.lines == [
        {
            "ts": "2024-05-01T12:00:00.250Z",
            "level": "info",
            "event": "charge_finished",
            "service": "payment",
            "client_id": "payment-web-1",
            "outcome": "paid",
            "amount": 1999,
            "total_ms": 12.5,
        }
    ]


def test_times_are_logged_in_utc_and_newlines_never_break_a_line() -> None:
    """A value with a newline stays one line; a datetime is ISO 8601 with a Z."""
    log = Log()
    logs.get_logger().info(Event.EVENT_PUBLISHED, reason="one\ntwo", outcome=datetime(2024, 5, 1, tzinfo=UTC))
    assert len(log.text.splitlines()) == 1
    assert log.lines[0]["reason"] == "one\ntwo"
    assert log.lines[0]["outcome"] == "2024-05-01T00:00:00.000Z"


def test_no_end_of_a_line_that_unicode_knows_breaks_a_line() -> None:
    """Some readers split lines at them. Other text that is not ASCII is unchanged."""
    log = Log()
    logged = "a\u2028b\u2029c\u0085d \u00e4\u2713"
    logs.get_logger().info(Event.EVENT_PUBLISHED, reason=logged)
    assert len(log.text.splitlines()) == 1
    assert log.lines[0]["reason"] == logged
    assert "\u00e4\u2713" in log.text


def test_lines_below_the_level_are_not_logged() -> None:
    """LOG_LEVEL is the lowest level that is logged."""
    log = Log("warning")
    logs.get_logger().info(Event.SERVICE_READY)
    logs.get_logger().warning(Event.REFUND_BLOCKED)
    assert log.events == ["refund_blocked"]


def test_the_log_is_as_it_was_configured_last() -> None:
    """A line may have been logged before the settings were read."""
    first = Log()
    logs.get_logger().info(Event.SERVICE_STARTING)
    second = Log()
    logs.get_logger().info(Event.SERVICE_READY)
    assert (first.events, second.events) == (["service_starting"], ["service_ready"])


def test_the_context_is_on_every_line_of_its_task() -> None:
    """A request id that is bound once is on each line within the block, and on none after it."""
    log = Log()
    with logs.log_context(request_id="r-1"):
        logs.get_logger().info(Event.SERVICE_READY)
    logs.get_logger().info(Event.SERVICE_STOPPED)
    assert [line.get("request_id") for line in log.lines] == ["r-1", None]


@pytest.mark.parametrize("name", ["aiohttp.server", "pymongo.topology", "nats.aio.client", "stripe", "asyncio"])
def test_a_library_logs_in_the_same_format(name: str) -> None:
    """A record of a library's own logger is a `library` line, with its traceback in one field."""
    log = Log()
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger(name).exception("it broke: %s", 42)
    (line,) = log.lines
    assert (line["event"], line["level"], line["logger"]) == ("library", "error", name)
    assert line["message"] == "it broke: 42"
    assert line["exception"].endswith("ValueError: broken")


def test_a_library_whose_arguments_do_not_fit_is_still_logged() -> None:
    """A library's faulty log call loses no line, and raises nothing."""
    log = Log()
    # Only to our handler: pytest's own would raise.
    logs.LibraryHandler().handle(logging.LogRecord("stripe", logging.WARNING, "", 0, "%d items", ("many",), None))
    assert log.lines[0]["message"] == "%d items (its arguments do not fit: TypeError)"


def test_libraries_log_only_warnings_or_at_debug_their_info() -> None:
    """At debug pymongo logs whole documents, and stripe whole requests: these are never logged."""
    quiet = Log("info")
    logging.getLogger("nats").info("connecting")
    assert quiet.lines == []
    curious = Log("debug")
    logging.getLogger("nats").info("connecting")
    logging.getLogger("pymongo.command").debug('{"insert": "orders"}')
    assert [line["message"] for line in curious.lines] == ["connecting"]


def test_an_uncaught_exception_is_one_line() -> None:
    """The loop's exception handler logs the message of its context, and not the objects in it."""
    log = Log()
    loop = asyncio.new_event_loop()
    logs.loop_exception_handler(loop, {"message": "Task exception was never retrieved", "exception": KeyError("x")})
    loop.close()
    (line,) = log.lines
    assert (line["event"], line["level"]) == ("uncaught_exception", "critical")
    assert line["message"] == "Task exception was never retrieved"
    assert line["exception"].endswith("KeyError: 'x'")


def test_a_group_and_a_chain_of_exceptions_are_logged_whole() -> None:
    """The traceback names every exception of a group, and the cause of each."""
    log = Log()
    try:
        try:
            raise ExceptionGroup("two", [ValueError("first"), KeyError("second")])
        except ExceptionGroup as group:
            raise RuntimeError("outer") from group
    except RuntimeError as error:
        logs.get_logger().error(Event.ACTOR_CRASHED, actor="nats", exc_info=error)
    text = log.lines[0]["exception"]
    assert all(word in text for word in ("ValueError: first", "KeyError: 'second'", "RuntimeError: outer"))


def test_a_terminal_gets_colours_and_executes_nothing_from_outside() -> None:
    """A terminal gets columns and colours; an escape sequence in a value is shown, and not executed."""
    log = Log(colours=True)
    logs.get_logger().info(Event.EVENT_PUBLISHED, reason="\x1b[2Jgone")
    assert "event_published" in log.text
    assert "\x1b[2J" not in log.text
    assert "\\x1b[2Jgone" in log.text
    with pytest.raises(json.JSONDecodeError):
        json.loads(log.text)


def test_anything_at_all_can_be_logged_without_raising() -> None:
    """Lone surrogates, huge integers, NaN, bytes, objects and cycles become valid JSON."""
    log = Log()
    cycle: list[object] = []
    cycle.append(cycle)
    strange = ["\ud800", 2**80, float("nan"), b"raw", object(), cycle, {"reason": "\udfff"}, {1, 2}, "x" * 100_000]
    strange.append(9**9999)
    for value in strange:
        logs.get_logger().info(Event.EVENT_PUBLISHED, reason=value)
    assert len(log.lines) == len(strange)
    assert log.lines[1]["reason"] == "0x100000000000000000000"
    assert log.lines[3]["reason"] == "<bytes>"
    assert all(len(line) < 10_000 for line in log.text.splitlines())


def test_a_warning_is_a_line_like_any_other() -> None:
    """`py.warnings` is logged as a library."""
    log = Log()
    with warnings.catch_warnings():
        logging.captureWarnings(True)
        try:
            warnings.simplefilter("always")
            warnings.warn("going away", DeprecationWarning, stacklevel=1)
        finally:
            logging.captureWarnings(False)
    assert log.lines[0]["logger"] == "py.warnings"
    assert "going away" in log.lines[0]["message"]


def test_a_line_is_cheap() -> None:
    """A line costs tens of microseconds: a thousand charges a second may each have one."""
    Log()
    log = logs.get_logger()
    ids = {"order_id": "65f1c0ffee65f1c0ffee1234", "payment_id": "a" * 32, "request_id": "b" * 32}
    best_s = 1.0
    for _ in range(5):
        begun = time.process_time()
        for _ in range(200):
            log.info(Event.CHARGE_FINISHED, outcome="paid", amount=1999, currency="usd", total_ms=31.4, **ids)
        best_s = min(best_s, (time.process_time() - begun) / 200)
    # Five times the usual cost: a busy machine does not fail this, a large regression does.
    assert best_s < 100e-6
