"""A local run of the service with all its servers, for a machine that has Python and nothing else.

    python -m payment.devstack run                          (what `make run` calls)
    python -m payment.devstack order --price 19.99 --user u1

`run` starts nats-server with JetStream, nx-27017 (MongoDB's protocol over SQLite), the Stripe sandbox and a shop's page
as child processes, then the service itself as another, `python run.py`, with its variables set. With `--broker
streaming` nats-streaming-server carries the events instead. Data, ports, logs and the signing key of tokens stay in one
folder, `.embedded`, where the next run finds them.

    stack.py           the run: servers, then the service, then the tutorial; what ends a run, and how it stops
    plan.py            which servers are needed, and the environment of each child: pure
    servers.py         the command lines of the four servers, and their ports
    child.py           one child process: started, awaited, stopped
    parent_death.py    runs before a child's program and makes the kernel kill the child with its parent
    orphans.py         pid files, and ending the processes that an earlier run left behind
    home.py            the folder: its layout, its lock, its state, its key
    ready_checks.py    whether a port is free, accepts, or answers `/readyz`
    tutorial.py        the text shown once the service is ready
    shop/              a page that pays an order in a browser, and its stand-in for Stripe.js
    broker_program.py  finds or installs nats-streaming-server, the one program that no Python package contains
    peer_services.py   the platform's other services: their ids, their tokens, their connection to the bus
    bus.py             publishes orders and reads payments; bus_jetstream.py and bus_streaming.py implement it
    commands.py        order, cancel, token, events, status, guide
    __main__.py        the command line

The service's log goes to stdout as the service writes it: JSON lines, or colours on a terminal. This package's own
output, the tutorial included, goes to stderr, so that stdout holds only JSON lines where it is no terminal.

Production never imports this package, and it never changes what the service does: it only sets the service's
environment.
"""
