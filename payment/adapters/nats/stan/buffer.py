"""The received messages of one subscription that are not settled yet. It does no I/O.

Owns: which message is handed out next, and which delivery is a repetition. Must never: hand out a message twice at a
time, or hold more than its bounds. Change together with: `payment.adapters.nats.stan.subscription`.

A message is queued, then handed out, and from there either settled (acknowledged), put back for a while, or neither:
then the server redelivers it after its ack wait. The server redelivers every unacknowledged message. The buffer drops a
redelivery of a message that is queued, being handled or put back, and hands out again a redelivery of a message that
was handled without an ack.
"""

import asyncio
from collections import deque

from payment.adapters.nats.stan.messages import MsgProto

BUFFER_MESSAGES = 4_096
"""Bound in messages. The first member of a group to return gets all unacknowledged messages at once, whatever limit it
requested.
"""
BUFFER_BYTES = 64 * 1024 * 1024
"""Bound in bytes. A message that doesn't fit is dropped: without an ack it is redelivered."""


class Buffer:
    """One subscription's messages, by sequence."""

    def __init__(self, messages_max: int = BUFFER_MESSAGES, bytes_max: int = BUFFER_BYTES) -> None:
        self.dropped = 0
        """The number of messages that did not fit."""
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._queue: deque[MsgProto] = deque()
        self._held: dict[int, MsgProto] = {}
        """Queued or put back messages, by sequence."""
        self._again: dict[int, int] = {}
        """How often each message was put back here: the server doesn't count that."""
        self._in_work: int | None = None
        self._unsettled: set[int] = set()
        self._closed = False
        self._changed = asyncio.Event()
        self.settled = asyncio.Event()
        """Set while no message that was handed out waits for its ack."""
        self.settled.set()

    def __len__(self) -> int:
        return len(self._held)

    def arrived(self, message: MsgProto) -> None:
        """Add a message that the server delivered."""
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
        """Return the next message; the one before counts as handled. None once the buffer is closed."""
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
        """Settle a message that was acknowledged."""
        self._again.pop(sequence, None)
        self._settle(sequence)

    def put_back(self, message: MsgProto) -> bool:
        """Hold a message until `back` hands it out again. Returns False where the buffer is closed or full."""
        sequence = message.sequence
        self._settle(sequence)
        if self._closed or sequence in self._held or len(self._held) >= self._messages_max:
            return False
        self._again[sequence] = self._again.get(sequence, 0) + 1
        self._hold(message)
        return True

    def back(self, sequence: int) -> None:
        """Queue a message again whose delay after `put_back` is over."""
        message = self._held.get(sequence)
        if message is not None:
            self._queue.append(message)
            self._changed.set()

    def redelivered(self, message: MsgProto) -> int:
        """Returns how often a message was handed out before, by the counts of the server and of this buffer."""
        count = max(message.redelivery_count, int(message.redelivered))
        return count + self._again.get(message.sequence, 0)

    def close(self) -> None:
        """Hand out nothing more, and drop all messages: without an ack the server delivers them to another member."""
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
