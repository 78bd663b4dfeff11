"""Documents of release 0.1.0, which charged through the Charges API, converted to format 2.

A settled attempt stays as it is: its refund uses the charge's id. An attempt whose outcome is not known is never sent
again: until 25 h after its last send its charge is searched for in the list of the order's transfer group. So no card
data is converted.

Delete this module when every document of format 1 is settled.
"""

from collections.abc import Mapping
from typing import Any

from payment.core.formats import FORMAT_OF_0_2_0

UNKNOWN_OUTCOME = frozenset({"charging", "error stored", "abandoned"})
"""States of 0.1.0 in which the attempt might still charge the card."""

Document = Mapping[str, Any]


def upgraded(document: Document) -> Document:
    """Returns a stored document in format 2; the same object where its format is 2 or higher already."""
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
