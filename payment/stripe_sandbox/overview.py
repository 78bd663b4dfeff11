"""`/`: a page of the account's objects, newest first. It loads nothing from other hosts, and runs no script."""

from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape

from aiohttp import web

from payment.stripe_sandbox.account import Account
from payment.stripe_sandbox.confirming import BANK_PATH
from payment.stripe_sandbox.currencies import formatted_amount
from payment.stripe_sandbox.intent_objects import PaymentIntent
from payment.stripe_sandbox.pages import ObjectPage

ROWS = 50
"""Rows of each table: a page that a person reads."""
STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:2rem;color:#1a1f36}table{border-collapse:collapse;margin:0 0 2rem}"
    "th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #e3e8ee;white-space:nowrap}"
    "h2{font-size:1rem;margin:0 0 .3rem}code{font-size:12px}"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'",
}


class Overview:
    """The handler of `/`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._database = account.database

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self.show)]

    async def show(self, _: web.Request) -> web.Response:
        self._account.settle()
        sections = (self._intents(), self._charges(), self._refunds(), self._disputes(), self._endpoints())
        body = "".join((*sections, self._events()))
        text = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Stripe sandbox</title>'
            f"<style>{STYLE}</style></head><body><h1>Stripe sandbox</h1>{body}</body></html>"
        )
        return web.Response(text=text, content_type="text/html", headers=HEADERS)

    def _intents(self) -> str:
        intents, _ = self._database.intents.page(ObjectPage(ROWS))
        rows = [
            (
                _time(each.created),
                each.id,
                formatted_amount(each.amount, each.currency),
                each.status,
                each.latest_charge,
                each.transfer_group,
                _Link(path) if (path := _bank_path(each)) else None,
            )
            for each in intents
        ]
        heads = ("created (UTC)", "intent", "amount", "status", "latest charge", "group", "bank's page")
        return _table("Payment intents", heads, rows)

    def _charges(self) -> str:
        charges, _ = self._database.charges({}, ObjectPage(ROWS))
        rows = [
            (
                _time(each.created),
                each.id,
                formatted_amount(each.amount, each.currency),
                each.status,
                each.failure_code,
                formatted_amount(each.amount_refunded, each.currency) if each.amount_refunded else None,
                each.payment_intent,
                each.transfer_group,
            )
            for each in charges
        ]
        heads = ("created (UTC)", "charge", "amount", "status", "failure", "refunded", "intent", "group")
        return _table("Charges", heads, rows)

    def _refunds(self) -> str:
        refunds, _ = self._database.refunds({}, ObjectPage(ROWS))
        rows = [
            (_time(each.created), each.id, formatted_amount(each.amount, each.currency), each.status, each.charge)
            for each in refunds
        ]
        return _table("Refunds", ("created (UTC)", "refund", "amount", "status", "charge"), rows)

    def _disputes(self) -> str:
        disputes, _ = self._database.disputes({}, ObjectPage(ROWS))
        rows = [(_time(each.created), each.id, each.reason, each.status, each.charge) for each in disputes]
        return _table("Disputes", ("created (UTC)", "dispute", "reason", "status", "charge"), rows)

    def _endpoints(self) -> str:
        rows = [
            (_time(each.created), each.id, each.url, each.status, ", ".join(each.enabled_events))
            for each in self._database.events.endpoints()
        ]
        return _table("Webhook endpoints", ("created (UTC)", "endpoint", "URL", "status", "events"), rows)

    def _events(self) -> str:
        events, _ = self._database.events.page(ObjectPage(ROWS))
        rows = [
            (_time(each.created), each.id, each.type, each.data["object"]["id"], str(each.pending_webhooks))
            for each in events
        ]
        return _table("Events", ("created (UTC)", "event", "type", "object", "undelivered"), rows)


class _Link(str):
    """A path of the sandbox that is rendered as a link."""

    __slots__ = ()


def _bank_path(intent: PaymentIntent) -> str | None:
    """Returns the path of the bank's page that an intent waits at; None if it waits for no customer."""
    action = intent.next_action
    if action is None:
        return None
    details = action[action["type"]]
    url: str = details.get("url") or details["stripe_js"]
    return f"{BANK_PATH}/{url.rpartition('/')[2]}"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(title: str, heads: Iterable[str], rows: Iterable[Iterable[str | None]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _cell(value: str | None) -> str:
    if isinstance(value, _Link):
        return f'<td><a href="{escape(value)}">open</a></td>'
    return f"<td>{escape(value or '')}</td>"
