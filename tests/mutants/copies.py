"""Copies of the tree, in which mutants are planted and removed again. The tree itself is never changed.

A copy is used for one mutant after another, so nothing may remain of the last one. Cached byte code is a risk: Python
identifies it by time and size of the source, and an edit may change neither. So the copy is compiled once with
hash-based byte code, and programs in a copy write none.
"""

import compileall
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.mutant import Edit, Mutant, edited

ROOT = Path(__file__).resolve().parents[2]

PARTS = ("payment", "tests", "tools", "run.py", "setup.cfg", "pyproject.toml", "README.md", "ARCHITECTURE.md", "docs")
"""The parts of the tree that the tests need; installed packages are those of the current Python."""

LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")


def make_copy(folder: Path) -> Path:
    """Copy the tree into a new folder, and compile it."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, folder / part)
    for part in ("payment", "tests"):
        compileall.compile_dir(folder / part, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return folder


def command(*words: str) -> list[str]:
    """Returns a command that runs a module of the copy, `words[0]`, in the current Python."""
    return [sys.executable, "-m", *words]


def surroundings(folder: Path) -> dict[str, str]:
    """Returns the environment for programs in a copy, which import the copy's service instead of the installed one."""
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def texts_of(mutant: Mutant, root: Path) -> dict[str, str]:
    """Returns the changed files of a mutant, by path, with its edits.

    Raises:
        DoesNotApply: an edit's old text is not there, or there more than once.
    """
    texts: dict[str, str] = {}
    for edit in mutant.edits:
        texts[edit.file] = edited(_text(texts, edit, root), edit)
    return texts


def _text(texts: dict[str, str], edit: Edit, root: Path) -> str:
    return texts[edit.file] if edit.file in texts else (root / edit.file).read_text()


@contextmanager
def planted(mutant: Mutant, folder: Path) -> Iterator[None]:
    """Plant a mutant in the copy while the block runs, and restore the copy afterwards."""
    texts = texts_of(mutant, folder)
    originals = {file: (folder / file).read_text() for file in texts}
    try:
        for file, text in texts.items():
            (folder / file).write_text(text)
        yield
    finally:
        for file, text in originals.items():
            (folder / file).write_text(text)
