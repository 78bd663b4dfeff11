"""The HTTP actor: serves the contract's HTTP, sends requests to the ledger as messages, and renders its replies.

    request ──▶ admit ──▶ authenticate ──▶ parse ──▶ ChargeOrder, GetPayment ──▶ ledger
            ◀── payment.actors.http.responses     ◀──────────────── the message's future ◀──

Its mailbox holds nothing: its input are connections. aiohttp's own server (`web.AppRunner`) parses requests and finds
their handlers; `payment.actors.http.connections` has what aiohttp lacks. The actor knows nothing of MongoDB or Stripe,
and must never read more into a reply than the reply says.

A client that disconnects ends nothing: the message stays, and the same request finds its outcome. An unexpected
exception is answered with 500 and then ends this actor, as every other actor's does: every pending request is answered
first, and the supervisor makes a new actor, which listens on the same sockets. A client secret goes from the ledger's
reply into one response body, and nowhere else.

Change together: `payment.actors.http.routes`, `payment.actors.http.responses`, and the handlers here.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Never

from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct
from multidict import CIMultiDict
from structlog.typing import FilteringBoundLogger

from payment.actors.http.admission import CONNECTIONS_MAX, Admission
from payment.actors.http.auth import (
    SIGNATURES_HINT,
    WRONG_SIGNATURES,
    NotAuthenticated,
    SignatureDoubt,
    authenticate,
)
from payment.actors.http.connections import Connection, Listening, Runner
from payment.actors.http.operations import OpsPages
from payment.actors.http.pending_requests import PendingRequests
from payment.actors.http.refusals import RefusalLog
from payment.actors.http.requests import BadRequest, Rejected, parse_charge, parse_order_query, read_body
from payment.actors.http.responses import (
    PAYMENTS_PATH,
    Case,
    Rendered,
    answer_bytes,
    bad_request,
    charge_answer,
    crashed,
    error,
    no_charges_now,
    payment_answer,
)
from payment.actors.http.routes import OTHER, ROUTES, Operation, is_payment_id
from payment.actors.messages import (
    ChargeOrder,
    ChargeReply,
    GetPayment,
    LedgerMessage,
    PaymentReply,
)
from payment.actors.queue_estimate import EstimateReader
from payment.actors.runtime.actor import Actor
from payment.actors.runtime.mailbox import Mailbox
from payment.core.messages import ChargeRequested
from payment.core.replies import Unavailability, Unavailable
from payment.ops.health import Dependency, Health, Phase, Status
from payment.ops.log_schema import Event
from payment.ops.logs import log_context
from payment.ops.metrics import Metrics
from payment.ops.secret import Secret
from payment.ports.clock import Clock
from payment.ports.ids import Ids

LOOK_WAIT_S = 5.0
"""How long a request to see a payment waits, in seconds: for one indexed read, and one call to Stripe where the payment
awaits its customer. By then the ledger replies without Stripe's word."""
ANSWER_GRACE_S = 2.0
"""How much later than its deadline a reply of the ledger may be, in seconds, before HTTP answers without it."""
DRAIN_ANSWER_S = 1.0
"""How long requests wait for their outcome from the beginning of a drain on, in seconds; then a charge is answered as
pending. What was on its way to Stripe has ended before: the Stripe actor drains first."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,128}")
"""What an `X-Request-ID` may be to be used: what routers and clients make, and nothing that could break a log line."""


class HttpConfig(Struct, frozen=True):
    """How long a charge may wait for its outcome, and the keys.

    `ops_key` None: metrics and reasons are for all. `connections_max`: see `payment.actors.http.admission`.
    """

    charge_wait_s: float
    jwt_keys: tuple[Secret, ...]
    ops_key: Secret | None = None
    connections_max: int = CONNECTIONS_MAX


class HandlerCrashed(Exception):
    """A request's handler raised an unexpected exception. The cause is attached; the text is fit for a log."""


class RequestContext(Struct):
    """What is known of a request from its beginning to its end. `template` is its route's."""

    request_id: str
    started_at: float
    template: str = OTHER


_CONTEXT = web.RequestKey("context", RequestContext)

_BUSY = Unavailable(Unavailability.BUSY)
_REFUSED = charge_answer(_BUSY)
_NO_CONNECTION = "too many connections are open"

_COMMON = (("Cache-Control", "no-store"), ("Server", "payment"), ("X-Content-Type-Options", "nosniff"))


async def _leave_expectation(_request: web.Request) -> None:
    """aiohttp would invite the body before the request is admitted: `read_body` does it."""


def _is_gone(connection: web.RequestHandler) -> bool:
    """Whether the client has disconnected: the event loop may know that before aiohttp does."""
    return connection.transport is None or connection.transport.is_closing()


class HttpActor(Actor[Never]):
    """Serves the contract's HTTP. `stuck` names the actors that have been at one thing for too long."""

    def __init__(
        self,
        config: HttpConfig,
        mailbox: Mailbox[Never],
        ledger: Mailbox[LedgerMessage],
        estimate: EstimateReader,
        clock: Clock,
        ids: Ids,
        health: Health,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        stuck: Callable[[], list[str]],
        listening: Listening,
    ) -> None:
        super().__init__("http", mailbox, clock)
        self._config = config
        self._ids = ids
        self._health = health
        self._metrics = metrics
        self._log = logger
        self._listening = listening
        self._jwt_keys = tuple(key.reveal() for key in config.jwt_keys)
        self._signatures = SignatureDoubt()
        self._refusals = RefusalLog(clock, metrics, logger)
        self._waiting = PendingRequests(ledger, estimate, clock)
        self._admission = Admission(clock, self._waiting.behind_s, self._waiting.room_before_stripe)
        self._ops = OpsPages(config.ops_key, clock, health, metrics, stuck)
        self._templates: dict[Handler, str] = {}
        self._of_customers: set[Handler] = set()
        """The handlers that authenticate, and wait for the ledger."""
        self._runner: Runner | None = None
        self._crash: asyncio.Future[Never] | None = None
        self._draining = False

    @property
    def port(self) -> int:
        """The port that is listened on, once `setup` has returned."""
        return self._listening.port

    # Lifecycle.

    async def setup(self) -> None:
        """Listen. Raises OSError where the port is taken or not permitted."""
        self._crash = asyncio.get_running_loop().create_future()
        self.spawn(self._fail_with_handlers(self._crash), name="handlers")
        self.spawn(self._waiting.answer_overdue(), name="overdue")
        self.spawn(self._refusals.report_unlogged(), name="unlogged")
        self._runner = Runner(self._application(), self, self._config.connections_max)
        await self._runner.setup()
        for site in await self._listening.sites(self._runner):
            await site.start()
        self._health.mark_up(Dependency.HTTP)

    def _application(self) -> web.Application:
        handlers: dict[Operation, Handler] = {
            Operation.CHARGE: self._charge,
            Operation.SHOW_PAYMENT: self._show_payment,
            Operation.FIND_PAYMENT: self._find_payment,
            Operation.ALIVE: self._show_alive,
            Operation.READY: self._show_ready,
            Operation.METRICS: self._show_metrics,
            Operation.DOCUMENT: self._show_document,
        }
        app = web.Application(middlewares=[self._each_request])
        for route in ROUTES:
            handler = handlers[route.operation]
            self._templates[handler] = route.template
            if route.identified:
                self._of_customers.add(handler)
            for method in route.methods:
                for path in (route.template, f"{route.template}/"):
                    app.router.add_route(method, path, handler, expect_handler=_leave_expectation)
        return app

    async def receive(self, item: Never) -> None:
        """Raises TypeError: no message is addressed to this actor."""
        raise TypeError("the HTTP actor takes no messages")

    async def drain(self) -> None:
        """Send the ledger nothing more, and wait until every request is answered; then stop listening.

        Until then it goes on listening: a 503 that says why is worth more than a refused connection.
        """
        self._draining = True
        self._admission.end()
        await self._waiting.answer_by(self.clock.monotonic() + DRAIN_ANSWER_S)
        await self._waiting.emptied()
        if self._runner is not None:
            for site in self._runner.sites:
                await site.stop()
        self._listening.close()

    async def teardown(self) -> None:
        """Answer every pending request, write the answers out, and close every connection."""
        self._waiting.dismiss(Unavailability.STOPPING if self._draining else Unavailability.CRASHED)
        if self._draining:
            self._listening.close()  # where the drain was cut short
        self._draining = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._health.phase is not Phase.STOPPING:
            self._health.mark_down(Dependency.HTTP, "the HTTP server has stopped")

    async def _fail_with_handlers(self, crash: "asyncio.Future[Never]") -> None:
        await crash

    # What every request passes through, and what connections ask (`payment.actors.http.connections.Answers`).

    @web.middleware
    async def _each_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """aiohttp's middleware: a request of a customer is handled at once, every other one in its turn."""
        context = self._context(request)
        called = request.match_info.handler
        context.template = self._templates.get(called, OTHER)
        connection = request.protocol
        if called not in self._of_customers and not await self._turn(connection):
            return web.Response()  # Nothing can be sent.
        if isinstance(connection, Connection):
            connection.begin()
        with log_context(request_id=context.request_id):
            try:
                return await handler(request)
            except Rejected as rejected:
                answer, close = rejected.answer, rejected.close
                if rejected.reason is not None:
                    self._refusals.rejected(answer.status, rejected.reason, context.request_id)
            except web.HTTPMethodNotAllowed as wrong:
                allow = ", ".join(method for method in ("POST", "GET", "HEAD") if method in wrong.allowed_methods)
                message = f"The address takes {allow} only"
                answer, close = error(Case.BAD_METHOD, message, headers=(("Allow", allow),)), False
            except web.HTTPNotFound:
                answer, close = error(Case.NO_SUCH_ROUTE, "There is nothing at this address"), False
            finally:
                if isinstance(connection, Connection):
                    connection.rest()
        if called in self._of_customers and not await self._turn(connection):
            return web.Response()
        response = self._respond(request, answer)
        if close:
            response.force_close()
        return response

    async def _turn(self, connection: web.RequestHandler) -> bool:
        """Wait for the turn of a request that needs no reply of the ledger. Returns whether its client is still there.

        Meanwhile its connection counts as idle: connections that repeat such requests must not shut out customers.
        """
        if isinstance(connection, Connection):
            connection.rest()
        await self._admission.turn()
        return not _is_gone(connection)

    def _context(self, request: web.BaseRequest) -> RequestContext:
        request_id = self._request_id(request.headers.get("X-Request-ID"))
        context = request[_CONTEXT] = RequestContext(request_id, self.clock.monotonic())
        return context

    def _request_id(self, given: str | None) -> str:
        """The id that came with a request where it is well-formed, else a new one."""
        return given if given and REQUEST_ID.fullmatch(given) else self._ids.new()

    def _respond(self, request: web.BaseRequest, answer: Rendered) -> web.Response:
        """Count and log an answer, and make its response."""
        context, row = request[_CONTEXT], answer.case.value
        took_s = self.clock.monotonic() - context.started_at
        self._metrics.http_requests(context.template, str(row.status)).inc()
        self._metrics.http_request_seconds(context.template).observe(took_s)
        self._refusals.count(answer)
        self._log.debug(
            Event.HTTP_REQUEST,
            request_id=context.request_id,
            method=request.method,
            route=context.template,
            status=row.status,
            took_ms=round(took_s * 1_000),
        )
        own = (("Content-Type", row.content_type), ("X-Request-ID", context.request_id))
        headers = CIMultiDict(_COMMON + own + answer.headers)
        response = web.Response(status=row.status, body=answer.body, headers=headers)
        if self._draining:
            response.force_close()
        return response

    def admits_charge(self) -> bool:
        return self._admission.admits_charge()

    def refuse_charge(self, given_id: str | None) -> bytes:
        request_id = self._request_id(given_id)
        self._metrics.http_requests(PAYMENTS_PATH, str(_REFUSED.status)).inc()
        self._metrics.http_request_seconds(PAYMENTS_PATH).observe(0.0)
        self._refusals.unparsed(_REFUSED, Unavailability.BUSY.value, request_id)
        return answer_bytes(_REFUSED, (*_COMMON, ("X-Request-ID", request_id)))

    def refuse_connection(self) -> bytes:
        answer = no_charges_now(_NO_CONNECTION)
        self._metrics.http_requests(OTHER, str(answer.status)).inc()
        self._refusals.rejected(answer.status, _NO_CONNECTION)
        return answer_bytes(answer, (*_COMMON, ("Connection", "close")))

    def failed(self, request: web.BaseRequest, known: Rendered | None, exc: BaseException | None) -> web.Response:
        """An exception of ours ends this actor with that as its cause; the supervisor logs it. A second is logged."""
        context = request.get(_CONTEXT) or self._context(request)
        if known is not None:
            self._refusals.rejected(known.status, known.case.value.meaning, context.request_id)
        elif self._crash is None or self._crash.done():
            self._log.error(
                Event.UNCAUGHT_EXCEPTION, request_id=context.request_id, route=context.template, exc_info=exc
            )
        else:
            failure = HandlerCrashed(f"a request to {context.template} crashed (request_id {context.request_id})")
            failure.__cause__ = exc
            self._crash.set_exception(failure)
        return self._respond(request, known or crashed())

    # Requests of customers.

    async def _charge(self, request: web.Request) -> web.Response:
        if not self._admission.admits_charge() or not await self._admission.charge_turn():
            raise Rejected(_REFUSED, reason=Unavailability.BUSY.value)
        if _is_gone(request.protocol):
            return web.Response()  # Nothing can be sent, and nothing has begun.
        context = request[_CONTEXT]
        user_id = self._user_id(request)
        try:
            form = parse_charge(await read_body(request, self.clock))
        except BadRequest as bad:
            return self._respond(request, self._refusals.charge(bad_request(bad.errors), user_id, bad.order_id))
        if (obstacle := self._obstacle()) is not None:
            answer = no_charges_now(obstacle)
        else:
            deadline = context.started_at + self._config.charge_wait_s
            future: asyncio.Future[ChargeReply] = asyncio.get_running_loop().create_future()
            command = ChargeRequested(form.order_id, user_id, form.instrument, form.authentication)
            message = ChargeOrder(command, deadline, context.started_at, context.request_id, future)
            reply = await self._waiting.charge(message, deadline + ANSWER_GRACE_S)
            if reply.reply == _BUSY:
                self._admission.ledger_was_busy()
                self._refusals.rejected(_REFUSED.status, Unavailability.BUSY.value, context.request_id)
            answer = charge_answer(reply.reply, reply.retry_after_s, reply.handover)
        return self._respond(request, self._refusals.charge(answer, user_id, form.order_id))

    def _user_id(self, request: web.Request) -> str:
        """Raises Rejected: no valid token identifies a user."""
        headers = request.headers
        cookies = "; ".join(headers.getall("Cookie", ()))
        try:
            user = authenticate(headers.get("Authorization"), cookies, self._jwt_keys, self.clock.now())
        except NotAuthenticated as failure:
            if self._signatures.key_seems_wrong(failure):
                self._log.warning(Event.SIGNATURES_WRONG, count=WRONG_SIGNATURES, reason=SIGNATURES_HINT)
            challenge = (("WWW-Authenticate", "Bearer"),)
            answer = error(Case.NOT_AUTHENTICATED, "Not authenticated", headers=challenge)
            raise Rejected(answer, reason=failure.reason) from None
        self._signatures.token_was_valid()
        return user.user_id

    def _obstacle(self) -> str | None:
        """Why no charge can be taken now, in words for any client; None where they are taken."""
        if self._draining or self._health.phase is Phase.STOPPING:
            return Unavailability.STOPPING.value
        if self._health.status is not Status.UNAVAILABLE:
            return None
        if self._health.phase is Phase.STARTING:
            return "the service is starting"
        if not self._health.is_up(Dependency.MONGODB):
            return Unavailability.STORE_AWAY.value
        return "no charge can be taken now"

    async def _show_payment(self, request: web.Request) -> web.Response:
        user_id = self._user_id(request)
        payment_id = request.match_info["id"]
        if not is_payment_id(payment_id):
            return self._respond(request, payment_answer(None, user_id))
        return await self._look_up(request, user_id, payment_id=payment_id)

    async def _find_payment(self, request: web.Request) -> web.Response:
        user_id = self._user_id(request)
        try:
            order_id = parse_order_query(request.rel_url.query.getall("orderId", []))
        except BadRequest as bad:
            return self._respond(request, bad_request(bad.errors))
        return await self._look_up(request, user_id, order_id=order_id)

    async def _look_up(
        self, request: web.Request, user_id: str, *, payment_id: str | None = None, order_id: str | None = None
    ) -> web.Response:
        if self._draining:
            return self._respond(request, payment_answer(Unavailable(Unavailability.STOPPING), user_id))
        future: asyncio.Future[PaymentReply | Unavailable | None] = asyncio.get_running_loop().create_future()
        deadline = self.clock.monotonic() + LOOK_WAIT_S
        message = GetPayment(user_id, deadline, future, payment_id, order_id)
        found = await self._waiting.look_up(message, deadline + ANSWER_GRACE_S)
        if isinstance(found, PaymentReply):
            payment_id, order_id = found.view.payment_id, found.view.order_id
            answer = payment_answer(found.view, user_id, found.handover)
        else:
            answer = payment_answer(found, user_id)
        return self._respond(request, self._refusals.look_up(answer, user_id, payment_id, order_id))

    # Requests of operators.

    async def _show_alive(self, request: web.Request) -> web.Response:
        return self._respond(request, self._ops.alive())

    async def _show_ready(self, request: web.Request) -> web.Response:
        return self._respond(request, self._ops.ready(request))

    async def _show_metrics(self, request: web.Request) -> web.Response:
        return self._respond(request, self._ops.metrics(request))

    async def _show_document(self, request: web.Request) -> web.Response:
        return self._respond(request, self._ops.document())
