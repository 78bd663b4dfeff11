"""A plot of curves over time as SVG, without a plotting library; the file diffs well.

Pure: points in, text out. It follows the viewer's colour scheme, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

import msgspec

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 44, 48
POINTS_MAX = 160
"""Points of one curve: more are not visible."""
TICKS = 6
STEPS = (1, 2, 5, 10)
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.title{font-weight:600;font-size:15px}"
    ".grid{stroke:#8884;stroke-width:1}"
    "polyline{fill:none;stroke-width:2.5;stroke-linejoin:round}.dashed{stroke-dasharray:6 4}"
    "@media (prefers-color-scheme:dark){text{fill:#ddd}}"
)


class Curve(msgspec.Struct, frozen=True):
    """A named line through points (x, y)."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False


def counted(at_s: Sequence[float], until_s: float) -> list[tuple[float, float]]:
    """Returns the cumulative count over time as a curve of at most `POINTS_MAX` points that extends to `until_s`."""
    if not at_s:
        return [(0.0, 0.0), (until_s, 0.0)]
    every = max(1, len(at_s) // (POINTS_MAX - 3))
    points = [(at_s[place], float(place + 1)) for place in range(0, len(at_s), every)]
    return [(0.0, 0.0), *points, (at_s[-1], float(len(at_s))), (until_s, float(len(at_s)))]


def plot(title: str, x_name: str, y_name: str, curves: Sequence[Curve]) -> str:
    """Returns the whole SVG. Both axes begin at 0."""
    x_most = max(x for curve in curves for x, _ in curve.points)
    y_most = max(y for curve in curves for _, y in curve.points)
    x_ticks, y_ticks = ticks(x_most), ticks(y_most)

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * x / x_ticks[-1], HEIGHT - BOTTOM - up * y / y_ticks[-1]

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        _text(LEFT, 24, title, "start", "title"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_name, "middle"),
        _text(LEFT - 8, TOP - 8, y_name, "end"),
    ]
    for tick in y_ticks:
        x, y = place(0, tick)
        lines.append(f'<line class="grid" x1="{x:g}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        lines.append(_text(x - 8, y + 4, f"{tick:,g}", "end"))
    lines += [_text(place(tick, 0)[0], HEIGHT - BOTTOM + 18, f"{tick:,g}", "middle") for tick in x_ticks]
    for number, curve in enumerate(curves):
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in curve.points)
        kind = ' class="dashed"' if curve.dashed else ""
        lines.append(f'<polyline{kind} stroke="{curve.colour}" points="{path}"/>')
        lines += _legend(number, curve)
    return "\n".join([*lines, "</svg>"]) + "\n"


def ticks(most: float) -> list[float]:
    """Returns about `TICKS` round numbers from 0 to at least `most`."""
    if most <= 0:
        return [0.0, 1.0]
    unit = 10.0 ** (len(str(int(most / TICKS))) - 1) if most >= TICKS else 1.0
    step = next(unit * each for each in STEPS if unit * each * TICKS >= most)
    count = -int(-most // step)
    return [step * number for number in range(count + 1)]


def _legend(number: int, curve: Curve) -> list[str]:
    x, y = WIDTH - RIGHT + 14, TOP + 12 + number * 24
    kind = ' class="dashed"' if curve.dashed else ""
    line = f'<polyline{kind} stroke="{curve.colour}" points="{x},{y - 4} {x + 24},{y - 4}"/>'
    return [line, _text(x + 30, y, curve.name, "start")]


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
