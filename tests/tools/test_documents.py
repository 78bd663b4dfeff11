"""The parts of the documents that are made from the code."""

from pathlib import Path

import pytest

from tools.documents import made, problems, write

MAKERS = {"colours": lambda: "red\nblue"}
STALE = "Before.\n<!-- made: colours -->\ngreen\n<!-- /made -->\nAfter.\n"
FRESH = "Before.\n<!-- made: colours -->\nred\nblue\n<!-- /made -->\nAfter.\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "README.md").write_text(STALE)
    (tmp_path / "ARCHITECTURE.md").write_text("By hand.\n")
    return tmp_path


def test_a_part_is_made_anew_and_the_rest_is_left() -> None:
    """Only what stands between the marks changes, and making twice changes nothing."""
    assert made(STALE, MAKERS) == FRESH
    assert made(FRESH, MAKERS) == FRESH


def test_a_stale_part_is_found_and_mended(root: Path) -> None:
    """`make docs-check` fails until `make docs` was run."""
    assert problems(root, MAKERS) == ["README.md: stale; run make docs"]
    write(root, MAKERS)
    assert problems(root, MAKERS) == []


def test_a_part_without_a_maker_and_a_maker_without_a_part_are_found(root: Path) -> None:
    """Nothing goes stale unseen."""
    assert problems(root, {"shapes": lambda: ""}) == ["README.md: nobody makes colours", "no document shows shapes"]
