"""The run as Markdown as GitHub reads it, for the summary of a job or a comment: a sentence, a table, failures to unfold.

Text from elsewhere stands in code spans, in which nothing means anything, or is escaped: no server can make a link, a
mention, a heading or a cell of its own.
"""

from __future__ import annotations

import html
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator

from forkecho.conformance import requirement
from forkecho.conformance.report import evidence
from forkecho.conformance.report.again import command, command_line
from forkecho.conformance.report.console import (
    BY_REASON,
    FULL,
    ONE_BY_ONE,
    WORDS,
    chosen,
    packages,
    python,
    sentence,
    steadiness,
)
from forkecho.conformance.report.printable import printable
from forkecho.conformance.requirement import GROUPS
from forkecho.conformance.result import CaseLine, Run, Verdict

__all__ = ["LIMIT", "cell", "code", "fits", "prose", "render", "table", "unfolded"]

#: GitHub takes no summary of a step above 1 MiB; some is left for what else the step has to say.
LIMIT = 1_000_000
REASONS_MAX = 20  # different reasons of one verdict that are shown
CASES_MAX = 50  # cases of one requirement that are shown

#: What can mean something in Markdown, or to GitHub: emphasis, links, HTML, tables, mathematics, references.
SPECIAL = re.compile(r"[\\`*_{}\[\]<>#+!|~&$=^]|:(?=\S)|www\.")


def render(run: Run, *, width: int = 0, color: bool = False, limit: int = LIMIT) -> str:
    """The run as Markdown of at most `limit` bytes; `width` and `color` mean nothing here."""
    return fits(_head(run), _blocks(run), limit)


def fits(head: str, blocks: Iterable[str], limit: int) -> str:
    """The head and as many blocks as there is room for, with a word on how many were left out."""
    text, left = head, 0
    room = limit - 200  # for that word
    for block in blocks:
        if left or len((text + block).encode()) > room:
            left += 1
        else:
            text += block
    return text + (f"\n{left} more sections are left out here: there is no room for them.\n" if left else "")


def prose(text: str) -> str:
    """Text in a line of its own meaning: all that Markdown or GitHub would take for something else is escaped."""
    line = printable(text).replace("\n", " ").replace("\t", " ")
    escaped = SPECIAL.sub(lambda found: "".join(f"&#{ord(one)};" for one in found.group()), line)
    # Entities do not hinder a mention; an empty comment inside of it does.
    return escaped.replace("@", "@<!-- -->")


def code(text: str) -> str:
    """Text as a code span on one line; not for a table, where a pipe ends a cell even there."""
    line = printable(text).replace("\n", "\\n").replace("\t", "\\t") or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    padding = " " if "`" in (line[0], line[-1]) else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def cell(text: str) -> str:
    """Text as a code span in a table."""
    return code(text).replace("|", "\\|")


def table(heading: Iterable[str], rows: Iterable[Iterable[str]], *, left: int = 1) -> str:
    """A table; its first `left` columns stand to the left, the others are numbers."""
    titles = list(heading)
    rule = [":--" if number < left else "--:" for number in range(len(titles))]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (titles, rule, *rows))


def unfolded(title: str, body: str, *, opened: bool = False) -> str:
    """A section that is unfolded by its title, a text without meaning; or one that is open already."""
    said = html.escape(printable(title).replace("\n", " ")).replace("@", "@<!-- -->")
    return f"\n<details{' open' if opened else ''}><summary>{said}</summary>\n\n{body}\n</details>\n"


def _head(run: Run) -> str:
    """What was judged, how it ended, and how often each verdict was given by group."""
    told, cases = run.header.target, run.cases
    name = f"{told.get('name', '?')}{': ' if told.get('title') else ''}{told.get('title', '')}"
    lines = [
        f"### forkecho: {prose(name)}",
        "",
        f"**{prose(sentence(run))}**",
        "",
    ]
    reached = str(told["connect"]) if told.get("connect") else shlex.join(command(told))
    about = {
        "target": code(reached),
        "python": prose(python(run.header)),
        "model": prose(run.header.model or ""),
        "packages": prose(packages(run.header)),
        "selection": code(chosen(run.header) or "everything"),
        "repeats": prose(steadiness(run.header)),
        "judged": prose(
            f"{run.header.started}, seed {run.header.seed}, forkecho {run.header.forkecho},"
            f" specification {run.header.spec}"
        ),
    }
    lines += [f"- {key}: {value}" for key, value in about.items() if value]
    verdicts = [verdict for verdict in WORDS if any(case.verdict is verdict for case in cases)]
    groups = [*GROUPS, *sorted({case.group for case in cases} - set(GROUPS))]
    rows = []
    for group in groups:
        counts = Counter(case.verdict for case in cases if case.group == group)
        if counts:
            numbers = [str(counts[verdict] or "") for verdict in verdicts]
            rows.append([prose(group), prose(GROUPS.get(group, "")), *numbers])
    heading = ["group", "", *(WORDS[verdict][0] for verdict in verdicts)]
    return "\n".join([*lines, "", ""]) + (table(heading, rows, left=2) if rows else "")


def _blocks(run: Run) -> Iterator[str]:
    """What is to be read, the gravest first: failures by requirement, then what many have for the same reason."""
    cases = sorted(run.cases, key=lambda case: case.id)
    known = requirement.load()
    for verdict in reversed(ONE_BY_ONE):
        these = [case for case in cases if case.verdict is verdict]
        ids = {case.requirement for case in these}
        for id_ in [*(one for one in known if one in ids), *sorted(ids - set(known))]:
            yield _requirement(run, verdict, [case for case in these if case.requirement == id_])
    for verdict in reversed(BY_REASON):
        counts = Counter(case.reason or "no reason given" for case in cases if case.verdict is verdict)
        if counts:
            ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
            lines = [f"- {count} x {prose(reason)}" for reason, count in ordered[:REASONS_MAX]]
            if len(ordered) > REASONS_MAX:
                lines.append(f"- and {len(ordered) - REASONS_MAX} other reasons")
            yield unfolded(f"{WORDS[verdict][0]}: {counts.total()}", "\n".join(lines) + "\n")


def _requirement(run: Run, verdict: Verdict, cases: list[CaseLine]) -> str:
    """The cases of one requirement that ended in the same way."""
    id_ = cases[0].requirement
    known = requirement.load().get(id_)
    title = f" {known.title}" if known else ""
    heading = f"{WORDS[verdict][0]}: {id_} ({cases[0].level.upper()}){title}, {len(cases)}"
    parts = [prose(known.statement) + "\n"] if known else []
    parts += [_case(run, case, with_evidence=number < FULL) for number, case in enumerate(cases[:CASES_MAX])]
    if len(cases) > CASES_MAX:
        parts.append(f"and {len(cases) - CASES_MAX} more of this requirement\n")
    return unfolded(heading, "\n".join(parts))


def _case(run: Run, case: CaseLine, *, with_evidence: bool) -> str:
    """One case: what was tried, expected and seen, and how to try it again."""
    lines = [f"- {code(case.id)} {prose(case.title)}"]
    for label, text in evidence.words(case):
        lines.append(f"  - {label}: {code(text) if label in ('expected', 'seen') else prose(text)}")
    lines.append(f"  - again: {code(command_line(run.header, case.id))}")
    seen = [*evidence.transcript(case), *evidence.processes(case)] if with_evidence else []
    if seen:
        inside = [printable(line).replace("\n", "\\n") for line in seen]
        fence = "`" * max(3, *(len(found) + 1 for line in inside for found in re.findall("`+", line) or [""]))
        lines += ["", *(f"  {line}" for line in (f"{fence}text", *inside, fence))]
    return "\n".join(lines) + "\n"
