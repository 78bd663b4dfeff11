"""Pauses between tries."""

import pytest

from payment.backoff import Backoff


def test_pauses_grow_up_to_the_longest() -> None:
    """From the first failure on; however many there are, none overflows."""
    backoff = Backoff(first_s=0.25, longest_s=5.0)
    assert [backoff.pause_s(failures) for failures in range(1, 8)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.pause_s(10**9) == 5.0
    assert [Backoff(1.0, 60.0, factor=4.0).pause_s(failures) for failures in range(1, 6)] == [1, 4, 16, 60, 60]


@pytest.mark.parametrize(("jitter", "pause_s"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_half_of_a_pause_is_left_to_chance(jitter: float, pause_s: float) -> None:
    """Many processes that lost one server do not come back together; none comes back at once."""
    assert Backoff(first_s=1.0, longest_s=4.0).spread_s(9, jitter) == pause_s
