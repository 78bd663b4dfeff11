"""The HTTP actor: accepts requests, sends them to the ledger as messages, and renders the ledger's replies.

Its mailbox holds nothing: its input are connections. It owns the listening socket, the connections and every request
under way. It knows nothing of MongoDB or Stripe, and must never read more into a reply than the reply says.

    request ──▶ authenticate ──▶ parse ──▶ ChargeOrder, GetPayment ──▶ ledger
            ◀── payment.actors.http.responses  ◀──────── the message's future ◀──

A client that disconnects ends nothing: the message stays, and the same request finds its outcome. An unexpected
exception is answered with 500 and then ends this actor, as every other actor's does: every pending request is answered
first, and the supervisor makes a new actor. A client secret goes from the ledger's reply into one response body, and
nowhere else. Change together: `payment.actors.http.routes`, `payment.actors.http.responses`, and `_handlers` here.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Never

from aiohttp import web
from msgspec import Struct
from multidict import CIMultiDict
from structlog.typing import FilteringBoundLogger

from payment.actors.http.acceptor import Entrance, Opening
from payment.actors.http.auth import AuthenticatedUser, NotAuthenticated, authenticate
from payment.actors.http.body import BodyRefused, read_body
from payment.actors.http.connection_limit import CONNECTIONS_MAX
from payment.actors.http.connections import (
    REQUEST_ID,
    Connection,
    Listener,
)
from payment.actors.http.operations import OpsPages
from payment.actors.http.pending_requests import PendingRequests
from payment.actors.http.raw_bytes import answer_bytes
from payment.actors.http.refusal_log import RefusalLog
from payment.actors.http.rejection_log import Rejections
from payment.actors.http.request_context import RequestContext, route_of
from payment.actors.http.request_queue import RequestQueue
from payment.actors.http.requests import BadRequest, parse_charge, parse_order_query
from payment.actors.http.responses import (
    PAYMENTS_PATH,
    Case,
    Rendered,
    bad_request,
    charge_answer,
    crashed,
    error,
    no_charges_now,
    payment_answer,
)
from payment.actors.http.routes import OTHER, Operation, is_payment_id
from payment.actors.http.signatures import SIGNATURES_HINT, WRONG_SIGNATURES, Signatures
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
SHED_S = 0.25
"""How long every request for a charge is refused after the ledger was busy, in seconds. To ask the ledger for each of
them would cost, in a burst, most of the capacity that it lacks."""


class HttpConfig(Struct, frozen=True):
    """Where to listen (`host` None: every interface; `port` 0: any free one), and how a charge is taken.

    `ops_key` None: metrics and reasons are for all. `connections_max`: see `payment.actors.http.connection_limit`.
    """

    host: str | None
    port: int
    charge_wait_s: float
    jwt_keys: tuple[Secret, ...]
    ops_key: Secret | None = None
    connections_max: int = CONNECTIONS_MAX


class HandlerCrashed(Exception):
    """A request's handler raised an unexpected exception. The cause is attached; the text is fit for a log."""


_SEEN = web.RequestKey("seen", RequestContext)

_BUSY = Unavailable(Unavailability.BUSY)
_SHED = charge_answer(_BUSY, write_sent=False)
_NO_ROOM = no_charges_now("too many connections are open")

_COMMON = (("Cache-Control", "no-store"), ("Server", "payment"), ("X-Content-Type-Options", "nosniff"))


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
        open_acceptor: Opening,
    ) -> None:
        super().__init__("http", mailbox, clock)
        self._open_acceptor = open_acceptor
        self._config = config
        self._ids = ids
        self._health = health
        self._metrics = metrics
        self._log = logger
        self._jwt_keys = tuple(key.reveal() for key in config.jwt_keys)
        self._signatures = Signatures()
        self._rejections = Rejections(logger)
        self._acceptor: Entrance | None = None
        self._listener: Listener | None = None
        self._waiting = PendingRequests(ledger, estimate, clock)
        self._refusals = RefusalLog(clock, metrics, logger)
        self._crash: asyncio.Future[Never] | None = None
        self._draining = False
        waiting = self._waiting
        self._line = RequestQueue(
            clock, waiting.behind_s, waiting.room_before_stripe, self._unheard_since, self._listened_at
        )
        self._ops = OpsPages(config.ops_key, clock, health, metrics, stuck, self._line.__len__)
        self._handlers: dict[Operation, Callable[[web.BaseRequest, RequestContext], Awaitable[Rendered]]] = {
            Operation.CHARGE: self._charge,
            Operation.SHOW_PAYMENT: self._show_payment,
            Operation.FIND_PAYMENT: self._find_payment,
            Operation.ALIVE: self._show_alive,
            Operation.READY: self._show_ready,
            Operation.METRICS: self._show_metrics,
            Operation.DOCUMENT: self._show_document,
        }

    @property
    def port(self) -> int:
        """The port of the listening socket, once `setup` has returned."""
        return self._config.port if self._acceptor is None else self._acceptor.port

    # Lifecycle.

    async def setup(self) -> None:
        """Listen. Raises OSError where the port is taken or not permitted."""
        self._crash = asyncio.get_running_loop().create_future()
        self.spawn(self._fail_with_handlers(self._crash), name="handlers")
        self.spawn(self._waiting.answer_overdue(), name="overdue")
        self.spawn(self._refusals.report_unlogged(), name="unlogged")
        config = self._config
        self._listener = Listener(
            self._serve, self._failed, self._line, self._refusal, self._no_room, config.connections_max
        )
        self._acceptor = await self._open_acceptor(
            config.host, config.port, self._listener.connection, self.clock, self._log
        )
        self._health.mark_up(Dependency.HTTP)

    async def receive(self, item: Never) -> None:
        """Raises TypeError: no message is addressed to this actor."""
        raise TypeError("the HTTP actor takes no messages")

    async def drain(self) -> None:
        """Send the ledger nothing more, and wait until every request is answered; then stop listening.

        Until then it goes on listening: a 503 that says why is worth more than a refused connection.
        """
        self._draining = True
        self._line.disband()
        await self._waiting.answer_by(self.clock.monotonic() + DRAIN_ANSWER_S)
        await self._waiting.emptied()
        await self._close_acceptor()

    async def teardown(self) -> None:
        """ChargeReply every pending request, write the answers out, and close every connection."""
        self._line.close_for(0.0)
        self._waiting.dismiss(Unavailability.STOPPING if self._draining else Unavailability.CRASHED)
        self._draining = True
        await self._close_acceptor()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._health.phase is not Phase.STOPPING:
            self._health.mark_down(Dependency.HTTP, "the HTTP server has stopped")

    def _unheard_since(self) -> float:
        return math.inf if self._acceptor is None else self._acceptor.unheard_since()

    def _listened_at(self) -> float:
        return self.clock.monotonic() if self._acceptor is None else self._acceptor.listened_at()

    async def _close_acceptor(self) -> None:
        if self._acceptor is not None:
            await self._acceptor.close()
            self._acceptor = None

    async def _fail_with_handlers(self, crash: "asyncio.Future[Never]") -> None:
        await crash

    # Every request.

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        context = self._context(request)
        with log_context(request_id=context.request_id):
            try:
                answer, close = await self._answer(request, context), self._draining
            except BodyRefused as refused:
                answer, close = refused.answer, refused.close or self._draining
                if refused.reason is not None:
                    self._rejections.note(answer.status, refused.reason, context.request_id)
        response = self._respond(request, context, answer)
        if close:
            response.force_close()
        return response

    async def _answer(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        route = route_of(request, context)
        return await self._handlers[route.operation](request, context)

    def _context(self, request: web.BaseRequest) -> RequestContext:
        request_id = self._request_id(request.headers.get("X-Request-ID"))
        connection = request.protocol
        in_line_s = connection.take_in_line_s() if isinstance(connection, Connection) else 0.0
        context = request[_SEEN] = RequestContext(request_id, self.clock.monotonic() - in_line_s, in_line_s)
        return context

    def _request_id(self, given: str | None) -> str:
        """The id that came with a request where it is well-formed, else a new one."""
        return given if given and REQUEST_ID.fullmatch(given) else self._ids.new()

    def _respond(self, request: web.BaseRequest, context: RequestContext, answer: Rendered) -> web.Response:
        row = answer.case.value
        took_s = self.clock.monotonic() - context.started_at
        self._metrics.http_requests(context.template, str(row.status)).inc()
        self._refusals.count(answer)
        self._metrics.http_request_seconds(context.template).observe(took_s)
        self._log.debug(
            Event.HTTP_REQUEST,
            request_id=context.request_id,
            method=request.method,
            route=context.template,
            status=row.status,
            took_ms=round(took_s * 1_000),
        )
        own = (("Content-Type", row.content_type), ("X-Request-ID", context.request_id))
        return web.Response(status=row.status, body=answer.body, headers=CIMultiDict(_COMMON + own + answer.headers))

    def _failed(self, request: web.BaseRequest, known: Rendered | None, exc: BaseException | None) -> web.Response:
        """The answer where `_serve` gave none: the client's fault, or our bug, which then ends this actor."""
        context = request.get(_SEEN) or self._context(request)
        if known is None:
            self._die_of(exc, context)
        else:
            self._rejections.note(known.status, known.case.value.meaning, context.request_id)
        return self._respond(request, context, known or crashed())

    def _die_of(self, exc: BaseException | None, context: RequestContext) -> None:
        """End this actor with the exception as its cause; the supervisor logs it. A second one is only logged."""
        if self._crash is None or self._crash.done():
            self._log.error(
                Event.UNCAUGHT_EXCEPTION, request_id=context.request_id, route=context.template, exc_info=exc
            )
            return
        failure = HandlerCrashed(f"a request to {context.template} crashed (request_id {context.request_id})")
        failure.__cause__ = exc
        self._crash.set_exception(failure)

    def _identify(self, request: web.BaseRequest) -> AuthenticatedUser:
        headers = request.headers
        cookies = "; ".join(headers.getall("Cookie", ()))
        try:
            now = self.clock.now()
            identity = authenticate(headers.get("Authorization"), cookies, self._jwt_keys, now)
        except NotAuthenticated as failure:
            if self._signatures.failed(failure):
                self._log.warning(Event.SIGNATURES_WRONG, count=WRONG_SIGNATURES, reason=SIGNATURES_HINT)
            challenge = (("WWW-Authenticate", "Bearer"),)
            answer = error(Case.NOT_AUTHENTICATED, "Not authenticated", headers=challenge)
            raise BodyRefused(answer, reason=failure.reason) from None
        self._signatures.held()
        return identity

    # Each operation.

    async def _charge(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        user_id = self._identify(request).user_id
        try:
            form = parse_charge(await read_body(request, self.clock))
        except BadRequest as bad:
            return self._refusals.charge(bad_request(bad.errors), user_id, bad.order_id)
        obstacle = self._obstacle()
        if obstacle is not None:
            return self._refusals.charge(no_charges_now(obstacle), user_id, form.order_id)
        command = ChargeRequested(form.order_id, user_id, form.instrument, form.authentication)
        return self._refusals.charge(await self._ask_to_charge(command, context), user_id, form.order_id)

    async def _ask_to_charge(self, command: ChargeRequested, context: RequestContext) -> Rendered:
        asked_at = self.clock.monotonic() - context.in_line_s
        deadline = asked_at + self._config.charge_wait_s
        future: asyncio.Future[ChargeReply] = asyncio.get_running_loop().create_future()
        message = ChargeOrder(command, deadline, asked_at, context.request_id, future)
        answer = await self._waiting.charge(message, deadline + ANSWER_GRACE_S)
        if answer.reply == _BUSY:
            self._line.close_for(SHED_S)
            self._rejections.note(_SHED.status, Unavailability.BUSY.value, context.request_id)
        return charge_answer(
            answer.reply,
            write_sent=False,
            retry_after_s=answer.retry_after_s,
            handover=answer.handover,
        )

    def _refusal(self, given_id: str | None) -> bytes:
        """The whole response to a request for a charge while the ledger is busy; the request is not parsed."""
        request_id = self._request_id(given_id)
        self._metrics.http_requests(PAYMENTS_PATH, str(_SHED.status)).inc()
        self._refusals.unread(_SHED)
        self._metrics.http_request_seconds(PAYMENTS_PATH).observe(0.0)
        self._rejections.note(_SHED.status, Unavailability.BUSY.value, request_id)
        return answer_bytes(_SHED, (*_COMMON, ("X-Request-ID", request_id)))

    def _no_room(self) -> bytes:
        """The whole response to a client for whom there is no connection."""
        self._metrics.http_requests(OTHER, str(_NO_ROOM.status)).inc()
        self._rejections.note(_NO_ROOM.status, "too many connections are open")
        return answer_bytes(_NO_ROOM, (*_COMMON, ("Connection", "close")))

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

    async def _show_payment(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        user_id = self._identify(request).user_id
        if not is_payment_id(context.payment_id):
            return payment_answer(None, user_id)
        return await self._look_up(user_id, payment_id=context.payment_id)

    async def _find_payment(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        user_id = self._identify(request).user_id
        try:
            order_id = parse_order_query(request.rel_url.query.getall("orderId", []))
        except BadRequest as bad:
            return bad_request(bad.errors)
        return await self._look_up(user_id, order_id=order_id)

    async def _look_up(self, user_id: str, *, payment_id: str | None = None, order_id: str | None = None) -> Rendered:
        if self._draining:
            return payment_answer(Unavailable(Unavailability.STOPPING), user_id)
        future: asyncio.Future[PaymentReply | Unavailable | None] = asyncio.get_running_loop().create_future()
        deadline = self.clock.monotonic() + LOOK_WAIT_S
        message = GetPayment(user_id, deadline, future, payment_id, order_id)
        found = await self._waiting.look_up(message, deadline + ANSWER_GRACE_S)
        if not isinstance(found, PaymentReply):
            return self._refusals.look_up(payment_answer(found, user_id), user_id, payment_id, order_id)
        view = found.view
        answer = payment_answer(view, user_id, found.handover)
        return self._refusals.look_up(answer, user_id, view.payment_id, view.order_id)

    async def _show_alive(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        return self._ops.alive()

    async def _show_ready(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        return self._ops.ready(request)

    async def _show_metrics(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        return self._ops.metrics(request)

    async def _show_document(self, request: web.BaseRequest, context: RequestContext) -> Rendered:
        return self._ops.document()
