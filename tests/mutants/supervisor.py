"""Mutants of the service and its supervisor: restarts of actors, and their in-flight effects."""

from tests.mutants.mutant import Edit, Mutant

SERVICE = "payment/service.py"
SUPERVISOR = "payment/actors/runtime/supervisor.py"

MUTANTS = (
    Mutant(
        name="restart-not-told",
        wrong="The ledger does not receive that an actor was restarted: the dead actor's effects stay in flight.",
        endangers="L4 F32",
        test="tests/unit/actors/runtime/test_supervisor.py::test_a_crashed_actor_is_replaced_and_its_pending_requests_fail",
        edits=(Edit(SUPERVISOR, "            self._context.on_restart(self.name)\n", ""),),
    ),
    Mutant(
        name="restart-told-if-there-is-room",
        wrong="With a full mailbox the ledger does not receive that an actor was restarted.",
        endangers="L4 F32 F39",
        test="tests/unit/test_service.py::test_a_restart_reaches_the_ledger_through_a_full_mailbox",
        edits=(Edit(SERVICE, "self._ledger.put(ActorRestarted(name)), name", "asyncio.sleep(0), name"),),
        beyond="No simulated load fills the ledger's mailbox of 4,000.",
    ),
    Mutant(
        name="never-gives-up",
        wrong="An actor that dies again and again is restarted for ever.",
        endangers="F32",
        test="tests/unit/actors/runtime/test_supervisor.py::test_too_many_restarts_end_the_process_with_a_code_above_0",
        edits=(Edit(SUPERVISOR, "if self._restarts > RESTARTS_MAX:", "if self._restarts > 100 * RESTARTS_MAX:"),),
        beyond="A process that does not exit breaks no law.",
    ),
    Mutant(
        name="gives-up-one-early",
        wrong="The fifth restart within the window already ends the process.",
        endangers="F32",
        test="tests/unit/actors/runtime/test_supervisor.py::test_restarts_wait_longer_and_longer",
        edits=(Edit(SUPERVISOR, "if self._restarts > RESTARTS_MAX:", "if self._restarts >= RESTARTS_MAX:"),),
        beyond="A process that exits and is started again breaks no law.",
    ),
    Mutant(
        name="pause-taken-for-a-hang",
        wrong="After a pause of the whole process its actors count as hung, and are restarted.",
        endangers="F34",
        test="tests/unit/actors/runtime/test_supervisor.py::test_a_process_that_stood_still_does_not_replace_its_actors",
        edits=(Edit(SUPERVISOR, "judge_from_s = now_s + self.spec.hang_s", "judge_from_s = now_s"),),
        beyond="A superfluous restart breaks no law.",
    ),
    Mutant(
        name="hang-not-noticed",
        wrong="An actor that hangs is never restarted.",
        endangers="L4 F32",
        test="tests/unit/actors/runtime/test_supervisor.py::test_a_hung_actor_is_noticed_and_replaced",
        edits=(
            Edit(
                SUPERVISOR,
                "            if silent_s > self.spec.hang_s and",
                "            if silent_s > 1_000 * self.spec.hang_s and",
            ),
        ),
    ),
    Mutant(
        name="drain-in-the-order-of-the-start",
        wrong="The ledger is drained first, while the actors that send it outcomes still run.",
        endangers="F33",
        test="tests/unit/actors/runtime/test_supervisor.py::test_it_starts_in_order_and_stops_in_reverse",
        edits=(
            Edit(
                SUPERVISOR,
                "        for child in reversed(self._children):\n            await child.drain()",
                "        for child in self._children:\n            await child.drain()",
            ),
        ),
        beyond="Undrained work is resumed later: no law notices the difference.",
    ),
    Mutant(
        name="gave-up-and-said-all-is-well",
        wrong="A process that gave up exits with 0, and its platform does not start it again.",
        endangers="L4 F32",
        test="tests/unit/actors/runtime/test_supervisor.py::test_too_many_restarts_end_the_process_with_a_code_above_0",
        edits=(
            Edit(
                SUPERVISOR,
                "            if isinstance(error, GaveUp):\n                code = EX_SOFTWARE\n",
                "            if isinstance(error, GaveUp):\n                code = EX_OK\n",
            ),
        ),
        beyond="The simulated platform starts a process again, whatever its exit code.",
    ),
    Mutant(
        name="dead-mailbox",
        wrong="A new ledger begins with an empty mailbox: the old one's messages are lost.",
        endangers="L4 F32",
        test="tests/unit/test_service.py::test_messages_wait_while_the_ledger_is_replaced",
        edits=(
            Edit(
                SERVICE,
                "        telemetry = LedgerTelemetry(self.health, self.metrics, ports.clock)\n",
                "        telemetry = LedgerTelemetry(self.health, self.metrics, ports.clock)\n"
                "        while self._ledger.get_nowait() is not None:\n            continue\n",
            ),
        ),
    ),
)
