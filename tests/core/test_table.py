"""The table of attempt states, walked pair by pair. The design's rows by name are in `test_how_attempts_end`."""

import pytest

from payment.core.attempts import moved
from payment.core.messages import Evidence
from payment.core.order import GIVING_BACK, TABLE, UNSETTLED, AttemptState, Trigger, UnreachablePair, next_state
from tests.core.builders import BY_STATE, Story, cancelled, charging, created, found, unclear

PAIRS = [(state, trigger) for state in AttemptState for trigger in Trigger]


def pair_id(value):
    return value.name.lower()


@pytest.mark.parametrize("state", AttemptState, ids=pair_id)
def test_story_leads_to_each_state(state):
    """No state is there for nothing: messages alone lead to each."""
    assert BY_STATE[state]().state() is state


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in PAIRS if pair in TABLE], ids=pair_id)
def test_pair_of_the_table_leads_where_the_table_says(state, trigger):
    """Each pair in the table moves the attempt to the state that stands there."""
    story = BY_STATE[state]().later(seconds=1)
    after = moved(story.doc, story.attempt(), trigger, story.moment())
    assert after.state is TABLE[state, trigger]


@pytest.mark.parametrize(("state", "trigger"), [pair for pair in PAIRS if pair not in TABLE], ids=pair_id)
def test_pair_outside_the_table_is_our_bug_and_changes_nothing(state, trigger):
    """A pair that the table calls unreachable raises, and the order is as it was."""
    story = BY_STATE[state]()
    before = story.doc
    with pytest.raises(UnreachablePair, match=state.value):
        moved(story.doc, story.attempt(), trigger, story.moment())
    assert story.doc is before


def test_no_pair_leads_back_to_charging():
    """A key that brought an end is never sent again: charging is where attempts begin, and nowhere they return to."""
    assert not [pair for pair, after in TABLE.items() if after is AttemptState.CHARGING and pair[0] is not after]


def test_no_pair_leads_from_settled_to_unsettled():
    """Who was told an end is not told another: no settled attempt may charge for its order again."""
    assert all(before in UNSETTLED or after not in UNSETTLED for (before, _), after in TABLE.items())


def test_money_is_kept_only_by_a_charge_that_is_wanted():
    """Paid is entered by one trigger, on an order that is payable, from a state in which nobody was told an end."""
    entering = {(before, trigger) for (before, trigger), after in TABLE.items() if after is AttemptState.PAID}
    entering = {pair for pair in entering if pair[0] is not AttemptState.PAID}
    assert entering == {(state, Trigger.CHARGED) for state in UNSETTLED}


def test_given_back_money_stays_given_back():
    """From giving back no pair leads anywhere but to giving back."""
    assert all(after in GIVING_BACK for (before, _), after in TABLE.items() if before in GIVING_BACK)


def test_every_trigger_is_met_somewhere():
    """A trigger in no row would be a message nobody handles."""
    assert {trigger for _, trigger in TABLE} == set(Trigger)


def test_unreachable_message_leaves_the_document_alone():
    """A list asked as stored belongs to an error stored: while charging it is our bug, raised out of `decide`."""
    story = charging()
    before = story.doc
    with pytest.raises(UnreachablePair):
        story.tell(found(Evidence.STORED))
    assert story.doc is before


def test_next_state_names_the_pair_it_was_not_given():
    """Whoever reads the alarm must see which pair it was."""
    with pytest.raises(UnreachablePair, match="paid can't meet 'due'"):
        next_state(AttemptState.PAID, Trigger.DUE)


def test_history_tells_the_way_through_the_table():
    """Each state that was entered stands in the document, in order, for whoever has to read it one day."""
    story = BY_STATE[AttemptState.REFUNDED]()
    assert story.history()[-4:] == ["attempt 1 paid", "order cancelled", "attempt 1 refunding", "attempt 1 refunded"]


def test_history_tells_each_thing_once():
    """It is bounded: a line for each state that was entered, and none for a step that entered none."""
    story = charging().later(seconds=1).tell(unclear(), unclear(2), cancelled())
    assert story.history() == ["order created", "attempt 1 charging", "order cancelled"]
    assert Story(cancelled(), created()).history() == ["order cancelled", "order created"]
