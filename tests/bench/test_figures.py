"""Medians, ratios, percentiles, and overtaken customers."""

import pytest

from bench.figures import overtaken_s, percentile, ratios, shown, spread


def test_a_spread_is_the_median_with_the_least_and_the_most() -> None:
    """One slow round doesn't change the median, and shows in the maximum."""
    found = spread([3.0, 1.0, 2.0, 9.0, 2.0])
    assert (found.median, found.least, found.most) == (2.0, 1.0, 9.0)


def test_nothing_measured_is_no_figure() -> None:
    """A scenario that measured nothing must fail rather than report."""
    with pytest.raises(ValueError, match="no round"):
        spread([])
    with pytest.raises(ValueError, match="no value"):
        percentile([], 50)


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was busy slows both, and its ratio stands."""
    assert ratios([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]).rounds == [0.5, 0.5, 0.5]


def test_ratios_need_as_many_rounds_of_each() -> None:
    """A round that one of them missed can't be compared."""
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (0, 1), (0.5, 1), (99.5, 100)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: int) -> None:
    """The smallest value that `percent` percent do not exceed; never a mean of two."""
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_customers_served_in_the_order_of_arrival_are_not_overtaken() -> None:
    """No customer waited for a later one."""
    assert overtaken_s([(0.0, 5.0), (1.0, 6.0), (2.0, 7.0)]) == [0.0, 0.0, 0.0]


def test_overtaking_is_the_time_since_the_first_later_one_was_served() -> None:
    """The first customer is served at 9, a later one at 6: overtaken by 3 seconds."""
    assert overtaken_s([(0.0, 9.0), (1.0, 7.0), (2.0, 6.0)]) == [3.0, 1.0, 0.0]


@pytest.mark.parametrize(("value", "text"), [(0.123456, "0.123"), (12.34, "12.3"), (123.4, "123"), (12345.6, "12,346")])
def test_figures_are_shown_with_the_digits_that_count(value: float, text: str) -> None:
    """Three digits; more would be noise."""
    assert shown(value) == text
