"""The report of a broken order: all actions and answers about it in the order of time.

Owns: the form of that report, and the folder of a round that failed. Must never judge. Change together with: `judge`,
whose breaches name the order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from pprint import pformat
from typing import Any

from tests.chaos.judge import RoundRecords
from tests.chaos.load import OrderHistory

INCIDENT = "incident.txt"
RECORDS = "records.json"
LINE_CHARS = 400


def orders_in(found: Iterable[str], records: RoundRecords) -> list[str]:
    """Returns the orders that breaches are about, each once."""
    return [order for order in records.histories if any(order in breach for breach in found)]


def incident_report(order: str, records: RoundRecords, diary: Iterable[tuple[float, str]] = ()) -> str:
    """Returns everything about one order: its plan, its events in time, and all records of it."""
    history = records.histories[order]
    lines = sorted([*_deeds(history), *_requests(history), *_stripe(order, records), *_log(order, records), *diary])
    text = [f"order {order}: {history.customer}", ""]
    text += [f"{_clock(at)}  {what[:LINE_CHARS]}" for at, what in lines]
    shown = [(each["id"], each["status"], each["latest_charge"]) for each in records.intents.get(order, [])]
    text += ["", "its intents at Stripe:", *(f"  {' '.join(map(str, each))}" for each in shown)]
    text += ["", "on the bus:", *(f"  {subject} {payload}" for subject, payload in records.events.get(order, []))]
    text += ["", "GET returns:", *(f"  {view.status} {view.body}" for view in history.views)]
    text += ["", "the document:", pformat(records.evidence.orders.get(order), width=120), ""]
    return "\n".join(text)


def keep(folder: Path, records: RoundRecords, found: list[str], diary: list[tuple[float, str]], heading: str) -> Path:
    """Write the round's report beside its logs; returns its path."""
    accounts = [incident_report(order, records, diary) for order in orders_in(found, records)]
    strikes = [f"{_clock(at)}  {what}" for at, what in diary]
    text = "\n".join([heading, "", *found, "", "strikes:", *strikes, "", *accounts])
    (folder / INCIDENT).write_text(text)
    shown: dict[str, Any] = {
        "stripe": records.evidence.audit,
        "orders": records.evidence.orders,
        "histories": records.histories,
    }
    shown["events"] = [(event.subject, event.data.decode()) for event in records.evidence.events]
    (folder / RECORDS).write_text(json.dumps(shown, default=str, indent=1))
    return folder / INCIDENT


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def _deeds(history: OrderHistory) -> list[tuple[float, str]]:
    return list(history.deeds)


def _requests(history: OrderHistory) -> Iterable[tuple[float, str]]:
    for asked in history.asked:
        yield asked.began, f"customer asks service-{asked.process} with {asked.token}"
        answer = "no answer" if asked.answer is None else f"{asked.answer.status} {asked.answer.body}"
        yield asked.ended, f"customer is answered by service-{asked.process}, request with {asked.token}: {answer}"


def _stripe(order: str, records: RoundRecords) -> Iterable[tuple[float, str]]:
    for charge in records.charges.get(order, []):
        of_intent = f"{charge['id']} {charge['status']} of {charge.get('payment_intent')}"
        yield charge["created"], f"Stripe: {of_intent} (to the second)"
        for refund in records.refunds.values():
            if refund["charge"] == charge["id"]:
                yield refund["created"], f"Stripe: {refund['id']} of {charge['id']} {refund['status']} (to the second)"


def _log(order: str, records: RoundRecords) -> Iterable[tuple[float, str]]:
    for line in records.log:
        if order in line and line.startswith("{"):
            entry: dict[str, Any] = json.loads(line)
            at = datetime.fromisoformat(entry["ts"]).timestamp()
            fields = {name: value for name, value in entry.items() if name not in ("ts", "service", "order_id")}
            yield at, f"log: {fields}"
