"""The run for people at a terminal or in the log of a CI: what was judged, a table, failures, a sentence."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from forkecho.conformance import interval, requirement
from forkecho.conformance.report import evidence
from forkecho.conformance.report.again import command, command_line
from forkecho.conformance.report.printable import printable
from forkecho.conformance.requirement import GROUPS
from forkecho.conformance.result import CaseLine, Header, Run, Verdict

__all__ = [
    "SENTENCES",
    "Paper",
    "chosen",
    "chosen_of",
    "interpreter",
    "kernel",
    "packages",
    "python",
    "render",
    "sentence",
    "sentence_of",
    "span",
    "steadiness",
    "version",
]

FULL = 3  # cases of one requirement whose evidence is shown; of the others the words are
REASONS_MAX = 12  # different reasons of one verdict that are shown
LABEL = 10  # characters for `expected` and the like
IDS_MAX = 6  # ids that are shown of cases with the same reason

#: A verdict in the totals, and its colour.
WORDS = {
    verdict: (verdict.past, color)
    for verdict, color in {
        Verdict.PASS: "green",
        Verdict.FAIL: "red",
        Verdict.WARN: "yellow",
        Verdict.KNOWN: "cyan",
        Verdict.FIXED: "red",
        Verdict.NOT_APPLICABLE: "bright_black",
        Verdict.INCONCLUSIVE: "magenta",
        Verdict.UNSTABLE: "red",
        Verdict.BLOCKED: "red",
        Verdict.BROKEN: "magenta",
    }.items()
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


def packages(header: Header) -> str:
    """The Debian packages that were judged, with their versions."""
    return ", ".join(f"{name} {version}" for name, version in sorted(header.packages.items()))


def sentence(run: Run) -> str:
    """The verdict on the target with the totals in one line."""
    return sentence_of([run])


def sentence_of(runs: Sequence[Run]) -> str:
    """The same of several runs that ended alike, from the least to the most where they do not say the same."""
    footers = [run.footer for run in runs]
    told = ", ".join(
        f"{span(footer.totals.get(verdict, 0) for footer in footers)} {word}"
        for verdict, (word, _) in WORDS.items()
        if any(footer.totals.get(verdict) for footer in footers)
    )
    said = SENTENCES.get(footers[0].exit, f"exit code {footers[0].exit}")
    # What is known is broken all the same.
    known = any(footer.totals.get(Verdict.KNOWN) for footer in footers)
    said += " but for known failures" if footers[0].exit == 0 and known else ""
    many = span(footer.selected for footer in footers)
    cases = f"{many} case{'' if many == '1' else 's'}"
    seconds = span((footer.seconds for footer in footers), ".1f")
    return f"{said}: {told or 'nothing was tried'} (of {cases}, {seconds} s)"


def span(numbers: Iterable[float], form: str = "") -> str:
    """The number, or the least and the greatest."""
    given = sorted(numbers)
    ends = dict.fromkeys(format(number, form) for number in (given[0], given[-1]))
    return " - ".join(ends)


class Paper:
    """Lines as they are added.

    Args:
        width: of a line in characters.
        color: with escape sequences for colours.
    """

    def __init__(self, width: int, color: bool) -> None:
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
        """All lines so far."""
        return "".join(line.rstrip() + "\n" for line in self._file.getvalue().splitlines())

    def print(self, what: Table | Text, *, soft_wrap: bool = False) -> None:
        """Add a table, or a text; with `soft_wrap` as it is, however long its lines are."""
        self._console.print(what, soft_wrap=soft_wrap)

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


class Page(Paper):
    """The parts of a report in the order in which they are called.

    Args:
        run: what is shown.
        width: of a line in characters.
        color: with escape sequences for colours.
    """

    def __init__(self, run: Run, width: int, color: bool) -> None:
        super().__init__(width, color)
        self.run = run
        self.cases = sorted(run.cases, key=lambda case: case.id)
        self._requirements = requirement.load()

    def header(self) -> None:
        """What was judged, by what and how."""
        header = self.run.header
        told = header.target
        title = f": {told['title']}" if told.get("title") else ""
        self.line(f"forkecho {header.forkecho} judges {told.get('name', '?')}{title}", style="bold")
        reached = f"which runs at {told['connect']}" if told.get("connect") else shlex.join(command(told))
        self.line(reached, 2, label="target")
        if header.python:
            self.line(python(header), 2, label="python")
        if header.model:
            self.line(header.model, 2, label="model")
        if header.packages:
            self.line(packages(header), 2, label="packages")
        self.line(f"{chosen(header) or 'everything'} ({header.selected} cases)", 2, label="selection")
        if often := steadiness(header):
            self.line(often, 2, label="repeats")
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
                table.add_row(printable(group).replace("\n", "\\n"), GROUPS.get(group, ""), *cells)
        if verdicts:
            self.print(table)
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
        for label, text in evidence.words(case):
            self.line(text, 4, label=label)
        parts = (("on the wire", evidence.transcript(case)), ("processes", evidence.processes(case)))
        for what, lines in parts if with_evidence else ():
            if lines:
                self.line(what, 4, style="bold")
            for one in lines:
                self.whole(one, 6)
        self.whole(f"{'again':<{LABEL}}{command_line(self.run.header, case.id)}", 4)


def steadiness(header: Header) -> str:
    """How often each case was played, and what it says of one that passed each time; empty where it was once."""
    times = header.selection.get("repeat", 1)
    if not isinstance(times, int) or times < 2:
        return ""
    most = interval.wilson(0, times)[1]
    return f"{times} of each case; one that passes them all fails in at most {100 * most:.1f} % (95 %)"


def interpreter(header: Header) -> str:
    """Which Python ran the target, wherever it stands; empty where it is not known, or there was none."""
    told = header.python
    release = f" {told['release']}, Python" if told.get("release") else ""
    return f"{told.get('implementation', '')}{release} {told.get('version', '')}".strip()


def python(header: Header) -> str:
    """The same with its path."""
    return ", ".join(filter(None, (interpreter(header), str(header.python.get("path", "")))))


def version(header: Header) -> str:
    """Which version was judged: of the packages, and of the Python that ran it; empty where nothing is known of it."""
    return ", ".join(filter(None, (packages(header), interpreter(header))))


def kernel(header: Header) -> str:
    """The system on which it was judged, and its release; empty where it is not known."""
    return " ".join(str(header.host[key]) for key in ("system", "release") if header.host.get(key))


def chosen(header: Header) -> str:
    """The options that chose the cases and how they were played; empty where there were none."""
    return chosen_of(header.selection)


def chosen_of(selection: Mapping[str, object]) -> str:
    """The same of the options themselves."""
    return ", ".join(f"{key} {_chosen(value)}" for key, value in selection.items() if value)


def _chosen(value: object) -> str:
    """The value of an option that chose cases."""
    return " ".join(map(str, value)) if isinstance(value, list) else "" if value is True else str(value)


def _some(ids: Iterable[str]) -> str:
    given = list(ids)
    more = f" and {len(given) - IDS_MAX} more" if len(given) > IDS_MAX else ""
    return ", ".join(given[:IDS_MAX]) + more
