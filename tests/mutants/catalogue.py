"""Every mutant, room by room."""

from tests.mutants import (
    core_attempts,
    core_intents,
    core_orders,
    core_refunds,
    http,
    ledger,
    ledger_awaiting,
    ledger_crowd,
    ledger_hands,
    nats,
    store,
    stripe_actor,
    stripe_calls,
    stripe_key,
    supervisor,
)
from tests.mutants.mutant import Mutant

ROOMS: dict[str, tuple[Mutant, ...]] = {
    "how an attempt ends": core_attempts.MUTANTS,
    "the one open intent of an order": core_intents.MUTANTS,
    "what an order is owed and told": core_orders.MUTANTS,
    "what is given back, and who has what in hand": core_refunds.MUTANTS,
    "the ledger": ledger.MUTANTS,
    "what the ledger has given out, and has waiting": ledger_hands.MUTANTS,
    "the ledger while a bank wants the customer": ledger_awaiting.MUTANTS,
    "the ledger under a crowd": ledger_crowd.MUTANTS,
    "the Stripe actor": stripe_actor.MUTANTS,
    "calls to Stripe": stripe_calls.MUTANTS,
    "our key at Stripe": stripe_key.MUTANTS,
    "NATS": nats.MUTANTS,
    "MongoDB": store.MUTANTS,
    "HTTP": http.MUTANTS,
    "the house": supervisor.MUTANTS,
}

MUTANTS = tuple(mutant for mutants in ROOMS.values() for mutant in mutants)
