"""The operators' addresses: `/healthz`, `/readyz`, `/metrics` and `/openapi.json`.

They stand on the port that takes charges, so nothing here may cost what a charge needs: metrics are rendered once a
second at most, however often they are asked for. With an ops key set, metrics and the reasons in `/readyz` are for its
bearer alone: reasons name hosts, and counts show how a card tester fares. Statuses are for all, since a host's health
check sends no key.
"""

import hmac
from collections.abc import Callable

from aiohttp import web

from payment.actors.http.openapi import document
from payment.actors.http.responses import AliveBody, Case, Rendered, StuckBody, error, plain
from payment.ops.health import Health, Status
from payment.ops.metrics import Metrics
from payment.ops.secret import Secret
from payment.ports.clock import Clock

METRICS_EVERY_S = 1.0
"""How long a rendered exposition is sent again, in seconds. To render costs a millisecond, and
Prometheus asks every 15 s."""


class OpsPages:
    """Answers at the operators' addresses. `stuck` names the actors that have been at one thing for too long."""

    def __init__(
        self,
        ops_key: Secret | None,
        clock: Clock,
        health: Health,
        metrics: Metrics,
        stuck: Callable[[], list[str]],
    ) -> None:
        self._ops_key = ops_key
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._stuck = stuck
        self._exposition = b""
        self._rendered_at = float("-inf")

    def alive(self) -> Rendered:
        """Whether an actor is stuck, as it is at this instant. That this answers shows that the event loop runs."""
        stuck = self._stuck()
        return plain(Case.STUCK, StuckBody(tuple(stuck))) if stuck else plain(Case.ALIVE, AliveBody())

    def ready(self, request: web.BaseRequest) -> Rendered:
        """What the service can do now; with the reasons only for the key's bearer, where there is a key."""
        view = self._health.view()
        case = Case.NOT_READY if view.status is Status.UNAVAILABLE else Case.READY
        return plain(case, view if self.opened_by(request) else view.without_reasons())

    def metrics(self, request: web.BaseRequest) -> Rendered:
        """All metrics, at most `METRICS_EVERY_S` old."""
        if not self.opened_by(request):
            challenge = (("WWW-Authenticate", 'Bearer realm="operators"'),)
            return error(Case.NO_OPS_KEY, "The ops key is wanted as a bearer token", headers=challenge)
        now = self._clock.monotonic()
        if now - self._rendered_at >= METRICS_EVERY_S:
            self._exposition, self._rendered_at = self._metrics.render(), now
        return plain(Case.METRICS, self._exposition)

    def document(self) -> Rendered:
        """The OpenAPI document."""
        return plain(Case.DOCUMENT, document())

    def opened_by(self, request: web.BaseRequest) -> bool:
        """Whether the request may see what is for operators: all may where no key is set."""
        if self._ops_key is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        # A comparison that ends at the first difference would tell how much of a guess is right.
        known = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._ops_key.reveal().encode())
        return scheme.lower() == "bearer" and known
