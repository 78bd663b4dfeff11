"""The plot: ticks, curves, and an SVG that parses."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.pictures import draw, picture
from bench.plot import POINTS_MAX, Curve, counted, plot, ticks


@pytest.mark.parametrize(
    ("most", "last", "count"), [(30, 30, 7), (3_000, 3_000, 7), (34.2, 40, 5), (1, 1, 2), (0, 1, 2), (0.5, 1, 2)]
)
def test_ticks_are_round_numbers_that_reach_past_the_most(most: float, last: float, count: int) -> None:
    """Nothing is drawn outside, and every tick can be read."""
    found = ticks(most)
    assert (found[0], found[-1], len(found)) == (0, last, count)


def test_a_count_begins_at_nothing_and_ends_with_all_of_them() -> None:
    """The curve goes on to the end of the plot at its last height."""
    points = counted([1.0, 2.0, 4.0], until_s=10.0)
    assert points[0] == (0.0, 0.0)
    assert points[-2:] == [(4.0, 3.0), (10.0, 3.0)]


def test_a_count_of_nothing_is_a_line_at_the_bottom() -> None:
    """No rejection is a result too."""
    assert counted([], until_s=10.0) == [(0.0, 0.0), (10.0, 0.0)]


def test_a_long_count_is_thinned() -> None:
    """Thousands of points make a large file and no better picture."""
    assert len(counted([float(number) for number in range(3_000)], 3_000.0)) <= POINTS_MAX * 1.3


def test_the_plot_is_well_formed_and_holds_every_curve() -> None:
    """Names are escaped, and each curve has its line and its legend."""
    curves = [Curve("a < b", "#123456", [(0, 0), (3, 5)]), Curve("other", "#654321", [(0, 0), (4, 1)], dashed=True)]
    root = ElementTree.fromstring(plot("title & more", "s", "customers", curves))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    texts = [text.text for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert len(lines) == 4
    assert {"title & more", "a < b", "other"} <= set(texts)


def sale(charged: int, refused: int) -> dict[str, object]:
    return {
        "charged_at_s": [number / 100 for number in range(charged)],
        "refused_at_s": [number / 1_000 for number in range(refused)],
        "done_s": charged / 100,
    }


def test_the_picture_of_a_sale_shows_charges_and_rejections_of_both_services() -> None:
    """All four curves, in a file small enough for a README."""
    drawn = picture(sale(3_000, 0), sale(2_900, 0), sale(900, 2_100))
    assert drawn.count("<polyline") == 8
    assert "obvious: refused" in drawn
    assert len(drawn) < 20_000


def test_nothing_is_drawn_where_there_was_no_sale(tmp_path: Path) -> None:
    """A run of other scenarios leaves the picture as it was."""
    assert draw([], tmp_path) == []
