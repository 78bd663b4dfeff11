"""Payments asked for by their ids, read together: a crowd that polls costs one round trip a time.

Owns the requests to see a payment, until each is answered. It must never answer from anything but a fresh read.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from payment.actors.letters import PaymentAsked
from payment.core.order import Order
from payment.core.replies import PaymentView, Unavailability, Unavailable, payment_status
from payment.ports.clock import Clock
from payment.ports.store import OrderStore, StoreUnavailable

VIEWS_IN_A_READ_LIMIT = 500
"""Payments read in one round trip."""


class Views:
    """The requests to see a payment. `away` is told why when the store can't be read."""

    def __init__(self, store: OrderStore, clock: Clock, away: Callable[[str], None]) -> None:
        self._store = store
        self._clock = clock
        self._away = away
        self._asked: deque[PaymentAsked] = deque()
        self._some = asyncio.Event()

    def add(self, letter: PaymentAsked) -> None:
        self._asked.append(letter)
        self._some.set()

    async def answer_all(self) -> None:
        """Answer whoever asks, for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(0)  # let those who ask in this turn into the same read
            # They stay in `_asked` until they are answered: whatever ends us meanwhile, `fail` finds them.
            batch = [self._asked[place] for place in range(min(len(self._asked), VIEWS_IN_A_READ_LIMIT))]
            await self._answer(batch)
            for _ in batch:
                self._asked.popleft()
            if not self._asked:
                self._some.clear()

    async def _answer(self, batch: list[PaymentAsked]) -> None:
        try:
            orders = await self._store.load_by_payment([letter.payment_id for letter in batch])
        except StoreUnavailable as error:
            for letter in batch:
                show(letter, Unavailable(Unavailability.STORE_AWAY))
            self._away(str(error))
        else:
            for letter in batch:
                show(letter, self._view(orders.get(letter.payment_id)))

    def _view(self, order: Order | None) -> PaymentView | None:
        if order is None or order.payment is None or order.user_id is None:
            return None
        status = payment_status(order, self._clock.now())
        kept = order.kept
        return PaymentView(order.payment.id, order.id, order.user_id, status, kept.charge_id if kept else None)

    def fail(self) -> None:
        """The ledger ends: nobody will read for those who still wait."""
        for letter in self._asked:
            show(letter, Unavailable(Unavailability.CRASHED))
        self._asked.clear()


def show(letter: PaymentAsked, answer: PaymentView | Unavailable | None) -> None:
    """Answer a request to see a payment, unless nobody waits for the answer any more."""
    if not letter.answer.done():
        letter.answer.set_result(answer)
