"""Values and docstrings as Markdown."""

import re
from collections.abc import Iterable

_SENTENCE_ENDS = re.compile(r"(?<=[.?!]) ")


def table(head: str, rows: Iterable[str]) -> str:
    """A Markdown table; `head` and rows hold their cells parted by ` | `."""
    columns = head.count(" | ") + 1
    return "\n".join([f"| {head} |", "|" + "---|" * columns, *(f"| {row} |" for row in rows)])


def first_sentence(docstring: str) -> str:
    """Returns the first sentence of a docstring, on one line and with its full stop; "" where there is none."""
    first = " ".join(docstring.split("\n\n")[0].split())
    sentence = _SENTENCE_ENDS.split(first)[0]
    return sentence if not sentence or sentence[-1] in ".?!" else f"{sentence}."
