"""What the tests here share."""

from tests.flows.fixtures import bus, house, servers

__all__ = ["bus", "house", "servers"]
