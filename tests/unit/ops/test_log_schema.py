"""The log schema is complete: the package logs no event and no field that is not in it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import payment
from payment.ops.log_schema import FIELDS, Event

PACKAGE = Path(next(iter(payment.__path__)))
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the package of the form `….info(Event.…, …)`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_log_call(node):
                yield f"{path.relative_to(PACKAGE.parent)}:{node.lineno}", node


def _is_log_call(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    first = call.args[0] if call.args else None
    return call.func.attr in LEVELS and isinstance(first, ast.Attribute) and ast.unparse(first.value).endswith("Event")


def test_every_field_that_the_package_logs_is_listed() -> None:
    """The value of an unlisted field would be masked in production: this test finds the field first."""
    unlisted = [
        f"{where}: {keyword.arg}"
        for where, call in log_calls()
        for keyword in call.keywords
        if keyword.arg not in FIELDS and keyword.arg not in ("exc_info", None)
    ]
    assert unlisted == []


def test_every_event_that_the_package_logs_exists() -> None:
    """The name of a missing event would raise only when the line is logged for the first time."""
    names = {name for _, call in log_calls() if isinstance(name := getattr(call.args[0], "attr", None), str)}
    assert names - set(Event.__members__) == set()


@pytest.mark.parametrize("event", Event)
def test_every_event_has_a_name_and_a_meaning(event: Event) -> None:
    """Each is lower case with underscores, equals its value as text, and has a sentence as its meaning."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event)
    assert event.name == event.value.upper()
    assert event.meaning.endswith(".")


def test_no_event_is_listed_that_no_code_logs() -> None:
    """The documents promise each event: operators would wait in vain for one that no code logs."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*PACKAGE.rglob("*.py"), PACKAGE.parent / "run.py"))
    logged = set(re.findall(r"\bEvent\.([A-Z_]+)", source))
    assert set(Event.__members__) - logged == set()


def test_no_field_is_listed_that_no_code_logs() -> None:
    """Every field is logged, except those of every line and those that come from outside a log call."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "log_schema.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*files, PACKAGE.parent / "run.py"))
    written = set(re.findall(r"\b([a-z_]+)=", source)) | set(re.findall(r'"([a-z_]+)"', source))
    assert set(FIELDS) - written <= {"ts", "level", "event", "service", "exception"}
