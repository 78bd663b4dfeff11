"""The fixtures of the fault tests."""

from tests.e2e.fixtures import bus, servers, stack

__all__ = ["bus", "servers", "stack"]
