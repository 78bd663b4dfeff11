"""The generated parts of the documents, and the hand-written statements about the tree.

The last tests read the real documents: they compare README's tables with the code once more, by names only, so that a
generator that omits something is found too.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from payment.actors.http.routes import ROUTES
from payment.core.order import TABLE, AttemptState
from payment.ops.log_schema import FIELDS, Event
from payment.ops.metrics import Metrics
from payment.settings.environment import VARIABLES
from tools.documents import DOCUMENTS, MAKERS, ROOT, made, problems, write
from tools.made import LIMITS, states

DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
HAND_WRITTEN = (
    *DOCUMENTS,
    "CHANGELOG.md",
    "docs/evidence.md",
    "docs/front-end.md",
    *(path.relative_to(ROOT).as_posix() for path in DECISIONS),
)
FOLDERS = ("payment", "tests", "tools", ".ci")
COLOURS = {"colours": lambda: "red\nblue"}
STALE = "Before.\n<!-- made: colours -->\ngreen\n<!-- /made -->\nAfter.\n"
FRESH = "Before.\n<!-- made: colours -->\nred\nblue\n<!-- /made -->\nAfter.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(STALE)
    for name in DOCUMENTS[1:]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("By hand.\n")
    return tmp_path


def test_a_part_is_made_anew_and_the_rest_is_left() -> None:
    """Only the text between the marks changes, and generating twice changes nothing."""
    assert made(STALE, COLOURS) == FRESH
    assert made(FRESH, COLOURS) == FRESH


def test_a_stale_part_is_found_and_rewritten(root: Path) -> None:
    """`make docs-check` fails until `make docs` was run."""
    assert problems(root, COLOURS) == ["README.md: stale; run make docs"]
    write(root, COLOURS)
    assert problems(root, COLOURS) == []


def test_a_part_without_a_maker_and_a_maker_without_a_part_are_found(root: Path) -> None:
    """No part becomes stale unnoticed."""
    assert problems(root, {"shapes": lambda: ""}) == ["README.md: nobody makes colours", "no document shows shapes"]


def test_the_generated_parts_of_the_documents_match_the_code() -> None:
    """No generated part of README.md or ARCHITECTURE.md is stale, unknown or missing."""
    assert problems(ROOT, MAKERS) == []


def part(document: str, name: str) -> str:
    """Returns a generated part of a real document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text.split(f"<!-- made: {name} -->\n", 1)[1].split("<!-- /made -->", 1)[0]


def first_cells(name: str) -> list[str]:
    """Returns the first column of one of README's generated tables."""
    rows = part("README.md", name).strip().splitlines()[2:]
    return [row.split(" | ")[0].strip("| `") for row in rows]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("variables", [variable.name for variable in VARIABLES]),
        ("routes", [f"{route.method} {route.template}" for route in ROUTES]),
        ("metrics", [row.name for row in Metrics().table()]),
        ("log events", [event.value for event in Event]),
        ("log fields", list(FIELDS)),
    ],
)
def test_a_table_of_readme_lists_exactly_what_there_is(name: str, words: list[str]) -> None:
    """Variables, routes, metrics, log events and fields: no entry is missing, none is superfluous."""
    assert first_cells(name) == words


def test_every_alarm_has_an_action_in_the_readme() -> None:
    """README's table of alarms has a row for each alarm of the log schema, and no other."""
    table = document("README.md").split("### Alarms\n", 1)[1].split("\n#", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(event.value for event in Event if event.meaning.startswith("ALARM"))


def test_the_diagram_shows_every_state_and_every_change() -> None:
    """As many arrows as the table of states has pairs of different states, and one for each beginning."""
    changes = {(state, after) for (state, _), after in TABLE.items() if state is not after}
    assert states().count(" --> ") == len(changes) + 2
    assert all(f'"{state.value}" as {state.name}' in states() for state in AttemptState)


def test_the_limits_are_named_as_they_are() -> None:
    """Each has its constant, and no sentence lost its number."""
    for module, name, what, _ in LIMITS:
        assert hasattr(module, name)
        assert "{}" in what


def document(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".sh"})


def slug(heading: str) -> str:
    """Returns the anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_links_lead_somewhere(name: str) -> None:
    """A relative link names a file that exists, an anchor a heading."""
    text = document(name)
    anchors = {f"#{slug(heading)}" for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith("https://"):
            path = (ROOT / name).parent / target
            assert target in anchors or path.exists(), f"{name}: nothing is at {target}"


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_files_that_are_named_exist(name: str) -> None:
    """A path is relative to the root; a bare file name is that of some file."""
    names = {path.name for path in sources(*FOLDERS)} | {path.name for path in ROOT.iterdir()}
    for path in set(re.findall(r"(?<![\w/.:-])[\w.][\w./-]*\.(?:py|sh|md|txt|cfg)\b", document(name))):
        there = (ROOT / path).exists() or ((ROOT / name).parent / path).exists()
        assert there or path in names, f"{name}: there is no {path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_constants_that_are_named_exist(name: str) -> None:
    """A name in capitals is a variable, a state or a constant of the code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources("payment"))
    for constant in set(re.findall(r"`(?:[a-z_]+\.)*([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)`", document(name))):
        assert re.search(rf"\b{constant}\b", code), f"{name}: nothing is called {constant}"


@pytest.mark.parametrize("package", ["core", "actors", "actors/stripe", "adapters/stripe", "edge", "ports", "ops"])
def test_the_map_names_every_module(package: str) -> None:
    """A newcomer finds each of them in ARCHITECTURE.md."""
    modules = {path.name for path in (ROOT / "payment" / package).glob("[!_]*.py")}
    assert {name for name in modules if not re.search(rf"\b{name}", document("ARCHITECTURE.md"))} == set()


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
    """F07 in a docstring is a row of ARCHITECTURE.md's table."""
    named = {fault for path in sources("payment", "tests") for fault in re.findall(r"\bF\d\d\b", path.read_text())}
    rows = re.findall(r"^\| (F\d\d(?:, F\d\d)*) \|", document("ARCHITECTURE.md"), re.MULTILINE)
    assert named <= {fault for row in rows for fault in row.split(", ")}
