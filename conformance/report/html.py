"""The run as one page of HTML: what was judged, each requirement with its verdict, each case with what was seen of it."""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree

import msgspec
from markupsafe import Markup

import forkecho
from forkecho.conformance import requirement
from forkecho.conformance.report import evidence
from forkecho.conformance.report.again import command, command_line
from forkecho.conformance.report.console import SENTENCES, WORDS, packages, python, sentence, steadiness
from forkecho.conformance.report.page import Anchors, fill
from forkecho.conformance.report.picture import LEGEND, MARKS, Picture, draw
from forkecho.conformance.requirement import GROUPS, LEVELS
from forkecho.conformance.result import GRAVITY, CaseLine, Run, Verdict

__all__ = ["render"]

EVIDENCE_BYTES = 500_000  # of pictures and lists in a page, that it opens within a second; what is more is left to the record
LINE_BYTES, LEGEND_BYTES = 12, 150  # about what stands around a line, and an entry of a legend
LINES_MAX = 60  # of a list of what was seen
CASES_MAX = 5  # of a requirement that are named at the top of the page

#: What is to be looked at: shown at the top, and opened below.
CONCERNS = (
    Verdict.FAIL,
    Verdict.UNSTABLE,
    Verdict.FIXED,
    Verdict.WARN,
    Verdict.BROKEN,
    Verdict.BLOCKED,
)

#: What is told by its reasons, since they are the same for many.
BY_REASON = (Verdict.KNOWN, Verdict.INCONCLUSIVE, Verdict.BLOCKED, Verdict.NOT_APPLICABLE)

#: The names that the page's own parts have.
TAKEN = (
    "main", "about", "totals", "concerns", "reasons", "requirements", "filters", "count",
    "mark-sent", "mark-received", "mark-born", "mark-done", "mark-gone", "mark-alive", "mark-zombie", "mark-end", "mark-closed",
)  # fmt: skip


class Word(msgspec.Struct, frozen=True):
    """A verdict as the page needs it: its name for people and for the style sheet."""

    name: str
    word: str
    kind: str
    count: int = 0


class CaseView(msgspec.Struct, kw_only=True):
    """A case on the page."""

    line: CaseLine
    anchor: str
    requirement_anchor: str
    verdict: Word
    facts: list[tuple[str, str, bool]]
    open: bool
    picture: Picture | None = None
    legend: list[tuple[str, str]] = []
    processes: list[str] = []
    transcript: list[str] = []
    left_out: bool = False


class RequirementView(msgspec.Struct, kw_only=True):
    """A requirement on the page, with its cases."""

    id: str
    anchor: str
    title: str
    level: str
    statement: str
    rationale: str
    remedy: str
    source: str
    verdict: Word
    counts: list[tuple[Word, int]]
    cases: list[CaseView]
    open: bool

    @property
    def concerns(self) -> list[CaseView]:
        """Its cases that are to be looked at."""
        return [case for case in self.cases if case.open]


class GroupView(msgspec.Struct, kw_only=True):
    """A group of requirements on the page."""

    key: str
    title: str
    anchor: str
    counts: dict[str, int]
    requirements: list[RequirementView]


def render(run: Run, *, width: int = 0, color: bool = False) -> str:
    """The run as a page; `width` and `color` mean nothing here."""
    page = Page(run)
    header = run.header
    told = header.target
    return fill(
        "run.html",
        styles=("page.css", "run.css"),
        scripts=("run.js",),
        forkecho=forkecho.__version__,
        header=header,
        name=str(told.get("name", "?")),
        title=str(told.get("title", "")),
        sentence=sentence(run),
        mood={0: "good", 1: "bad"}.get(run.footer.exit, "other"),
        share=share(run),
        about=list(about(run)),
        verdicts=page.verdicts,
        levels=[level for level in LEVELS if any(case.level == level for case in run.cases)],
        groups=page.groups,
        concerns=page.concerns(),
        reasons=reasons(run.cases),
        left_out=page.left_out,
        marks=MARKS,
    )


def word(verdict: Verdict, count: int = 0) -> Word:
    """A verdict as the page needs it."""
    return Word(verdict.value, WORDS[verdict][0], verdict.value.replace("/", ""), count)


def about(run: Run) -> Iterable[tuple[str, str, bool]]:
    """What was judged, by what, where and when: a name, what is to be said, and whether that is code."""
    header, told = run.header, run.header.target
    if told.get("connect"):
        yield "runs at", str(told["connect"]), True
    elif words := command(told):
        yield "command", shlex.join(words), True
    if header.python:
        yield "python", python(header), False
    yield "verdict", SENTENCES.get(run.footer.exit, f"exit code {run.footer.exit}"), False
    if header.model:
        yield "model seen", header.model, False
    if header.packages:
        yield "packages", packages(header), False
    declared = [f"{key} {told[key]}" for key in ("reply", "framing", "lineage", "drain") if told.get(key)]
    if told.get("max-connections"):
        declared.append(f"max-connections {told['max-connections']}")
    if declared:
        yield "declared", ", ".join(declared), False
    chosen = [f"{key} {_value(value)}" for key, value in header.selection.items() if value]
    cases = f"{header.selected} case{'' if header.selected == 1 else 's'}"
    yield "selection", f"{', '.join(chosen) or 'everything'} ({cases})", False
    if often := steadiness(header):
        yield "repeats", often, False
    yield "seed", str(header.seed), False
    yield "host", ", ".join(f"{key} {value}" for key, value in header.host.items()), False
    yield "started", f"{header.started}, {run.footer.seconds:.1f} s", False
    yield "suite", f"forkecho {header.forkecho}, specification {header.spec}", False


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "yes" if value is True else str(value)


def share(run: Run) -> Markup:
    """A bar with a part for each verdict; the table below says the same."""
    counts = Counter(case.verdict for case in run.cases)
    svg = ElementTree.Element(
        "svg", {"class": "share", "width": "100%", "height": "10", "aria-hidden": "true"}
    )
    at = 0.0
    for verdict in WORDS:
        if counts[verdict]:
            part = 100 * counts[verdict] / len(run.cases)
            kind = word(verdict).kind
            ElementTree.SubElement(
                svg, "rect", {"class": kind, "x": f"{at:.3f}%", "width": f"{part:.3f}%", "height": "10"}
            )
            at += part
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def reasons(cases: Iterable[CaseLine]) -> list[dict[str, Any]]:
    """What was not judged, or is known, by reason; the commonest first."""
    found = Counter((case.verdict, case.reason) for case in cases if case.verdict in BY_REASON)
    ordered = sorted(found.items(), key=lambda one: (BY_REASON.index(one[0][0]), -one[1], one[0][1]))
    return [
        {"verdict": word(verdict), "count": count, "text": reason or "no reason given"}
        for (verdict, reason), count in ordered
    ]


class Page:
    """Groups, requirements and cases of a run in their order, with what there is room for.

    Args:
        run: what is shown.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._anchors = Anchors(TAKEN)
        self._requirements = requirement.load()
        cases = sorted(run.cases, key=lambda case: case.id)
        # Cases choose first: that the name of a case is its address is a promise.
        self._anchor = {case.id: self._anchors.new(case.id) for case in cases}
        counts = Counter(case.verdict for case in cases)
        self.verdicts = [word(verdict, counts[verdict]) for verdict in WORDS if counts[verdict]]
        by_requirement: dict[str, list[CaseLine]] = defaultdict(list)
        for case in cases:
            by_requirement[case.requirement].append(case)
        # Those that the specification does not know (any more) come last.
        order = [*self._requirements, *sorted(set(by_requirement) - set(self._requirements))]
        made = [self._requirement(id_, by_requirement[id_]) for id_ in order if id_ in by_requirement]
        self.groups = self._grouped(made)
        self.left_out = self._add_evidence([case for one in made for case in one.cases])

    def _grouped(self, made: list[RequirementView]) -> list[GroupView]:
        groups: dict[str, list[RequirementView]] = {key: [] for key in GROUPS}
        for one in made:
            groups.setdefault(one.cases[0].line.group, []).append(one)
        return [
            GroupView(
                key=key,
                title=GROUPS.get(key, ""),
                anchor=self._anchors.new(key),
                counts=Counter(case.line.verdict.value for one in inside for case in one.cases),
                requirements=inside,
            )
            for key, inside in groups.items()
            if inside
        ]

    def _requirement(self, id_: str, cases: list[CaseLine]) -> RequirementView:
        known = self._requirements.get(id_)
        counts = Counter(case.verdict for case in cases)
        anchor = self._anchors.new(id_)
        # That some cases were not tried is to be looked at, although others passed.
        verdict = next(one for one in (*CONCERNS, *GRAVITY) if counts[one])
        return RequirementView(
            id=id_,
            anchor=anchor,
            title=known.title if known else "",
            level=cases[0].level,
            statement=known.statement if known else "",
            rationale=known.rationale.strip() if known else "",
            remedy=known.remedy.strip() if known else "",
            source=known.source if known else "",
            verdict=word(verdict),
            counts=[(word(one), counts[one]) for one in GRAVITY if counts[one]],
            cases=[self._case(case, anchor) for case in cases],
            open=verdict in CONCERNS,
        )

    def _case(self, case: CaseLine, requirement_anchor: str) -> CaseView:
        told = [
            ("reason", case.reason, False),
            ("expected", case.expected, False),
            ("seen", case.seen, False),
            ("repeats", evidence.repeats(case), False),
            ("again", command_line(self._run.header, case.id), True),
            ("took", f"{case.seconds:.3f} s", False),
        ]
        return CaseView(
            line=case,
            anchor=self._anchor[case.id],
            requirement_anchor=requirement_anchor,
            verdict=word(case.verdict),
            facts=[one for one in told if one[1]],
            open=case.verdict in CONCERNS,
        )

    def _add_evidence(self, cases: list[CaseView]) -> int:
        """Show what was seen of the cases, of failures first, as long as there is room; how many there was none for."""
        room, left_out = EVIDENCE_BYTES, 0
        for number, case in enumerate(sorted(cases, key=lambda case: not case.open)):
            if room > 0:
                case.picture = draw(case.line, f"picture-{number}")
                case.processes = evidence.processes(case.line, LINES_MAX)
                case.transcript = evidence.transcript(case.line, LINES_MAX)
                case.legend = [(kind, LEGEND[kind]) for kind in case.picture.kinds] if case.picture else []
                lines = (*case.processes, *case.transcript)
                room -= sum(len(text.encode(errors="replace")) + LINE_BYTES for text in lines)
                room -= (
                    len(case.picture.svg.encode()) + LEGEND_BYTES * len(case.legend) if case.picture else 0
                )
            elif case.line.processes or case.line.transcript:
                case.left_out, left_out = True, left_out + 1
        return left_out

    def concerns(self) -> list[dict[str, Any]]:
        """The requirements with something to look at, the gravest first, each with some of its cases."""
        found = [one for group in self.groups for one in group.requirements if one.open]
        gravity = [verdict.value for verdict in (*CONCERNS, *GRAVITY)]
        found.sort(key=lambda one: gravity.index(one.verdict.name))
        return [
            {
                **{
                    key: getattr(one, key)
                    for key in ("verdict", "anchor", "id", "level", "statement", "title")
                },
                "shown": one.concerns[:CASES_MAX],
                "more": len(one.concerns) - CASES_MAX if len(one.concerns) > CASES_MAX else 0,
            }
            for one in found
        ]
