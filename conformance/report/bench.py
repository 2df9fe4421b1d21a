"""A benchmark as text for the terminal, as Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

import msgspec
from rich.table import Table
from rich.text import Text

from forkecho.conformance.measurement import CEILING, Measurement, Ratio, Window, ratio
from forkecho.conformance.report.console import Paper
from forkecho.conformance.report.printable import one_line

__all__ = ["as_json", "markdown", "text"]

NOTHING = "-"  # could not be measured
HEADINGS = ("", "conn/s", "ratio", "p50", "p99", "worst", "errors", "faults", "processor")
UNBROKEN = 1000  # characters, more than a line of a table has
LIMITED = "*"  # marks what the load generator has kept from being more


def text(measured: Measurement) -> str:
    """A table for each number of clients, then what processes weigh; the last lines say what the columns are."""
    lines = [f"forkecho bench {one_line(measured.names[0])}: {_course(measured)}"]
    for clients in measured.clients:
        lines += ["", *_aligned([(_clients(clients), *HEADINGS[1:]), *_rows(measured, clients)])]
    if measured.memory:
        lines += ["", *_aligned(_memory(measured))]
    lines += ["", *_legend(measured)]
    return "\n".join(lines) + "\n"


def markdown(measured: Measurement) -> str:
    """The same for a document."""
    parts = [f"{_course(measured)}."]
    parts += [
        _piped([(_clients(clients), *HEADINGS[1:]), *_rows(measured, clients)])
        for clients in measured.clients
    ]
    if measured.memory:
        parts.append(_piped(_memory(measured)))
    parts.append("\n".join(_legend(measured)))
    return "\n\n".join(parts) + "\n"


def as_json(measured: Measurement) -> str:
    """The record, whole."""
    return msgspec.json.format(msgspec.json.encode(measured)).decode() + "\n"


def _course(measured: Measurement) -> str:
    """How it was measured, and where."""
    host = measured.host
    said = (
        f"{_count(measured.rounds, 'round')} of {measured.seconds:g} s each after {measured.warm_up:g} s of warm-up, in turns; "
        f"{host.get('system')} {host.get('release')}, {_count(int(str(host.get('cpus') or 0)), 'processor')}, {measured.started}"
    )
    return said + ("; interrupted, so that what follows is a part" if measured.interrupted else "")


def _rows(measured: Measurement, clients: int) -> list[tuple[str, ...]]:
    """A line for each server, and the load generator's own."""
    mine = measured.of(measured.names[0], clients)
    names = [*measured.names, *([CEILING] if measured.of(CEILING, clients) else [])]
    return [_row(measured, name, clients, mine) for name in names]


def _row(measured: Measurement, name: str, clients: int, mine: Sequence[Window]) -> tuple[str, ...]:
    windows = measured.of(name, clients)
    rates = [one.rate for one in windows]
    mark = LIMITED if name != CEILING and measured.limited(name, clients) else ""
    against = ratio(mine, windows) if name not in (measured.names[0], CEILING) else None
    return (
        one_line(name),
        f"{median(rates):.0f}{mark}" if rates else NOTHING,
        _ratio(against) if against else "",
        _middle((one.p50 for one in windows), _time),
        _middle((one.p99 for one in windows), _time),
        _most((one.worst for one in windows), _time),
        _errors(windows),
        _middle((one.faults for one in windows), lambda value: f"{value:.0f}") if name != CEILING else "",
        _middle((one.seconds_each for one in windows), lambda value: _time(value * 1e6))
        if name != CEILING
        else "",
    )


def _ratio(found: Ratio) -> str:
    return f"{found.middle:.2f} ({found.low:.2f} to {found.high:.2f})"


def _errors(windows: Sequence[Window]) -> str:
    """All of them, and what the most frequent one was."""
    counted: dict[str, int] = {}
    for one in windows:
        for why, times in one.errors.items():
            counted[why] = counted.get(why, 0) + times
    if not counted:
        return "0"
    first = max(counted, key=lambda why: (counted[why], why))
    return f"{sum(counted.values())} ({one_line(first)})"


def _middle(values: Iterable[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return form(median(known)) if known else NOTHING


def _most(values: Iterable[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    return form(max(known)) if known else NOTHING


def _time(microseconds: float) -> str:
    """Three figures and a unit."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            value = microseconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    return f"{microseconds:.0f} µs"


def _memory(measured: Measurement) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("private memory", "server", "child")]
    return rows + [(one_line(one.target), _bytes(one.server), _bytes(one.child)) for one in measured.memory]


def _bytes(value: int | None) -> str:
    return NOTHING if value is None else f"{value / 1000:.0f} kB"


def _legend(measured: Measurement) -> list[str]:
    """What the columns are, and what could not be seen."""
    lines = [
        f"ratio: connections a second of {one_line(measured.names[0])} to those of the other in the same round, the median, and from where to where.",
        "Latency is from connect to the end of the stream: 17 bytes, the echo, half-close, end.",
        "faults: minor page faults a connection; processor: time on one, of all processes of the server, a connection.",
    ]
    limited = any(measured.limited(name, clients) for name in measured.names for clients in measured.clients)
    if limited:
        lines.append(
            f"{LIMITED} the load generator was in the way: the server can do more than that, by how much was not seen."
        )
    return lines + [one_line(line) for line in measured.unseen]


def _clients(count: int) -> str:
    return _count(count, "client")


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns in line: words on the left, figures on the right; never broken, as figures are to be compared."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in range(len(rows[0])):
        table.add_column(justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    paper = Paper(UNBROKEN, color=False)
    paper.print(table)
    return paper.text.splitlines()


def _piped(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = rows
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, align, *body)
    )
