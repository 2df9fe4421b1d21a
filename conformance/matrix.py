"""The matrix: what several runs say, requirement by target."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from forkecho.conformance import requirement
from forkecho.conformance.result import GRAVITY, CaseLine, Run, Verdict

__all__ = [
    "Cell",
    "Column",
    "Finding",
    "Group",
    "Matrix",
    "Row",
    "compare",
    "distinct",
    "findings",
    "groups",
    "headings",
    "note",
]

#: They say nothing about the server, so that they make no difference between two.
SILENT = (None, Verdict.NOT_APPLICABLE, Verdict.BLOCKED)


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One target: its run, or why there is none.

    Attributes:
        name: of the column, unlike those of all others (see `headings`).
        target: its name.
        python: `3.8`, where it is a column of one Python of several, and the name says so.
        run: None where no record was left.
        reason: why there is no run, or why it ended before its time.
    """

    name: str
    target: str = ""
    python: str = ""
    run: Run | None = None
    reason: str = ""


class Cell(msgspec.Struct, frozen=True):
    """What one run says of one requirement, by its cases."""

    cases: tuple[CaseLine, ...] = ()

    @property
    def verdict(self) -> Verdict | None:
        """The gravest; None where no case was selected."""
        return min((case.verdict for case in self.cases), key=GRAVITY.index, default=None)

    @property
    def tried(self) -> int:
        """How many cases apply."""
        return sum(case.verdict is not Verdict.NOT_APPLICABLE for case in self.cases)

    @property
    def count(self) -> int:
        """How many cases have the verdict that is shown."""
        return sum(case.verdict is self.verdict for case in self.cases)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One requirement; title and statement are empty where the specification does not know it (any more)."""

    id: str
    group: str
    level: str
    title: str
    statement: str
    cells: tuple[Cell, ...]  # one for each column

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Those that say something about a server, each once, the gravest first."""
        seen = {cell.verdict for cell in self.cells}
        return tuple(one for one in GRAVITY if one in seen and one not in SILENT)

    @property
    def differs(self) -> bool:
        """Two targets ended differently; that it was not tried on one, or does not apply to it, is no difference."""
        return len(self.verdicts) > 1


class Matrix(msgspec.Struct, frozen=True):
    """All columns in the order in which they were given, and a row for each requirement that any of them was judged by."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Columns that are shown as one: of one target, under Pythons between which no row makes a difference.

    Attributes:
        at: the numbers of the columns, from 0.
    """

    name: str
    at: tuple[int, ...]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What several cases of one requirement have in common but for numbers; the words are those of the first.

    Attributes:
        where: the number of the column, from 0, and its cases.
    """

    verdict: Verdict
    reason: str
    expected: str
    seen: str
    where: tuple[tuple[int, tuple[str, ...]], ...]


def distinct(names: Iterable[str]) -> list[str]:
    """The names in their order; of those that are the same all but the first get a number: `c`, `c (2)`."""
    given = list(names)
    found: list[str] = []
    for name in given:
        number, said = 1, name
        while said in found or (number > 1 and said in given):
            number += 1
            said = f"{name} ({number})"
        found.append(said)
    return found


def headings(those: Sequence[tuple[str, str]]) -> list[str]:
    """What columns are called, each by its target and, where that is to be told, its Python: `recipe (3.8)`."""
    return distinct(f"{name} ({python})" if python else name for name, python in those)


def groups(matrix: Matrix) -> list[Group]:
    """The columns in their order, those as one that differ in nothing but the Python."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, column in enumerate(matrix.columns):
        plain = (
            column.run and not note(column) and column.name == headings([(column.target, column.python)])[0]
        )
        if column.python and column.run and plain:
            verdicts = tuple(row.cells[number].verdict for row in matrix.rows)
            key = (column.target, column.run.header.model, column.run.footer.exit, verdicts)
            alike.setdefault(key, []).append(number)
        else:
            alike[number,] = [number]
    found = []
    for at in alike.values():
        those = [matrix.columns[number] for number in at]
        name = those[0].name
        if len(those) > 1:
            name = f"{those[0].target} ({_series([one.python for one in those])})"
        found.append(Group(name=name, at=tuple(at)))
    return found


def _series(versions: Sequence[str]) -> str:
    """Versions in a row, such as 3.6, 3.7, 3.8, by the first and the last: `2.7, 3.6 - 3.8`."""
    rows: list[list[str]] = [[versions[0]]]
    for before, version in pairwise(versions):
        series, _, minor = before.rpartition(".")
        # A record may say anything: neither other digits than ours nor a thousand of them.
        if re.fullmatch(r"[0-9]{1,6}", minor) and version == f"{series}.{int(minor) + 1}":
            rows[-1].append(version)
        else:
            rows.append([version])
    return ", ".join(f"{row[0]} - {row[-1]}" if len(row) > 2 else ", ".join(row) for row in rows)


def compare(columns: Sequence[Column]) -> Matrix:
    """The runs side by side, requirements in the specification's order, those that it does not know last."""
    known = requirement.load()
    by_id: dict[str, list[list[CaseLine]]] = defaultdict(lambda: [[] for _ in columns])
    for number, column in enumerate(columns):
        for case in sorted(column.run.cases if column.run else (), key=lambda case: case.id):
            by_id[case.requirement][number].append(case)
    order = [*(id_ for id_ in known if id_ in by_id), *sorted(set(by_id) - set(known))]
    rows = []
    for id_ in order:
        cells = tuple(Cell(tuple(cases)) for cases in by_id[id_])
        first = next(case for cell in cells for case in cell.cases)
        one = known.get(id_)
        rows.append(
            Row(
                id=id_,
                group=first.group,
                level=first.level,
                title=one.title if one else "",
                statement=one.statement if one else "",
                cells=cells,
            )
        )
    return Matrix(tuple(columns), tuple(rows))


def findings(row: Row) -> list[Finding]:
    """What there is to read about a requirement, each once: all that did not pass, the gravest first.

    What was not tried is said once a column, by `note`. What does not apply is said where no case of a cell does: that one
    of many does not is no news.
    """
    alike: dict[tuple[str, ...], list[tuple[int, CaseLine]]] = defaultdict(list)
    for number, cell in enumerate(row.cells):
        for case in cell.cases:
            partly = case.verdict is Verdict.NOT_APPLICABLE and cell.verdict is not Verdict.NOT_APPLICABLE
            if case.verdict not in (Verdict.PASS, Verdict.BLOCKED) and not partly:
                words = (case.reason, case.expected, case.seen)
                alike[(case.verdict, *(re.sub(r"\d+", "0", text) for text in words))].append((number, case))
    found = []
    for cases in alike.values():
        where: dict[int, list[str]] = defaultdict(list)
        for number, case in cases:
            where[number].append(case.id)
        first = cases[0][1]
        found.append(
            Finding(
                verdict=first.verdict,
                reason=first.reason,
                expected=first.expected,
                seen=first.seen,
                where=tuple((number, tuple(ids)) for number, ids in where.items()),
            )
        )
    # Sorting is stable: what is equally grave stays in the order of columns and cases.
    return sorted(found, key=lambda one: GRAVITY.index(one.verdict))


def note(column: Column) -> str:
    """Why a run did not try all that it was to try, or that there is none; empty where there is nothing to say."""
    if column.reason or column.run is None:
        return column.reason or "there is no record of it"
    untried = Counter(case.reason for case in column.run.cases if case.verdict is Verdict.BLOCKED)
    said = min(untried, key=lambda reason: (-untried[reason], reason), default="")
    many = untried.total()
    return f"{many} case{'' if many == 1 else 's'}: {said}" if many else ""
