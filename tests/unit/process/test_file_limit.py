"""`payment.process.file_limit`: the limit of open files is raised as far as each system allows, and never lowered."""

import resource

import pytest

from payment.process.file_limit import FILES_WANTED, file_limit, raise_file_limit

INFINITE = 2**63 - 1


class System:
    """A system's limits: `most` is the largest that it accepts, whatever the hard limit is."""

    RLIM_INFINITY = INFINITE
    RLIMIT_NOFILE = 8

    def __init__(self, soft: int, hard: int, most: int = INFINITE, refuses: type[Exception] = ValueError) -> None:
        self.limits = (soft, hard)
        self.most = most
        self.refuses = refuses

    def getrlimit(self, resource: int, /) -> tuple[int, int]:
        assert resource == self.RLIMIT_NOFILE
        return self.limits

    def setrlimit(self, resource: int, limits: tuple[int, int], /) -> None:
        assert resource == self.RLIMIT_NOFILE
        if limits[0] > self.most or limits[1] != self.limits[1]:
            raise self.refuses("current limit exceeds maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("system", "files"),
    [
        (System(1_024, 1_048_576), FILES_WANTED),
        (System(1_024, 4_096), 4_096),
        (System(256, 256), 256),
        (System(65_536, 65_536), 65_536),
        (System(1_024, INFINITE), FILES_WANTED),
        (System(256, INFINITE, most=61_440), FILES_WANTED),
        (System(256, INFINITE, most=24_576), 24_576),
        (System(256, INFINITE, most=10_240), 10_240),
        (System(256, INFINITE, most=10_240, refuses=OSError), 10_240),
        (System(256, INFINITE, most=256), 256),
        (System(INFINITE, INFINITE), INFINITE),
    ],
    ids=[
        "linux",
        "a low hard limit",
        "a limit that can't be raised",
        "more than is wanted",
        "an infinite hard limit",
        "macOS",
        "an older macOS",
        "a macOS that takes its OPEN_MAX only",
        "the same, with another error",
        "a system that allows nothing",
        "no limit",
    ],
)
def test_the_limit_is_raised_as_far_as_it_goes(system: System, files: int) -> None:
    """F51: an infinite hard limit can't be set on macOS, which ended the process at its start."""
    raise_file_limit(system)
    assert system.limits[0] == files
    assert file_limit(system) == (FILES_WANTED if files == INFINITE else files)


def test_this_systems_limits_will_do() -> None:
    """The functions accept the module `resource`."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit(resource)
    assert file_limit(resource) >= min(before[0], FILES_WANTED)
