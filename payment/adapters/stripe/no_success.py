"""A call to Stripe that did not succeed, and what is known after it where the call itself has no more to say.

Change together: `payment.adapters.stripe.errors`, which judges how a call ended.
"""

from msgspec import Struct

from payment.adapters.stripe.errors import Ending, ErrorAnswer
from payment.ports.cards import NotYet, Obstacle, Unclear

OBSTACLES = {
    Ending.RATE_LIMITED: Obstacle.RATE_LIMITED,
    Ending.LOCKED: Obstacle.LOCKED,
    Ending.KEY_IN_USE: Obstacle.KEY_IN_USE,
    Ending.KEY_REFUSED: Obstacle.KEY_REFUSED,
    Ending.OPERATOR: Obstacle.KEY_REFUSED,
    Ending.UNREACHABLE: Obstacle.UNREACHABLE,
}

STORED = frozenset({Ending.STORED, Ending.OTHER_PARAMETERS})
ALARMED = frozenset({Ending.ALARM, Ending.OTHER_PARAMETERS})


class NoSuccess(Struct, frozen=True):
    """A call without a success: how it ended, in a text without secrets, and Stripe's answer where there was one."""

    ending: Ending
    text: str
    answer: ErrorAnswer | None = None


def is_forbidden(ended: NoSuccess) -> bool:
    """Whether our key may not make this call: 403."""
    return ended.answer is not None and ended.answer.status == 403


def nothing_known(ended: NoSuccess) -> NotYet | Unclear:
    """Whether the call certainly did nothing, or it is not known what it did."""
    obstacle = OBSTACLES.get(ended.ending)
    if obstacle is None:
        return Unclear(text=ended.text, stored=ended.ending in STORED, alarm=ended.ending in ALARMED)
    alarm = ended.ending is Ending.OPERATOR
    if ended.answer is None:
        return NotYet(obstacle, ended.text, alarm=alarm)
    return NotYet(obstacle, ended.text, ended.answer.retry_after_s, alarm, ended.answer.of_account)
