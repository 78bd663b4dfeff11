"""Every mutant, room by room."""

from tests.mutants import (
    core_attempts,
    core_intents,
    core_orders,
    core_rechecks,
    core_refunds,
    http,
    http_hostile,
    ledger,
    ledger_awaiting,
    ledger_bursts,
    ledger_in_flight,
    nats,
    set_aside,
    settings,
    store,
    store_use,
    stripe_actor,
    stripe_calls,
    stripe_key,
    supervisor,
    telemetry,
)
from tests.mutants.mutant import Mutant

AREAS: dict[str, tuple[Mutant, ...]] = {
    "how an attempt ends": core_attempts.MUTANTS,
    "the one open intent of an order": core_intents.MUTANTS,
    "what an order is owed and told": core_orders.MUTANTS,
    "what is given back, and who has what in hand": core_refunds.MUTANTS,
    "what was given back, and is looked at again": core_rechecks.MUTANTS,
    "the ledger": ledger.MUTANTS,
    "what the ledger has given out, and has waiting": ledger_in_flight.MUTANTS,
    "the ledger while a bank wants the customer": ledger_awaiting.MUTANTS,
    "the ledger under a crowd": ledger_bursts.MUTANTS,
    "orders that are set aside": set_aside.MUTANTS,
    "the Stripe actor": stripe_actor.MUTANTS,
    "calls to Stripe": stripe_calls.MUTANTS,
    "our key at Stripe": stripe_key.MUTANTS,
    "NATS": nats.MUTANTS,
    "MongoDB": store.MUTANTS,
    "a store that is of no use": store_use.MUTANTS,
    "HTTP": http.MUTANTS,
    "clients that mean harm": http_hostile.MUTANTS,
    "the house": supervisor.MUTANTS,
    "what an operator reads": telemetry.MUTANTS,
    "settings, address and login": settings.MUTANTS,
}

MUTANTS = tuple(mutant for mutants in AREAS.values() for mutant in mutants)
