"""Copies of the tree, in which mutants are planted and pulled out again. The tree itself is never touched.

A copy is used for one mutant after another, so nothing may be left of the last one. Byte code is where that would go
wrong: it is known by time and size, and an edit may change neither. So it is compiled once, to be known by the hash of
its source, and what runs in a copy writes none.
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
"""What the tests need of the tree; the packages that it stands on are those of the Python that runs us."""

LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")


def make_copy(folder: Path) -> Path:
    """Copy the tree into a folder of its own, and compile it."""
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
    """A command that runs a module of the copy, `words[0]`, in this very Python."""
    return [sys.executable, "-m", *words]


def surroundings(folder: Path) -> dict[str, str]:
    """The environment for what runs in a copy: it imports the copy's service, and not the one that is installed."""
    return os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def texts_of(mutant: Mutant, root: Path) -> dict[str, str]:
    """The files that a mutant changes, by path, as they read with it.

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
    """The copy with a mutant in it; afterwards the copy as it was."""
    texts = texts_of(mutant, folder)
    originals = {file: (folder / file).read_text() for file in texts}
    try:
        for file, text in texts.items():
            (folder / file).write_text(text)
        yield
    finally:
        for file, text in originals.items():
            (folder / file).write_text(text)
