"""The mutants apply to today's code. `make mutants` checks that each is caught."""

from __future__ import annotations

import re

import pytest

from tests.mutants import report
from tests.mutants.__main__ import part
from tests.mutants.catalogue import MUTANTS
from tests.mutants.copies import ROOT, texts_of
from tests.mutants.hunt import Result, Verdict
from tests.mutants.mutant import DoesNotApply, Edit, Mutant, edited

NAMES_OF_FAULTS = re.compile(r"(L[1-4]|F[0-5][0-9])( (L[1-4]|F[0-5][0-9]))*")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_applies_changes_the_code_and_still_compiles(mutant: Mutant) -> None:
    """Each edit's text occurs exactly once; the result is valid Python, and differs from today's code."""
    for file, text in texts_of(mutant, ROOT).items():
        assert text != (ROOT / file).read_text()
        compile(text, file, "exec")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_names_an_existing_test(mutant: Mutant) -> None:
    """The node id names a file, and a function in it or in the contract that it inherits."""
    file, _, name = mutant.test.partition("::")
    classes, _, function = name.rpartition("::")
    texts = [each.read_text() for each in ((ROOT / file), *(ROOT / file).parent.glob("*_contract.py"))]
    assert f"class {classes}" in texts[0] or not classes
    assert any(f"def {function}(" in text for text in texts)


def test_each_mutant_has_a_name_and_a_description_of_its_own() -> None:
    """The table and the command line identify mutants by name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert all(re.fullmatch(r"[a-z0-9-]+", mutant.name) for mutant in MUTANTS)
    assert all(mutant.wrong.endswith(".") and NAMES_OF_FAULTS.fullmatch(mutant.endangers) for mutant in MUTANTS)


def test_an_edit_whose_text_is_not_there_exactly_once_is_refused() -> None:
    """The code has changed since: the mutant must be revised, not planted in another place."""
    assert edited("a = 1\n", Edit("x.py", "1", "2")) == "a = 2\n"
    for text in ("b\n", "1 1\n"):
        with pytest.raises(DoesNotApply, match="not once"):
            edited(text, Edit("x.py", "1", "2"))


def test_mutants_are_many_and_most_are_within_reach_of_the_simulation() -> None:
    """There are at least forty, and each one outside the simulation has a reason."""
    assert len(MUTANTS) >= 40
    assert sum(not mutant.beyond for mutant in MUTANTS) >= 40


def test_a_hunt_of_one_mutant_replaces_its_line_and_keeps_the_others() -> None:
    """The table is all that is kept of earlier hunts; what is no mutant any more is left out."""
    first, second = MUTANTS[:2]
    both = {each.name: Result(each.name, Verdict.CAUGHT, Verdict.MISSED) for each in (first, second)}
    before = report.table(both, {"gone": "| gone | x | L1 | - | `x` |"})
    survivor = Result(second.name, Verdict.MISSED, Verdict.MISSED)
    after = report.table({second.name: survivor}, report.lines_of(before))
    assert report.lines_of(before).keys() == report.lines_of(after).keys() == {first.name, second.name}
    assert report.lines_of(before)[first.name] == report.lines_of(after)[first.name]
    assert ("2 of 2 caught; 0 by" in before, "1 of 2 caught; 0 by" in after) == (True, True)


def test_a_mutant_that_only_the_simulation_finds_is_caught() -> None:
    """With the seed's number, and the law that it broke."""
    found = Result(MUTANTS[0].name, Verdict.MISSED, Verdict.CAUGHT, 1_234, "L1: an order keeps one charge")
    shown = report.table({found.name: found}, {})
    assert "1 of 1 caught; 1 by the simulation." in shown
    assert "| 1,234 (L1: an order keeps one charge) | **missed** |" in shown


def test_parts_of_all_mutants_are_all_of_them() -> None:
    """Each machine of a nightly run takes another part; what is no part is refused."""
    assert part("2/6") == (2, 6)
    names = [mutant.name for number in range(1, 7) for mutant in MUTANTS[number - 1 :: 6]]
    assert sorted(names) == sorted(mutant.name for mutant in MUTANTS)
    for wrong in ("0/6", "7/6", "2", "x/y"):
        with pytest.raises(ValueError, match="no part"):
            part(wrong)
