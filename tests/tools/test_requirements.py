"""The pinned requirements: exact versions, with hashes for production, the same for the tests, and all of setup.cfg."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.servers.requirements import missing
from tools.install import UNREACHABLE

ROOT = Path(__file__).parents[2]
PRODUCTION, ALL = ROOT / "requirements.txt", ROOT / "requirements-dev.txt"
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
PROMISED = ("3.11", "3.12", "3.13")


def entries(path: Path) -> list[str]:
    """Each requirement of a file on one line, its hashes behind it."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE)
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def pins(path: Path) -> dict[str, str]:
    """The exact version of each package. Fails where a requirement allows more than one."""
    found: dict[str, str] = {}
    for entry in entries(path):
        requirement = Requirement(entry.partition(" --hash")[0])
        [specifier] = requirement.specifier
        assert specifier.operator == "==", entry
        found[canonicalize_name(requirement.name)] = specifier.version
    return found


def asked_for() -> list[Requirement]:
    """Returns the requirements of production in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_every_requirement_of_production_has_hashes() -> None:
    """One without makes pip refuse the whole file."""
    assert entries(PRODUCTION)
    assert [entry for entry in entries(PRODUCTION) if not HASH.search(entry)] == []


def test_the_tests_run_with_what_production_installs() -> None:
    everything = pins(ALL)
    assert {name: everything.get(name) for name in pins(PRODUCTION)} == pins(PRODUCTION)


@pytest.mark.parametrize("requirement", asked_for(), ids=lambda requirement: requirement.name)
def test_the_pinned_versions_satisfy_setup_cfg(requirement: Requirement) -> None:
    """A bound that was changed without `make requirements` shows here."""
    assert requirement.specifier.contains(pins(PRODUCTION)[canonicalize_name(requirement.name)])


def test_the_image_installs_by_hashes_alone() -> None:
    [line] = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if "requirement requirements.txt" in line]
    assert "--require-hashes" in line
    assert "--only-binary=:all:" in line


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("version", PROMISED)
def test_pip_takes_the_hashes_for_each_python_that_we_promise(version: str, tmp_path: Path) -> None:
    """Every wheel that the image would install is downloaded and compared; nothing is installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version]
    command += ["--target", str(tmp_path), "--requirement", str(PRODUCTION)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and UNREACHABLE.search(done.stdout + done.stderr):
        missing("needs the package index")
    assert done.returncode == 0, done.stderr[-2_000:]
    assert all(
        f"{name}-{version}" in done.stdout.replace("_", "-").lower() for name, version in pins(PRODUCTION).items()
    )
