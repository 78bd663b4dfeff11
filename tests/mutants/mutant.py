"""What a mutant is: a small, plausible wrong in the product, as edits of its text, and what must catch it.

The mutants themselves are data, a file for each room of the service, gathered in `tests.mutants.catalogue`. An edit is
by exact text rather than by line, so that it survives changes elsewhere in its file. One that does not apply any more
fails `test_mutants.py`: mend the edit so that it says the same wrong of today's code. A mutant that survives is a hole
in the tests: close the hole, never delete the mutant.
"""

from msgspec import Struct


class Edit(Struct, frozen=True):
    """One replacement. `old` stands exactly once in the file, which is a path from the root of the tree."""

    file: str
    old: str
    new: str


class Mutant(Struct, frozen=True):
    """One wrong. `endangers` names the laws and rows of the faults, `test` a pytest node id that must fail for it.

    `beyond` says why no seed of the simulation can show it. Where that is empty the simulation is run as well, and the
    table says so if it has missed the mutant.
    """

    name: str
    wrong: str
    endangers: str
    test: str
    edits: tuple[Edit, ...]
    beyond: str = ""


class DoesNotApply(Exception):
    """An edit's old text stands not exactly once in its file."""


def edited(text: str, edit: Edit) -> str:
    """The file's text with one edit made.

    Raises:
        DoesNotApply: the old text is not there, or there more than once.
    """
    count = text.count(edit.old)
    if count != 1:
        raise DoesNotApply(f"{edit.file}: {count} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)
