"""How many attempts of one user may be declined, over all orders: what makes this service useless for testing cards.

The bank's declines of the last hour are counted by user. At the limit a request that would begin another attempt is
refused (429), until the oldest of them is out of the window. Stored answers, and requests that join an attempt under
way, begin nothing and are never refused.

**Attempts in flight count too**, from the first decline on, for each may be declined: a user has at most as many as
declines are left. A request beyond that waits until one of them ends, and is decided again then. A user of whom none
was declined is not delayed: that may be a program that pays thousands of orders at once.

It must never wait for anything, and counts only what the ledger of this process has written: another process has its
own count, and a restart begins at 0 (docs/decisions/0014).
"""

import math
from collections import OrderedDict, deque

from msgspec import Struct, field

from payment.actors.ledger.pending_charges import ChargeState, PendingCharge, PendingCharges
from payment.core.order import UNSETTLED, AttemptState, Order
from payment.core.replies import Denied
from payment.ops.log_schema import Event
from payment.ops.logs import get_logger
from payment.ports.clock import Clock

USERS_LIMIT = 10_000
"""Users that are remembered, the latest first to stay: as many as charges may be in flight. 20 MB at most."""

IN_FLIGHT_S = 60.0
"""How long an attempt counts as in flight, in seconds. One that has no outcome by then waits for Stripe's return, or
another process has taken it over and counts its decline."""

LOGGED_ORDERS_LIMIT = 100
"""Orders of one user whose refusals are logged, until the user may pay again: one line for each order."""

IN_FLIGHT = frozenset({AttemptState.CONFIRMING, AttemptState.CANCELLING, AttemptState.CHARGING})
"""Not one that awaits its customer: that may take an hour, and the bank has not declined it."""

AttemptName = tuple[str, int]
"""An order's id and the attempt's number."""


class _Begun(Struct, eq=False):
    """The attempts of one order that may be in flight, and whether a written document has had each of them."""

    user_id: str
    written: dict[int, bool] = field(default_factory=dict)


class _User(Struct, eq=False):
    """What is known of one user. Times are monotonic seconds."""

    declined: deque[float] = field(default_factory=deque)
    in_flight: dict[AttemptName, float] = field(default_factory=dict)
    held: deque[PendingCharge] = field(default_factory=deque)
    logged: set[str] = field(default_factory=set)


class DeclineLimit:
    """Counts declines by user. `limit` 0: nothing is counted, and nothing refused."""

    def __init__(self, limit: int, window_s: float, clock: Clock, users_limit: int = USERS_LIMIT) -> None:
        self.on = limit > 0
        """Whether there is a limit."""
        self._limit = limit
        self._users_limit = users_limit
        self._window_s = window_s
        self._clock = clock
        self._charges: PendingCharges
        """Set by `start`."""
        self._users: OrderedDict[str, _User] = OrderedDict()
        self._holding: dict[str, _User] = {}
        """The users with requests that are held."""
        self._begun: dict[str, _Begun] = {}

    def start(self, charges: PendingCharges) -> None:
        """A ledger begins, with its pending requests. Which attempts of the last one are in flight is unknown."""
        self._charges = charges
        self._begun.clear()
        self._holding.clear()
        for user in self._users.values():
            user.in_flight.clear()
            user.held.clear()

    def may_begin(self, order: Order, charge: PendingCharge) -> bool:
        """Whether a request that would begin the order's next attempt may do so now.

        If not, it is refused, or held until it may.
        """
        name = (order.id, len(order.attempts) + 1)
        user_id, now = charge.message.request.user_id, self._clock.monotonic()
        user = self._user(user_id)
        while user.declined and user.declined[0] <= now - self._window_s:
            user.declined.popleft()
        for other in [other for other, began in user.in_flight.items() if began <= now - IN_FLIGHT_S]:
            self._drop(user, other)
        if name not in user.in_flight:
            if len(user.declined) >= self._limit:
                self._refuse(user, charge)
                return False
            if self._places(user) <= 0:
                if charge.state is ChargeState.DECIDING:
                    charge.state = ChargeState.HELD
                user.held.append(charge)
                self._holding[user_id] = user
                return False
            user.in_flight[name] = now
            self._begun.setdefault(order.id, _Begun(user_id)).written[name[1]] = False
        user.logged.clear()
        return True

    def settled(self, before: Order | None, after: Order) -> None:
        """A document stands: count the declines that it adds, and let others begin where an attempt is not in flight.

        `before` is what it was decided on.
        """
        if not self.on or after.user_id is None:
            return
        was = {attempt.number: attempt.state for attempt in before.attempts} if before is not None else {}
        for attempt in after.attempts:
            ended = was.get(attempt.number) in UNSETTLED and attempt.state not in UNSETTLED
            if ended and attempt.state is AttemptState.DECLINED and attempt.cancel_reason is None:
                self._user(after.user_id).declined.append(self._clock.monotonic())
        begun = self._begun.get(after.id)
        if begun is None:
            return
        states = {attempt.number: attempt.state for attempt in after.attempts}
        for number in list(begun.written):
            if states.get(number) in IN_FLIGHT:
                begun.written[number] = True
            else:
                self._ended(begun.user_id, (after.id, number))

    def given_up(self, order_id: str) -> None:
        """Nothing was written for requests about an order: the attempts that they would have begun are none."""
        begun = self._begun.get(order_id)
        if begun is not None:
            for number in [number for number, written in begun.written.items() if not written]:
                self._ended(begun.user_id, (order_id, number))

    def drop_answered(self) -> None:
        """Forget the held requests that have been answered: their time was up."""
        for user_id, user in list(self._holding.items()):
            user.held = deque(charge for charge in user.held if not charge.answered)
            if not user.held:
                del self._holding[user_id]

    def _user(self, user_id: str) -> _User:
        user = self._users.get(user_id)
        if user is None:
            user = self._users[user_id] = _User()
            if len(self._users) > self._users_limit:
                self._forget_one()
        self._users.move_to_end(user_id)
        return user

    def _forget_one(self) -> None:
        """The user who was seen longest ago; what is held for it is decided again."""
        _, user = self._users.popitem(last=False)
        for name in list(user.in_flight):
            self._drop(user, name)
        while user.held:
            self._charges.decide_again(user.held.popleft())

    def _places(self, user: _User) -> float:
        """How many more attempts the user may have in flight."""
        return self._limit - len(user.declined) - len(user.in_flight) if user.declined else math.inf

    def _refuse(self, user: _User, charge: PendingCharge) -> None:
        declines = len(user.declined)
        again_s = user.declined[declines - self._limit] + self._window_s - self._clock.monotonic()
        self._charges.answer(charge, Denied.TOO_MANY_DECLINES, max(1, math.ceil(again_s)))
        order_id = charge.message.request.order_id
        if order_id not in user.logged and len(user.logged) < LOGGED_ORDERS_LIMIT:
            user.logged.add(order_id)
            get_logger().warning(
                Event.REQUEST_REFUSED,
                status=429,
                reason=Denied.TOO_MANY_DECLINES.value,
                order_id=order_id,
                request_id=charge.message.request_id,
                count=declines,
            )

    def _ended(self, user_id: str, name: AttemptName) -> None:
        user = self._user(user_id)
        self._drop(user, name)
        refusing = len(user.declined) >= self._limit
        places = len(user.held) if refusing else self._places(user)
        while user.held and places > 0:
            self._charges.decide_again(user.held.popleft())
            places -= 1

    def _drop(self, user: _User, name: AttemptName) -> None:
        user.in_flight.pop(name, None)
        order_id, number = name
        begun = self._begun.get(order_id)
        if begun is not None:
            begun.written.pop(number, None)
            if not begun.written:
                del self._begun[order_id]
