"""What two runs differ in, for a terminal and as Markdown: the worst first, by requirement."""

from __future__ import annotations

from itertools import groupby

from forkecho.conformance import requirement
from forkecho.conformance.comparison import Change, Difference, Kind
from forkecho.conformance.report import markdown
from forkecho.conformance.report.console import Paper
from forkecho.conformance.result import CaseLine, Run, Verdict

__all__ = ["FORMATS", "console", "sentence", "table"]

#: In the order in which they are shown, with what they are called and their colour.
KINDS = {
    Kind.WORSE: ("got worse", "red"),
    Kind.CHANGED: ("changed otherwise", "yellow"),
    Kind.BETTER: ("got better", "green"),
    Kind.NEW: ("new", "cyan"),
    Kind.GONE: ("gone", "bright_black"),
}


def sentence(found: Difference) -> str:
    """How many cases became what."""
    told = [f"{len(found.of(kind))} {words}" for kind, (words, _) in KINDS.items() if found.of(kind)]
    return ", ".join([*told, f"{found.same} as before"])


def console(old: Run, new: Run, found: Difference, *, width: int = 100, color: bool = False) -> str:
    """The difference as text."""
    paper = Paper(width, color)
    for label, run in (("old", old), ("new", new)):
        paper.line(_about(run), label=label)
    for warning in found.warnings:
        paper.line(warning, label="careful", style="yellow")
    for kind, (words, style) in KINDS.items():
        changes = found.of(kind)
        if changes:
            paper.line()
            paper.line(f"{words} ({len(changes)})", style=f"bold {style}")
        for id_, these in groupby(changes, key=lambda change: change.case.requirement):
            paper.line(_title(id_), 2, style="bold")
            for change in these:
                paper.whole(f"{change.case.id}: {_verdicts(change)}", 4)
                for label, text in _words(change):
                    paper.line(text, 6, label=label)
    paper.line()
    paper.line(sentence(found), style="red" if found.worse else "green")
    return paper.text


def table(old: Run, new: Run, found: Difference, *, width: int = 0, color: bool = False) -> str:
    """The difference as Markdown; `width` and `color` mean nothing here."""
    head = f"### forkecho diff: {markdown.prose(sentence(found))}\n\n"
    head += "".join(
        f"- {label}: {markdown.prose(_about(run))}\n" for label, run in (("old", old), ("new", new))
    )
    head += "".join(f"- **careful**: {markdown.prose(warning)}\n" for warning in found.warnings)
    blocks = []
    for kind, (words, _) in KINDS.items():
        changes = found.of(kind)
        if not changes:
            continue
        rows = [
            [
                markdown.prose(_title(change.case.requirement)),
                markdown.cell(change.case.id),
                markdown.prose(_verdicts(change)),
                "<br>".join(f"{label} {markdown.cell(text)}" for label, text in _words(change)),
            ]
            for change in changes
        ]
        body = markdown.table(["requirement", "case", "verdict", ""], rows, left=4)
        blocks.append(markdown.unfolded(f"{words}: {len(changes)}", body, opened=kind is Kind.WORSE))
    return markdown.fits(head, blocks, markdown.LIMIT)


#: By the name that `--format` takes.
FORMATS = {"console": console, "markdown": table}


def _about(run: Run) -> str:
    return f"{run.header.target.get('name', '?')}, {run.header.started}, {len(run.cases)} cases"


def _title(id_: str) -> str:
    known = requirement.load().get(id_)
    return f"{id_} ({known.level.upper()}) {known.title}" if known else id_


def _verdicts(change: Change) -> str:
    """From which verdict to which."""
    if change.before is None:
        return f"new, {change.case.verdict.value}"
    if change.after is None:
        return f"was {change.case.verdict.value}"
    was, is_ = change.before.verdict.value, change.after.verdict.value
    return was if was == is_ else f"{was} to {is_}"


def _words(change: Change) -> list[tuple[str, str]]:
    """What was seen, where that says why."""
    if change.kind not in (Kind.WORSE, Kind.CHANGED):
        return []
    after = change.after
    if (
        after
        and after.verdict is Verdict.KNOWN
        and change.before
        and change.before.verdict is not Verdict.KNOWN
    ):
        return [("known", after.reason)]
    was = [("before", change.before)] if change.before and change.kind is Kind.CHANGED else []
    named: list[tuple[str, CaseLine | None]] = [*was, ("seen", after)]
    return [(label, case.seen or case.reason) for label, case in named if case and (case.seen or case.reason)]
