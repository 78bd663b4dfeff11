"""The command blocks of README.md, and the test or script that runs each, named in the comment before it.

<!-- run: NAME -->         tests/tools/test_readme_commands.py runs it, under this name
<!-- run by: FILE -->      that file does, word for word
"""

import re
from typing import NamedTuple

from tools.documents import ROOT

_BLOCK = re.compile(r"(?P<before>[^\n]*)\n```(?P<language>\w*)\n(?P<text>.*?)\n```$", re.DOTALL | re.MULTILINE)
_RUN = re.compile(r"<!-- (?P<how>run|run by): (?P<what>.+) -->")
COMMANDS = ("sh", "bash", "console", "")


class Block(NamedTuple):
    """One block of commands. `how` is `run`, `run by`, or empty where the comment is missing; `what` is the name after
    it.
    """

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


def readme_blocks() -> list[Block]:
    return command_blocks((ROOT / "README.md").read_text(encoding="utf-8"))


def block(name: str) -> str:
    """Returns the commands that are run under a name."""
    return next(each.text for each in readme_blocks() if (each.how, each.what) == ("run", name))
