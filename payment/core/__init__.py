"""The core: what an order is, what a message does to it, and what the world still owes it.

Nothing in this package can wait: no clock, no randomness, no I/O. `tests/unit/core/test_purity.py` walks its imports.
"""
