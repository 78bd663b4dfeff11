"""A client of NATS Streaming (STAN) over nats-py, fit to be a library of its own: it knows nothing of payments.

    messages.py      the protocol's messages, as data
    codec.py         protobuf: what a message is on the wire
    errors.py        what can go wrong, and what the server's error strings mean
    wire.py          what is needed of a NATS connection
    session.py       connecting, heartbeats, pings, closing
    publishing.py    publishes and their acknowledgements
    subscription.py  a durable queue group's member; buffer.py holds what came and is not settled yet
    client.py        all of it together: start here

It opens one session and says when that is lost; opening the next is its user's. Nothing here imports anything of the
service, and nothing here ever sends an unsubscribe request: that one destroys a durable.
Source: the protocol's definition and nats-streaming-server 0.25.6, whose behaviour decided wherever the two left room.
"""
