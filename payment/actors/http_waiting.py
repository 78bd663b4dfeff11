"""The requests that wait for the ledger: how many may, for how long, and who answers them if the ledger does not.

The ledger answers each letter by its deadline. That it may hang, die or be flooded is what this is for: nobody waits
for ever, and the requests under way never take the room in its mailbox that outcomes and events need. It must never
cancel a letter: what was offered may still be carried out, whoever has stopped waiting for it.
"""

import asyncio
from collections import deque
from typing import Any, TypeVar

from msgspec import Struct

from payment.actors.actor import ActorCrashed
from payment.actors.letters import (
    ChargeAsked,
    LedgerLetter,
    PaymentAsked,
)
from payment.actors.mailbox import Mailbox
from payment.actors.stripe.queue_estimate import QueueEstimate
from payment.core.replies import Answer, PaymentView, Unavailability, Unavailable
from payment.ports.clock import Clock

WAITING_REQUESTS = 12_000
"""Most requests that wait at once: 10,000 charges may (a sale begins), and there is room for look-ups beside them."""
LEDGER_RESERVE = 256
"""Room in the ledger's mailbox that requests leave free, in letters: outcomes and events come first (F39)."""
HELD_UP_S = 0.5
"""From so long a queue at Stripe on, in seconds, it is Stripe that people wait for, and not we."""
ROOM_LEFT_REQUESTS = 500
"""Of those that may wait, so many places are not counted on: charges on the wire, requests to see a payment."""
OVERDUE_EVERY_S = 1.0
"""How often overdue requests are looked for, in seconds. Few ever are: one timer for all costs less than one each."""

A = TypeVar("A")


class _Place(Struct, frozen=True):
    """One request that waits, until `until` (monotonic seconds). `charge` is its letter, if it asks for a charge."""

    until: float
    charge: ChargeAsked | None


class WaitingRoom:
    """Hands letters to the ledger and waits for their answers."""

    def __init__(self, ledger: Mailbox[LedgerLetter], estimate: QueueEstimate, clock: Clock) -> None:
        self._ledger = ledger
        self._estimate = estimate
        self._clock = clock
        self._places: dict[asyncio.Future[Any], _Place] = {}
        self._undecided: deque[tuple[float, ChargeAsked]] = deque()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._places)

    async def charge(self, letter: ChargeAsked, until: float) -> Answer:
        """What the ledger says to a request to charge."""
        answer = await self._ask(letter, letter.answer, _Place(until, charge=letter))
        return Answer(answer) if isinstance(answer, Unavailable) else answer

    def behind_s(self) -> float:
        """For how long the ledger has owed a decision to the request that was first of those it has not decided."""
        while self._undecided:
            since, letter = self._undecided[0]
            if not letter.decided and not letter.answer.done():
                return self._clock.monotonic() - since
            self._undecided.popleft()
        return 0.0

    def room_before_stripe(self) -> int | None:
        """How many charges more may be taken in, where it is Stripe that holds people up; else None."""
        estimate = self._estimate
        if estimate.wait_s(estimate.entered + 1) < HELD_UP_S:
            return None
        # Who was told that the outcome is pending waits no more, and is in Stripe's queue all the same.
        taken = max(len(self._places), estimate.queued + len(self._undecided))
        return WAITING_REQUESTS - ROOM_LEFT_REQUESTS - taken

    async def look_up(self, letter: PaymentAsked, until: float) -> PaymentView | Unavailable | None:
        """What the ledger says to a request to see a payment. None: there is no such payment."""
        return await self._ask(letter, letter.answer, _Place(until, charge=None))

    async def answer_overdue(self) -> None:
        """Answer whoever the ledger leaves waiting, for ever."""
        while True:
            await self._clock.sleep(OVERDUE_EVERY_S)
            now = self._clock.monotonic()
            for answer, place in self._places.items():
                if place.until <= now:
                    _settle(answer, place, Unavailability.BUSY)

    def hurry(self, deadline: float) -> None:
        """Whoever asked for a charge is told by then (monotonic seconds) how it stands: the house is being emptied."""
        for place in self._places.values():
            if place.charge is not None:
                place.charge.deadline = min(place.charge.deadline, deadline)

    async def emptied(self) -> None:
        """Wait until nobody waits."""
        await self._empty.wait()

    def dismiss(self, reason: Unavailability) -> None:
        """Answer everybody at once: nobody will be there to take the ledger's answer. `reason` is for look-ups."""
        for answer, place in self._places.items():
            _settle(answer, place, reason)

    async def _ask(self, letter: LedgerLetter, answer: "asyncio.Future[A]", place: _Place) -> A | Unavailable:
        full = len(self._places) >= WAITING_REQUESTS or self._ledger.room <= LEDGER_RESERVE
        if full or not self._ledger.offer(letter):
            return Unavailable(Unavailability.BUSY)
        self._places[answer] = place
        if place.charge is not None:
            self.behind_s()  # forgets those that were decided: nobody else may ask for long
            self._undecided.append((self._clock.monotonic(), place.charge))
        self._empty.clear()
        try:
            return await answer
        except ActorCrashed:
            return Unavailable(Unavailability.CRASHED)
        finally:
            del self._places[answer]
            if not self._places:
                self._empty.set()


def _settle(answer: "asyncio.Future[Any]", place: _Place, reason: Unavailability) -> None:
    """Answer in the ledger's place. The ledger may have answered in this very turn of the loop: its answer stands.

    Its letter lives on, in a mailbox or on its way to a write, whatever becomes of us. So a request to charge hears
    that its outcome is unknown, even where no write was sent yet.
    """
    if answer.done():
        return
    if place.charge is not None:
        answer.set_result(Answer(Unavailable(Unavailability.WRITE_UNKNOWN)))
    else:
        answer.set_result(Unavailable(reason))
