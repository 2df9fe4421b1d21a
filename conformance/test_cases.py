"""The one test function: every case is one item."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forkecho.conformance.case import Case
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.verdict import excused


def test_case(case: Case, bench: Bench, record_result: Callable[[CaseLine], None]) -> None:
    """Play the case; the result, not the exception, is what counts."""
    line = judge(case, bench)
    record_result(line)
    line = excused(bench.plan.target.manifest.failures, line, bench.plan.day)
    words = f"{line.verdict.value}: {line.reason or f'expected {line.expected}; seen: {line.seen}'}"
    match line.verdict:
        case Verdict.PASS:
            return
        case Verdict.NOT_APPLICABLE | Verdict.INCONCLUSIVE:
            pytest.skip(words)
        case Verdict.KNOWN:
            pytest.xfail(words)
        case Verdict.WARN if not bench.plan.strict:
            pytest.xfail(words)
    pytest.fail(f"{case.requirement.id} {case.requirement.statement}\n{words}", pytrace=False)
