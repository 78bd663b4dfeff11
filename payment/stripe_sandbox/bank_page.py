"""The page on which "the bank" asks the customer to authenticate, and the effect of its two buttons.

    GET  /_bank/authenticate/{id}             the page; `next_action` of an intent leads here
    POST /_bank/authenticate/{id}/complete    the customer authenticates
    POST /_bank/authenticate/{id}/fail        the customer fails to authenticate

A POST redirects to the `return_url` with Stripe's query parameters. Without a `return_url` (Stripe.js shows the page in
a frame or a window) the answer is a page that sends its opener the message `3DS-authentication-complete`. With `Accept:
application/json` the answer is the intent's id and status. An id is valid for one answer: the page of an attempt that
was replaced, canceled or answered shows that it is closed.
"""

from html import escape
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec
from aiohttp import web

from payment.stripe_sandbox.account import Account
from payment.stripe_sandbox.confirming import BANK_PATH
from payment.stripe_sandbox.currencies import formatted_amount
from payment.stripe_sandbox.intent_objects import PaymentIntent

REDIRECT_STATUS = {"succeeded": "succeeded", "processing": "pending"}
"""The `redirect_status` of each intent status; `failed` for all others."""
DONE_MESSAGE = "3DS-authentication-complete"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1a1f36}"
    "main{max-width:26rem;margin:3rem auto;padding:1.5rem;background:#fff;border-radius:8px;box-shadow:0 1px 4px #0002}"
    "button{font:inherit;padding:.5rem 1rem;margin:.25rem .5rem .25rem 0;border:0;border-radius:6px;cursor:pointer}"
    ".yes{background:#0a7d44;color:#fff}.no{background:#c0392b;color:#fff}"
)


class BankPage:
    """The handlers of `/_bank/`. They need no key: the id in the path authorises the customer."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[web.RouteDef]:
        page = f"{BANK_PATH}/{{id}}"
        return [
            web.get(page, self.show),
            web.post(f"{page}/complete", self.complete),
            web.post(f"{page}/fail", self.fail),
        ]

    async def show(self, request: web.Request) -> web.Response:
        intent = self._awaiting(request)
        if intent is None:
            return _no_longer_open()
        base = escape(f"{BANK_PATH}/{request.match_info['id']}")
        amount = escape(formatted_amount(intent.amount, intent.currency))
        body = (
            f"<h1>Test bank</h1><p>A payment of <strong>{amount}</strong> wants your confirmation.</p>"
            f'<form method="post" action="{base}/complete"><button class="yes" id="complete">Complete</button></form>'
            f'<form method="post" action="{base}/fail"><button class="no" id="fail">Fail</button></form>'
            "<p>This is the 3-D Secure page of the Stripe sandbox. No money moves.</p>"
        )
        return _page(body)

    async def complete(self, request: web.Request) -> web.Response:
        return self._answer(request, authenticated=True)

    async def fail(self, request: web.Request) -> web.Response:
        return self._answer(request, authenticated=False)

    def _answer(self, request: web.Request, authenticated: bool) -> web.Response:
        intent = self._awaiting(request)
        after = None if intent is None else self._account.answer_bank(intent, authenticated)
        as_json = "application/json" in request.headers.get("Accept", "")
        if intent is None or after is None:
            return _json({"error": {"message": "no longer open"}}, 409) if as_json else _no_longer_open()
        if as_json:
            return _json({"id": after.id, "status": after.status}, 200)
        redirect = (intent.next_action or {}).get("redirect_to_url")
        if redirect is not None:
            raise web.HTTPSeeOther(_return_url(redirect["return_url"], after))
        return _page(
            f"<h1>Test bank</h1><p>Thank you. You can close this window.</p>"
            f"<script>for(const w of [window.opener,window.parent])if(w&&w!==window)w.postMessage('{DONE_MESSAGE}','*')"
            "</script>"
        )

    def _awaiting(self, request: web.Request) -> PaymentIntent | None:
        return self._account.database.intents.awaiting(request.match_info["id"])


def _return_url(url: str, intent: PaymentIntent) -> str:
    """Returns the merchant's URL with the query parameters that Stripe adds."""
    parts = urlsplit(url)
    added = urlencode(
        {
            "payment_intent": intent.id,
            "payment_intent_client_secret": intent.client_secret or "",
            "redirect_status": REDIRECT_STATUS.get(intent.status, "failed"),
        }
    )
    return urlunsplit(parts._replace(query=f"{parts.query}&{added}" if parts.query else added))


def _no_longer_open() -> web.Response:
    return _page("<h1>Test bank</h1><p>This payment no longer waits for your confirmation.</p>", 410)


def _page(body: str, status: int = 200) -> web.Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Test bank</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def _json(shown: object, status: int) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(shown), content_type="application/json")
