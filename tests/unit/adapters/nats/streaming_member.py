"""A member of a queue group in its own process, to be killed and stopped: prints its events as JSON lines.

python -m tests.unit.adapters.nats.streaming_member URL CLIENT_ID ACK_WAIT_S ack|keep
"""

from __future__ import annotations

import asyncio
import json
import sys

from payment.adapters.nats.streaming.transport import StreamingTransport
from payment.adapters.system import RandomIds, SystemClock
from payment.ports.transport import Delivery
from tests.contract.transport_contract import CREATED
from tests.support.servers.nats_streaming import CLUSTER_ID


def print_line(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


class Listener:
    def connected(self) -> None:
        print_line(reported="connected")

    def disconnected(self, reason: str) -> None:
        print_line(reported="disconnected", reason=reason)

    def reason_changed(self, reason: str) -> None:
        print_line(shown=reason)

    def noticed(self, text: str, *, alarm: bool) -> None:
        print_line(noticed=text, alarm=alarm)


async def main(url: str, client_id: str, ack_wait_s: str, ack_mode: str) -> None:
    transport = StreamingTransport(
        [url], CLUSTER_ID, client_id, "payment-service", RandomIds(), SystemClock(), ack_wait_s=int(ack_wait_s)
    )

    async def arrived(delivery: Delivery) -> None:
        print_line(got=delivery.data.decode())
        if ack_mode == "ack":
            await delivery.ack()
            print_line(acked=delivery.data.decode())

    await transport.run({CREATED: arrived}, Listener())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
