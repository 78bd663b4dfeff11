"""The whole service as real processes, tested by a client and peer services that know only the contract."""
