"""The table of attempt states, walked pair by pair. The protocol's rows by name are in `test_outcomes`."""

import pytest

from payment.core.attempts import moved
from payment.core.order import GIVING_BACK, TABLE, UNSETTLED, AttemptState, Trigger, UnreachablePair, next_state
from tests.unit.core.builders import BY_STATE, Story, cancelled, confirming, created, unclear

S = AttemptState
PAIRS = [(state, trigger) for state in S for trigger in Trigger]
BEGINNINGS = {S.CONFIRMING, S.CHARGING}


def pair_id(value: AttemptState | Trigger) -> str:
    return value.name.lower()


@pytest.mark.parametrize("state", S, ids=pair_id)
def test_story_leads_to_each_state(state: S) -> None:
    """Every state is reachable: by messages alone, or by a document of release 0.1.0."""
    assert BY_STATE[state]().state() is state


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in PAIRS if pair in TABLE], ids=pair_id)
def test_pair_of_the_table_leads_to_its_state(state: S, trigger: Trigger) -> None:
    """Each pair in the table moves the attempt to the state that the table gives."""
    story = BY_STATE[state]().later(seconds=1)
    after = moved(story.doc, story.attempt(), trigger, story.context())
    assert after.attempts[0].state is TABLE[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in PAIRS if pair not in TABLE], ids=pair_id)
def test_pair_outside_the_table_is_our_bug_and_changes_nothing(state: S, trigger: Trigger) -> None:
    """A pair that the table calls unreachable raises, and the order is as it was."""
    story = BY_STATE[state]()
    before = story.doc
    with pytest.raises(UnreachablePair, match=state.value):
        moved(story.doc, story.attempt(), trigger, story.context())
    assert story.doc is before


def test_no_pair_leads_back_to_where_attempts_begin() -> None:
    """Attempts begin as confirming, those of 0.1.0 as charging: nothing returns there."""
    assert not [pair for pair, after in TABLE.items() if after in BEGINNINGS and pair[0] is not after]


def test_no_pair_leads_from_settled_to_unsettled() -> None:
    """A client that got a final reply gets no other: no settled attempt may charge for its order again."""
    assert all(before in UNSETTLED or after not in UNSETTLED for (before, _), after in TABLE.items())


def test_money_is_kept_only_by_a_success_that_is_wanted() -> None:
    """One trigger leads to paid, from every state in which nothing was charged yet."""
    entering = {pair for pair, after in TABLE.items() if after is S.PAID and pair[0] is not S.PAID}
    uncharged = set(S) - GIVING_BACK - {S.PAID}
    assert entering == {(state, Trigger.SUCCEEDED) for state in uncharged}


def test_given_back_money_stays_given_back() -> None:
    """From the states of a refund every pair leads to one of them."""
    assert all(after in GIVING_BACK for (before, _), after in TABLE.items() if before in GIVING_BACK)


def test_awaiting_is_left_by_retrievals_successes_and_ends_alone() -> None:
    """Awaiting, cancelling; any late answer of the confirm but a success: no change."""
    answers = {
        Trigger.REPLAYED,
        Trigger.ACTION,
        Trigger.ACTION_UNPAYABLE,
        Trigger.DECLINED,
        Trigger.REFUSED,
        Trigger.UNCLEAR,
        Trigger.UNCLEAR_FOR_GOOD,
        Trigger.WITHHELD,
        Trigger.WITHHELD_UNPAYABLE,
    }
    for state in set(S) - BEGINNINGS:
        assert all(TABLE[state, trigger] is state for trigger in answers)


def test_every_trigger_is_met_somewhere() -> None:
    """A trigger in no row would be a message without a handler."""
    assert {trigger for _, trigger in TABLE} == set(Trigger)


def test_next_state_names_the_pair_it_was_not_given() -> None:
    """The alarm must name the pair."""
    with pytest.raises(UnreachablePair, match="paid can't meet 'order expired'"):
        next_state(S.PAID, Trigger.EXPIRED)


def test_history_lists_the_way_through_the_table() -> None:
    """The document lists each state that was entered, in order, for readers."""
    story = BY_STATE[S.REFUNDED]()
    assert story.history()[-4:] == ["attempt 1 paid", "order cancelled", "attempt 1 refunding", "attempt 1 refunded"]


def test_history_lists_each_change_once() -> None:
    """The history is bounded: a line for each state that was entered, and none for a step that entered none."""
    story = confirming().later(seconds=1).decide(unclear(), unclear(2))
    assert story.history() == ["order created", "attempt 1 confirming"]
    assert Story(cancelled(), created()).history() == ["order cancelled", "order created"]
