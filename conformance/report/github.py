"""The run as annotations of GitHub Actions: workflow commands, a line for each failure.

GitHub shows ten errors and ten warnings of a step and drops the rest; so the tenth says how many more there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from forkecho.conformance import requirement
from forkecho.conformance.report import evidence, sarif
from forkecho.conformance.report.printable import printable
from forkecho.conformance.result import CaseLine, Run, Verdict

__all__ = ["inert", "render"]

SHOWN = 10  # annotations of a kind of one step

#: The verdicts that are errors, the gravest first, and those that are warnings.
KINDS = {
    "error": (Verdict.BROKEN, Verdict.FAIL, Verdict.UNSTABLE, Verdict.FIXED, Verdict.BLOCKED),
    "warning": (Verdict.WARN, Verdict.INCONCLUSIVE),
}

#: What stands before the words of a case, where it is not their name.
LABELS = {"reason": "", "repeats": ""}

#: Verdicts of which the reason is the same for many: one line a reason.
TOGETHER = (Verdict.BROKEN, Verdict.BLOCKED, Verdict.INCONCLUSIVE)


def render(run: Run) -> str:
    """The workflow commands for a run, one a line; empty where all is in order."""
    path = sarif.path(run.header)
    where = {"file": path} if path else {}
    strict = bool(run.header.selection.get("strict"))
    lines = []
    for kind, verdicts in (
        {"error": (*KINDS["error"], *KINDS["warning"])}.items() if strict else KINDS.items()
    ):
        told = list(_told(run.cases, verdicts))
        if len(told) > SHOWN:
            rest = len(told) - SHOWN + 1
            told = [*told[: SHOWN - 1], ("forkecho", f"and {rest} more, see the report of the run")]
        lines += [_command(kind, text, title=title, **where) for title, text in told]
    return "".join(f"{line}\n" for line in lines)


def inert(text: str) -> str:
    """Text in which GitHub finds no workflow command: none at the start of a line, nor one of the old form anywhere."""
    return re.sub(r"((?:^|[\r\n])\s*):(?=:)", r"\1: ", text).replace("##[", "## [")


def _told(cases: Iterable[CaseLine], verdicts: tuple[Verdict, ...]) -> Iterator[tuple[str, str]]:
    """Title and text of each annotation."""
    ordered = sorted(cases, key=lambda case: case.id)
    known = requirement.load()
    for verdict in verdicts:
        these = [case for case in ordered if case.verdict is verdict]
        if verdict in TOGETHER:
            for reason in dict.fromkeys(case.reason for case in these):
                ids = [case.id for case in these if case.reason == reason]
                more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
                yield f"{verdict.value}: {ids[0]}{more}", reason or "no reason given"
            continue
        for case in these:
            title = f" {known[case.requirement].title}" if case.requirement in known else ""
            parts = ((LABELS.get(name, f"{name} "), words) for name, words in evidence.words(case))
            text = "\n".join(f"{label}{words}" for label, words in parts)
            yield f"{verdict.value}: {case.requirement}{title}", f"{case.id}: {case.title}\n{text}"


def _command(kind: str, text: str, **properties: str) -> str:
    """A workflow command; in a property a colon and a comma mean something as well."""
    told = ",".join(
        f"{name}={_data(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items()
    )
    return f"::{kind} {told}::{_data(text)}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
