"""Mutants of the ledger in a burst: which request is rejected, work beside a commit, the order at Stripe."""

from tests.mutants.ledger_in_flight import NO_BURST, NO_LAW
from tests.mutants.mutant import Edit, Mutant

COMMIT = "payment/actors/ledger/commit.py"
ORDER_QUEUES = "payment/actors/ledger/order_queues.py"
MONGO = "payment/actors/ledger/actor.py"
TIME = "tests/unit/actors/ledger/test_time.py::TestDeadline"
BESIDE = f"{TIME}::test_a_full_commit_goes_beside_another_at_once"
BEHIND = f"{TIME}::test_requests_are_rejected_while_the_ledger_is_behind"
NEW = "tests/unit/actors/ledger/test_commit.py::TestNew"
TURNS = "tests/unit/actors/ledger/test_commit_turns.py"

MUTANTS = (
    Mutant(
        name="burst-taken-whole",
        wrong="Requests are rejected by their number alone, however far behind the ledger is.",
        endangers="F39",
        test=BEHIND,
        edits=(Edit(MONGO, " or self._order_queues.behind_s() >= BEHIND_LIMIT_S", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="behind-counted-anew",
        wrong="How long an order has waited for its turn begins anew with each message that comes for it.",
        endangers="F39",
        test="tests/unit/actors/ledger/test_order_queues.py::TestBehind::test_it_is_the_age_of_the_queue_that_is_next",
        edits=(
            Edit(
                ORDER_QUEUES,
                "elif order_queue.order_id not in self._ready_to_finish and order_queue.order_id not in self._ready:",
                "elif order_queue.order_id not in self._ready_to_finish:",
            ),
        ),
        beyond=NO_BURST,
    ),
    Mutant(
        name="full-commit-waits",
        wrong="A full commit waits for the one under way.",
        endangers="F39",
        test=BESIDE,
        edits=(Edit(MONGO, "return full or all(", "return all("),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="any-commit-goes-beside",
        wrong="Whatever is ready is written beside a commit under way: twice as many, each half as large.",
        endangers="F39",
        test=BESIDE,
        edits=(Edit(MONGO, "self._order_queues.ready >= ORDERS_IN_A_COMMIT_LIMIT", "self._order_queues.ready > 0"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="commit-keeps-the-loop",
        wrong="A commit decides and applies all its orders in one turn of the loop.",
        endangers="F39",
        test=f"{TURNS}::test_others_run_after_every_few_orders",
        edits=(Edit(COMMIT, "if self._clock.monotonic() - self._turn_began >= self._others_took_s:", "if False:"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="commit-starved-by-a-burst",
        wrong="A commit has the time of a few orders, however long the others take between them.",
        endangers="F39",
        test=f"{TURNS}::test_a_commit_has_as_much_time_as_the_others_take",
        edits=(Edit(COMMIT, "if self._clock.monotonic() - self._turn_began >= self._others_took_s:", "if True:"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="commits-wait-for-each-other",
        wrong="One commit counts the other's turn as others' time, and has one as long, and so on in turn.",
        endangers="F39",
        test=f"{TURNS}::test_others_run_after_every_few_orders",
        edits=(Edit(COMMIT, " - (self._share.used_s - used_s)", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="new-order-read-first",
        wrong="An order that is announced for the first time is read before it is written.",
        endangers="F39",
        test=f"{NEW}::test_a_new_order_is_not_read_first",
        edits=(Edit(COMMIT, " or (not item.sent and self._presumed_new(item))", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="collision-taken-for-new-again",
        wrong="An order that should have been new, and was not, is written unread again and again.",
        endangers="L4 F01",
        test=f"{NEW}::test_one_that_was_known_is_read_and_left_as_it_is",
        edits=(
            Edit(COMMIT, " or (not item.sent and self._presumed_new(item))", " or self._presumed_new(item)"),
            Edit(COMMIT, "self._read_first_until = self._clock.monotonic() + READ_FIRST_S", "pass"),
        ),
    ),
    Mutant(
        name="known-orders-never-expected",
        wrong="A queue group that receives all events again writes each order unread, and collides with it.",
        endangers="F39",
        test=f"{NEW}::test_while_there_are_known_ones_all_are_read",
        edits=(Edit(COMMIT, "self._read_first_until = self._clock.monotonic() + READ_FIRST_S", "pass"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="redelivered-taken-for-new",
        wrong="An event that was delivered before is written unread.",
        endangers="F08",
        test=f"{NEW}::test_a_redelivered_one_is_read_first",
        edits=(Edit(COMMIT, " and not message.redelivered", ""),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="each-order-in-its-own-context",
        wrong="Each order of a commit is decided as of now, and two commits in turns mix the order of requests.",
        endangers="F39",
        test=f"{TURNS}::test_two_commits_in_turns_keep_the_order_of_asking",
        edits=(Edit(COMMIT, "- self._began >= DECIDED_AS_OF_ITS_BEGINNING_S", "- self._began >= 0.0"),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="context-kept-for-ever",
        wrong="A commit decides as of its beginning, however long the store took to be read.",
        endangers="F38",
        test=f"{TURNS}::test_an_order_that_took_long_to_read_is_decided_as_of_now",
        edits=(Edit(COMMIT, "DECIDED_AS_OF_ITS_BEGINNING_S = 1.0", "DECIDED_AS_OF_ITS_BEGINNING_S = 1e9"),),
        beyond=NO_LAW,
    ),
    Mutant(
        name="read-ones-last",
        wrong="In a commit, orders that had to be read stand behind those that were cached.",
        endangers="F39",
        test=f"{TURNS}::test_an_order_that_is_read_first_keeps_its_place",
        edits=(Edit(COMMIT, "            decided.sort(key=lambda item: places[id(item)])\n", ""),),
        beyond=NO_BURST,
    ),
    Mutant(
        name="context-of-the-first-decision",
        wrong="A round decides as of its first decision: where all of its orders are read first, after that.",
        endangers="F39",
        test=f"{TURNS}::test_an_order_that_is_read_first_is_decided_as_of_the_beginning",
        edits=(Edit(COMMIT, "        self.now()  # the round begins\n", ""),),
        beyond=NO_BURST,
    ),
)
