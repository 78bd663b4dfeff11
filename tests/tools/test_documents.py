"""The documents: their generated parts are fresh, their links lead somewhere, and what they name exists.

A generated table is compared with the code once more here, by names alone, so that a function of `tools.generated`
that leaves something out is found too.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cogapp import Cog  # type: ignore[import-untyped]

from payment.actors.http.routes import ROUTES
from payment.core.order import TABLE, AttemptState
from payment.ops.log_schema import FIELDS, Event
from payment.ops.metrics import Metrics
from payment.settings.environment import VARIABLES
from tools import generated
from tools.markdown import first_sentence

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
GENERATED = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "tests/FAULTS.md",
]
"""The documents that the Makefile gives to cog."""
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*GENERATED, ROOT / "CHANGELOG.md", *DECISIONS)]
REFERENCE = [name for name in DOCUMENTS if "decisions" not in name and name != "CHANGELOG.md"]
"""The documents that speak of today's code only."""
FOLDERS = ("payment", "tests", "tools", ".ci")
PROLOGUE = "from tools import generated"
README_LINES, ARCHITECTURE_LINES = 150, 250


def document(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".sh"})


# ----------------------------------------------------------------------------------------------------- generated parts


def test_generated_parts_say_what_the_code_says() -> None:
    """`make docs-check` passes: otherwise run `make docs` and commit the result."""
    assert Cog().main(["cog", "--check", "-p", PROLOGUE, *map(str, GENERATED)]) == 0


def test_a_stale_part_is_found(tmp_path: Path) -> None:
    """cog compares what is written with what the code says now."""
    text = document("docs/sandbox.md").replace("`drop_before`, ", "")
    (tmp_path / "sandbox.md").write_text(text, encoding="utf-8")
    assert Cog().main(["cog", "--check", "-p", PROLOGUE, str(tmp_path / "sandbox.md")]) != 0


def test_each_generated_part_is_shown_once() -> None:
    """No function of `tools.generated` is left without a document, and no document calls one that is not there."""
    called = [name for path in GENERATED for name in re.findall(r"cog\.outl\(generated\.(\w+)\(\)\)", path.read_text())]
    functions = inspect.getmembers(generated, inspect.isfunction)
    parts = [name for name, function in functions if function.__module__ == generated.__name__]
    assert sorted(called) == [name for name in parts if not name.startswith("_")]


def first_cells(name: str, part: str) -> list[str]:
    """The first column of a generated table of a document."""
    text = document(name).split(f"cog.outl(generated.{part}())", 1)[1].split("<!-- [[[end]]] -->", 1)[0]
    return [row.split(" | ")[0].strip("| `") for row in text.strip().splitlines()[3:]]


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("docs/configuration.md", "variables", [variable.name for variable in VARIABLES]),
        ("docs/api.md", "routes_of_http", [f"{route.method} {route.template}" for route in ROUTES]),
        ("docs/log-and-metrics.md", "metrics", [row.name for row in Metrics().table()]),
        ("docs/log-and-metrics.md", "log_events", [event.value for event in Event]),
        ("docs/log-and-metrics.md", "log_fields", list(FIELDS)),
    ],
)
def test_a_reference_lists_exactly_what_there_is(name: str, part: str, words: list[str]) -> None:
    """Variables, routes, metrics, log events and fields: nothing is left out, and nothing is invented."""
    assert first_cells(name, part) == words


def test_every_alarm_says_what_to_do() -> None:
    """The table of alarms has a row for each event that the log schema calls one, and no other."""
    table = document("docs/operations.md").split("## Alarms\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(event.value for event in Event if event.meaning.startswith("ALARM"))


def test_the_diagram_shows_every_state_and_every_change() -> None:
    """It has an arrow for each pair of different states in the table, and one for each beginning."""
    changes = {(state, after) for (state, _), after in TABLE.items() if state is not after}
    assert generated.states().count(" --> ") == len(changes) + 2
    assert all(f" {state.name.lower()}" in generated.states() for state in AttemptState)


def test_the_limits_are_named_as_they_are() -> None:
    """Each has its constant, and no sentence has lost its number."""
    for module, name, what, _ in generated.LIMITS:
        assert hasattr(module, name)
        assert "{}" in what


def test_the_tree_describes_every_package() -> None:
    """A package without a docstring would be a name without an explanation."""
    rows = generated.tree().splitlines()[2:]
    assert all(row.rstrip(" |").endswith((".", "?")) for row in rows)
    packages = [path.parent for path in (ROOT / "payment").rglob("__init__.py")]
    assert all(f"`{path.relative_to(ROOT)}/`" in generated.tree() for path in packages if path.name != "payment")


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [("", ""), ("One\ntwo. Three.\n\nFour.", "One two."), ("Does it? Yes.", "Does it?"), ("No stop", "No stop.")],
)
def test_a_docstring_gives_its_first_sentence(docstring: str, sentence: str) -> None:
    """On one line, with its full stop."""
    assert first_sentence(docstring) == sentence


# -------------------------------------------------------------------------------------------------- hand-written parts


def test_the_first_documents_are_short() -> None:
    """README is read in minutes, and ARCHITECTURE in a quarter of an hour."""
    assert len(document("README.md").splitlines()) <= README_LINES
    assert len(document("ARCHITECTURE.md").splitlines()) <= ARCHITECTURE_LINES


def slug(heading: str) -> str:
    """Returns the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    """A relative link names a file that exists, an anchor a heading of that file."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document(name)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), f"{name}: nothing is at {target}"
        assert not anchor or anchor in anchors(path), f"{name}: {file or name} has no heading for #{anchor}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_files_that_are_named_exist(name: str) -> None:
    """A path is relative to the root; a bare file name is that of some file."""
    names = {path.name for path in sources(*FOLDERS)} | {path.name for path in ROOT.iterdir()}
    for path in set(re.findall(r"(?<![\w/.:-])[\w.][\w./-]*\.(?:py|sh|md|txt|cfg)\b", document(name))):
        there = (ROOT / path).exists() or ((ROOT / name).parent / path).exists()
        assert there or path in names, f"{name}: there is no {path}"


@pytest.mark.parametrize("name", REFERENCE)
def test_constants_that_are_named_exist(name: str) -> None:
    """A name in capitals is a variable, a state or a constant of the code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources("payment"))
    for constant in set(re.findall(r"`(?:[a-z_]+\.)*([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", document(name))):
        assert re.search(rf"\b{constant}\b", code), f"{name}: nothing is called {constant}"


def test_every_document_is_listed() -> None:
    """A reader finds each document of docs/ in its index."""
    index = document("docs/README.md")
    assert [path.name for path in (ROOT / "docs").glob("[!R]*.md") if f"({path.name})" not in index] == []


def test_every_decision_is_listed() -> None:
    """Each record stands in the list once, and begins with its number and a date."""
    listed = re.findall(r"^\| \[(\d{4})\]\((\S+)\) \|", document("docs/decisions/README.md"), re.MULTILINE)
    records = [path for path in DECISIONS if path.name != "README.md"]
    assert [name for _, name in listed] == [path.name for path in records]
    for (number, _), path in zip(listed, records, strict=True):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}: ")
        assert re.search(r"^\d{4}-\d\d-\d\d\. ", text, re.MULTILINE)


def test_every_fault_that_a_test_names_is_explained() -> None:
    """F07 in a docstring means the row of the table in docs/faults.md."""
    named = {fault for path in sources("payment", "tests") for fault in re.findall(r"\bF\d\d\b", path.read_text())}
    rows = re.findall(r"^\| (F\d\d(?:, F\d\d)*) \|", document("docs/faults.md"), re.MULTILINE)
    assert named <= {fault for row in rows for fault in row.split(", ")}
