"""The requests that wait for the ledger: how many may, and their answers if the ledger gives none.

The ledger answers each message by its deadline. HTTP awaits that answer until `until`, a grace later; a ledger that has
not answered by then hangs or has died, and the request is answered here: of a charge, that its outcome is unknown. The
requests under way never take the room in the ledger's mailbox that outcomes and events need. A message must never be
cancelled: what was offered may still be carried out, though its request has been answered.
"""

import asyncio
from collections import deque
from typing import Any, TypeVar

from msgspec import Struct

from payment.actors.messages import (
    AnswerBy,
    ChargeOrder,
    ChargeReply,
    GetPayment,
    LedgerMessage,
    PaymentReply,
)
from payment.actors.queue_estimate import EstimateReader
from payment.actors.runtime.mailbox import Mailbox
from payment.core.replies import Unavailability, Unavailable
from payment.ports.clock import Clock

WAITING_REQUESTS = 12_000
"""Most requests that wait at once: 10,000 charges may (a sale begins), and there is room for look-ups beside them."""
LEDGER_RESERVE = 256
"""Room in the ledger's mailbox that requests leave free, in messages: outcomes and events come first (F39)."""
HELD_UP_S = 0.5
"""From this length of the queue at Stripe on, in seconds, requests wait for Stripe and not for this process."""
ROOM_LEFT_REQUESTS = 500
"""Of the requests that may wait, this number is left out: charges on the wire, requests to see a payment."""
OVERDUE_EVERY_S = 1.0
"""How often overdue requests are looked for, in seconds. Few ever are: one timer for all costs less than one each."""

A = TypeVar("A")


class _Place(Struct, frozen=True):
    """One pending request and its message. At `until` (monotonic seconds) it is answered without the ledger."""

    until: float
    message: ChargeOrder | GetPayment

    @property
    def charge(self) -> ChargeOrder | None:
        """The message, if it asks for a charge."""
        return self.message if isinstance(self.message, ChargeOrder) else None


class PendingRequests:
    """Sends messages to the ledger and waits for its answers."""

    def __init__(self, ledger: Mailbox[LedgerMessage], estimate: EstimateReader, clock: Clock) -> None:
        self._ledger = ledger
        self._estimate = estimate
        self._clock = clock
        self._places: dict[asyncio.Future[Any], _Place] = {}
        self._undecided: deque[tuple[float, ChargeOrder]] = deque()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._places)

    async def charge(self, message: ChargeOrder, until: float) -> ChargeReply:
        """Returns the answer to a request to charge."""
        answer = await self._ask(message.answer, _Place(until, message))
        return ChargeReply(answer) if isinstance(answer, Unavailable) else answer

    def behind_s(self) -> float:
        """How long the oldest charge that the ledger has not decided has waited for the decision, in seconds."""
        while self._undecided:
            since, message = self._undecided[0]
            if not message.decided.done() and not message.answer.done():
                return self._clock.monotonic() - since
            self._undecided.popleft()
        return 0.0

    def room_before_stripe(self) -> int | None:
        """How many more charges may be accepted, where requests wait for Stripe; None where they wait for us."""
        estimate = self._estimate.latest
        if estimate.wait_s(estimate.received + 1) < HELD_UP_S:
            return None
        # A request that was answered with 202 is pending no more, and its charge is in Stripe's queue all the same.
        taken = max(len(self._places), estimate.queued + len(self._undecided))
        return WAITING_REQUESTS - ROOM_LEFT_REQUESTS - taken

    async def look_up(self, message: GetPayment, until: float) -> PaymentReply | Unavailable | None:
        """Returns the answer to a request to see a payment. None: there is no such payment."""
        return await self._ask(message.answer, _Place(until, message))

    async def answer_overdue(self) -> None:
        """Answer every request that the ledger has not answered in time. Runs until it is cancelled."""
        while True:
            await self._clock.sleep(OVERDUE_EVERY_S)
            now = self._clock.monotonic()
            for answer, place in self._places.items():
                if place.until <= now:
                    _settle(answer, place, Unavailability.BUSY)

    async def answer_by(self, deadline: float) -> None:
        """Have the ledger answer every pending request by then (monotonic seconds), as far as it knows."""
        await self._ledger.put(AnswerBy(deadline))

    async def emptied(self) -> None:
        """Wait until no request is pending."""
        await self._empty.wait()

    def dismiss(self, reason: Unavailability) -> None:
        """Answer every pending request now, since this actor ends. `reason` is for requests to see a payment."""
        for answer, place in self._places.items():
            _settle(answer, place, reason)

    async def _ask(self, answer: "asyncio.Future[A]", place: _Place) -> A | Unavailable:
        full = len(self._places) >= WAITING_REQUESTS or self._ledger.room <= LEDGER_RESERVE
        if full or not self._ledger.offer(place.message):
            return Unavailable(Unavailability.BUSY)
        self._places[answer] = place
        if place.charge is not None:
            self.behind_s()  # drops those that were decided: it may not be called for long otherwise
            self._undecided.append((self._clock.monotonic(), place.charge))
        self._empty.clear()
        try:
            return await answer
        finally:
            del self._places[answer]
            if not self._places:
                self._empty.set()


def _settle(answer: "asyncio.Future[Any]", place: _Place, reason: Unavailability) -> None:
    """Answer in the ledger's place. The ledger may have answered in this very turn of the loop: its answer stands.

    The message lives on, in a mailbox or on its way to a write. So the outcome of a request to charge is unknown, even
    where no write was sent yet.
    """
    if answer.done():
        return
    if place.charge is not None:
        answer.set_result(ChargeReply(Unavailable(Unavailability.WRITE_UNKNOWN)))
    else:
        answer.set_result(Unavailable(reason))
