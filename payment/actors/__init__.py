"""The four actors, a room each, and what they share: `messages.py` (all that lies in a mailbox) and `runtime/`.

    runtime/   actor, mailbox, supervisor, deadlines: knows no message
    http/      HTTP: requests in, the ledger's replies out
    nats/      NATS: the platform's events in, ours out
    stripe/    Stripe: every call, at the rate that Stripe allows
    ledger/    MongoDB: every change of every order, one order's changes one after another

An actor's mailbox is read in its room's `actor.py`. No room imports anything of another; `runtime/` imports none.
"""
