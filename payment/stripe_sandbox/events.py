"""Stripe's events, each recorded in the transaction of the change that it reports.

It must never record an event of a change that is rolled back: callers record inside the change's own transaction.
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from payment.stripe_sandbox.calls import PAGE_PARAMS, ApiCall, Endpoint, Result, page_of
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError, no_such
from payment.stripe_sandbox.event_records import StripeEvent
from payment.stripe_sandbox.objects import ObjectList, new_id

API_VERSION = "2026-10-28.endive"
"""The sandbox's API version, of events and of answers to requests that name none. The objects do not depend on it."""


class Events:
    """Records events, and has the endpoints that show them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.on_delivery: Callable[[], None] | None = None
        """Called when there is an event to deliver. It must not read the event: the transaction is still open."""

    def table(self) -> tuple[Endpoint, ...]:
        return (
            Endpoint("events.retrieve", "GET", "/v1/events/{id}", self.retrieve, "event"),
            Endpoint("events.list", "GET", "/v1/events", self.list, "event"),
        )

    def record(self, kind: str, subject: Struct, call: ApiCall | None) -> None:
        """Record an event of a changed object. `call` is the request that changed it, if one did."""
        request = {
            "id": call.request_id if call else None,
            "idempotency_key": call.idempotency_key if call else None,
        }
        event = StripeEvent(
            id=new_id("evt"),
            api_version=API_VERSION,
            created=int(self._database.now()),
            data={"object": msgspec.to_builtins(subject)},
            request=request,
            type=kind,
        )
        if self._database.events.add(event, self._database.now()) and self.on_delivery is not None:
            self.on_delivery()

    def retrieve(self, call: ApiCall) -> Result:
        call.params.allow()
        event = self._database.events.get(call.object_id)
        if event is None:
            raise no_such("event", call.object_id, param="id", status=404)
        return event

    def list(self, call: ApiCall) -> Result:
        params = call.params
        params.allow("type", "types[*]", "delivery_success", *PAGE_PARAMS)
        kind, kinds = params.text("type"), params.listed("types")
        if kind is not None and kinds:
            raise ApiError("You may only specify one of these parameters: type, types.", param="type")
        page = page_of(params, "event", self._database.events.get)
        events, more = self._database.events.page(page, [kind] if kind else kinds, params.boolean("delivery_success"))
        return ObjectList(events, more, "/v1/events")
