"""The audit of the account for tests of a client: every object, and the counts that the client's rules are about.

intents, charges, refunds,    all objects, oldest first; an intent without its client secret
disputes
succeeded_by_intent           succeeded charges of each intent (never more than one)
orders                        by `metadata[orderId]`: its intents, charges and succeeded charges; `kept`: succeeded
                              charges that are not refunded in full
keys                          idempotency keys: how many are kept, used again after they expired, and sent with more
                              than one set of parameters
requests                      counted since the start, by endpoint
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from payment.stripe_sandbox.database import Database

ORDER_ID = "orderId"
"""The metadata by which the payment service names an order."""


class OrderAudit(Struct):
    """The payments of one order, by their ids."""

    intents: list[str] = []
    charges: list[str] = []
    succeeded: list[str] = []
    kept: list[str] = []


def audit(database: Database, requests: Mapping[str, Counter[str]]) -> dict[str, Any]:
    intents, charges = database.intents.all(), database.all_charges()
    orders: dict[str, OrderAudit] = {}
    for intent in intents:
        intent.client_secret = None
        _order(orders, intent.metadata).intents.append(intent.id)
    succeeded_by_intent: Counter[str] = Counter()
    for charge in charges:
        order = _order(orders, charge.metadata)
        order.charges.append(charge.id)
        if charge.status == "succeeded":
            order.succeeded.append(charge.id)
            if charge.payment_intent is not None:
                succeeded_by_intent[charge.payment_intent] += 1
            if not charge.refunded:
                order.kept.append(charge.id)
    return {
        "intents": intents,
        "charges": charges,
        "refunds": database.all_refunds(),
        "disputes": database.all_disputes(),
        "succeeded_by_intent": succeeded_by_intent,
        "orders": orders,
        "keys": {
            "kept": database.keys_kept(),
            "reused_late": database.keys_reused_late(),
            "parameter_sets": database.parameter_sets(),
        },
        "requests": requests,
    }


def _order(orders: dict[str, OrderAudit], metadata: dict[str, str]) -> OrderAudit:
    return orders.setdefault(metadata.get(ORDER_ID, ""), OrderAudit())
