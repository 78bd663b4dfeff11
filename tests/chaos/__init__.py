"""The torture rig: real processes, real servers, kill -9 and SIGSTOP at all of them under load; then the four laws.

    make torture ROUNDS=10            ten rounds, added to build/torture-record.json
    make torture ROUNDS=1 SEED=4711   one round again

A round takes half a minute. It is a function of its seed as far as real processes allow: the seed decides each action
and its time, but not the instruction at which a process dies.

    plan.py       the plan of a round, by its seed: servers, customers, faults, strikes
    site.py       the servers and processes of one round, each of which can be struck
    buses.py      the two brokers, as used by peer services that lose their broker
    load.py       the customers: orders placed, paid, repeated, declined, cancelled, paid twice
    chaos.py      executes the strikes
    rest.py       waits until no work is left
    judge.py      the breaches, by the records of all servers and customers
    incident.py   the report of a broken order
    round.py      one round, from the start of its servers to its result
    record.py     the results of all rounds, as JSON
    report.py     the output: the progress line, the sums, the table
    __main__.py   the command line

The rig must never import the service: it observes the service through HTTP, the bus, Stripe's records and its log, and
reads its documents only where a law is about them.
"""
