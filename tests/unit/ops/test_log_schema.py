"""The words of the log, and that the package says no others."""

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
    """Every call in the package that looks like `….info(Event.…, …)`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _says_an_event(node):
                yield f"{path.relative_to(PACKAGE.parent)}:{node.lineno}", node


def _says_an_event(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    first = call.args[0] if call.args else None
    return call.func.attr in LEVELS and isinstance(first, ast.Attribute) and ast.unparse(first.value).endswith("Event")


def test_every_field_that_the_package_logs_is_listed() -> None:
    """An unlisted field would come out masked: here it is found before anybody misses it."""
    unlisted = [
        f"{where}: {keyword.arg}"
        for where, call in log_calls()
        for keyword in call.keywords
        if keyword.arg not in FIELDS and keyword.arg not in ("exc_info", None)
    ]
    assert unlisted == []


def test_every_event_that_the_package_logs_exists() -> None:
    """A name that is no event would raise only when it is first said, on the worst day of the year."""
    names = {name for _, call in log_calls() if isinstance(name := getattr(call.args[0], "attr", None), str)}
    assert names - set(Event.__members__) == set()


@pytest.mark.parametrize("event", Event)
def test_every_event_is_a_word_with_a_meaning(event: Event) -> None:
    """Each is lower case with underscores, equals its value as text, and has a sentence that explains it."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event)
    assert event.name == event.value.upper()
    assert event.meaning.endswith(".")


def test_no_word_is_listed_that_nothing_says() -> None:
    """The reference promises each of them: a word that no code says would be waited for in vain."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*PACKAGE.rglob("*.py"), PACKAGE.parent / "run.py"))
    said = set(re.findall(r"\bEvent\.([A-Z_]+)", source))
    assert set(Event.__members__) - said == set()


def test_no_field_is_listed_that_nothing_logs() -> None:
    """The same of the fields, but for those that every line has, or that come from outside a log call."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "log_schema.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in (*files, PACKAGE.parent / "run.py"))
    written = set(re.findall(r"\b([a-z_]+)=", source)) | set(re.findall(r'"([a-z_]+)"', source))
    assert set(FIELDS) - written <= {"ts", "level", "event", "service", "exception"}
