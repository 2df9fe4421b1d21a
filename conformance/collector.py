"""What a pytest session is to us: a source of results, and an exit code at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from forkecho.conformance.case import Case, expand
from forkecho.conformance.manifest import concerns
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, ExitCode, Verdict
from forkecho.conformance.verdict import excused, exit_code, settle

__all__ = ["PROPERTY", "Collector", "line_for"]

PROPERTY = "forkecho"  # the user property of a test report that carries a result


def line_for(case: Case, verdict: Verdict, reason: str) -> CaseLine:
    """A result for a case that gave none itself."""
    return CaseLine(
        id=case.id,
        title=case.title,
        requirement=case.requirement.id,
        group=case.requirement.group,
        level=case.requirement.level,
        verdict=verdict,
        reason=reason,
        repeats={verdict.value: 1},
    )


class Collector:
    """A pytest plugin that gathers one result for every selected case, whatever becomes of its test.

    Args:
        plan: of the run.
        cases: those selected.
        told: called with each result as it comes.
    """

    def __init__(
        self,
        plan: Plan,
        cases: list[Case],
        told: Callable[[CaseLine], object] = lambda line: None,
    ) -> None:
        self.plan = plan
        self.cases = {case.id: case for case in cases}
        self.interrupted = False
        self.crashed = ""  # why the session ended before its time by a fault of the suite
        self._told = told
        self._lines: dict[str, CaseLine] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a result from a report; a test that ended without one is the suite's own fault."""
        said = dict(report.user_properties).get(PROPERTY)
        case_id = report.nodeid.partition("[")[2].removesuffix("]")
        if isinstance(said, dict) and report.when == "call":
            self.take(msgspec.convert({"kind": "case", **said}, CaseLine))
        elif report.failed and (case := self.cases.get(case_id)):
            words = str(report.longrepr).strip().splitlines()[-1:] or ["no reason given"]
            self.take(line_for(case, Verdict.BROKEN, f"the suite failed: {words[0][:300]}"))

    def take(self, line: CaseLine) -> None:
        """Take a result; of several of a case the last holds, unless the suite failed in an earlier one."""
        known = self._lines.get(line.id)
        if known is None or known.verdict is not Verdict.BROKEN:
            self._lines[line.id] = line
        if known is None:
            self._told(excused(self.plan.target.manifest.failures, line, self.plan.day))

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        """Ctrl-C; `pytest.exit` comes this way too, and is not one."""
        self.interrupted = self.interrupted or excinfo.errisinstance(KeyboardInterrupt)

    def results(self, missing: str = "") -> list[CaseLine]:
        """A line for every selected case; `missing` is why those without a result have none."""
        if self.crashed:
            verdict, why = Verdict.BROKEN, self.crashed
        else:
            stopped = (
                "not tried: interrupted" if self.interrupted else "not tried: the run was stopped before"
            )
            verdict, why = Verdict.BLOCKED, missing or stopped
        lines = [self._lines.get(id_) or line_for(case, verdict, why) for id_, case in self.cases.items()]
        manifest = self.plan.target.manifest
        everything = expand(manifest).values()
        sizes = {
            entry: sum(concerns(entry, case.id, case.requirement.id) for case in everything)
            for entry in manifest.failures
        }
        return settle(lines, manifest.failures, sizes, self.plan.day)

    def exit_code(self) -> ExitCode:
        """What the run's exit code is to be."""
        return exit_code(self.results(), strict=self.plan.strict, interrupted=self.interrupted)
