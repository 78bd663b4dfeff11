"""Documents of release 0.1.0, which charged by the Charges API, in the form of later ones.

Every settled attempt is carried on as it is: its refund goes by the charge's id. For one whose outcome is not known
there is one rule: its charge is looked for in the list of the order's transfer group until 25 h after its last send,
and it is never sent again. So nothing of a card is carried on.

This module goes when no document of format 1 is left that is not at rest.
"""

from collections.abc import Mapping
from typing import Any

from payment.core.formats import FORMAT_OF_0_2_0

UNKNOWN_OUTCOME = frozenset({"charging", "error stored", "abandoned"})
"""States of 0.1.0 in which a charge might still land."""

Document = Mapping[str, Any]


def upgraded(document: Document) -> Document:
    """A stored document in the form of format 2; the same object where it is of format 2 or higher already."""
    if document.get("format", 1) != 1:
        return document
    payment = document.get("payment")
    if not isinstance(payment, Mapping):
        return {**document, "format": FORMAT_OF_0_2_0}
    stored = [*_list(payment, "attempts"), *_list(payment, "strays")]
    if not all(isinstance(attempt, Mapping) for attempt in stored):
        return {**document, "format": FORMAT_OF_0_2_0}  # not an order: the store that reads it reports that
    attempts = [_attempt(attempt) for attempt in _list(payment, "attempts")]
    strays = [{**stray, "number": number} for number, stray in enumerate(_list(payment, "strays"), len(attempts) + 1)]
    return {**document, "format": FORMAT_OF_0_2_0, "payment": {**payment, "attempts": [*attempts, *strays]}}


def _list(payment: Document, name: str) -> list[Any]:
    value = payment.get(name, [])
    return list(value) if isinstance(value, list | tuple) else []


def _attempt(attempt: Document) -> Document:
    state = attempt.get("state")
    if not isinstance(state, str) or state not in UNKNOWN_OUTCOME:
        return attempt
    sent = attempt.get("lastSent")
    stored = attempt.get("task")
    task = {"issued": sent, "due": sent, **(stored if isinstance(stored, Mapping) else {}), "kind": "list"}
    task.pop("notBefore", None)
    unsettled = {**attempt, "state": "charging", "task": task}
    unsettled.pop("settled", None)
    return unsettled
