"""One run: it starts all servers, then the service, then shows the tutorial, and stops them in the reverse order.

The run ends on a signal (exit code 0), when the service ends (with the service's code), or when a server can't be kept
running (69). A server that dies is started again on its port. No child outlives the run: the service stops first, with
as much time to drain as platforms allow, while its servers still run.
"""

import asyncio
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

import payment
from payment.devstack import broker_program, plan, ready_checks
from payment.devstack.bus import PeerServiceError, PlacedOrder
from payment.devstack.child import ChildProcess, start_log_anew
from payment.devstack.home import Home, State
from payment.devstack.orphans import end_orphans
from payment.devstack.peer_services import connected, new_order_id, signed_token, takes_tokens_of
from payment.devstack.servers import Broker, ServerProgram, command
from payment.devstack.tutorial import Console, Shell, Tutorial

EX_UNAVAILABLE = 69
SERVICE_STOP_S = 25.0
"""The longest time that the service needs from SIGTERM to its end, in seconds."""
SERVER_STOP_S = 5.0
"""In seconds. Servers end in milliseconds; a stuck one is killed after this time, because all of them keep what they
acknowledged.
"""
HURRY_S = 1.0
"""In seconds. A second signal after this time means: stop at once. A sooner one is the same signal, repeated by
make.
"""
RESTARTS_MAX = 5
"""Restarts of one server that are allowed within the window. One more end means that the server can't run here."""
RESTART_WINDOW_S = 60.0
RESTART_DELAY_S = 0.3
"""Pause before a server is started again, in seconds: its port becomes free, and a crash loop stays slow."""
PORT_CHECK_EVERY_S = 0.03
"""Between two checks of a starting server's port, in seconds: a fraction of the shortest start."""
PATIENCE_S = 10.0
"""Between two messages about why the service is not ready yet, in seconds."""
CANCEL_AGAIN_S = 1.0
"""After this time, in seconds, a cancelled task is cancelled again: enough for one that cleans up."""
ORDER_LIFE_S = 86_400.0
"""The tutorial's orders expire late, in seconds: a reader may take a break."""
DEMO_USER = "demo-user"
DEMO_PRICE = 19.99
READY = 200
SHOWN_CHARS = 500
"""Characters that are shown of the answer of a service that is not ready."""


class Stop:
    """A request to stop: `asked` is set by the first signal, `hurry` by a later one."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self._asked_at_s = 0.0

    def ask(self) -> None:
        if not self.asked.is_set():
            self._asked_at_s = time.monotonic()
            self.asked.set()
        elif time.monotonic() - self._asked_at_s > HURRY_S:
            self.hurry.set()


async def run(home: Home, environ: Mapping[str, str], console: Console, broker: Broker = Broker.JETSTREAM) -> int:
    """Run until asked to stop, and return the exit code. First ends the processes that an earlier run left behind.

    Raises:
        HomeInUseError: another run uses the folder. LiveKeyError, ProgramMissingError: this run can't begin.
    """
    began_s = time.monotonic()
    home.prepare()
    stop = Stop()
    async with _signals(stop):
        with home.locked():
            for name in await end_orphans(home.pids):
                console.inform(f"ended the {name} that an earlier run had left behind")
            wanted = plan.servers_wanted(environ)
            if ServerProgram.NATS in wanted and broker is Broker.STREAMING:
                await broker_program.provide(home, plan.server_environ(environ), console, stop.asked)
            return 0 if stop.asked.is_set() else await Stack(home, environ, console, broker, began_s).live(stop)


@asynccontextmanager
async def _signals(stop: Stop) -> AsyncIterator[None]:
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop.ask)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Stack:
    """The children of one run, and their environments."""

    def __init__(
        self, home: Home, environ: Mapping[str, str], console: Console, broker: Broker, began_s: float
    ) -> None:
        self._home = home
        self._console = console
        self._broker = broker
        self._began_s = began_s
        state = home.read_state() or State()
        wanted = plan.servers_wanted(environ)
        self._ports = plan.choose_ports(environ, wanted, state.ports)
        self._key = plan.given(environ, "JWT_KEY") or home.key()
        if plan.given(environ, "PORT") is None and self._ports[plan.SERVICE] != plan.SERVICE_PORT:
            console.inform(
                f"port {plan.SERVICE_PORT} is taken: this run's service listens on {self._ports[plan.SERVICE]}"
            )
        self._shown = plan.service_environ(environ, self._ports, self._key, broker)
        home.write_state(
            State(
                ports={**state.ports, **self._ports},
                host=plan.reached_at(self._shown),
                queue_group=self._shown["QUEUE_GROUP_NAME"],
                cluster_id=self._cluster_id,
                own_nats=ServerProgram.NATS in wanted,
                own_key=plan.given(environ, "JWT_KEY") is None,
            )
        )
        self._servers = {server: self._server(server, environ) for server in wanted}
        self._up = {server: asyncio.Event() for server in wanted}
        program = Path(payment.__file__).parents[1] / "run.py"
        self._service = ChildProcess(plan.SERVICE, plan.service_command(program), self._shown, home, logged=False)

    async def live(self, stop: Stop) -> int:
        """Start all children, restart servers that die, and stop all children at the end. Returns the exit code."""
        work = [asyncio.create_task(self._keep(server)) for server in self._servers]
        work.append(asyncio.create_task(self._serve()))
        asked = asyncio.create_task(stop.asked.wait())
        try:
            done, _ = await asyncio.wait([*work, asked], return_when=asyncio.FIRST_COMPLETED)
            return max([task.result() for task in work if task in done], default=0)
        finally:
            await _end(*work, asked)
            if self._service.running:
                self._console.inform("stopping (again: at once)")
            await self._service.stop(SERVICE_STOP_S, stop.hurry)
            await asyncio.gather(*(child.stop(SERVER_STOP_S, stop.hurry) for child in self._servers.values()))

    def _server(self, server: ServerProgram, environ: Mapping[str, str]) -> ChildProcess:
        line = command(server, self._broker, self._home, self._ports[server])
        start_log_anew(self._home.log(server))
        return ChildProcess(server, line, plan.server_environ(environ, server), self._home, logged=True)

    async def _keep(self, server: ServerProgram) -> int:
        """Restart a server whenever it ends. Returns an exit code once the server can't be kept running."""
        child, ends = self._servers[server], deque[float](maxlen=RESTARTS_MAX + 1)
        label = server.label(self._broker)
        while True:
            await child.start()
            code = await self._until_ended(server, child)
            ends.append(time.monotonic())
            if len(ends) > RESTARTS_MAX and ends[-1] - ends[0] < RESTART_WINDOW_S:
                self._console.warn(f"{label} does not stay up; its last output is in {child.log}")
                return EX_UNAVAILABLE
            self._console.warn(f"{label} ended with code {code}; starting it again (log: {child.log})")
            await asyncio.sleep(RESTART_DELAY_S)

    async def _until_ended(self, server: ServerProgram, child: ChildProcess) -> int:
        """Note when a server accepts connections; returns its exit code when it has ended."""
        ended = asyncio.create_task(child.wait())
        try:
            while not ended.done() and not await ready_checks.accepts(self._ports[server]):
                await asyncio.wait({ended}, timeout=PORT_CHECK_EVERY_S)
            if not ended.done():
                self._up[server].set()
            return await ended
        finally:
            ended.cancel()

    async def _serve(self) -> int:
        """Run the service once its servers are up, and show the tutorial. Returns the service's exit code."""
        for up in self._up.values():
            await up.wait()
        await self._service.start()
        tutorial = asyncio.create_task(self._show_tutorial())
        ended = asyncio.create_task(self._service.wait())
        try:
            await asyncio.wait({tutorial, ended}, return_when=asyncio.FIRST_COMPLETED)
            if tutorial.done():
                tutorial.result()
            code = await ended
        finally:
            await _end(tutorial, ended)
        self._console.warn(f"the service ended with code {code}")
        return code

    async def _show_tutorial(self) -> None:
        await self._until_ready()
        try:
            orders = await self._place_orders()
        except PeerServiceError as error:
            self._console.warn(f"no order could be published: {error}")
            orders = None
        tutorial = Tutorial(
            base_url=self._base_url,
            took_s=time.monotonic() - self._began_s,
            standing_on={
                server.value: self._where(server) for server in ServerProgram if server is not ServerProgram.SHOP
            },
            page=self._page,
            orders=orders,
            price=f"{DEMO_PRICE:g} {self._shown.get('CURRENCY') or 'usd'}",
            token=signed_token(self._key, DEMO_USER),
            shell=Shell.here(self._home.path),
            logs=str(self._home.logs),
        )
        self._home.write_tutorial(msgspec.json.encode(tutorial))
        self._console.show(tutorial.fitting(self._console))

    async def _until_ready(self) -> None:
        """Wait until the service answers that it is ready, and is the one that this run has started."""
        host, port = plan.reached_at(self._shown), self._ports[plan.SERVICE]
        next_notice_s = time.monotonic() + PATIENCE_S
        account_explained = False
        while True:
            answer = await ready_checks.get(host, port, "/readyz")
            why = answer[1][:SHOWN_CHARS] if answer else "no answer"
            if answer is not None and answer[0] == READY:
                if self._service.running and await takes_tokens_of(host, port, self._key):
                    return
                why = f"another program answers on port {port}"
            elif plan.OTHER_ACCOUNT in why and not account_explained:
                account_explained = True
                self._console.warn(plan.other_account(self._home.path, own_data=ServerProgram.MONGO in self._servers))
            if time.monotonic() > next_notice_s:
                self._console.warn(f"the service is not ready yet: {why}")
                next_notice_s += PATIENCE_S
            await asyncio.sleep(PORT_CHECK_EVERY_S)

    async def _place_orders(self) -> tuple[str, str, str]:
        """Publish three orders, and wait until the service has acknowledged them."""
        orders = new_order_id(), new_order_id(), new_order_id()
        async with connected(self._shown["NATS_URL"], self._cluster_id, plan.nats_login(self._shown)) as bus:
            for order_id in orders:
                stored = await bus.create(self._demo_order(order_id))
                if not await bus.taken_in(stored, self._shown["QUEUE_GROUP_NAME"], PATIENCE_S):
                    raise PeerServiceError("NATS has the order, and the service does not acknowledge it")
        return orders

    def _demo_order(self, order_id: str) -> PlacedOrder:
        return PlacedOrder(
            order_id=order_id, user_id=DEMO_USER, price=DEMO_PRICE, currency=None, expires_in_s=ORDER_LIFE_S
        )

    @property
    def _cluster_id(self) -> str:
        return plan.given(self._shown, "NATS_CLUSTER_ID") or ""

    @property
    def _base_url(self) -> str:
        host = plan.reached_at(self._shown)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._ports[plan.SERVICE]}"

    @property
    def _page(self) -> str | None:
        """The address of the shop's page; None where Stripe is not the sandbox."""
        return (
            f"http://{ready_checks.LOOPBACK}:{self._ports[ServerProgram.SHOP]}/"
            if ServerProgram.SHOP in self._servers
            else None
        )

    def _where(self, server: ServerProgram) -> str:
        if server in self._servers:
            where = f"port {self._ports[server]}, data in {server.data(self._broker, self._home)}/"
            return f"{server.label(self._broker)} on {where}"
        return plan.foreign_place(server, self._shown)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and return when they have ended."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        # Before Python 3.12, `wait_for` forgets a cancellation that comes together with the answer: nats-py uses it.
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
