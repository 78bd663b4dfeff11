"""`expand`: replaces ids by the objects that they name, as in docs.stripe.com/expand.

A path that the object does not have is refused before anything is executed.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError
from payment.stripe_sandbox.objects import ObjectList
from payment.stripe_sandbox.pages import ObjectPage

DEPTH_MAX = 4
"""Stripe's limit on nested expansions."""
REFUNDS_SHOWN = 10
"""Number of refunds listed in a charge: one page."""
NOTHING = ""
"""Marks a field that Stripe can expand and that is always null here."""

EXPANDABLE: dict[str, dict[str, str]] = {
    "payment_intent": {
        "latest_charge": "charge",
        "payment_method": "payment_method",
        "application": NOTHING,
        "customer": NOTHING,
        "on_behalf_of": NOTHING,
        "review": NOTHING,
        "source": NOTHING,
    },
    "charge": {
        "payment_intent": "payment_intent",
        "refunds": "refunds",
        "application": NOTHING,
        "application_fee": NOTHING,
        "customer": NOTHING,
        "on_behalf_of": NOTHING,
        "review": NOTHING,
        "source_transfer": NOTHING,
    },
    "refund": {
        "charge": "charge",
        "payment_intent": "payment_intent",
        "source_transfer_reversal": NOTHING,
        "transfer_reversal": NOTHING,
    },
    "refunds": {},
    "payment_method": {"customer": NOTHING},
    "dispute": {"charge": "charge", "payment_intent": "payment_intent"},
}
"""By object type: the type behind each field that can be expanded."""


class Expander:
    """Checks and follows the paths of `expand`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._find: dict[str, Callable[[str], Any]] = {
            "charge": database.charge,
            "payment_intent": database.intents.get,
            "payment_method": self._method,
        }

    def check(self, kind: str, lists: bool, paths: list[str]) -> list[list[str]]:
        """Returns the paths, split at their dots. Raises ApiError for one that `kind`, or a list of it, does not
        have.
        """
        return [self._checked(kind, lists, path) for path in paths]

    def _checked(self, kind: str, lists: bool, path: str) -> list[str]:
        fields = path.split(".")
        if len(fields) > DEPTH_MAX:
            raise ApiError(f"You cannot expand more than {DEPTH_MAX} levels of a property.", param="expand")
        rest = fields
        if lists:
            if fields[0] != "data":
                raise cannot_be_expanded(fields[0])
            rest = fields[1:]
        for field in rest:
            if kind == "refunds" and field == "data":
                kind = "refund"
                continue
            if field not in EXPANDABLE.get(kind, {}):
                raise cannot_be_expanded(field)
            kind = EXPANDABLE[kind][field]
        return fields

    def expanded(self, shown: Any, paths: list[list[str]]) -> Any:
        """Returns an object as plain JSON values, with these paths expanded."""
        plain = msgspec.to_builtins(shown)
        for path in paths:
            self._follow(plain, path)
        return plain

    def _follow(self, node: Any, path: list[str]) -> None:
        if not path or node is None:
            return
        if isinstance(node, list):
            for element in node:
                self._follow(element, path)
            return
        field, rest = path[0], path[1:]
        if node.get("object") == "list":
            self._follow(node["data"], rest)
            return
        if field == "refunds" and "refunds" not in node:
            node["refunds"] = self._refunds(node["id"])
        elif isinstance(node.get(field), str):
            kind = EXPANDABLE[node["object"]][field]
            node[field] = msgspec.to_builtins(self._find[kind](node[field]))
        self._follow(node[field], rest)

    def _refunds(self, charge_id: str) -> Any:
        refunds, more = self._database.refunds({"charge": charge_id}, ObjectPage(REFUNDS_SHOWN))
        return msgspec.to_builtins(ObjectList(refunds, more, f"/v1/charges/{charge_id}/refunds"))

    def _method(self, method_id: str) -> Any:
        stored = self._database.intents.method(method_id)
        return None if stored is None else stored.object


def cannot_be_expanded(field: str) -> ApiError:
    return ApiError(f"This property cannot be expanded ({field}).", param="expand")
