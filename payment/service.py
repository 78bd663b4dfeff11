"""The composition of the service: ports, mailboxes and the four actors, under their supervisor.

Only this module knows all of them. It decides nothing, and reaches no server before `run`.
"""

import asyncio
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Never

from payment.actors.http.actor import HttpActor, HttpConfig
from payment.actors.http.admission import CONNECTIONS_MAX, connections_within
from payment.actors.http.connections import Listening, ListeningSockets
from payment.actors.ledger.actor import MongoActor
from payment.actors.ledger.commit import ProcessIdentity
from payment.actors.ledger.decline_limit import DeclineLimit
from payment.actors.ledger.in_flight import NATS, STRIPE, InFlightEffects
from payment.actors.ledger.telemetry import LedgerTelemetry
from payment.actors.messages import (
    ActorRestarted,
    LedgerMessage,
    NatsMessage,
    StripeMessage,
)
from payment.actors.nats.actor import NatsActor
from payment.actors.nats.event_payloads import INCOMING_SUBJECTS
from payment.actors.queue_estimate import PublishedEstimate, QueueEstimate
from payment.actors.runtime.lifecycle import ChildSpec
from payment.actors.runtime.mailbox import Mailbox
from payment.actors.runtime.supervisor import Supervisor
from payment.actors.stripe.actor import StripeActor
from payment.actors.stripe.rate_limiter import START_PER_S
from payment.actors.stripe.scheduler import CONNECTIONS_LIMIT
from payment.adapters.mongo.store import MongoStore
from payment.adapters.nats.jetstream.transport import JetStreamTransport
from payment.adapters.nats.login import shown_path
from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.stripe.cards import API_VERSION, StripeCards
from payment.adapters.system import RandomIds, SystemClock
from payment.known_labels import start_at_zero
from payment.ops.health import Dependency, Health, Phase
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ops.metrics import Metrics
from payment.ops.redaction import Redactor
from payment.ports.cards import CardProcessor
from payment.ports.clock import Clock
from payment.ports.ids import Ids
from payment.ports.store import OrderStore
from payment.ports.transport import EventTransport
from payment.process.file_limit import file_limit
from payment.settings.environment import Settings
from payment.settings.secrets import passwords_in
from payment.settings.values import NOT_SHOWN

LEDGER_MAILBOX_LIMIT = 4_000
"""Messages. One or two seconds of the ledger's work: later ones would be answered too late."""

STRIPE_MAILBOX_LIMIT = 16_000
"""Effects. Above the limit of charges in flight (12,000), so that this mailbox is never the one that refuses."""

NATS_MAILBOX_LIMIT = 16_000
"""Events to publish, for the same reason."""

SETUP_DEADLINE_S = 5.0
"""No setup waits for another machine: one that takes longer has a bug."""

HANG_S = 15.0
"""For one message. Each takes a few milliseconds; a busy machine may stall a process for a few seconds."""

READY_WAITS_FOR_STRIPE_S = 5.0
"""How long the process stays in the phase STARTING until its Stripe key was checked, which takes two round trips. Where
Stripe or MongoDB does not answer it is ready after this time: charges are accepted while Stripe is down, and wait."""

READY_CHECK_EVERY_S = 0.02
"""Between checks whether every actor runs: the time from start to ready is measured in tenths of a second."""


@dataclass(frozen=True)
class MailboxLimits:
    """The capacity of each mailbox, in messages. A simulation makes them small, to test full mailboxes."""

    ledger: int = LEDGER_MAILBOX_LIMIT
    stripe: int = STRIPE_MAILBOX_LIMIT
    nats: int = NATS_MAILBOX_LIMIT


@dataclass(frozen=True)
class Ports:
    """The ports of the service; a simulation passes fakes.

    Each new actor gets a new transport or card processor: connections do not outlive the actor that owns them.
    """

    store: OrderStore
    transport: Callable[[], EventTransport]
    cards: Callable[[], CardProcessor]
    clock: Clock
    ids: Ids
    listening: Listening
    connections_max: int = CONNECTIONS_MAX
    """Connections of clients for which the process has file descriptors."""


def real_ports(settings: Settings, listening: list[socket.socket] | None = None) -> Ports:
    """Returns the real ports for these settings. No server is reached yet.

    `listening` are sockets that already listen on the settings' address; without them the HTTP actor opens its own.
    """
    clock, ids = SystemClock(), RandomIds()
    return Ports(
        store=MongoStore(settings.mongo_url.reveal(), settings.nats_client_id),
        transport=lambda: event_transport(settings, clock, ids),
        cards=lambda: card_processor(settings),
        clock=clock,
        ids=ids,
        listening=ListeningSockets(settings.host, settings.port, get_logger(), listening),
        connections_max=connections_within(file_limit(resource), CONNECTIONS_LIMIT),
    )


def event_transport(settings: Settings, clock: Clock, ids: Ids) -> EventTransport:
    """Returns the broker's transport: NATS Streaming where a cluster id is set, else JetStream."""
    servers, login = [server.reveal() for server in settings.nats_url], settings.nats_login
    name, group = settings.nats_client_id, settings.queue_group_name
    if settings.nats_cluster_id is not None:
        return StreamingTransport(servers, settings.nats_cluster_id, name, group, ids, clock, login=login)
    stream = settings.nats_stream
    return JetStreamTransport(servers, name, group, stream, ids, clock, consumed=INCOMING_SUBJECTS, login=login)


def card_processor(settings: Settings) -> CardProcessor:
    """Returns Stripe, or the server that `STRIPE_API_BASE` names."""
    return StripeCards(settings.stripe_key.reveal(), settings.stripe_api_base, max_connections=CONNECTIONS_LIMIT)


class Service:
    """One process of the service. Runs once."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        limits: MailboxLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """`limits` and `metrics` are for a simulation, which runs thousands of services: the defaults are right."""
        limits = limits or MailboxLimits()
        self._settings = settings
        self._ports = ports
        self.metrics = metrics or Metrics()
        start_at_zero(self.metrics)
        self.health = Health(ports.clock, Redactor(secrets_of(settings)), self._dependency_changed)
        self._ledger: Mailbox[LedgerMessage] = Mailbox("mongo", limits.ledger)
        self._stripe: Mailbox[StripeMessage] = Mailbox("stripe", limits.stripe)
        self._nats: Mailbox[NatsMessage] = Mailbox("nats", limits.nats)
        self._http: Mailbox[Never] = Mailbox("http", 1)
        self._estimate = PublishedEstimate(QueueEstimate(START_PER_S, START_PER_S))
        self._declines = DeclineLimit(settings.declines_per_user_limit, settings.declines_window_s, ports.clock)
        self._server: HttpActor | None = None
        self._notifying: set[asyncio.Task[None]] = set()
        self.supervisor = Supervisor(
            self._children(), ports.clock, ports.ids, on_restart=self._restarted, on_stopping=self._stopping
        )

    async def run(self, stop: asyncio.Event, abort: asyncio.Event) -> int:
        """Run until `stop` is set, draining; `abort` cuts the drain short. Returns the exit code."""
        ready = asyncio.create_task(self._ready(), name="ready")
        try:
            return await self.supervisor.run(stop, abort)
        finally:
            tasks = (ready, *self._notifying)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._ports.store.close()

    def _stopping(self) -> None:
        """Make `/readyz` unavailable at once, before anything else stops."""
        self.health.stopping()
        get_logger().info(Event.SERVICE_STOPPING)

    async def _ready(self) -> None:
        started = self._ports.clock.monotonic()
        while not self.supervisor.ready or self._waits_for_stripe(started):
            await self._ports.clock.sleep(READY_CHECK_EVERY_S)
        if self.health.phase is Phase.STARTING:
            self.health.ready()
            took_ms = round((self._ports.clock.monotonic() - started) * 1_000)
            port = self._server.port if self._server else self._settings.port
            status = self.health.status.value
            get_logger().info(Event.SERVICE_READY, port=port, outcome=status, took_ms=took_ms)

    def _waits_for_stripe(self, started: float) -> bool:
        """Whether the check of our key is still expected: without its result "ready" would be a guess (F36, F48)."""
        health = self.health
        store_down = health.is_known(Dependency.MONGODB) and not health.is_up(Dependency.MONGODB)
        if health.is_known(Dependency.STRIPE) or store_down:
            return False
        return self._ports.clock.monotonic() - started < READY_WAITS_FOR_STRIPE_S

    def _children(self) -> list[ChildSpec]:
        """The actors in the order of their start. They drain in reverse, each while the earlier ones still work.

        Stripe drains first: no new charge starts, and calls on the wire end (a call takes 8 s at most) while HTTP still
        runs to reply. HTTP then replies to its pending requests, NATS publishes what is left, and the ledger writes
        last.
        """
        return [
            ChildSpec("mongo", self._mongo_actor, SETUP_DEADLINE_S, drain_deadline_s=2.0, hang_s=HANG_S),
            ChildSpec("nats", self._nats_actor, SETUP_DEADLINE_S, drain_deadline_s=1.0, hang_s=HANG_S),
            ChildSpec("http", self._http_actor, SETUP_DEADLINE_S, drain_deadline_s=3.0, hang_s=HANG_S),
            ChildSpec("stripe", self._stripe_actor, SETUP_DEADLINE_S, drain_deadline_s=8.5, hang_s=HANG_S),
        ]

    def _mongo_actor(self) -> MongoActor:
        ports = self._ports
        client_id = self._settings.nats_client_id
        # A new incarnation for each actor: the outcomes of its predecessor's in-flight effects are not known.
        identity = ProcessIdentity(
            f"{client_id}#{ports.ids.new()}",
            client_id,
            API_VERSION,
            self._settings.queue_group_name,
            self._settings.stripe_prepare,
        )
        in_flight = InFlightEffects(identity.process, self._stripe, self._nats, self._estimate)
        telemetry = LedgerTelemetry(self.health, self.metrics, ports.clock)
        return MongoActor(
            self._ledger, ports.store, in_flight, identity, telemetry, ports.clock, ports.ids, self._declines
        )

    def _stripe_actor(self) -> StripeActor:
        ports = self._ports
        ceiling_per_s = float(self._settings.stripe_rate_per_s)
        return StripeActor(
            self._stripe,
            self._ledger,
            ports.cards(),
            self._estimate,
            ceiling_per_s,
            self.health,
            self.metrics,
            ports.clock,
        )

    def _nats_actor(self) -> NatsActor:
        ports = self._ports
        currency = self._settings.currency
        return NatsActor(self._nats, self._ledger, ports.transport(), currency, self.health, self.metrics, ports.clock)

    def _http_actor(self) -> HttpActor:
        settings, ports = self._settings, self._ports
        keys = tuple(key for key in (settings.jwt_key, settings.jwt_key_previous) if key is not None)
        config = HttpConfig(settings.charge_wait_s, keys, settings.ops_key, ports.connections_max)
        self._server = HttpActor(
            config,
            self._http,
            self._ledger,
            self._estimate,
            ports.clock,
            ports.ids,
            self.health,
            self.metrics,
            get_logger(),
            self.supervisor.stuck,
            ports.listening,
        )
        return self._server

    def _restarted(self, name: str) -> None:
        """Let the ledger release the dead actor's effects again. A restarted ledger is a new incarnation itself."""
        self.metrics.actor_restarts(name).inc()
        if name in (STRIPE, NATS) and not self._ledger.offer(ActorRestarted(name)):
            # Wait for room in a full mailbox: without this message the ledger would renew the leases of the lost
            # effects for ever.
            notifying = asyncio.create_task(self._ledger.put(ActorRestarted(name)), name=f"{name} restarted")
            self._notifying.add(notifying)
            notifying.add_done_callback(self._notifying.discard)

    def _dependency_changed(self, dependency: Dependency, up: bool) -> None:
        self.metrics.dependency_up(dependency).set(1 if up else 0)


def secrets_of(settings: Settings) -> list[str]:
    """Returns every secret text of the settings, for the log to mask wherever it occurs."""
    login = settings.nats_login
    addresses = [settings.mongo_url.reveal(), *(url.reveal() for url in settings.nats_url)]
    keys = (settings.jwt_key, settings.jwt_key_previous, settings.stripe_key, settings.ops_key)
    texts = [key.reveal() for key in keys if key is not None] + [url for url in addresses if "@" in url]
    for key in (login.creds, login.nkey_seed, login.tls_key):
        if key is not None and shown_path(key.reveal()) == NOT_SHOWN:  # else it is a path, which an operator should see
            texts.append(key.reveal())
    return texts + [password for url in addresses for password in passwords_in(url)]
