"""The Protocols by which actors reach everything outside the process. `payment.adapters` has the real ones."""
