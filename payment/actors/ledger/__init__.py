"""The Mongo actor, called the ledger: it makes every change of every order, and nothing leaves it before a write.

What a message goes through, from the mailbox on:

    mailbox ─▶ order queue ─▶ a commit: take ─▶ load ─▶ decide ─▶ write ─▶ apply ─┬─▶ effects, to Stripe and NATS
     actor      order_queues  commit                                              ├─▶ replies to requests
                                                                                  └─▶ acknowledgements of events

`actor` reads the mailbox and decides when things happen: it adds a message to its order's queue, starts a commit when
queues are ready, and has a tick for deadlines and leases and sweeps for what is due. `commit` reads from top to bottom
what a commit does. What a confirmed document says is then applied: `in_flight` releases its effects, `pending_charges`
answers its requests, and its events are settled.

A request to charge has one owner, `pending_charges`, from the mailbox to the answer. There it has its state (QUEUED,
HELD, DECIDING, WRITING, SUPERSEDING, CHARGING), its one deadline, and one function that says what may be replied in
each state (`unavailable_reply`). The tick answers what is overdue. HTTP only awaits the answer, a grace longer.

    actor            the mailbox, the dispatch of commits, the tick, the sweeps
    order_queues     each order's messages, one after another; which queues are ready
    commit           a commit; the orders under way, and the cache of documents
    pending_charges  the requests to charge, their states, deadlines and answers
    decline_limit    how many attempts of one user may be declined; the requests that it holds
    payment_views    the requests to see a payment
    in_flight        the effects that Stripe's and NATS's actors have, and their leases
    set_aside        orders with an error of their own, and their events that are postponed
    dead_letters     events that can't be applied, until they are kept
    accounts         which Stripe account the database belongs to
    store_state      whether MongoDB can be used
    telemetry        log lines and metrics of orders and commits
    backlog          what is not settled in the whole database: gauges
    stuck_log        log lines about what is not settled for long
"""
