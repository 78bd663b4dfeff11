"""The layout holds: folders apart, imports one way, ports without code, and one class for each public name."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import payment

PACKAGE = Path(next(iter(payment.__path__)))
ACTORS = ("http", "nats", "stripe", "ledger")
APART = ("devstack", "stripe_sandbox")
"""Programs of their own: the service imports none of them."""


def files(below: str = "") -> list[Path]:
    return sorted((PACKAGE / below).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def imports(below: str, *prefixes: str) -> list[str]:
    """Which imports of the files below a folder begin with one of these modules, as sentences."""
    return [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(below)
        for module in imported(path)
        if any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)
    ]


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_imports_nothing_of_another(actor: str) -> None:
    """They meet only in `payment.actors.messages`."""
    others = (f"payment.actors.{other}" for other in ACTORS if other != actor)
    assert imports(f"actors/{actor}", *others) == []


def test_the_runtime_imports_no_message_and_no_actor() -> None:
    """It would serve another service unchanged."""
    others = (f"payment.actors.{other}" for other in ACTORS)
    assert imports("actors/runtime", "payment.core", "payment.actors.messages", *others) == []


def test_actors_reach_other_systems_through_ports() -> None:
    """Only `payment.service` and the commands choose the adapter of a port."""
    assert imports("actors", "payment.adapters", "payment.settings", "payment.service") == []


def test_ports_import_only_the_core() -> None:
    """An adapter can be replaced without touching an actor."""
    assert imports("ports", "payment.actors", "payment.adapters", "payment.ops") == []


def test_adapters_import_no_actor() -> None:
    """They serve every caller of their ports."""
    assert imports("adapters", "payment.actors", "payment.service") == []


def test_the_core_imports_only_itself() -> None:
    """And `payment.backoff`. `tests/unit/core/test_purity.py` has the rest: nothing that waits or is random."""
    ours = {module for path in files("core") for module in imported(path) if module.startswith("payment.")}
    assert {module for module in ours if not module.startswith("payment.core")} <= {
        "payment.backoff",
        "payment.backoff.Backoff",
    }


def test_the_service_imports_neither_devstack_nor_sandbox() -> None:
    """Production does not run the programs of `make run`."""
    apart = [path for path in files() if path.relative_to(PACKAGE).parts[0] not in APART]
    wanted = tuple(f"payment.{name}" for name in APART)
    assert [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in apart
        for module in imported(path)
        if module.startswith(wanted)
    ] == []


def test_no_two_public_classes_have_one_name() -> None:
    """A reader who searches for a class finds it."""
    paths: dict[str, list[str]] = defaultdict(list)
    for path in files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                paths[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: found for name, found in paths.items() if len(found) > 1} == {}


def test_no_loop_runs_over_a_set_that_stands_in_it() -> None:
    """A set of ids has another order in each process: what is done in its order is done in no order at all."""
    loops = (
        (path, node)
        for below in ("actors", "core")
        for path in files(below)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.For | ast.comprehension)
    )
    assert [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node.iter)}"
        for path, node in loops
        if isinstance(node.iter, ast.Set | ast.SetComp)
    ] == []
