"""The hook for whitespace repairs a file once, and leaves a right one alone."""

from pathlib import Path

import pytest

from tools.whitespace import main, repaired


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a \nb\t\n", "a\nb\n"),
        ("a\n\n\n", "a\n"),
        ("a", "a\n"),
        ("\n\n", ""),
        ("", ""),
        ("a\n\n  b\n", "a\n\n  b\n"),
    ],
)
def test_lines_end_where_their_text_ends_and_files_with_one_newline(text: str, right: str) -> None:
    """Indentation and empty lines between others stay."""
    assert repaired(text) == right
    assert repaired(right) == right


def test_a_file_that_was_repaired_fails_the_commit_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run has nothing to do."""
    path = tmp_path / "a.md"
    path.write_text("a \n")
    assert main([str(path)]) == 1
    assert path.read_text() == "a\n"
    assert capsys.readouterr().out == f"repaired {path}\n"
    assert main([str(path)]) == 0
