"""Webhook endpoints: those of `/v1/webhook_endpoints`, and one that is given on the command line."""

import re
import secrets
from collections.abc import Sequence

from payment.stripe_sandbox.calls import PAGE_PARAMS, ApiCall, Endpoint, Result, page_of
from payment.stripe_sandbox.database import Database
from payment.stripe_sandbox.errors import ApiError, ExecutionError, missing, no_such
from payment.stripe_sandbox.event_records import ALL_EVENTS, WebhookEndpoint
from payment.stripe_sandbox.instruments import read_url
from payment.stripe_sandbox.objects import ObjectList, new_id
from payment.stripe_sandbox.params import Params

ENDPOINTS_MAX = 16
"""Stripe's limit for an account."""
SECRET_PREFIX = "whsec_"
SECRET_BYTES = 24
EVENT_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
SCHEMES = ("http://", "https://")


class Webhooks:
    """The endpoints of `/v1/webhook_endpoints`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._records = database.events

    def table(self) -> tuple[Endpoint, ...]:
        base, one, kind = "/v1/webhook_endpoints", "/v1/webhook_endpoints/{id}", "webhook_endpoint"
        return (
            Endpoint("webhook_endpoints.create", "POST", base, self.create, kind),
            Endpoint("webhook_endpoints.list", "GET", base, self.list, kind),
            Endpoint("webhook_endpoints.retrieve", "GET", one, self.retrieve, kind),
            Endpoint("webhook_endpoints.update", "POST", one, self.update, kind),
            Endpoint("webhook_endpoints.delete", "DELETE", one, self.delete, kind),
        )

    def create(self, call: ApiCall) -> Result:
        params = call.params
        params.allow(
            "url",
            "enabled_events",
            "enabled_events[*]",
            "description",
            "metadata",
            "metadata[*]",
            "api_version",
            "connect",
        )
        url = _read_endpoint_url(params)
        if url is None:
            raise missing("url")
        events = _read_events(params)
        if not events:
            raise missing("enabled_events")
        if params.boolean("connect"):
            raise ApiError("There are no connected accounts in the sandbox.", param="connect")
        endpoint = self._add(url, events, new_secret())
        endpoint.api_version = params.text("api_version")
        endpoint.description = params.text("description")
        endpoint.metadata = params.metadata()
        self._records.change_endpoint(endpoint)
        endpoint.secret = self._records.secret(endpoint.id)
        return endpoint

    def list(self, call: ApiCall) -> Result:
        call.params.allow(*PAGE_PARAMS)
        page = page_of(call.params, "webhook_endpoint", self._records.endpoint)
        endpoints, more = self._records.endpoint_page(page)
        return ObjectList(endpoints, more, "/v1/webhook_endpoints")

    def retrieve(self, call: ApiCall) -> Result:
        call.params.allow()
        return self._found(call)

    def update(self, call: ApiCall) -> Result:
        params = call.params
        params.allow("url", "enabled_events[*]", "description", "metadata", "metadata[*]", "disabled")
        endpoint = self._found(call)
        endpoint.url = _read_endpoint_url(params) or endpoint.url
        endpoint.enabled_events = _read_events(params) or endpoint.enabled_events
        if params.has("description"):
            endpoint.description = None if params.empty("description") else params.text("description")
        endpoint.metadata = params.changed_metadata(endpoint.metadata)
        disabled = params.boolean("disabled")
        if disabled is not None:
            endpoint.status = "disabled" if disabled else "enabled"
        self._records.change_endpoint(endpoint)
        return endpoint

    def delete(self, call: ApiCall) -> Result:
        call.params.allow()
        endpoint = self._found(call)
        self._records.delete_endpoint(endpoint.id)
        return {"id": endpoint.id, "object": "webhook_endpoint", "deleted": True}

    def ensure(self, url: str, secret: str) -> None:
        """Create or update an endpoint for every event at a URL, signed with a secret that its owner already knows."""
        with self._database.transaction():
            for endpoint in self._records.endpoints():
                if endpoint.url == url:
                    if self._records.secret(endpoint.id) == secret:
                        return
                    self._records.delete_endpoint(endpoint.id)
            self._add(url, [ALL_EVENTS], secret)

    def _add(self, url: str, events: Sequence[str], secret: str) -> WebhookEndpoint:
        if len(self._records.endpoints()) >= ENDPOINTS_MAX:
            raise ExecutionError(f"You have reached the maximum of {ENDPOINTS_MAX} test webhook endpoints.")
        endpoint = WebhookEndpoint(
            id=new_id("we"),
            created=int(self._database.now()),
            description=None,
            enabled_events=[*events],
            metadata={},
            url=url,
        )
        self._records.add_endpoint(endpoint, secret)
        return endpoint

    def _found(self, call: ApiCall) -> WebhookEndpoint:
        endpoint = self._records.endpoint(call.object_id)
        if endpoint is None:
            raise no_such("webhook endpoint", call.object_id, param="id", status=404)
        return endpoint


def new_secret() -> str:
    return SECRET_PREFIX + secrets.token_hex(SECRET_BYTES)


def _read_endpoint_url(params: Params) -> str | None:
    url = read_url(params, "url")
    if url is not None and not url.startswith(SCHEMES):
        raise ApiError("Invalid URL: URLs must begin with http:// or https://.", code="url_invalid", param="url")
    return url


def _read_events(params: Params) -> list[str]:
    events = params.listed("enabled_events")
    for name in events:
        if name != ALL_EVENTS and EVENT_NAME.fullmatch(name) is None:
            raise ApiError(f"Invalid enabled_events: {name} is no event", param="enabled_events")
    return events
