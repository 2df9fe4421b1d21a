"""The run as SARIF 2.1.0, for those who show findings of code scanning (GitHub is one).

A rule is a requirement, a result a case that is not in order; what is known is a result that is suppressed with the reason.
What the suite could not judge is no finding about the server: it is a notification of the invocation.

A result needs a place in the repository. It is the manifest, where one was named by a path into the repository; else the
first word of the command that is such a path; else the target's name, a file that need not exist. The line is always 1.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from forkecho.conformance import requirement
from forkecho.conformance.report import evidence
from forkecho.conformance.report.again import command, command_line
from forkecho.conformance.report.console import SENTENCES
from forkecho.conformance.report.printable import printable
from forkecho.conformance.result import CaseLine, Header, Run, Verdict

__all__ = ["path", "place", "render"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LONGEST = 1000  # characters of a rule's descriptions; GitHub takes 1024

#: From the level of a requirement to that of a rule.
LEVELS = {"must": "error", "should": "warning", "may": "note"}

#: Verdicts that are results, with the level where it is not that of the requirement.
RESULTS = {
    Verdict.FAIL: "error",
    Verdict.WARN: "",
    Verdict.KNOWN: "",
    Verdict.FIXED: "error",
    Verdict.UNSTABLE: "error",
    Verdict.BLOCKED: "error",
}

#: Verdicts that are notifications, with their level.
NOTIFICATIONS = {Verdict.BROKEN: "error", Verdict.INCONCLUSIVE: "warning"}


def render(run: Run, *, width: int = 0, color: bool = False) -> str:
    """The run as a SARIF log; `width` and `color` mean nothing here."""
    cases = sorted(run.cases, key=lambda case: case.id)
    ids = {case.requirement for case in cases}
    known = requirement.load()
    order = [*(id_ for id_ in known if id_ in ids), *sorted(ids - set(known))]
    levels = {case.requirement: case.level for case in cases}
    name = str(run.header.target.get("name", ""))
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "forkecho",
                        "version": run.header.forkecho,
                        "rules": [_rule(id_, levels[id_]) for id_ in order],
                    }
                },
                # Runs of several targets stand beside each other.
                "automationDetails": {"id": f"forkecho/{quote(printable(name), safe='')}/"},
                "invocations": [_invocation(run, cases)],
                "results": [
                    _result(run, case, order.index(case.requirement))
                    for case in cases
                    if case.verdict in RESULTS
                ],
                "columnKind": "utf16CodeUnits",
                "properties": {
                    "target": name,
                    "model": run.header.model,
                    "specification": run.header.spec,
                    "seed": run.header.seed,
                    "selection": run.header.selection,
                    "totals": run.footer.totals,
                },
            }
        ],
    }
    return json.dumps(_clean(log), indent=2, ensure_ascii=False) + "\n"


def place(header: Header) -> str:
    """The URI of the file that stands for the target, relative to the folder in which it was judged."""
    return quote(path(header) or printable(str(header.target.get("name") or "target")).replace("/", "_"))


def path(header: Header) -> str:
    """The manifest, or what was called, where that is below the folder in which it was judged; else empty."""
    told = header.target
    for word in (str(told.get("manifest", "")), *(word for word in command(told) if "/" in word)):
        one = PurePosixPath(word)
        if word and not one.is_absolute() and ".." not in one.parts and not set("{}@:") & set(word):
            return printable(str(one))
    return ""


def _rule(id_: str, level: str) -> dict[str, Any]:
    """A requirement as a rule."""
    one = requirement.load().get(id_)
    found: dict[str, Any] = {"id": id_, "defaultConfiguration": {"level": LEVELS.get(level, "warning")}}
    if one:
        text = f"{one.statement}\n\n{one.rationale}\n\nSource: {one.source}\n\nTo mend it: {one.remedy}"
        found |= {
            "shortDescription": {"text": one.title[:LONGEST]},
            "fullDescription": {"text": one.statement[:LONGEST]},
            "help": {"text": text, "markdown": text},
        }
    else:
        found["shortDescription"] = {"text": id_}
    return found | {"properties": {"tags": ["conformance", id_.partition("-")[0]], "level": level}}


def _result(run: Run, case: CaseLine, rule: int) -> dict[str, Any]:
    """A case that is not in order as a result."""
    lines = [case.title, *(f"{name}: {text}" for name, text in evidence.words(case))]
    digest = hashlib.sha256(
        f"{run.header.target.get('name')}\0{case.requirement}\0{case.id}".encode("utf-8", "replace")
    )
    found: dict[str, Any] = {
        "ruleId": case.requirement,
        "ruleIndex": rule,
        "level": RESULTS[case.verdict] or LEVELS.get(case.level, "warning"),
        "message": {"text": _unlinked("\n".join(lines))},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": place(run.header)},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [{"fullyQualifiedName": case.id}],
            }
        ],
        # The same case of the same target is the same finding, whatever was seen of it this time.
        "partialFingerprints": {"primaryLocationLineHash": f"{digest.hexdigest()[:16]}:1"},
        "properties": {
            "verdict": case.verdict.value,
            "case": case.id,
            "again": command_line(run.header, case.id),
        },
    }
    if case.verdict is Verdict.KNOWN:
        found["suppressions"] = [{"kind": "external", "status": "accepted", "justification": case.reason}]
    return found


def _invocation(run: Run, cases: list[CaseLine]) -> dict[str, Any]:
    """How the run ended, and what it could not judge."""
    found: dict[str, Any] = {
        "executionSuccessful": run.footer.exit in (0, 1),
        "exitCode": run.footer.exit,
        "exitCodeDescription": SENTENCES.get(run.footer.exit, f"exit code {run.footer.exit}"),
        "startTimeUtc": run.header.started,
    }
    try:
        begun = datetime.datetime.fromisoformat(run.header.started)
        ended = begun + datetime.timedelta(seconds=run.footer.seconds)
        found["endTimeUtc"] = ended.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except ValueError:
        del found["startTimeUtc"]  # a record says what it likes
    notes = [
        {
            "level": NOTIFICATIONS[case.verdict],
            "message": {"text": _unlinked(f"{case.id}: {case.reason}")},
            "associatedRule": {"id": case.requirement},
        }
        for case in cases
        if case.verdict in NOTIFICATIONS
    ]
    return found | ({"toolExecutionNotifications": notes} if notes else {})


def _unlinked(text: str) -> str:
    """Text for a message, in which `[...](...)` would be a link."""
    return re.sub(r"\](?=\()", r"]\\", text)


def _clean(value: Any) -> Any:
    """What JSON and a reader of it can take: no control characters, no half of a surrogate."""
    match value:
        case str():
            return printable(value)
        case dict():
            return {printable(str(key)): _clean(one) for key, one in value.items()}
        case list():
            return [_clean(one) for one in value]
    return value
