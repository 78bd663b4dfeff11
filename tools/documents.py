"""Writes, or checks, those parts of the documents that are made from the code: `make docs`, `make docs-check`.

A part stands between `<!-- made: NAME -->` and `<!-- /made -->`; what is between them is replaced by what `MAKERS`
makes under that name. A part without a maker, and a maker without a part, are errors: nothing goes stale unseen.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from payment.ops import log_schema as vocabulary
from payment.ops.metrics import Metrics
from tests.chaos.report import recorded_table
from tools import fault_table
from tools import made as texts

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "tests/FAULTS.md")

MAKERS: dict[str, Callable[[], str]] = {
    "variables": texts.variables,
    "routes": texts.routes_table,
    "charge answers": texts.charge_answers,
    "limits": texts.limits,
    "states": texts.states,
    "sandbox faults": texts.sandbox_faults,
    "sandbox declines": texts.sandbox_declines,
    "metrics": lambda: Metrics().markdown(),
    "log events": vocabulary.events_table,
    "log fields": vocabulary.fields_table,
    "torture": recorded_table,
    "faults": fault_table.markdown,
}

_PART = re.compile(r"(<!-- made: (?P<name>[a-z ]+) -->\n)(?P<text>.*?)(<!-- /made -->)", re.DOTALL)


def made(document: str, makers: Mapping[str, Callable[[], str]]) -> str:
    """The document with all its made parts made anew.

    Raises:
        KeyError: a part that nobody makes.
    """
    return _PART.sub(lambda part: f"{part[1]}{makers[part['name']]()}\n{part[4]}", document)


def parts_of(document: str) -> set[str]:
    """The names of a document's made parts."""
    return {part["name"] for part in _PART.finditer(document)}


def problems(root: Path, makers: Mapping[str, Callable[[], str]]) -> list[str]:
    """What is stale, unknown or missing, a sentence each."""
    found: list[str] = []
    parts: set[str] = set()
    for name in DOCUMENTS:
        text = (root / name).read_text(encoding="utf-8")
        parts |= parts_of(text)
        if unknown := parts_of(text) - makers.keys():
            found.append(f"{name}: nobody makes {', '.join(sorted(unknown))}")
        elif made(text, makers) != text:
            found.append(f"{name}: stale; run make docs")
    found += [f"no document shows {name}" for name in sorted(makers.keys() - parts)]
    return found


def write(root: Path, makers: Mapping[str, Callable[[], str]]) -> None:
    """Make every part anew."""
    for name in DOCUMENTS:
        path = root / name
        path.write_text(made(path.read_text(encoding="utf-8"), makers), encoding="utf-8")


def main(arguments: list[str]) -> int:
    """`write` or `check`; the exit code."""
    if arguments == ["write"]:
        write(ROOT, MAKERS)
    elif arguments != ["check"]:
        print("usage: python -m tools.documents write|check", file=sys.stderr)
        return 64
    found = problems(ROOT, MAKERS)
    print("\n".join(found) or "The documents say what the code says.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
