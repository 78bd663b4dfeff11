"""The Mongo actor, called the ledger: every change of every order goes through it, and nothing leaves before a write."""
