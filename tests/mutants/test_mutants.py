"""The mutants apply to today's code. `make mutants` checks that each is caught."""

from __future__ import annotations

import re

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.copies import ROOT, texts_of
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
