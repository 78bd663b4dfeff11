"""The command line: `python -m tests.chaos --rounds 10`, or `make torture ROUNDS=10`.

Exit codes: 0 all laws held; 1 one was broken, and the round's folder is kept; 69 a server is not installed
(in CI: elsewhere its rounds are left out); 130 stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from tests.chaos import record
from tests.chaos.plan import Plan, plan_of
from tests.chaos.report import Progress, summary
from tests.chaos.round import Result, play, spoilt
from tests.e2e.peer_services.peer_service import require_node
from tests.support.servers.mongo import built_jar
from tests.support.servers.nats_streaming import require_server
from tests.support.servers.process import ServerFailedError

EXIT_BROKEN = 1
EXIT_UNAVAILABLE = 69
EXIT_STOPPED = 130
THREADS = 24  # threads wait for processes, and use no CPU
ROUND_DEADLINE_S = 300.0  # far past a round's own deadlines: the rig itself hangs
RIG_FAILURES = (ServerFailedError, PyMongoError, AssertionError, OSError, ExceptionGroup)
"""Errors that spoil a round and are not the service's: a server that does not start, a deadline, a full disk."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.chaos", description="kill -9 under load, then the four laws.")
    parser.add_argument("--rounds", type=int, default=1, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, help="the seed of the first round; later ones count up (default: the time)")
    parser.add_argument("--at-once", type=int, default=1, help="concurrent rounds (%(default)s)")
    parser.add_argument("--broker", choices=("jetstream", "streaming"), help="one broker only")
    parser.add_argument("--store", choices=("nx", "java"), help="one store only")
    parser.add_argument("--folder", type=Path, help="where rounds keep their data and failed ones their logs")
    parser.add_argument("--record", type=Path, default=record.DEFAULT, help="the file of results (%(default)s)")
    parser.add_argument("--no-record", action="store_true", help="write nothing down")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    missing = missing_servers()
    if missing and os.environ.get("CI", "").lower() == "true":
        print("\n".join(missing), file=sys.stderr)
        return EXIT_UNAVAILABLE
    for reason in missing:
        print(f"left out: {reason}", file=sys.stderr)
    try:
        results = asyncio.run(play_all(options, plans_of(options, leave_out=missing)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        print("stopped: the finished rounds are in the record", file=sys.stderr)
        return EXIT_STOPPED
    print(summary(results))
    return EXIT_BROKEN if any(result.breaches for result in results) else 0


def missing_servers() -> dict[str, str]:
    """Returns the servers that this machine lacks, by their name in a plan, with the reason. pip installs all
    others.
    """
    needs: dict[str, list[Callable[[], object]]] = {"streaming": [require_server, require_node], "java": [built_jar]}
    found = {}
    for name, checks in needs.items():
        for check in checks:
            try:
                check()
            except (pytest.skip.Exception, pytest.fail.Exception) as reason:
                found[name] = str(reason)
    return found


def plans_of(options: argparse.Namespace, leave_out: dict[str, str]) -> list[Plan]:
    """Returns the plans of a run, without those that need a missing server."""
    first = options.seed if options.seed is not None else int(time.time())
    broker = options.broker or ("jetstream" if "streaming" in leave_out else None)
    store = options.store or ("nx" if "java" in leave_out else None)
    return [plan_of(seed, broker, store) for seed in range(first, first + options.rounds)]


async def play_all(options: argparse.Namespace, plans: list[Plan]) -> list[Result]:
    """Play every plan, `at_once` of them concurrently, each with its own servers. Returns the results as they
    finish.
    """
    _stop_in_order()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    folder = options.folder or Path(tempfile.mkdtemp(prefix="payment-torture-"))
    progress, made_with, turns = Progress(len(plans)), record.where(), asyncio.Semaphore(options.at_once)
    results: list[Result] = []

    async def one(plan: Plan) -> None:
        async with turns:
            progress.begins(plan)
            result = await play_below(folder / f"seed-{plan.seed}", plan)
        progress.ended(result)
        results.append(result)
        if not options.no_record:
            record.append(options.record, result, made_with)

    async with asyncio.TaskGroup() as group:
        for plan in plans:
            group.create_task(one(plan))
    return results


def _stop_in_order() -> None:
    """SIGTERM ends this run and its processes, as Ctrl-C does."""
    run = asyncio.current_task()
    assert run is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.cancel)


async def play_below(folder: Path, plan: Plan) -> Result:
    """Play one round in its own folder, which is kept where the round failed or was very slow."""
    empty(folder)
    try:
        async with asyncio.timeout(ROUND_DEADLINE_S):
            result = await play(plan, folder)
    except RIG_FAILURES as error:
        result = spoilt(plan, folder, error)
    if result.folder is None:
        shutil.rmtree(folder)
    return result


def empty(folder: Path) -> None:
    """Create an empty folder, and remove an existing one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


if __name__ == "__main__":
    sys.exit(main())
