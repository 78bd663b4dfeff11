"""The whole service as real processes, seen by a client and neighbours that know only the contract."""
