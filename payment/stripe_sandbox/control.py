"""`/_sandbox/`: the controls of the sandbox for tests and demos. Stripe has nothing like it, and they need no key.

    GET, POST, DELETE /_sandbox/faults    {"fault": "drop_after", "endpoint": "charges.create", "times": 1}
    GET, POST /_sandbox/settings          {"latency_ms": 200, "rate_per_s": 100, "charges": false}
    GET, POST /_sandbox/clock             {"skip_s": 90000}
    POST /_sandbox/intents/{id}/complete  the customer authenticates at the bank; `fail`: does not
    POST /_sandbox/refunds/{id}/fail      the bank returns a refund that had succeeded
    POST /_sandbox/charges/{id}/dispute   the bank disputes a charge
    POST /_sandbox/disputes/{id}/win      the bank decides for the merchant; `lose`: for the customer
    GET /_sandbox/books                   every object, and the counts of `audit.py`

Change together: `faults.Fault`, which is the body of a fault.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from payment.stripe_sandbox.app import Sandbox
from payment.stripe_sandbox.audit import audit
from payment.stripe_sandbox.faults import ANY_ENDPOINT, Fault
from payment.stripe_sandbox.objects import Dispute, RefundObject

SKIP_MAX_S = 366 * 86_400
"""A year in seconds: enough for every key to expire, and far from the end of SQLite's or Python's time range."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_T = TypeVar("_T")
_JSON = "application/json"


class SettingsChange(Struct, forbid_unknown_fields=True):
    """The settings to change; the others stay."""

    latency_ms: Annotated[float, Meta(ge=0)] | None = None
    rate_per_s: Annotated[float, Meta(ge=0)] | None = None
    account_rate_per_s: Annotated[float, Meta(ge=0)] | None = None
    charges: bool | None = None


class ClockChange(Struct, forbid_unknown_fields=True):
    """How far to move the clock forward, in seconds: keys age, refunds settle."""

    skip_s: Annotated[float, Meta(ge=0, le=SKIP_MAX_S)]


class Control:
    """The handlers of `/_sandbox/`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "faults", self.show_faults),
            ("POST", "faults", self.add_fault),
            ("DELETE", "faults", self.clear_faults),
            ("GET", "settings", self.show_settings),
            ("POST", "settings", self.change_settings),
            ("GET", "clock", self.show_clock),
            ("POST", "clock", self.skip),
            ("GET", "books", self.show_database),
            ("POST", "intents/{id}/complete", self.complete),
            ("POST", "intents/{id}/fail", self.fail),
            ("POST", "refunds/{id}/fail", self.fail_refund),
            ("POST", "charges/{id}/dispute", self.dispute),
            ("POST", "disputes/{id}/win", self.win),
            ("POST", "disputes/{id}/lose", self.lose),
        ]
        return [web.route(method, f"/_sandbox/{name}", _guarded(handler)) for method, name, handler in table]

    async def show_faults(self, _: web.Request) -> web.Response:
        return _shown({"faults": self._sandbox.faults.pending})

    async def add_fault(self, request: web.Request) -> web.Response:
        fault = await _body(request, Fault)
        names = [endpoint.name for endpoint in self._sandbox.endpoints]
        if fault.endpoint not in (*names, ANY_ENDPOINT):
            return _refused(f"no endpoint {fault.endpoint}; there are {', '.join(names)} and {ANY_ENDPOINT}")
        if not self._sandbox.faults.add(fault):
            return _refused("too many faults are pending")
        return await self.show_faults(request)

    async def clear_faults(self, request: web.Request) -> web.Response:
        self._sandbox.faults.clear()
        return await self.show_faults(request)

    async def show_settings(self, _: web.Request) -> web.Response:
        settings = self._sandbox.settings
        return _shown({name: getattr(settings, name) for name in SettingsChange.__struct_fields__})

    async def change_settings(self, request: web.Request) -> web.Response:
        change, settings = await _body(request, SettingsChange), self._sandbox.settings
        if change.latency_ms is not None:
            settings.latency_ms = change.latency_ms
        if change.rate_per_s is not None:
            settings.rate_per_s = change.rate_per_s
            self._sandbox.rate_limits.set_rate(change.rate_per_s)
        if change.account_rate_per_s is not None:
            settings.account_rate_per_s = change.account_rate_per_s
            self._sandbox.account_rate_limits.set_rate(change.account_rate_per_s)
        if change.charges is not None:
            settings.charges = change.charges
        return await self.show_settings(request)

    async def show_clock(self, _: web.Request) -> web.Response:
        return _shown({"now": self._sandbox.database.now()})

    async def skip(self, request: web.Request) -> web.Response:
        self._sandbox.database.skip((await _body(request, ClockChange)).skip_s)
        self._sandbox.account.settle()
        self._sandbox.wake_deliveries()
        return await self.show_clock(request)

    async def complete(self, request: web.Request) -> web.Response:
        return self._answer_bank(request, authenticated=True)

    async def fail(self, request: web.Request) -> web.Response:
        return self._answer_bank(request, authenticated=False)

    def _answer_bank(self, request: web.Request, authenticated: bool) -> web.Response:
        """Answer in place of the customer; 409 if the intent waits for no answer."""
        account, intent_id = self._sandbox.account, request.match_info["id"]
        intent = account.database.intents.get(intent_id)
        if intent is None:
            return _refused(f"no intent {intent_id}", 404)
        after = account.answer_bank(intent, authenticated)
        if after is None:
            return _refused(f"intent {intent_id} is {intent.status} and waits for no customer", 409)
        return _shown({"id": after.id, "status": after.status})

    async def fail_refund(self, request: web.Request) -> web.Response:
        self._sandbox.account.settle()
        return _changed(self._sandbox.account.fail_refund(request.match_info["id"]))

    async def dispute(self, request: web.Request) -> web.Response:
        return _changed(self._sandbox.account.dispute(request.match_info["id"]))

    async def win(self, request: web.Request) -> web.Response:
        return _changed(self._sandbox.account.decide(request.match_info["id"], won=True))

    async def lose(self, request: web.Request) -> web.Response:
        return _changed(self._sandbox.account.decide(request.match_info["id"], won=False))

    async def show_database(self, _: web.Request) -> web.Response:
        """Return every object of the account and its counts: `audit.py`."""
        self._sandbox.account.settle()
        return _shown(audit(self._sandbox.database, self._sandbox.counts))


def _guarded(handler: Handler) -> Handler:
    """Answer a malformed control body with a 400 that names the problem."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except msgspec.DecodeError as error:
            return _refused(str(error))

    return handle


async def _body(request: web.Request, kind: type[_T]) -> _T:
    return msgspec.json.decode(await request.read(), type=kind)


def _changed(after: RefundObject | Dispute | None) -> web.Response:
    if after is None:
        return _refused("there is no such object, or it has this status already", 409)
    return _shown({"id": after.id, "status": after.status})


def _shown(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=_JSON)


def _refused(message: str, status: int = 400) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode({"error": {"message": message}}), content_type=_JSON)
