"""The Mongo actor, called the ledger: it makes every change of every order, and nothing leaves it before a write."""
