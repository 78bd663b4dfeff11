"""The core: what an order is, how a message changes it, and which effects are pending for it.

Nothing in this package waits: it has no clock, no randomness and no I/O. `tests/unit/core/test_purity.py` checks its
imports.
"""
