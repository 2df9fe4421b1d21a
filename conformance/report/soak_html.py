"""The soak as one page of HTML: what the server held over time, at rest and under load, each repeat, each finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import forkecho
import forkecho.conformance.soak.judged as judged
from forkecho.conformance.report import soak as words
from forkecho.conformance.report.page import fill
from forkecho.conformance.report.plot import draw
from forkecho.conformance.soak.record import Repeat, Sample, Soak

__all__ = ["render"]

Line = TypeVar("Line")

ROWS_MAX = 300  # of a table of samples or repeats; what is more is left to the record
#: What is drawn: a sample's field, its title, its unit.
DRAWN = (
    ("descriptors", "Descriptors", ""),
    ("processes", "Processes", ""),
    ("zombies", "Zombies", ""),
    ("private", "Private memory", "B"),
    ("rss", "Resident memory", "B"),
)


def render(soak: Soak, *, width: int = 0, color: bool = False) -> str:
    """The soak as a page; `width` and `color` mean nothing here."""
    header = soak.header
    told = header.target
    at_rest = [one for one in soak.samples if one.phase == "rest"]
    return fill(
        "soak.html",
        styles=("page.css", "soak.css"),
        scripts=(),
        forkecho=forkecho.__version__,
        header=header,
        name=str(told.get("name", "?")),
        title=str(told.get("title", "")),
        sentence=words.sentence(soak),
        mood={0: "good", 1: "bad"}.get(soak.footer.exit, "other"),
        findings=[finding.words for finding in judged.findings(soak)],
        unjudged=[finding.words for finding in judged.unjudged(soak)],
        about=[
            *words.about(soak),
            ("host", ", ".join(f"{key} {value}" for key, value in header.host.items())),
        ],
        rows=words.rows(soak),
        plots=list(plots(soak)),
        samples=[row(one) for one in _spread(at_rest)],
        repeats=[told_repeat(one) for one in _spread(soak.repeats)],
        every=len(at_rest) <= ROWS_MAX and len(soak.repeats) <= ROWS_MAX,
    )


def plots(soak: Soak) -> Iterable[dict[str, object]]:
    """A picture for each thing that was watched, with its heading."""
    warm = [repeat.t + repeat.seconds for repeat in soak.repeats if repeat.whole][:1]
    for field, title, unit in DRAWN:
        points = [
            (one.t, float(getattr(one, field))) for one in soak.samples if getattr(one, field) is not None
        ]
        at_rest = [
            (one.t, float(getattr(one, field)))
            for one in soak.samples
            if one.phase == "rest" and getattr(one, field) is not None
        ]
        if points:
            svg = draw(
                f"plot-{field}",
                title,
                points,
                at_rest,
                end=soak.footer.seconds,
                warm=warm[0] if warm else soak.footer.seconds,
                bands=[(one.t, one.t + one.seconds, bool(judged.wrong(soak, one))) for one in soak.repeats],
                told=lambda value, unit=unit: judged.amount(value, unit),  # type: ignore[misc]
            )
            yield {"title": title, "anchor": f"about-{field}", "svg": svg}


def row(one: Sample) -> list[str]:
    """A sample as a row of a table."""
    private = "" if one.private is None else judged.amount(one.private, "B")
    held = (one.descriptors, one.processes, one.zombies)
    return [f"{one.t:.0f}", *map(str, held), private, judged.amount(one.rss, "B"), f"{one.served:,}"]


def told_repeat(one: Repeat) -> dict[str, object]:
    """A repeat as a row of a table."""
    totals = ", ".join(f"{count} {verdict}" for verdict, count in one.totals.items())
    cut = "" if one.whole else " (interrupted)"
    return {
        "number": one.number,
        "began": f"{one.t:.0f}",
        "took": f"{one.seconds:.1f}",
        "totals": f"{totals or 'nothing'}{cut}",
        "faults": [f"{fault.verdict}: {fault.id}" for fault in one.faults],
    }


def _spread(given: Sequence[Line]) -> list[Line]:
    """As many as there is room for, spread evenly, the first and the last among them."""
    if len(given) <= ROWS_MAX:
        return list(given)
    last = len(given) - 1
    return [given[round(number * last / (ROWS_MAX - 1))] for number in range(ROWS_MAX)]
