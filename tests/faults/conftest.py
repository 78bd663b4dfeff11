"""What the tests here share."""

from tests.e2e.fixtures import bus, servers, stack

__all__ = ["bus", "servers", "stack"]
