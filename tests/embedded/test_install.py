"""`.ci/install`, which `make run` calls: it shows that it is at work, and says in words what is missing."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def install(folder: Path, pip: str) -> subprocess.CompletedProcess[str]:
    """Run it with a Python whose pip does as told."""
    python = folder / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\n{pip}\n")
    python.chmod(0o755)
    line = [str(ROOT / ".ci" / "install"), str(python), "embedded"]
    return subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)


def test_it_says_what_it_does_and_shows_that_it_goes_on(tmp_path: Path) -> None:
    done = install(tmp_path, "echo Collecting nats-py")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("Installing what requirements-dev.txt pins into ")
    assert done.stderr.endswith(". done\n")
    assert "Collecting" not in done.stderr


@pytest.mark.parametrize(
    "words", ["NewConnectionError('<urllib3>: Failed')", "Temporary failure in name resolution", "Read timed out."]
)
def test_a_missing_network_is_said_in_words(tmp_path: Path, words: str) -> None:
    """Below pip's own, which alone say little to a newcomer."""
    done = install(tmp_path, f'echo "WARNING: {words}" >&2; exit 1')
    assert done.returncode == 69
    assert words in done.stderr
    assert "it can't be reached from here" in done.stderr
    assert "HTTPS_PROXY" in done.stderr


def test_another_failure_is_left_to_pips_words(tmp_path: Path) -> None:
    done = install(tmp_path, "echo 'No space left on device' >&2; exit 1")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "HTTPS_PROXY" not in done.stderr
