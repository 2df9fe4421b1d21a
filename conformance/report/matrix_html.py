"""The matrix as one page of HTML: the targets, where they differ, where they agree, and what was seen of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

import forkecho
from forkecho.conformance.matrix import Cell, Column, Matrix, Row, compare, findings, note
from forkecho.conformance.report.console import kernel, sentence, version
from forkecho.conformance.report.matrix import AGREED, DIFFERENCE, MEANINGS, versions
from forkecho.conformance.report.page import Anchors, fill
from forkecho.conformance.requirement import GROUPS
from forkecho.conformance.result import Verdict

__all__ = ["render"]

WORDS_MAX = 7  # columns that have room for names across and for words in their cells; more have signs
IDS_MAX = 8  # cases that are named of one finding in one column

#: What a cell shows besides its word, or instead of it.
SIGNS = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "✗",
    Verdict.WARN: "▲",
    Verdict.KNOWN: "k",
    Verdict.FIXED: "F",
    Verdict.NOT_APPLICABLE: "\N{EN DASH}",
    Verdict.INCONCLUSIVE: "?",
    Verdict.UNSTABLE: "~",
    Verdict.BLOCKED: "b",
    Verdict.BROKEN: "!",
}

#: The names that the page's own parts have.
TAKEN = ("main", "targets", "differences", "agreements", "seen", "legend")


class TargetView(msgspec.Struct, kw_only=True):
    """A target on the page."""

    number: int
    anchor: str
    name: str
    title: str
    model: str
    version: str
    sentence: str
    mood: str
    note: str
    started: str


class CellView(msgspec.Struct, kw_only=True):
    """A cell on the page; without a verdict it says why it is empty."""

    kind: str = ""
    sign: str = ""
    word: str
    partly: str = ""
    link: str = ""


class FindingView(msgspec.Struct, kw_only=True):
    """What several cases have in common."""

    verdict: str
    kind: str
    words: list[tuple[str, str]]  # what is said: reason, expected, seen
    #: Targets, each with its anchor or an empty one, and their cases.
    where: list[tuple[list[tuple[str, str]], str]]


class RowView(msgspec.Struct, kw_only=True):
    """A requirement on the page."""

    id: str
    anchor: str
    level: str
    title: str
    statement: str
    cells: list[CellView]
    findings: list[FindingView]


class GroupView(msgspec.Struct, kw_only=True):
    """Rows under a heading."""

    title: str
    rows: list[RowView]


def render(columns: Sequence[Column]) -> str:
    """The page; it needs nothing but itself, and is the same to the byte for the same columns."""
    page = Page(compare(columns))
    differing = [row for row in page.matrix.rows if row.differs]
    agreeing = [row for row in page.matrix.rows if not row.differs]
    return fill(
        "matrix.html",
        styles=("page.css", "matrix.css"),
        scripts=(),
        forkecho=forkecho.__version__,
        targets=page.targets,
        total=len(page.matrix.rows),
        differing=page.groups(differing),
        differ=len(differing),
        agreeing=[
            (word, page.groups([row for row in agreeing if agreed(row) == word]))
            for word in dict.fromkeys(AGREED.values())
            if any(agreed(row) == word for row in agreeing)
        ],
        agree=len(agreeing),
        told=[row for row in page.views.values() if row.findings],
        legend=[(SIGNS[one], kind(one), MEANINGS[one]) for one in Verdict if one in verdicts(page.matrix)],
        difference=DIFFERENCE,
        warning=versions(columns),
        shape="words" if len(columns) <= WORDS_MAX else "signs",
    )


def kind(verdict: Verdict) -> str:
    """A verdict's name in the style sheet."""
    return verdict.value.replace("/", "")


def agreed(row: Row) -> str:
    """What the targets agree about."""
    return AGREED[row.verdicts[0] if row.verdicts else None]


def verdicts(matrix: Matrix) -> set[Verdict | None]:
    """Those that stand in some cell."""
    return {cell.verdict for row in matrix.rows for cell in row.cells}


class Page:
    """The parts of the page, and the names by which they link to each other.

    Args:
        matrix: what is shown.
    """

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        self._anchors = Anchors(TAKEN)
        self.targets = [self._target(number, column) for number, column in enumerate(matrix.columns, 1)]
        self.views = {row.id: self._row(row) for row in matrix.rows}

    def groups(self, rows: Iterable[Row]) -> list[GroupView]:
        """The rows under the names of their groups."""
        found: dict[str, list[RowView]] = {}
        for row in rows:
            found.setdefault(row.group, []).append(self.views[row.id])
        return [GroupView(title=GROUPS.get(group, group), rows=those) for group, those in found.items()]

    def _target(self, number: int, column: Column) -> TargetView:
        run = column.run
        sound = run is not None and run.footer.exit == 0 and not column.reason
        return TargetView(
            number=number,
            anchor=self._anchors.new(f"target-{number}"),
            name=column.name,
            title=str(run.header.target.get("title", "")) if run else "",
            model=(run.header.model or "") if run else "",
            version=version(run.header) if run else "",
            sentence=sentence(run) if run else "no verdict",
            mood="good"
            if sound
            else "bad"
            if run and run.footer.exit == 1 and not column.reason
            else "other",
            note=note(column),
            started=" on ".join(filter(None, (run.header.started, kernel(run.header)))) if run else "",
        )

    def _row(self, row: Row) -> RowView:
        anchor = self._anchors.new(row.id)
        places: dict[int, str] = {}  # of the columns that something is told of
        told = []
        for one in findings(row):
            where: dict[tuple[str, ...], list[tuple[str, str]]] = {}
            for number, ids in one.where:
                first = number not in places
                if first:
                    places[number] = self._anchors.new(f"{row.id}:{number + 1}")
                where.setdefault(ids, []).append((places[number] if first else "", self.targets[number].name))
            words = (("", one.reason), ("expected", one.expected), ("seen", one.seen))
            told.append(
                FindingView(
                    verdict=one.verdict.value,
                    kind=kind(one.verdict),
                    words=[(label, text) for label, text in words if text],
                    where=[(names, some(ids)) for ids, names in where.items()],
                )
            )
        cells = [
            self._cell(cell, self.matrix.columns[number], places.get(number) or self.targets[number].anchor)
            for number, cell in enumerate(row.cells)
        ]
        return RowView(
            id=row.id,
            anchor=anchor,
            level=row.level,
            title=row.title,
            statement=row.statement,
            cells=cells,
            findings=told,
        )

    @staticmethod
    def _cell(cell: Cell, column: Column, link: str) -> CellView:
        if cell.verdict is None:
            return CellView(word="not selected" if column.run else "no record")
        return CellView(
            kind=kind(cell.verdict),
            sign=SIGNS[cell.verdict],
            word=cell.verdict.value,
            partly=f"{cell.count}/{cell.tried}" if 0 < cell.count < cell.tried else "",
            link="" if cell.verdict is Verdict.PASS else link,
        )


def some(ids: Sequence[str]) -> str:
    """The first of them, and how many there are more."""
    more = f" and {len(ids) - IDS_MAX} more" if len(ids) > IDS_MAX else ""
    return ", ".join(ids[:IDS_MAX]) + more
