"""The embedded default: the service with everything it stands on, for a person with Python and nothing else.

    python -m payment.devstack run                          (what `make run` calls)
    python -m payment.devstack order --price 19.99 --user u1

`run` starts nats-server with JetStream, nx-27017 (MongoDB's protocol over SQLite), the Stripe sandbox and a shop's
page as child processes, then the service itself as another, `python run.py`, with its variables set. With
`--broker streaming` it is nats-streaming-server that carries the events. Data, ports, logs and the key that tokens are
signed with stay in one folder, `.embedded`, so that the next run finds its work.

    stack.py    the run: servers, then the service, then the guide; who may end, and how all of it stops
    plan.py         which servers are wanted, and the environment of each child: pure
    servers.py      the command lines of the four servers, and their ports
    child.py        one child process: started, awaited, stopped
    parent_death.py     the few lines between fork and exec that tie a child to its parent's life
    orphans.py    pid files, and the end of processes that an earlier run left behind
    home.py         the folder: its layout, its lock, its state, its key
    ready_checks.py        whether a port is free, accepts, or answers `/readyz`
    tutorial.py        what a person is shown once the service is ready
    shop/           a page that pays an order in a browser, and its stand-in for Stripe.js
    broker_program.py   finds or installs the one program that no Python package brings: nats-streaming-server
    peer_services.py   the platform's other services: their ids, their tokens, their connection to the bus
    bus.py          what they do there: publish orders, read payments; bus_jetstream.py and bus_streaming.py do it
    commands.py     order, cancel, token, events, status
    __main__.py     the command line

The service's log goes to stdout just as the service writes it: JSON lines, or colours on a terminal. All that this
package itself says goes to stderr, the guide too, so that stdout holds nothing but JSON lines where it is no terminal.

Production never imports it, and it never changes what the service does: all it gives it is an environment.
"""
