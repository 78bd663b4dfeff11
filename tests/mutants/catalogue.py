"""Every mutant, by area of the service."""

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
    "an order's obligations and replies": core_orders.MUTANTS,
    "refunds, and effects in flight": core_refunds.MUTANTS,
    "rechecks of refunds": core_rechecks.MUTANTS,
    "the ledger": ledger.MUTANTS,
    "the ledger's in-flight effects and pending replies": ledger_in_flight.MUTANTS,
    "the ledger while a customer authenticates": ledger_awaiting.MUTANTS,
    "the ledger under bursts": ledger_bursts.MUTANTS,
    "orders that are set aside": set_aside.MUTANTS,
    "the Stripe actor": stripe_actor.MUTANTS,
    "calls to Stripe": stripe_calls.MUTANTS,
    "our key at Stripe": stripe_key.MUTANTS,
    "NATS": nats.MUTANTS,
    "MongoDB": store.MUTANTS,
    "a store that answers and can't be used": store_use.MUTANTS,
    "HTTP": http.MUTANTS,
    "hostile clients": http_hostile.MUTANTS,
    "service and supervisor": supervisor.MUTANTS,
    "telemetry": telemetry.MUTANTS,
    "settings, address and login": settings.MUTANTS,
}

MUTANTS = tuple(mutant for mutants in AREAS.values() for mutant in mutants)
