"""How sure a count is: the interval, and where it is shown of a case that was repeated."""

from __future__ import annotations

from typing import Any

import pytest

from forkecho.conformance import interval
from forkecho.conformance.report import FORMATS, github
from forkecho.conformance.verdict import repeated


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [
        (3, 100, "3 of 100, 95 %: 1.0 % to 8.5 %"),
        (0, 100, "0 of 100, 95 %: 0.0 % to 3.7 %"),
        (100, 100, "100 of 100, 95 %: 96.3 % to 100.0 %"),
        (1, 2, "1 of 2, 95 %: 9.5 % to 90.5 %"),
        (0, 1, "0 of 1, 95 %: 0.0 % to 79.3 %"),
        (3, 2, "3 of 2"),
        (-1, 2, "-1 of 2"),
        (0, 0, "0 of 0"),
    ],
)
def test_a_count_is_told_with_its_interval(count: int, total: int, expected: str) -> None:
    """Wilson's score (the figures are those of published tables); what no run can count is told as it stands."""
    assert interval.of(count, total) == expected


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_an_interval_holds_its_share_and_mirrors_that_of_the_rest(total: int) -> None:
    """The share lies in it, within 0 and 1; that of the others is the same seen from the other end."""
    for count in range(total + 1):
        low, high = interval.wilson(count, total)
        other = interval.wilson(total - count, total)

        assert 0 <= low <= count / total <= high <= 1
        assert (low, high) == pytest.approx((1 - other[1], 1 - other[0]))


def test_what_is_rare_has_the_interval() -> None:
    """The commonest verdict is the rest; a single one has it as well."""
    assert repeated({"pass": 97, "fail": 3}) == "failed 3 of 100, 95 %: 1.0 % to 8.5 %; passed 97"
    assert repeated({"fail": 100}) == "failed 100 of 100, 95 %: 96.3 % to 100.0 %"
    assert repeated({"pass": 8, "warn": 1, "odd": 1}).startswith("odd 1 of 10, 95 %: ")


@pytest.mark.parametrize("form", ["console", "markdown", "sarif", "junit", "html"])
def test_every_report_says_how_sure_it_is(hand: Any, form: str) -> None:
    """Of an unstable case by its reason, of one that always failed beside what was seen; and of the run what a pass is worth."""
    counts = {"pass": 97, "fail": 3}
    reason = f"the same case ended differently: {repeated(counts)}"
    now_and_then = hand.case("x/now", "unstable", repeats=counts, reason=reason)
    always = hand.case("x/always", "fail", repeats={"fail": 100})
    text = FORMATS[form](hand.run(now_and_then, always, selection={"repeat": 100}), width=200)

    assert "failed 3 of 100, 95 %: 1.0 % to 8.5 %" in text
    assert "failed 100 of 100, 95 %: 96.3 % to 100.0 %" in text
    if form in ("console", "html", "markdown"):
        assert "one that passes them all fails in at most 3.7 % (95 %)" in text.replace("&#126;", "~")


def test_annotations_say_it_too(hand: Any) -> None:
    """A workflow command has the interval, its percent signs escaped."""
    counts = {"pass": 97, "fail": 3}

    assert "failed 3 of 100, 95 %25: 1.0 %25 to 8.5 %25" in github.render(
        hand.run(hand.case("x/now", "unstable", repeats=counts, reason=repeated(counts)))
    )


def test_a_record_from_elsewhere_may_count_anything(hand: Any) -> None:
    """Numbers that no run has, and verdicts that there are not, cost no report."""
    run = hand.run(hand.case("x/a", "fail", repeats={"odd": -3, "fail": 7}), selection={"repeat": "x"})

    for form in FORMATS:
        assert FORMATS[form](run, width=100)
