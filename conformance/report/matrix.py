"""The matrix for people at a terminal or in the log of a CI: the targets, where they differ, where they agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from forkecho.conformance.matrix import Cell, Column, Matrix, Row, compare, groups, note
from forkecho.conformance.report.console import WORDS, Paper, sentence_of, span
from forkecho.conformance.report.printable import one_line
from forkecho.conformance.result import Verdict

__all__ = ["AGREED", "DIFFERENCE", "MEANINGS", "render", "versions"]

TITLE = 28  # characters of a requirement's title that are worth a column of their own
GAP = 2  # characters between columns
NAMES_MAX = 24  # characters of the longest name that heads a column
HEAD = len("CLIENT-00  should")

#: A verdict where there is no room for its word. What is in order is small, what is not is large.
SIGNS = {
    Verdict.PASS: ".",
    Verdict.FAIL: "X",
    Verdict.WARN: "W",
    Verdict.KNOWN: "k",
    Verdict.FIXED: "F",
    Verdict.NOT_APPLICABLE: "-",
    Verdict.INCONCLUSIVE: "?",
    Verdict.UNSTABLE: "U",
    Verdict.BLOCKED: "b",
    Verdict.BROKEN: "!",
}

#: What each means, as the legend says it.
MEANINGS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail, a MUST broken",
    Verdict.WARN: "warn, a SHOULD broken",
    Verdict.KNOWN: "known failure",
    Verdict.FIXED: "fixed, though listed as known",
    Verdict.NOT_APPLICABLE: "n/a, outside what it declares",
    Verdict.INCONCLUSIVE: "inconclusive, could not be observed",
    Verdict.UNSTABLE: "unstable between repeats",
    Verdict.BLOCKED: "blocked, not tried",
    Verdict.BROKEN: "broken, the suite's own fault",
}

#: What all targets of a row have in common where they agree; without any verdict it applies to none, or was tried on none.
AGREED: dict[Verdict | None, str] = {
    Verdict.PASS: "kept wherever tried",
    Verdict.FAIL: "broken wherever tried",
    Verdict.WARN: "broken wherever tried",
    Verdict.KNOWN: "known to be broken wherever tried",
    Verdict.FIXED: "fixed wherever tried",
    Verdict.INCONCLUSIVE: "inconclusive wherever tried",
    Verdict.UNSTABLE: "unstable wherever tried",
    Verdict.BROKEN: "not judged by a fault of the suite",
    None: "not tried on any, or applies to none",
}
DIFFERENCE = (
    "A row differs when two targets ended differently; what does not apply or was not tried is no difference."
)


def render(
    columns: Sequence[Column], *, width: int = 120, color: bool = False, all_rows: bool = False
) -> str:
    """The targets, the rows that differ, and in how many they agree; `all_rows` shows these as well."""
    page = Page(compare(columns), width, color)
    page.targets()
    page.differing()
    page.agreeing(all_rows)
    page.legend()
    return page.text


def versions(columns: Iterable[Column]) -> str:
    """A warning where runs were made by different suites, which may have tried different things; else nothing."""
    told = {(run.header.forkecho, run.header.spec) for run in (one.run for one in columns) if run}
    if len(told) < 2:
        return ""
    said = ", ".join(f"forkecho {version} with specification {spec}" for version, spec in sorted(told))
    return f"Not all were judged by the same suite: {said}."


class Page:
    """The parts of the report in the order in which they are called.

    Args:
        matrix: what is shown.
        width: of a line in characters.
        color: with escape sequences for colours.
    """

    def __init__(self, matrix: Matrix, width: int, color: bool) -> None:
        self.matrix = matrix
        self._groups = groups(matrix)
        self._names = [one_line(group.name) for group in self._groups]
        self._shown: set[Verdict | None] = set()  # as signs, for the legend
        self._counted = False  # how many cases of how many, likewise
        self._width = width
        self._paper = Paper(width, color)

    @property
    def text(self) -> str:
        """The page so far."""
        return self._paper.text

    def targets(self) -> None:
        """A line for each target, or several Pythons of one that ended alike, with what it was seen to be, and why where it was not judged."""
        table = _table()
        table.add_column("", justify="right", no_wrap=True)
        table.add_column("target", overflow="fold", min_width=min(NAMES_MAX, max(map(cell_len, self._names))))
        table.add_column("model", overflow="fold")
        table.add_column("verdict", overflow="fold")
        for number, (name, group) in enumerate(zip(self._names, self._groups, strict=True), 1):
            column = self.matrix.columns[group.at[0]]
            runs = [run for at in group.at if (run := self.matrix.columns[at].run)]
            said = sentence_of(runs) if runs else "no verdict"
            why = one_line(note(column))
            sound = column.run is not None and column.run.footer.exit == 0 and not column.reason
            verdict = Text(f"{said}; {why}" if why else said, style="green" if sound else "red")
            model = one_line(column.run.header.model or "") if column.run else ""
            table.add_row(str(number), name, model, verdict)
        self._paper.print(table)
        if said := versions(self.matrix.columns):
            self._line(one_line(said), "yellow")
        self._paper.line()

    def differing(self) -> None:
        """The rows in which two targets ended differently."""
        rows = [row for row in self.matrix.rows if row.differs]
        many = f"{len(rows) or 'none'} of {len(self.matrix.rows)} requirements"
        if len(self.matrix.columns) > 1 and self.matrix.rows:
            self._line(f"The targets differ in {many}" + (":" if rows else "."), "bold")
            self._grid(rows)
            self._paper.line()

    def agreeing(self, all_rows: bool) -> None:
        """In how many rows they agree, and about what; those that not all of them keep are named."""
        rows = [row for row in self.matrix.rows if not row.differs]
        if not rows:
            return
        by_word: dict[str, list[Row]] = {word: [] for word in AGREED.values()}
        for row in rows:
            by_word[AGREED[row.verdicts[0] if row.verdicts else None]].append(row)
        parts = []
        for word, those in by_word.items():
            sound = word in (AGREED[Verdict.PASS], AGREED[None])
            ids = "" if sound else f" ({', '.join(one_line(row.id) for row in those)})"
            if those:
                parts.append(f"{len(those)} {word}{ids}")
        agree = "requirement where all agree" if len(rows) == 1 else "requirements where all agree"
        self._line(f"{len(rows)} {agree}: {'; '.join(parts)}" + (":" if all_rows else "."), "bold")
        if all_rows:
            self._grid(rows)
        self._paper.line()

    def legend(self) -> None:
        """What the signs and numbers mean that were used, in words, and what makes a row differ."""
        told = [f"{SIGNS[one]} {MEANINGS[one]}" for one in Verdict if one in self._shown]
        told += ["blank: not among the cases that were selected"] if None in self._shown else []
        told += ["1/6: in 1 of 6 cases"] if self._counted else []
        if told:
            self._line("; ".join(told) + ".")
        if any(row.differs for row in self.matrix.rows):
            self._line(DIFFERENCE)

    def _line(self, text: str, style: str = "") -> None:
        self._paper.print(Text(text, style=style))

    def _grid(self, rows: Sequence[Row]) -> None:
        """Requirement by target: names and words if there is room, numbers and words, or else numbers and signs, in several parts if need be."""
        if not rows:
            return
        count = len(self._names)
        numbers = [str(number) for number in range(1, count + 1)]
        words = [[_word(self._cells(row, at)) for row in rows] for at in range(count)]
        room = self._width - HEAD - GAP - TITLE
        for heads in (self._names, numbers):
            widths = [max(map(cell_len, (head, *said))) for head, said in zip(heads, words, strict=True)]
            if max(widths) <= NAMES_MAX and sum(widths) + GAP * count <= room:
                self._counted |= any("/" in word.removeprefix("n/a") for said in words for word in said)
                self._part(rows, range(count), heads, widths, _word)
                return
        self._shown |= {cell.verdict for row in rows for cell in row.cells}
        digits = max(2, len(numbers[-1]))
        fitting = max(1, (self._width - HEAD - GAP) // (digits + 1))
        for first in range(0, count, fitting):
            columns = range(first, min(first + fitting, count))
            self._part(rows, columns, numbers, [digits] * count, _sign)

    def _cells(self, row: Row, at: int) -> list[Cell]:
        """What a row says of the columns that are shown as one."""
        return [row.cells[number] for number in self._groups[at].at]

    def _part(
        self,
        rows: Sequence[Row],
        columns: range,
        heads: Sequence[str],
        widths: Sequence[int],
        said: Callable[[Sequence[Cell]], str],
    ) -> None:
        """Some columns of the rows; the title of a requirement takes the room that is left, and is cut at its end."""
        gap = " " * (GAP if said is _word else 1)
        head = f"{'requirement':<{HEAD}} " + "".join(gap + _padded(heads[at], widths[at]) for at in columns)
        self._paper.print(Text(head.rstrip(), style="bold"), soft_wrap=True)
        for row in rows:
            line = Text(
                f"{_padded(one_line(row.id), HEAD - len('  should'))}  {_padded(one_line(row.level), len('should'))} "
            )
            for at in columns:
                cells = self._cells(row, at)
                style = WORDS[cells[0].verdict][1] if cells[0].verdict else ""
                line.append(gap).append(_padded(said(cells), widths[at]), style)
            if (left := self._width - line.cell_len - GAP) >= TITLE // 2:
                title = Text(row.title, style="bright_black")
                title.truncate(left, overflow="ellipsis")
                line.append(" " * GAP).append(title)
            self._paper.print(line, soft_wrap=True)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")


def _padded(text: str, width: int) -> str:
    """Text with blanks up to a width in the terminal's cells, where some characters take two."""
    return text + " " * (width - cell_len(text))


def _word(cells: Sequence[Cell]) -> str:
    """The verdict, the same of all, and in how many cases where not in all of them."""
    if cells[0].verdict is None:
        return ""
    partly = ""
    if any(0 < cell.count < cell.tried for cell in cells):
        count, tried = span(cell.count for cell in cells), span(cell.tried for cell in cells)
        partly = f" {count}/{tried}".replace(" - ", "-")
    return cells[0].verdict.value + partly


def _sign(cells: Sequence[Cell]) -> str:
    return SIGNS[cells[0].verdict] if cells[0].verdict else ""
