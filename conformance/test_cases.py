"""The one test function: every case is one item."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forkecho.conformance.case import Case
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.verdict import excuse


def test_case(case: Case, bench: Bench, record_result: Callable[[CaseLine], None]) -> None:
    """Play the case; the result, not the exception, is what counts."""
    line = judge(case, bench)
    record_result(line)
    words = f"{line.verdict.value}: {line.reason or f'expected {line.expected}; seen: {line.seen}'}"
    known = excuse(bench.plan.target.manifest.failures, line)
    match line.verdict:
        case Verdict.PASS:
            return
        case Verdict.NOT_APPLICABLE | Verdict.INCONCLUSIVE:
            pytest.skip(words)
        case Verdict.FAIL | Verdict.WARN if known:
            pytest.xfail(f"known: {known.reason}")
        case Verdict.WARN if not bench.plan.strict:
            pytest.xfail(words)
    pytest.fail(f"{case.requirement.id} {case.requirement.statement}\n{words}", pytrace=False)
