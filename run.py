"""The process: settings → service → exit code."""

import asyncio
import gc
import io
import os
import resource
import signal
import socket
import sys

import uvloop

from payment.check import check
from payment.ops.log_schema import Event
from payment.ops.logs import configure, flush, get_logger, install_hooks, loop_exception_handler
from payment.process.file_limit import raise_file_limit
from payment.process.listening import CannotListen, listen
from payment.process.standard_streams import open_standard_streams, show
from payment.service import Service, real_ports, secrets_of
from payment.settings.doubts import doubts
from payment.settings.environment import EX_CONFIG, Settings, SettingsError

SERVICE = "payment"

FULL_COLLECTION_EVERY = 100
"""Collections of the middle generation to one of all objects (Python's own: 10). A full collection stops the event
loop, for 45 ms once in 8,000 charges and for a fifth of a second in a burst, and finds nearly nothing to free."""


def main(arguments: list[str]) -> int:
    """Run the service, or with `--check` only find out whether it could run. Returns the exit code."""
    open_standard_streams()
    checking = arguments == ["--check"]
    if arguments and not checking:
        show("usage: python run.py [--check]", sys.stderr)
        return os.EX_USAGE
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        return _refuse(error, checking)
    if checking:
        return _check(settings)
    configure(settings.log_level, SERVICE, settings.nats_client_id, secrets=secrets_of(settings))
    install_hooks()
    if doubtful := doubts(settings):
        get_logger().warning(Event.SETTINGS_DOUBTFUL, problems=doubtful)
    try:
        # Before any server is reached: a second process on this port must not take over this one's name at NATS.
        listening = listen(settings.host, settings.port)
    except CannotListen as error:
        get_logger().error(Event.CANNOT_LISTEN, host=settings.host, port=settings.port, reason=str(error))
        flush()
        return error.exit_code
    raise_file_limit(resource)
    # Modules live as long as the process, and a full garbage collection spends most of its time on them. It stops the
    # event loop for a tenth of a second, and without them for a quarter of that.
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings, listening))


def _check(settings: Settings) -> int:
    configure("error", SERVICE, settings.nats_client_id, secrets=secrets_of(settings))
    report = io.StringIO()
    try:
        code = asyncio.run(check(settings, report))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    show(report.getvalue().rstrip(), sys.stdout)
    return code


def _refuse(error: SettingsError, checking: bool) -> int:
    if checking:
        show(str(error), sys.stdout)
    else:
        configure("info", SERVICE, "")
        get_logger().error(Event.SETTINGS_INVALID, problems=[str(problem) for problem in error.problems])
        flush()
    return EX_CONFIG


async def _serve(settings: Settings, listening: list[socket.socket]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    stop, abort = asyncio.Event(), asyncio.Event()

    def request_stop() -> None:
        (abort if stop.is_set() else stop).set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, request_stop)
    get_logger().info(Event.SERVICE_STARTING)
    service = Service(settings, real_ports(settings, listening))
    code = await service.run(stop, abort)
    get_logger().info(Event.SERVICE_STOPPED, exit_code=code)
    if service.supervisor.lingering:
        # A task goes on after it was cancelled: only the end of the process ends it.
        flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
