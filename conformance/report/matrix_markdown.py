"""The matrix as Markdown, to be published: what was judged, what each target breaks and what that means, where they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from forkecho.conformance.matrix import Cell, Column, Group, Matrix, Row, compare, groups, note
from forkecho.conformance.report.again import again
from forkecho.conformance.report.console import kernel, version
from forkecho.conformance.report.markdown import code, prose, table
from forkecho.conformance.report.matrix import versions
from forkecho.conformance.requirement import LEVELS
from forkecho.conformance.result import GRAVITY, Run, Verdict
from forkecho.conformance.upstream import Note

__all__ = ["BROKEN", "render"]

#: Seen broken, whether that was known before or not.
BROKEN = (Verdict.FAIL, Verdict.WARN, Verdict.KNOWN, Verdict.UNSTABLE)
#: Nothing is known of these.
UNKNOWN = (Verdict.INCONCLUSIVE, Verdict.BLOCKED, Verdict.BROKEN)

Notes = Mapping[str, Mapping[str, Note]]


def render(columns: Sequence[Column], notes: Notes | None = None, *, folder: str = "") -> str:
    """The page, the same to the byte for the same columns.

    Args:
        columns: one for each target.
        notes: by target and requirement, on failures of real servers.
        folder: where the reports lie that the notes name, as seen from the page; empty: they are named only.
    """
    matrix = compare(columns)
    shown = groups(matrix)
    parts = [
        _head(matrix),
        _targets(matrix, shown),
        _now_and_then(matrix),
        _broken(matrix, shown, notes or {}, folder),
        _differing(matrix, shown),
    ]
    return "\n".join(part for part in parts if part)


def _head(matrix: Matrix) -> str:
    """How many, when, where, by what."""
    runs = [column.run for column in matrix.columns if column.run]
    many = _count(len({column.target or column.name for column in matrix.columns}), "target")
    lines = ["# What servers keep and what they break", ""]
    if not runs:
        return "\n".join([*lines, f"{many}, none of which was judged.", ""])
    days = sorted({run.header.started[:10] for run in runs})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    by = sorted({f"forkecho {run.header.forkecho}, specification {run.header.spec}" for run in runs})
    hosts = sorted({_host(run) for run in runs} - {""})
    lines += [
        f"{many}, judged by {_count(len(matrix.rows), 'requirement')}.",
        "",
        f"- when: {prose(when)}",
        f"- by: {prose('; '.join(by))}",
        *([f"- on: {prose('; '.join(hosts))}"] if hosts else []),
        "",
        "Each can be judged again by `forkecho check NAME`, one requirement by `--requirement ID`;",
        "`forkecho explain ID` says what it demands and why.",
        "",
    ]
    if said := versions(matrix.columns):
        lines += [prose(said), ""]
    return "\n".join(lines)


def _count(many: int, what: str) -> str:
    return f"{many} {what}{'' if many == 1 else 's'}"


def _host(run: Run) -> str:
    host = run.header.host
    named = " ".join(filter(None, (kernel(run.header), str(host.get("machine") or ""))))
    cores = f", {host['cpus']} cores" if host.get("cpus") else ""
    return named + cores + (f" ({host['gateway']})" if host.get("gateway") else "")


def _targets(matrix: Matrix, shown: Sequence[Group]) -> str:
    """A line for each target: its version, its model, and how many requirements it keeps and breaks."""
    rows = []
    for group in shown:
        number = group.at[0]
        column = matrix.columns[number]
        cells = [(row, row.cells[number]) for row in matrix.rows]
        many = {
            level: sum(row.level == level and cell.verdict in BROKEN for row, cell in cells)
            for level in LEVELS
        }
        kept = sum(cell.verdict in (Verdict.PASS, Verdict.FIXED) for _, cell in cells)
        unknown = sum(cell.verdict in UNKNOWN for _, cell in cells)
        runs = [run for at in group.at if (run := matrix.columns[at].run)]
        judged = dict.fromkeys(version(run.header) for run in runs)
        about = [prose("; ".join(judged)), prose((column.run.header.model or "") if column.run else "")]
        if why := note(column):
            about[1] = "; ".join(filter(None, (about[1], prose(why))))
        numbers = [kept, many["must"], many["should"] + many["may"], unknown]
        rows.append([prose(group.name), *about, *(str(one or "") for one in numbers)])
    heading = ["target", "version", "model seen", "kept", "MUST broken", "SHOULD broken", "not known"]
    return "## Targets\n\n" + table(heading, rows, left=3)


def _now_and_then(matrix: Matrix) -> str:
    """What another run may see otherwise, whether this one has seen it or not: the same words each time."""
    told: dict[str, dict[str, None]] = defaultdict(dict)
    for run in (column.run for column in matrix.columns if column.run):
        listed = run.header.target.get("known") or {}
        for entry, how in listed.items():
            if isinstance(how, dict) and how.get("sometimes"):
                told[str(run.header.target.get("name", "?"))][entry] = None
    if not told:
        return ""
    lead = (
        "Some of it is listed as seen in some runs only, by chance or with some versions: another run may see it where",
        "this one did not, and the other way round.",
    )
    lines = [f"- {prose(name)}: {', '.join(map(code, entries))}" for name, entries in told.items()]
    return "\n".join([*lead, "", *lines, ""])


def _broken(matrix: Matrix, shown: Sequence[Group], notes: Notes, folder: str) -> str:
    """What each target breaks."""
    parts = ["## What they break", ""]
    for group in shown:
        number = group.at[0]
        column = matrix.columns[number]
        broken = [row for row in matrix.rows if row.cells[number].verdict in BROKEN]
        if not broken or not column.run:
            continue
        name = str(column.run.header.target.get("name", "?"))
        title = str(column.run.header.target.get("title", ""))
        parts += [f"### {prose(group.name)}", "", *([prose(title) + ".", ""] if title else [])]
        parts += [*_sentences(broken, number, column, notes.get(name, {}), folder), ""]
    return "\n".join(parts) if len(parts) > 2 else ""


def _sentences(
    rows: Sequence[Row], number: int, column: Column, notes: Mapping[str, Note], folder: str
) -> Iterator[str]:
    """An item for each MUST that something is known about, and for all that has the same reason."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (*LEVELS, row.level).index(row.level)):
        told = notes.get(row.id)
        alike[told.means if told else "", _why(row.cells[number])].append(row)
    for (means, why), those in alike.items():
        ids = ", ".join(
            f"**{prose(row.id)}** ({prose(row.level.upper())}) {prose(row.title)}".rstrip() for row in those
        )
        yield f"- {ids}{_partly(those, number)}"
        if means:
            yield f"  - for its users: {prose(means)}"
        if why:
            yield f"  - {why}"
        for one in dict.fromkeys(notes[row.id] for row in those if row.id in notes):
            if one.upstream:
                yield f"  - upstream: {prose(one.upstream)}"
            if one.report:
                yield f"  - report: {_link(one.report, folder)}" + (
                    ", whose reproduction needs chance" * one.chance
                )
        chosen = [word for row in those for word in ("--requirement", row.id)]
        if column.run:
            yield f"  - again: {code(again(column.run.header, chosen, column.python))}"


def _partly(rows: Sequence[Row], number: int) -> str:
    """In how many cases, where one requirement is told of that is not broken in all of them."""
    broken = [case for case in rows[0].cells[number].cases if case.verdict in BROKEN]
    tried = rows[0].cells[number].tried
    return f", in {len(broken)} of {tried} cases" if len(rows) == 1 and len(broken) < tried else ""


def _why(cell: Cell) -> str:
    """The reason that is given, else what was seen, of the case that is broken most gravely; what was known is said to be."""
    broken = [case for case in cell.cases if case.verdict in BROKEN]
    first = min(broken, key=lambda case: GRAVITY.index(case.verdict))
    if first.reason:
        return ("known: " if first.verdict is Verdict.KNOWN else "") + prose(first.reason)
    return f"expected {code(first.expected)}; seen {code(first.seen)}" if first.seen else ""


def _link(report: str, folder: str) -> str:
    return f"[{prose(report)}]({folder}/{report})" if folder else code(report)


def _differing(matrix: Matrix, shown: Sequence[Group]) -> str:
    """Where two targets ended differently: who breaks it, and how many keep it."""
    rows = []
    for row in matrix.rows:
        if not row.differs:
            continue
        names = _names(shown, row, BROKEN)
        doubtful = _names(shown, row, (Verdict.INCONCLUSIVE, Verdict.BROKEN))
        kept = len(_names(shown, row, (Verdict.PASS, Verdict.FIXED)))
        said = ", ".join(names) + (f" (not known: {', '.join(doubtful)})" if doubtful else "")
        rows.append([prose(row.id), prose(row.level.upper()), prose(row.title), said, str(kept)])
    if not rows:
        return ""
    alike = _count(len(matrix.rows) - len(rows), "other requirement")
    return (
        "## Where they differ\n\n"
        + table(["requirement", "level", "", "broken by", "kept by"], rows, left=4)
        + f"\nIn {alike} no two targets ended differently.\n"
    )


def _names(shown: Sequence[Group], row: Row, verdicts: Sequence[Verdict]) -> list[str]:
    return [prose(group.name) for group in shown if row.cells[group.at[0]].verdict in verdicts]
