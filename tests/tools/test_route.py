"""The route of a charge: its main steps against a list of calls, and what a trace counts. No server is started."""

import asyncio
from collections.abc import Iterator

from tools.route import STEPS, Recorder, Trace, problems, sentence, steps


def test_steps_may_lie_between_other_calls() -> None:
    """The order of the steps is checked, not the calls between them."""
    calls = [call for step in STEPS for call in (("payment/other.py", "other"), step)]
    assert problems(calls) == []


def test_a_step_that_is_not_called_is_named() -> None:
    """The message names the function, and the step before it."""
    (file, name), before = STEPS[2], STEPS[1][1]
    calls = [step for step in STEPS if step != (file, name)]
    assert problems(calls) == [f"{file}: a charge does not call {name} after {before}"]


def test_steps_in_another_order_are_found() -> None:
    """A charge that is written before it is decided would not be our route."""
    assert problems(reversed(STEPS)) != []


def test_each_step_is_described_by_its_docstring() -> None:
    """The list in ARCHITECTURE holds no sentence that the code does not say."""
    lines = steps().splitlines()
    assert len(lines) == len(STEPS)
    assert all(line.endswith(".") for line in lines)
    assert sentence("tools/route.py", "sentence").startswith("Returns the first sentence")
    assert sentence("tools/route.py", "no_such_function") == ""


def test_a_trace_counts_changes_of_file() -> None:
    """A coroutine that goes on is no call, but it changes the file that one reads."""
    trace = Trace()
    for file, resumed in (("a.py", False), ("a.py", False), ("b.py", False), ("a.py", True)):
        trace.add(file, "f", resumed=resumed)
    assert trace.summary().startswith("2 files, 2 functions, 2 changes of file, 3 calls (1 resumptions")


def test_only_functions_of_ours_are_recorded() -> None:
    """Tests, libraries and this file are no part of the route."""
    recorder = Recorder()

    def numbers() -> Iterator[int]:
        yield 1

    recorder.start()
    try:
        list(numbers())
        asyncio.run(asyncio.sleep(0))
    finally:
        recorder.stop()
    assert recorder.trace.calls == []
