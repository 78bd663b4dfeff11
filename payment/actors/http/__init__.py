"""The HTTP actor: bytes become a request, the ledger's reply becomes an answer. `actor.py` reads top to bottom."""
