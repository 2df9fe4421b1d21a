"""The run for people at a terminal or in the log of a CI: what was judged, a table, failures, a sentence."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forkecho.conformance import requirement
from forkecho.conformance.report import evidence
from forkecho.conformance.report.again import command_line
from forkecho.conformance.report.printable import printable
from forkecho.conformance.requirement import GROUPS
from forkecho.conformance.result import CaseLine, Run, Verdict

__all__ = ["SENTENCES", "render", "sentence"]

FULL = 3  # cases of one requirement whose evidence is shown; of the others the words are
REASONS_MAX = 12  # different reasons of one verdict that are shown
LABEL = 10  # characters for `expected` and the like
IDS_MAX = 6  # ids that are shown of cases with the same reason

#: A verdict in the totals, and its colour.
WORDS = {
    Verdict.PASS: ("passed", "green"),
    Verdict.FAIL: ("failed", "red"),
    Verdict.WARN: ("warned", "yellow"),
    Verdict.KNOWN: ("known", "cyan"),
    Verdict.FIXED: ("fixed", "red"),
    Verdict.NOT_APPLICABLE: ("n/a", "bright_black"),
    Verdict.INCONCLUSIVE: ("inconclusive", "magenta"),
    Verdict.UNSTABLE: ("unstable", "red"),
    Verdict.BLOCKED: ("blocked", "red"),
    Verdict.BROKEN: ("broken", "magenta"),
}

#: Shown one by one under their requirement, the gravest last: that is where one looks first.
ONE_BY_ONE = (Verdict.WARN, Verdict.FIXED, Verdict.UNSTABLE, Verdict.BROKEN, Verdict.FAIL)

#: Shown by reason: the reason is the same for many.
BY_REASON = (Verdict.NOT_APPLICABLE, Verdict.KNOWN, Verdict.INCONCLUSIVE, Verdict.BLOCKED)

#: What the exit code of a run means.
SENTENCES = {
    0: "conformant",
    1: "not conformant",
    3: "the suite could not judge",
    4: "the target never became ready",
    5: "nothing to judge",
    130: "interrupted",
}


def render(run: Run, *, width: int = 100, color: bool = False) -> str:
    """The run as text with lines of `width` characters; what is to be copied is never broken."""
    page = Page(run, width, color)
    page.header()
    page.table()
    page.reasons()
    page.failures()
    page.line(sentence(run), style="green" if run.footer.exit == 0 else "red")
    return page.text


def sentence(run: Run) -> str:
    """The verdict on the target with the totals in one line."""
    totals = run.footer.totals
    told = ", ".join(
        f"{totals[verdict]} {word}" for verdict, (word, _) in WORDS.items() if totals.get(verdict)
    )
    said = SENTENCES.get(run.footer.exit, f"exit code {run.footer.exit}")
    cases = f"{run.footer.selected} case{'' if run.footer.selected == 1 else 's'}"
    return f"{said}: {told or 'nothing was tried'} (of {cases}, {run.footer.seconds:.1f} s)"


class Page:
    """The parts of a report in the order in which they are called.

    Args:
        run: what is shown.
        width: of a line in characters.
        color: with escape sequences for colours.
    """

    def __init__(self, run: Run, width: int, color: bool) -> None:
        self.run = run
        self.cases = sorted(run.cases, key=lambda case: case.id)
        self._requirements = requirement.load()
        self._file = io.StringIO()
        # Everything is said, so that neither the environment nor the terminal of the moment changes a byte.
        self._console = Console(
            file=self._file,
            width=width,
            height=100,
            force_terminal=color,
            color_system="standard" if color else None,
            no_color=not color,
            legacy_windows=False,
            markup=False,
            emoji=False,
            highlight=False,
            _environ={},
        )

    @property
    def text(self) -> str:
        """The page so far."""
        return "".join(line.rstrip() + "\n" for line in self._file.getvalue().splitlines())

    def line(self, text: str = "", indent: int = 0, style: str = "", label: str = "") -> None:
        """A paragraph, broken between words at the width; its lines are aligned after a label."""
        before = " " * indent + f"{label:<{LABEL}}" if label else " " * indent
        room = max(self._console.width - len(before), 20)
        # Neither ids nor commands are torn apart.
        wrap = textwrap.TextWrapper(room, break_long_words=False, break_on_hyphens=False)
        for part in printable(text).split("\n"):
            for one in wrap.wrap(part) or [""]:
                said = Text(before, style="bold") + Text(one, style=style)
                self._console.print(said, soft_wrap=True)
                before = " " * len(before)

    def whole(self, text: str, indent: int = 0, style: str = "") -> None:
        """A line that is not broken."""
        said = Text(" " * indent + printable(text).replace("\n", "\\n"), style=style)
        self._console.print(said, soft_wrap=True)

    def header(self) -> None:
        """What was judged, by what and how."""
        header = self.run.header
        told = header.target
        title = f": {told['title']}" if told.get("title") else ""
        self.line(f"forkecho {header.forkecho} judges {told.get('name', '?')}{title}", style="bold")
        reached = (
            f"which runs at {told['connect']}" if told.get("connect") else shlex.join(told.get("command", ()))
        )
        chosen = ", ".join(f"{key} {_chosen(value)}" for key, value in header.selection.items() if value)
        self.line(reached, 2, label="target")
        if header.model:
            self.line(header.model, 2, label="model")
        self.line(f"{chosen or 'everything'} ({header.selected} cases)", 2, label="selection")
        self.line(f"{header.seed}", 2, label="seed")
        self.line(f"{header.started}, specification {header.spec}", 2, label="started")
        self.line()

    def table(self) -> None:
        """How often each verdict was given, by group."""
        verdicts = [verdict for verdict in WORDS if any(case.verdict is verdict for case in self.cases)]
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        table.add_column("group")
        table.add_column("")
        for verdict in verdicts:
            table.add_column(WORDS[verdict][0], justify="right", no_wrap=True)
        groups = list(GROUPS) + sorted({case.group for case in self.cases} - set(GROUPS))
        for group in groups:
            counts = Counter(case.verdict for case in self.cases if case.group == group)
            if counts:
                cells = [Text(str(counts[one] or ""), style=WORDS[one][1]) for one in verdicts]
                table.add_row(group, GROUPS.get(group, ""), *cells)
        if verdicts:
            self._console.print(table)
            self.line()

    def reasons(self) -> None:
        """What was not judged, or is known: the reasons, each once."""
        for verdict in BY_REASON:
            by_reason: dict[str, list[CaseLine]] = defaultdict(list)
            for case in self.cases:
                if case.verdict is verdict:
                    by_reason[case.reason].append(case)
            if not by_reason:
                continue
            word, style = WORDS[verdict]
            self.line(f"{word} ({sum(map(len, by_reason.values()))})", style=f"bold {style}")
            ordered = sorted(by_reason.items(), key=lambda one: (-len(one[1]), one[0]))
            for reason, cases in ordered[:REASONS_MAX]:
                ids = "" if verdict is Verdict.NOT_APPLICABLE else f" [{_some(case.id for case in cases)}]"
                self.line(f"{reason or 'no reason given'}{ids}", 2, label=f"{len(cases):>6} x")
            if rest := ordered[REASONS_MAX:]:
                self.line(
                    f"for {len(rest)} other reasons", 2, label=f"{sum(len(cases) for _, cases in rest):>6} x"
                )
            self.line()

    def failures(self) -> None:
        """What is to be read: each case under its requirement."""
        for verdict in ONE_BY_ONE:
            by_requirement: dict[str, list[CaseLine]] = defaultdict(list)
            for case in self.cases:
                if case.verdict is verdict:
                    by_requirement[case.requirement].append(case)
            # Those that the specification does not know (any more) come last.
            order = [*self._requirements, *sorted(set(by_requirement) - set(self._requirements))]
            for id_ in order:
                if cases := by_requirement.get(id_):
                    self.failure(verdict, id_, cases)

    def failure(self, verdict: Verdict, id_: str, cases: list[CaseLine]) -> None:
        """The cases of one requirement that ended in the same way."""
        known = self._requirements.get(id_)
        word, style = WORDS[verdict]
        tried = sum(
            case.requirement == id_ and case.verdict is not Verdict.NOT_APPLICABLE for case in self.cases
        )
        title = f" {known.title}" if known else ""
        count = f"{len(cases)} of {tried} case{'' if tried == 1 else 's'}"
        self.line(f"{word}: {id_} ({cases[0].level.upper()}){title}, {count}", style=f"bold {style}")
        if known:
            self.line(known.statement, 2)
        self.whole(f"forkecho explain {id_}", 2, style="bright_black")
        for number, case in enumerate(cases):
            self.line()
            self.case(case, with_evidence=number < FULL)
        if len(cases) > FULL:
            self.line()
            self.line(
                f"What was seen in the last {len(cases) - FULL} of these is in the record (--output).",
                2,
            )
        self.line()

    def case(self, case: CaseLine, *, with_evidence: bool) -> None:
        """One case: what was tried, expected and seen, the evidence, and how to try it again."""
        self.whole(case.id, 2, style="bold")
        self.line(case.title, 4)
        for label, text in (("reason", case.reason), ("expected", case.expected), ("seen", case.seen)):
            if text:
                self.line(text, 4, label=label)
        parts = (("on the wire", evidence.transcript(case)), ("processes", evidence.processes(case)))
        for what, lines in parts if with_evidence else ():
            if lines:
                self.line(what, 4, style="bold")
            for one in lines:
                self.whole(one, 6)
        self.whole(f"{'again':<{LABEL}}{command_line(self.run.header, case.id)}", 4)


def _chosen(value: object) -> str:
    """The value of an option that chose cases."""
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is True else str(value)


def _some(ids: Iterable[str]) -> str:
    given = list(ids)
    more = f" and {len(given) - IDS_MAX} more" if len(given) > IDS_MAX else ""
    return ", ".join(given[:IDS_MAX]) + more
