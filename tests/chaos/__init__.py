"""The torture rig: real processes, real servers, kill -9 and SIGSTOP at all of them under load; then the four laws.

    make torture ROUNDS=10            ten rounds, added to build/torture-record.json
    make torture ROUNDS=1 SEED=4711   one round again

A round takes half a minute. It is a function of its seed as far as real processes allow: who does what when is drawn
from it; which instruction a process dies at is not.

    plan.py       what a round will do, by its seed: servers, crowd, faults, strikes
    site.py       the servers and processes of one round, each of which can be struck
    buses.py      the two brokers, as neighbours that lose their broker see them
    load.py       the crowd: orders placed, paid, repeated, declined, cancelled, paid twice
    chaos.py      the strikes, carried out
    rest.py       waiting until nobody has anything to do
    judge.py      what was broken, by everybody's own books
    account.py    a broken order's story, for whoever has to find out
    round.py      one round, from the start of its servers to its result
    record.py     what came of all rounds, as JSON
    report.py     what is shown: the progress line, the sums, the table
    __main__.py   the command line

The rig must never import the service: it looks at it through HTTP, the bus, Stripe's books, its log, and at its
documents only where a law is about them.
"""
