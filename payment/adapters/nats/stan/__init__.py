"""A client of NATS Streaming (STAN) over nats-py. It could be a library of its own: nothing in it is about payments.

    messages.py      the protocol's messages, as data
    codec.py         protobuf: the encoding of a message on the wire
    errors.py        the exceptions, and the meaning of the server's error strings
    wire.py          the Protocol of the NATS connection that this package needs
    session.py       connecting, heartbeats, pings, closing
    publishing.py    publishes and their acknowledgements
    subscription.py  a durable queue group's member; buffer.py holds received messages until they are settled
    client.py        combines all of them: start here

A client opens one session and reports its loss; the caller opens the next one. This package imports nothing of the
service and never sends an unsubscribe request, which would destroy a durable. Source: the protocol's definition and
nats-streaming-server 0.25.6, whose behaviour decided wherever the definition is unclear.
"""
