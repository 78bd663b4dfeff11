"""The command blocks of the documents, and the test that runs each: the comment on the line before names it.

<!-- run: NAME -->         tests/tools/test_document_commands.py runs it, under this name
<!-- run by: FILE -->      that file does, word for word
"""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)\n```$", re.DOTALL | re.MULTILINE)
_RUN = re.compile(r"<!-- (?P<how>run|run by): (?P<what>.+) -->")
COMMANDS = ("sh", "bash", "console", "")


class Block(NamedTuple):
    """One block of commands. `how` is `run`, `run by`, or empty where no test is named; `what` is the name after it."""

    how: str
    what: str
    text: str


def command_blocks(document: str) -> list[Block]:
    """Returns every block of shell commands of a document."""
    blocks = []
    for found in _BLOCK.finditer(document):
        if found["language"] in COMMANDS:
            who = _RUN.fullmatch(found["before"])
            blocks.append(Block(who["how"] if who else "", who["what"] if who else "", found["text"]))
    return blocks


def all_blocks() -> list[Block]:
    """The command blocks of README and of the documents in docs/."""
    return [each for path in DOCUMENTS for each in command_blocks(path.read_text(encoding="utf-8"))]


def block(name: str) -> str:
    """The commands that are run under a name."""
    return next(each.text for each in all_blocks() if (each.how, each.what) == ("run", name))
