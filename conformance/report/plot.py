"""A plot over time, as SVG that needs nothing but its page's style: a line, points that count, bands behind them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from forkecho.conformance.report.svg import add, percent, write

__all__ = ["draw"]

Point = tuple[float, float]

# Pixels: the plot below the line of its scale, and the times below it; of a plot inside, what its points are measured in.
TOP, HIGH, BELOW = 18, 120, 18
WIDE = 1000
POINTS_MAX = 500  # of a line: of more than one at the same place the least and the greatest are drawn
DOTS_MAX = 300
BANDS_MAX = 200
TICKS = 5  # times below the plot, at most


def draw(
    name: str,
    title: str,
    line: Sequence[Point],
    dots: Sequence[Point],
    *,
    end: float,
    warm: float,
    bands: Sequence[tuple[float, float, bool]],
    told: Callable[[float], str],
) -> Markup:
    """An `svg` element, with its title and its content in words for those who cannot see it.

    Args:
        name: that no other picture of the page has.
        title: what is drawn.
        line: all samples.
        dots: those that decide.
        end: of the time, in seconds.
        warm: until when nothing is decided.
        bands: what is behind, each from when to when, and whether something was wrong in it.
        told: a value for people.
    """
    values = [value for _, value in line]
    least, most = min(values), max(values)
    low, high = _room(least, most)
    end = max(end, line[-1][0], 1e-3)

    def x(t: float) -> float:
        return min(max(t / end, 0.0), 1.0)

    def y(value: float) -> float:
        return HIGH * (1 - (value - low) / (high - low))

    attributes = {"class": "plot", "role": "img", "width": "100%", "height": str(TOP + HIGH + BELOW)}
    svg = ElementTree.Element("svg", attributes | {"aria-labelledby": f"{name}-title {name}-words"})
    write(svg, "title", title, id=f"{name}-title")
    write(svg, "desc", _words(title, line, dots, warm, told), id=f"{name}-words")
    # Where there is no room for all, those in which something was wrong.
    shown = bands if len(bands) <= BANDS_MAX else [band for band in bands if band[2]][:BANDS_MAX]
    for number, (start, until, wrong) in enumerate(shown):
        kind = "wrong" if wrong else "odd" if number % 2 else "even"
        width = max(x(until) - x(start), 0.0005)
        add(svg, "rect", kind=kind, x=percent(100 * x(start)), y=TOP, width=percent(100 * width), height=HIGH)
    for value in dict.fromkeys((least, most)):
        place = f"{TOP + y(value):.1f}"
        add(svg, "line", kind="grid", x1="0", x2="100%", y1=place, y2=place)
    inner = add(
        svg,
        "svg",
        x=0,
        y=TOP,
        width="100%",
        height=HIGH,
        viewBox=f"0 0 {WIDE} {HIGH}",
        preserveAspectRatio="none",
    )
    inner.set("overflow", "visible")
    path = " ".join(f"{WIDE * x(t):.1f},{y(value):.1f}" for t, value in _thinned(line, end))
    add(inner, "polyline", kind="all", points=path)
    for t, value in dots[:: math.ceil(len(dots) / DOTS_MAX) or 1]:
        kind = "dot" if t >= warm else "dot early"
        dot = add(svg, "circle", kind=kind, cx=percent(100 * x(t)), cy=f"{TOP + y(value):.1f}", r=3)
        write(dot, "title", f"{told(value)} at rest after {t:.0f} s")
    write(svg, "text", told(most), "value", x="2", y=f"{TOP + y(most) - 4:.1f}")
    if least != most:
        write(svg, "text", told(least), "value", x="2", y=f"{TOP + y(least) + 13:.1f}")
    for number in range(TICKS):
        part = number / (TICKS - 1)
        anchor = {0: "start", TICKS - 1: "end"}.get(number, "middle")
        place = percent(100 * part)
        write(svg, "text", _time(part * end), "tick", anchor=anchor, x=place, y=TOP + HIGH + 14)
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _room(least: float, most: float) -> tuple[float, float]:
    """From where to where the scale goes: so that what is level is a line in the middle, and what hardly moves looks like it."""
    room = max((most - least) * 0.15, abs(most) * 0.03, 0.3)
    return least - room, most + room


def _thinned(line: Sequence[Point], end: float) -> list[Point]:
    """The points, or of those that are drawn at one place the least and the greatest."""
    if len(line) <= POINTS_MAX:
        return list(line)
    found: list[Point] = []
    places: dict[int, list[Point]] = {}
    for point in line:
        places.setdefault(int(point[0] / end * POINTS_MAX / 2), []).append(point)
    for points in places.values():
        ends = {min(points, key=lambda one: one[1]), max(points, key=lambda one: one[1])}
        found += sorted(ends)
    return found


def _words(
    title: str, line: Sequence[Point], dots: Sequence[Point], warm: float, told: Callable[[float], str]
) -> str:
    """The plot in words."""
    values = [value for _, value in line]
    said = f"{title} over {line[-1][0]:.0f} s: {told(min(values))} to {told(max(values))} in {len(line)} samples."
    if dots:
        said += f" At rest {told(dots[0][1])} at first, {told(dots[-1][1])} at the end."
    if late := [value for t, value in dots if t >= warm]:
        said += f" Since the first repeat, at rest, {told(min(late))} to {told(max(late))}."
    return said


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
