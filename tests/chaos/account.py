"""A broken order's story, for whoever has to find out: who did and said what, in the order of time.

Owns: the form of that story, and the folder of a round that failed. Must never judge. Change together with: `judge`,
whose breaches name the order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from pprint import pformat
from typing import Any

from tests.chaos.judge import Books
from tests.chaos.load import Story

ACCOUNT = "account.txt"
BOOKS = "books.json"
LINE_CHARS = 400


def orders_in(found: Iterable[str], books: Books) -> list[str]:
    """The orders that breaches are about, each once."""
    return [order for order in books.stories if any(order in breach for breach in found)]


def account_of(order: str, books: Books, diary: Iterable[tuple[float, str]] = ()) -> str:
    """Everything about one order: what was planned, what happened when, and how the books are."""
    story = books.stories[order]
    lines = sorted([*_deeds(story), *_requests(story), *_stripe(order, books), *_log(order, books), *diary])
    text = [f"order {order}: {story.customer}", ""]
    text += [f"{_clock(at)}  {what[:LINE_CHARS]}" for at, what in lines]
    shown = [(each["id"], each["status"], each["latest_charge"]) for each in books.intents.get(order, [])]
    text += ["", "its intents at Stripe:", *(f"  {' '.join(map(str, each))}" for each in shown)]
    text += ["", "on the bus:", *(f"  {subject} {payload}" for subject, payload in books.events.get(order, []))]
    text += ["", "GET says:", *(f"  {view.status} {view.body}" for view in story.views)]
    text += ["", "the document:", pformat(books.evidence.orders.get(order), width=120), ""]
    return "\n".join(text)


def keep(folder: Path, books: Books, found: list[str], diary: list[tuple[float, str]], heading: str) -> Path:
    """Write the round's account beside its logs; its path is returned."""
    accounts = [account_of(order, books, diary) for order in orders_in(found, books)]
    strikes = [f"{_clock(at)}  {what}" for at, what in diary]
    text = "\n".join([heading, "", *found, "", "strikes:", *strikes, "", *accounts])
    (folder / ACCOUNT).write_text(text)
    shown: dict[str, Any] = {"stripe": books.evidence.books, "orders": books.evidence.orders, "stories": books.stories}
    shown["events"] = [(event.subject, event.data.decode()) for event in books.evidence.events]
    (folder / BOOKS).write_text(json.dumps(shown, default=str, indent=1))
    return folder / ACCOUNT


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def _deeds(story: Story) -> list[tuple[float, str]]:
    return list(story.deeds)


def _requests(story: Story) -> Iterable[tuple[float, str]]:
    for asked in story.asked:
        yield asked.began, f"customer asks service-{asked.process} with {asked.token}"
        answer = "no answer" if asked.answer is None else f"{asked.answer.status} {asked.answer.body}"
        yield asked.ended, f"customer is told by service-{asked.process}, asked with {asked.token}: {answer}"


def _stripe(order: str, books: Books) -> Iterable[tuple[float, str]]:
    for charge in books.charges.get(order, []):
        of_intent = f"{charge['id']} {charge['status']} of {charge.get('payment_intent')}"
        yield charge["created"], f"Stripe: {of_intent} (to the second)"
        for refund in books.refunds.values():
            if refund["charge"] == charge["id"]:
                yield refund["created"], f"Stripe: {refund['id']} of {charge['id']} {refund['status']} (to the second)"


def _log(order: str, books: Books) -> Iterable[tuple[float, str]]:
    for line in books.log:
        if order in line and line.startswith("{"):
            said: dict[str, Any] = json.loads(line)
            at = datetime.fromisoformat(said["ts"]).timestamp()
            told = {name: value for name, value in said.items() if name not in ("ts", "service", "order_id")}
            yield at, f"log: {told}"
