"""A mutant: a small, plausible bug in the product, as edits of its text, and the test that must catch it.

The mutants themselves are data, a file for each area of the service, collected in `tests.mutants.catalogue`. An edit
matches exact text rather than a line number, so that changes elsewhere in its file do not affect it. A mutant that does
not apply any more fails `test_mutants.py`: change its edit so that it makes the same bug in today's code. A mutant that
survives shows a missing test: add the test, never delete the mutant.
"""

from msgspec import Struct


class Edit(Struct, frozen=True):
    """One replacement. `old` occurs exactly once in the file, which is a path from the root of the tree."""

    file: str
    old: str
    new: str


class Mutant(Struct, frozen=True):
    """One bug. `wrong` describes it in a sentence, `endangers` names the laws and fault rows that it violates, `test`
    is the pytest node id that must fail for it.

    `beyond` is the reason why no seed of the simulation can show it. Where that is empty the simulation is run as well,
    and the table shows if it has missed the mutant.
    """

    name: str
    wrong: str
    endangers: str
    test: str
    edits: tuple[Edit, ...]
    beyond: str = ""


class DoesNotApply(Exception):
    """An edit's old text does not occur exactly once in its file."""


def edited(text: str, edit: Edit) -> str:
    """Returns the file's text with one edit applied.

    Raises:
        DoesNotApply: the old text is missing, or occurs more than once.
    """
    count = text.count(edit.old)
    if count != 1:
        raise DoesNotApply(f"{edit.file}: {count} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)
