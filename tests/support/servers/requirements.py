"""A test's requirements of the machine: a missing one skips the test, and fails it in CI.

A skipped test must run elsewhere; in CI (CI=true) no test may be skipped.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest


def missing(reason: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip the test, or fail it where CI=true in `environ`, with `reason`."""
    if environ.get("CI", "").lower() == "true":
        pytest.fail(f"{reason} (CI=true: nothing may be skipped)", pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> Path | None:
    """Returns the program `name` beside this interpreter (a virtual environment that is not activated), or else on
    PATH.
    """
    beside = Path(sys.executable).parent / name
    if os.access(beside, os.X_OK) and beside.is_file():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def require_program(name: str) -> Path:
    """Returns the path of a required program."""
    return find_program(name) or missing(f"needs the program {name!r}, which is neither beside Python nor on PATH")
