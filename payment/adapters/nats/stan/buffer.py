"""The messages of one subscription that are here and not settled yet. No I/O: what is decided here can be read here.

Owns: which message is handed out next, and which delivery is a repetition. Must never: hand out a message twice at a
time, or hold more than its bounds. Change together with: `payment.adapters.nats.stan.subscription`.

A message is queued, then handed out, and from there either settled (acknowledged), put back for a while, or neither:
then the server brings it again after its ack wait. The server does so for whatever has no ack yet, so a repetition of
what is queued, in work or put back here is dropped; a repetition of what was handed out and left is handed out again.
"""

import asyncio
from collections import deque

from payment.adapters.nats.stan.messages import MsgProto

BUFFER_MESSAGES = 4_096
"""The first member of a group to come back gets all that was unacknowledged at once, whatever limit it asked for."""
BUFFER_BYTES = 64 * 1024 * 1024
"""What doesn't fit is dropped: without an ack, it comes again."""


class Buffer:
    """One subscription's messages, by sequence."""

    def __init__(self, messages_max: int = BUFFER_MESSAGES, bytes_max: int = BUFFER_BYTES) -> None:
        self.dropped = 0
        """How many did not fit."""
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._queue: deque[MsgProto] = deque()
        self._held: dict[int, MsgProto] = {}
        """Queued or put back: by sequence."""
        self._again: dict[int, int] = {}
        """How often a message was put back here, which the server doesn't know."""
        self._in_work: int | None = None
        self._unsettled: set[int] = set()
        self._closed = False
        self._changed = asyncio.Event()
        self.settled = asyncio.Event()
        """Set while nothing that was handed out still waits for its ack."""
        self.settled.set()

    def __len__(self) -> int:
        return len(self._held)

    def arrived(self, message: MsgProto) -> None:
        """The server delivered it."""
        sequence = message.sequence
        if sequence in self._held or sequence == self._in_work or self._closed:
            return
        if len(self._held) >= self._messages_max or self._bytes + len(message.data) > self._bytes_max:
            self.dropped += 1
            return
        self._hold(message)
        self._queue.append(message)
        self._changed.set()

    async def next(self) -> MsgProto | None:
        """The next message to work on, and the end of the work on the one before. None once the buffer is closed."""
        self._in_work = None
        while not self._queue:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._queue.popleft()
        self._let_go(message)
        self._in_work = message.sequence
        self._unsettled.add(message.sequence)
        self.settled.clear()
        return message

    def done(self, sequence: int) -> None:
        """It was acknowledged."""
        self._again.pop(sequence, None)
        self._settle(sequence)

    def put_back(self, message: MsgProto) -> bool:
        """It is to be handed out again later: until `back` nothing of it is. False: the buffer is closed, or full."""
        sequence = message.sequence
        self._settle(sequence)
        if self._closed or sequence in self._held or len(self._held) >= self._messages_max:
            return False
        self._again[sequence] = self._again.get(sequence, 0) + 1
        self._hold(message)
        return True

    def back(self, sequence: int) -> None:
        """The time of a message that was put back has come."""
        message = self._held.get(sequence)
        if message is not None:
            self._queue.append(message)
            self._changed.set()

    def redelivered(self, message: MsgProto) -> int:
        """How often it was handed out before, as far as the server and this buffer know."""
        count = max(message.redelivery_count, int(message.redelivered))
        return count + self._again.get(message.sequence, 0)

    def close(self) -> None:
        """Hand out nothing more, and forget what is here: it has no ack, so that somebody else gets it."""
        self._closed = True
        self._queue.clear()
        self._held.clear()
        self._again.clear()
        self._changed.set()

    def _hold(self, message: MsgProto) -> None:
        self._held[message.sequence] = message
        self._bytes += len(message.data)

    def _let_go(self, message: MsgProto) -> None:
        del self._held[message.sequence]
        self._bytes -= len(message.data)

    def _settle(self, sequence: int) -> None:
        self._unsettled.discard(sequence)
        if not self._unsettled:
            self.settled.set()
