"""The core can't wait: a walk over its imports and calls."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import payment.backoff
import payment.core

BACKOFF = "payment.backoff"
FILES = [*sorted(Path(payment.core.__file__).parent.glob("**/*.py")), Path(payment.backoff.__file__)]
ALLOWED = {"collections.abc", "datetime", "decimal", "enum", "hashlib", "msgspec", "re", "typing", BACKOFF}
CLOCKS = {"now", "utcnow", "today"}


def imports_of(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow leads"
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_core_imports_nothing_that_can_wait(path: Path) -> None:
    """Style 1: values, text and arithmetic of the standard library and of ours, msgspec, and the core itself."""
    modules = set(imports_of(ast.parse(path.read_text(encoding="utf-8"))))
    assert {module for module in modules if not module.startswith("payment.core")} <= ALLOWED


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_core_reads_no_clock_and_awaits_nothing(path: Path) -> None:
    """Messages bring the time: no `datetime.now()` and its like, no coroutine, no input or output."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith)
        if isinstance(node, ast.Attribute):
            assert node.attr not in CLOCKS or ast.unparse(node) == "context.now"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval", "__import__"}


def test_walk_covers_the_whole_core() -> None:
    """An empty walk would prove nothing."""
    assert {"decide.py", "pending.py", "order.py", "messages.py", "money.py"} <= {path.name for path in FILES}
