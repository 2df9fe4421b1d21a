"""The picture of a case: its connections and processes over time, as SVG that needs nothing but its page's style."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from xml.etree import ElementTree

from markupsafe import Markup

from forkecho.conformance.report.lanes import Lane, lanes, seconds
from forkecho.conformance.report.svg import add, percent, write
from forkecho.conformance.result import CaseLine

__all__ = ["LEGEND", "MARKS", "Picture", "draw"]

# Pixels: the scale; of a lane the line of its words, where its bar begins, how thick that is, what is below.
TOP, TEXT, BAR, THICK, AFTER = 22, 12, 19, 8, 6
STRIPE, STRIPES_MAX = 5, 4  # pixels of a connection in a bar, and how many connections have one of their own
UNIT = 0.001  # seconds; shorter pauses look alike
TICK_ROOM = 17.0  # percent of the width for a time on the scale
COLORS = 6  # of connections; the page's style has them
WORDS_MAX = 40  # characters above a bar; the list below has them whole

#: What a picture may show, in the order in which it is explained: the class of what is drawn, and what it means.
LEGEND = {
    "open": "open connection",
    "sent": "bytes sent",
    "received": "bytes received",
    "half-closed": "half-closed by the suite",
    "seen": "process that was seen",
    "holds": "connection that it was seen to hold",
    "frozen": "stopped by the suite",
    "unseen": "it ended somewhere in there",
    "zombie": "zombie: exited, and nobody has waited for it",
    "born": "first seen",
    "done": "signal, or limit",
    "gone": "had gone when looked for",
    "alive": "still there at the end",
    "end": "ended or reset by the other side, or broken",
    "closed": "closed by the suite",
    "more": "several to which the same happened",
}

#: Those that are drawn at a moment, each by the page's symbol of that name.
MARKS = ("sent", "received", "born", "done", "gone", "alive", "end", "closed", "zombie")


class Picture:
    """What `draw` made.

    Args:
        svg: an `svg` element; its title and description are told by `name`, which no other picture of the page has.
        kinds: the entries of LEGEND that are in it.
    """

    def __init__(self, svg: Markup, kinds: list[str]) -> None:
        self.svg = svg
        self.kinds = kinds


def draw(case: CaseLine, name: str) -> Picture | None:
    """The picture of a case, None if no process was looked at."""
    told = lanes(case)
    if not told:
        return None
    place = _scale(told)
    tops = list(itertools.accumulate((_height(lane) for lane in told), initial=TOP))
    height = tops[-1]
    svg = ElementTree.Element(
        "svg",
        {
            "class": "picture",
            "role": "img",
            "height": str(height),
            "width": "100%",
            "aria-labelledby": f"{name}-title {name}-words",
        },
    )
    write(svg, "title", "Processes and connections over time", id=f"{name}-title")
    write(svg, "desc", _description(told), id=f"{name}-words")
    _ticks(svg, told, place, height)
    colors: dict[str, int] = {}
    for lane in told:
        if lane.kind == "client":
            colors[lane.name] = len(colors) % COLORS
    parents = {lane.pid: top for lane, top in zip(told, tops, strict=False) if lane.pid}
    for lane, top in zip(told, tops, strict=False):
        if lane.kind == "born" and lane.parent in parents:
            x = percent(place(lane.begins))
            ends = sorted((parents[lane.parent] + BAR, top + BAR))
            add(svg, "line", "birth", x1=x, x2=x, y1=ends[0], y2=ends[1])
    for lane, top in zip(told, tops, strict=False):
        _lane(svg, lane, top, place, colors)
    seen = {span.kind for lane in told for span in lane.spans} | {
        mark.kind for lane in told for mark in lane.marks
    }
    return Picture(
        Markup(ElementTree.tostring(svg, encoding="unicode")), [kind for kind in LEGEND if kind in seen]
    )


def _scale(told: Iterable[Lane]) -> Callable[[float], float]:
    """From a time to percent of the width: pauses by their logarithm, so that milliseconds are seen beside seconds."""
    moments = {0.0}
    for lane in told:
        moments |= {end for span in lane.spans for end in (span.start, span.end)}
        moments |= {mark.at for mark in lane.marks}
    ordered = sorted(moments)
    places, at = {0.0: 0.0}, 0.0
    for before, after in itertools.pairwise(ordered):
        at += math.log2(1 + (after - before) / UNIT)
        places[after] = at
    return lambda time: 100 * places[time] / at if at else 0.0


def _ticks(svg: ElementTree.Element, told: list[Lane], place: Callable[[float], float], height: int) -> None:
    """The times of some moments, as many as there is room for, and always the last."""
    moments = {0.0} | {end for lane in told for span in lane.spans for end in (span.start, span.end)}
    moments |= {mark.at for lane in told for mark in lane.marks}
    last = max(moments)
    chosen = [0.0]
    for moment in sorted(moments):
        if place(moment) - place(chosen[-1]) >= TICK_ROOM and place(last) - place(moment) >= TICK_ROOM:
            chosen.append(moment)
    for moment in dict.fromkeys([*chosen, last]):
        x = percent(place(moment))
        add(svg, "line", "grid", x1=x, x2=x, y1=TOP - 6, y2=height)
        anchor = "start" if moment == 0 else "end" if moment == last else "middle"
        said = seconds(moment).removeprefix("+")
        write(svg, "text", said, "tick", x=x, y=11, anchor=anchor)


def _held(lane: Lane) -> list[str]:
    """The connections that a process was seen to hold, in order."""
    return list(dict.fromkeys(span.on for span in lane.spans if span.kind == "holds"))


def _thick(lane: Lane) -> int:
    """How thick a lane's bar is: what is held has a stripe of its own."""
    return max(THICK, STRIPE * min(len(_held(lane)), STRIPES_MAX) + 3)


def _height(lane: Lane) -> int:
    return BAR + _thick(lane) + AFTER


def _lane(
    svg: ElementTree.Element, lane: Lane, top: int, place: Callable[[float], float], colors: dict[str, int]
) -> None:
    """The words of a lane, its bars from the widest to the narrowest, and what happened at moments."""
    group = add(svg, "g", lane.kind)
    words = lane.words if lane.kind == "client" else f"{lane.name} {lane.words}"
    # What is wide stays away where there is little room; the marks and the scale say it too.
    who = write(group, "text", _short(words), "who", x="0", y=top + TEXT)
    if lane.done:
        write(who, "tspan", f", {_short(lane.done)}", "wide")
    if lane.how:
        how = write(group, "text", lane.how, "how", x="100%", y=top + TEXT, anchor="end")
        if lane.at is not None:
            write(how, "tspan", f" {seconds(lane.at)}", "wide")
    held, thick = _held(lane), _thick(lane)
    for span in lane.spans:
        of = span.on if span.kind in ("open", "half-closed", "holds") else ""
        high = {"holds": STRIPE - 1, "open": 6, "half-closed": 6, "unseen": 1}.get(span.kind, thick)
        y = top + BAR + (thick - high) / 2
        if span.kind == "holds":
            y = top + BAR + 2 + STRIPE * min(held.index(span.on), STRIPES_MAX - 1)
        start, end = place(span.start), place(span.end)
        bar = add(
            group,
            "rect",
            f"{span.kind} c{colors[of]}" if of in colors else span.kind,
            x=percent(start),
            y=f"{y:g}",
            width=percent(max(end - start, 0.3)),
            height=high,
        )
        said = f"holds {span.on}" if span.kind == "holds" else LEGEND.get(span.kind, span.kind)
        write(bar, "title", f"{said}, {seconds(span.start)} to {seconds(span.end)}")
    for mark in lane.marks:
        one = add(
            group, "use", href=f"#mark-{mark.kind}", x=percent(place(mark.at)), y=top + BAR + thick // 2
        )
        write(one, "title", f"{seconds(mark.at)} {mark.words}")


def _description(told: list[Lane]) -> str:
    """The picture in words, a sentence a lane."""
    said = []
    for lane in told:
        held = _held(lane)
        holding = f", seen to hold {', '.join(held[:6])}{' and more' if held[6:] else ''}" if held else ""
        name = (
            ""
            if lane.kind == "client"
            else f"{lane.name} "
            if lane.kind == "more"
            else f"process {lane.name} "
        )
        done = f", {lane.done}" if lane.done else ""
        how = (
            f": {lane.how} {seconds(lane.at)}" if lane.at is not None else f": {lane.how}" if lane.how else ""
        )
        said.append(f"{name}{lane.words}{holding}{done}{how}.")
    return " ".join(said)


def _short(words: str) -> str:
    return words if len(words) <= WORDS_MAX else f"{words[: WORDS_MAX - 1]}…"
