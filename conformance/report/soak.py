"""The soak for people at a terminal: who was soaked, what it held at rest, what grew, which cases failed, a sentence."""

from __future__ import annotations

import shlex
from collections import Counter

from rich.table import Table
from rich.text import Text

import forkecho.conformance.soak.judged as judged
from forkecho.conformance.report.again import command
from forkecho.conformance.report.console import SENTENCES, WORDS, Paper, chosen_of
from forkecho.conformance.soak.record import Sample, Soak

__all__ = ["about", "lasted", "render", "rows", "sentence", "totals"]


def render(soak: Soak, *, width: int = 100, color: bool = False) -> str:
    """The soak as text with lines of `width` characters."""
    paper = Paper(width, color)
    told = soak.header.target
    title = f": {told['title']}" if told.get("title") else ""
    paper.line(f"forkecho {soak.header.forkecho} soaks {told.get('name', '?')}{title}", style="bold")
    for label, text in about(soak):
        paper.line(text, 2, label=label)
    paper.line()
    if found := rows(soak):
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        table.add_column("at rest")
        for heading in ("at first", "warm", "at the end", "least", "most"):
            table.add_column(heading, justify="right", no_wrap=True)
        for title, *cells in found:
            table.add_row(title, *(Text(one) for one in cells))
        paper.print(table)
        paper.line()
    for finding in judged.findings(soak):
        paper.line(finding.words, style="red")
    for finding in judged.unjudged(soak):
        paper.line(finding.words, style="magenta")
    paper.line(sentence(soak), style="green" if soak.footer.exit == 0 else "red")
    return paper.text


def about(soak: Soak) -> list[tuple[str, str]]:
    """What was soaked and how: a name, and what is to be said."""
    header = soak.header
    told = header.target
    reached = f"which runs at {told['connect']}" if told.get("connect") else shlex.join(command(told))
    found = [("target", reached)]
    if header.model:
        found.append(("model", header.model))
    found.append(("selection", f"{chosen_of(header.selection) or 'everything'} ({header.selected} cases)"))
    counts = soak.footer.load
    load = f"at most {header.load.get('room', '?')} connections at once, {header.load.get('rate', 0):g} new ones a second"
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in KINDS if counts.get(kind))
    came = ", ".join(f"{counts[what]:,} {what}" for what in ENDINGS if counts.get(what))
    # Of a soak that was killed it is known what came of the load, and not what it was.
    parts = filter(None, (kinds, f"({came})" if came else ""))
    found.append(("load", f"{load}: {' '.join(parts) or 'none'}"))
    found.append(("sampled", f"every {header.interval:g} s, {len(soak.samples):,} times"))
    found.append(("started", f"{header.started}, specification {header.spec}"))
    return found


#: The kinds of clients, and what became of them, in the order in which they are told.
KINDS = ("short", "half-close", "idle", "slow", "silent", "reset", "burst")
ENDINGS = ("served", "unserved", "refused", "wrong")


def rows(soak: Soak) -> list[tuple[str, str, str, str, str, str]]:
    """What was held at rest: at first, after the warm-up, at the end, the least and the most since."""
    starts = [one for one in soak.samples if one.phase == "rest"][:1]
    warm: list[Sample] = judged.rests(soak)
    at_first = {one.what: judged.amount(one.values[0], one.unit) for one in judged.watched(starts)}
    found = []
    for one in judged.watched(warm):
        ends = (one.values[0], one.values[-1], one.least, one.most)
        found.append(
            (one.title, at_first.get(one.what, ""), *(judged.amount(value, one.unit) for value in ends))
        )
    return found  # type: ignore[return-value]


def totals(soak: Soak) -> str:
    """How the cases ended, all repeats together."""
    counts: Counter[str] = Counter()
    for repeat in soak.repeats:
        counts.update(repeat.totals)
    return ", ".join(
        f"{counts[verdict]:,} {word}" for verdict, (word, _) in WORDS.items() if counts.get(verdict)
    )


def lasted(seconds: float) -> str:
    """So long for people."""
    return f"{seconds / 60:.1f} min" if seconds >= 120 else f"{seconds:.0f} s"


def sentence(soak: Soak) -> str:
    """The verdict on the server in one line."""
    code = soak.footer.exit
    flat = not [one for one in judged.findings(soak) if one.what in judged.HELD]
    said = {
        0: "flat, and every repeat conformant",
        1: "not flat" if not flat else "flat, but not conformant",
        3: "the suite could not judge",
    }.get(code, SENTENCES.get(code, f"exit code {code}"))
    if code == 1 and not flat and any(one.what not in judged.HELD for one in judged.findings(soak)):
        said += " and not conformant"
    whole = sum(one.whole for one in soak.repeats)
    many = f"{whole} repeat{'' if whole == 1 else 's'}"
    served = soak.footer.load.get("served", 0)
    return (
        f"{said}: {many} ({totals(soak) or 'nothing was tried'}) in {lasted(soak.footer.seconds)},"
        f" beside {served:,} connections that were served"
    )
