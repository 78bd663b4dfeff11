"""What the tests here share."""

from tests.e2e.fixtures import bus, house, servers

__all__ = ["bus", "house", "servers"]
