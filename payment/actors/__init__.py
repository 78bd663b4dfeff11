"""The four actors, a package each, and what they share: `messages.py` (the messages of all mailboxes) and `runtime/`.

    runtime/   actor, mailbox, supervisor, deadlines: it imports no message
    http/      HTTP: requests in, the ledger's replies out
    nats/      NATS: the platform's events in, ours out
    stripe/    Stripe: every call, at the rate that Stripe allows
    ledger/    MongoDB: every change of every order, one order's changes one after another

Each package's `actor.py` reads the actor's mailbox. No actor imports another; `runtime/` imports none of them.
"""
