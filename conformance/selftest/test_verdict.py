"""Verdicts: whose fault an ending is, what repeats come to, what is known, and the exit code of a run."""

from __future__ import annotations

import datetime
import itertools

import msgspec
import pytest

from forkecho.conformance.guard import GuardianLost
from forkecho.conformance.manifest import Known
from forkecho.conformance.requirement import Level
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.target import NotInstalled, NotReady
from forkecho.conformance.verdict import (
    Inapplicable,
    Outcome,
    Unmet,
    Unobservable,
    combine,
    exit_code,
    outcome,
    settle,
)

#: On which the runs of these tests began.
DAY = datetime.date(2026, 1, 1)


def line(id_: str, verdict: Verdict, requirement: str = "ECHO-01") -> CaseLine:
    """A result."""
    return CaseLine(id=id_, title="", requirement=requirement, group="ECHO", level="must", verdict=verdict)


def lines(*verdicts: Verdict) -> list[CaseLine]:
    """Results with these verdicts."""
    return [line(f"echo/{number}", verdict) for number, verdict in enumerate(verdicts)]


# One ending


def test_no_error_is_a_pass() -> None:
    """A case that went to its end was seen to hold."""
    assert outcome(None, "must") == Outcome(verdict=Verdict.PASS)


@pytest.mark.parametrize(("level", "verdict"), [("must", "fail"), ("should", "warn"), ("may", "warn")])
def test_what_is_unmet_counts_by_the_level(level: Level, verdict: str) -> None:
    """A broken MUST is a failure, a broken SHOULD or MAY a warning; both sides are told."""
    assert outcome(Unmet("this", "that"), level) == Outcome(
        verdict=Verdict(verdict), expected="this", seen="that"
    )


def test_the_step_that_ended_a_case_is_told() -> None:
    """None did where it passed."""
    assert outcome(Unmet("this", "that"), "must", 3).step == 3
    assert outcome(None, "must", 3).step == 0


def test_what_turns_out_not_to_apply_is_neither_kept_nor_broken() -> None:
    """With the reason, as for what a manifest rules out."""
    ended = outcome(Inapplicable("no program is executed"), "must")

    assert (ended.verdict, ended.reason) == (Verdict.NOT_APPLICABLE, "no program is executed")


@pytest.mark.parametrize("level", ["must", "should"])
@pytest.mark.parametrize(
    "error", [Unobservable("another host"), NotReady("slow"), NotInstalled("gone")], ids=repr
)
def test_what_could_not_be_looked_at_is_inconclusive(error: Exception, level: Level) -> None:
    """Neither a pass nor a failure, with the reason."""
    ended = outcome(error, level)

    assert ended.verdict is Verdict.INCONCLUSIVE
    assert str(error) in ended.reason


@pytest.mark.parametrize("error", [GuardianLost("killed"), KeyError("holders a"), OSError(24, "EMFILE"), AssertionError()], ids=repr)  # fmt: skip
def test_any_other_error_is_the_suites_own(error: Exception) -> None:
    """A fault of the suite is broken, never a failure of the target."""
    try:
        raise error
    except Exception as raised:
        ended = outcome(raised, "must")

    assert ended.verdict is Verdict.BROKEN
    assert ended.reason
    assert not ended.expected


def test_a_broken_case_names_the_place() -> None:
    """Which error, in which function and line."""
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError as raised:
        ended = outcome(raised, "must")

    assert ended.reason.startswith("ZeroDivisionError: oh in test_a_broken_case_names_the_place, line ")


# Repeats


def outcomes(*verdicts: Verdict) -> list[Outcome]:
    """Outcomes with these verdicts, each with its number as reason."""
    return [Outcome(verdict=verdict, reason=str(number)) for number, verdict in enumerate(verdicts)]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_repeats_that_agree_are_one_verdict(verdict: Verdict) -> None:
    """The same verdict each time is the verdict."""
    ended, counts = combine(outcomes(verdict, verdict, verdict))

    assert (ended.verdict, counts) == (verdict, {verdict.value: 3})


@pytest.mark.parametrize("order", list(itertools.permutations((Verdict.PASS, Verdict.PASS, Verdict.FAIL))))
def test_repeats_that_differ_are_unstable(order: tuple[Verdict, ...]) -> None:
    """One failure among passes is neither, in whatever order they came; what was seen is that of the failure."""
    ended, counts = combine(outcomes(*order))

    assert ended.verdict is Verdict.UNSTABLE
    assert ended.reason == "the same case ended differently: failed 1 of 3, 95 %: 6.1 % to 79.2 %; passed 2"
    assert counts == {"pass": 2, "fail": 1}


def test_unstable_shows_what_was_seen_of_the_failure() -> None:
    """Expected and seen are kept."""
    ended, _ = combine([Outcome(verdict=Verdict.PASS), Outcome(verdict=Verdict.FAIL, expected="a", seen="b")])

    assert (ended.expected, ended.seen) == ("a", "b")


def test_a_broken_repeat_is_broken() -> None:
    """A fault of the suite says nothing of the target's stability."""
    ended, counts = combine(outcomes(Verdict.PASS, Verdict.BROKEN))

    assert (ended.verdict, ended.reason) == (Verdict.BROKEN, "1")
    assert counts == {"pass": 1, "broken": 1}


# Known failures


@pytest.mark.parametrize("entry", ["ECHO-01", "echo/0"])
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.WARN])
def test_a_listed_failure_is_known(entry: str, verdict: Verdict) -> None:
    """By requirement or by case, with the reason from the list."""
    (found,) = settle(lines(verdict), {entry: Known("it is old")}, {"ECHO-01": 1}, DAY)

    assert (found.verdict, found.reason) == (Verdict.KNOWN, "it is old")


@pytest.mark.parametrize(
    "verdict",
    [Verdict.BROKEN, Verdict.BLOCKED, Verdict.INCONCLUSIVE, Verdict.UNSTABLE, Verdict.NOT_APPLICABLE],
)
def test_only_a_failure_is_known(verdict: Verdict) -> None:
    """A list of known failures hides nothing else."""
    (found,) = settle(lines(verdict), {"ECHO-01": Known("it is old")}, {"ECHO-01": 1}, DAY)

    assert found.verdict is verdict


def test_what_is_not_listed_is_left_alone() -> None:
    """Other requirements and other cases keep their verdicts."""
    given = [
        line("echo/a", Verdict.FAIL),
        line("buf/a", Verdict.FAIL, "BUF-01"),
        line("buf/b", Verdict.PASS, "BUF-01"),
    ]
    found = settle(given, {"buf/a": Known("old")}, {"ECHO-01": 1, "BUF-01": 2}, DAY)

    assert [one.verdict for one in found] == [Verdict.FAIL, Verdict.KNOWN, Verdict.PASS]


def test_a_listed_requirement_that_passes_is_fixed() -> None:
    """All of its cases were run and pass: the entry is out of date."""
    found = settle(
        lines(Verdict.PASS, Verdict.PASS, Verdict.NOT_APPLICABLE),
        {"ECHO-01": Known("old")},
        {"ECHO-01": 3},
        DAY,
    )

    assert [one.verdict for one in found] == [Verdict.FIXED, Verdict.FIXED, Verdict.NOT_APPLICABLE]
    assert "listed as known (old), but it passes" in found[0].reason


def test_a_listed_requirement_is_not_fixed_while_a_case_of_it_fails() -> None:
    """A failure that shows in some cases only is still there."""
    found = settle(lines(Verdict.PASS, Verdict.FAIL), {"ECHO-01": Known("old")}, {"ECHO-01": 2}, DAY)

    assert [one.verdict for one in found] == [Verdict.PASS, Verdict.KNOWN]


@pytest.mark.parametrize("other", [Verdict.INCONCLUSIVE, Verdict.BROKEN, Verdict.BLOCKED, Verdict.UNSTABLE])
def test_a_listed_requirement_is_not_fixed_while_a_case_of_it_was_not_judged(other: Verdict) -> None:
    """What was not seen might still fail."""
    found = settle(lines(Verdict.PASS, other), {"ECHO-01": Known("old")}, {"ECHO-01": 2}, DAY)

    assert [one.verdict for one in found] == [Verdict.PASS, other]


def test_a_listed_requirement_is_not_fixed_by_a_part_of_its_cases() -> None:
    """With a selection the others might still fail."""
    found = settle(lines(Verdict.PASS, Verdict.PASS), {"ECHO-01": Known("old")}, {"ECHO-01": 3}, DAY)

    assert [one.verdict for one in found] == [Verdict.PASS, Verdict.PASS]


def test_a_listed_case_that_passes_is_fixed_whatever_was_selected() -> None:
    """An entry for one case is judged by that case."""
    found = settle(lines(Verdict.PASS, Verdict.PASS), {"echo/0": Known("old")}, {"ECHO-01": 30}, DAY)

    assert [one.verdict for one in found] == [Verdict.FIXED, Verdict.PASS]


def test_what_is_known_to_happen_sometimes_is_never_fixed() -> None:
    """A failure that comes by chance is known when it comes, and proves nothing when it does not."""
    known = {"ECHO-01": Known("by chance", sometimes=True)}

    assert [one.verdict for one in settle(lines(Verdict.PASS), known, {"ECHO-01": 1}, DAY)] == [Verdict.PASS]
    assert [one.verdict for one in settle(lines(Verdict.FAIL), known, {"ECHO-01": 1}, DAY)] == [Verdict.KNOWN]


def test_a_glob_speaks_of_every_case_that_fits_it() -> None:
    """One reason for many cases, and only for theirs."""
    given = [line("echo/a", Verdict.FAIL), line("buf/a", Verdict.FAIL, "BUF-01")]

    assert [one.verdict for one in settle(given, {"ec*/?": Known("old")}, {"ec*/?": 1}, DAY)] == [
        Verdict.KNOWN,
        Verdict.FAIL,
    ]


def test_a_glob_is_fixed_when_all_cases_that_fit_it_pass() -> None:
    """As with a requirement, a part of them proves nothing."""
    known = {"echo/*": Known("old")}

    assert {one.verdict for one in settle(lines(Verdict.PASS, Verdict.PASS), known, {"echo/*": 2}, DAY)} == {
        Verdict.FIXED
    }
    assert {one.verdict for one in settle(lines(Verdict.PASS, Verdict.PASS), known, {"echo/*": 3}, DAY)} == {
        Verdict.PASS
    }


def test_another_failure_of_a_listed_case_is_not_known() -> None:
    """Where the entry says what is seen, something else is news."""
    one = msgspec.structs.replace(line("echo/a", Verdict.FAIL), seen="3 of 9 bytes, then silence for 5 s")

    for pattern, verdict in ((r"\d of 9 bytes, then silence", Verdict.KNOWN), ("a reset", Verdict.FAIL)):
        (found,) = settle([one], {"ECHO-01": Known("old", seen=pattern)}, {"ECHO-01": 1}, DAY)
        assert found.verdict is verdict


@pytest.mark.parametrize("failed", [Verdict.FAIL, Verdict.WARN])
def test_another_failure_says_in_words_that_it_is_one(failed: Verdict) -> None:
    """It fails the run whatever its level, as the list is not so any more."""
    one = msgspec.structs.replace(line("echo/a", failed), seen="silence")

    (found,) = settle([one], {"echo/a": Known("old", seen="a reset")}, {}, DAY)

    assert found.verdict is Verdict.FAIL
    assert found.reason == (
        "a known failure (old), but it failed differently: what was seen does not fit 'a reset'"
    )


def test_what_comes_by_chance_does_not_claim_every_failure() -> None:
    """A glob of all cases for one failure that may hit any of them leaves the other failures as they are."""
    given = lines(Verdict.FAIL, Verdict.WARN)

    assert settle(given, {"*": Known("old", sometimes=True, seen="silence")}, {}, DAY) == given


def test_a_known_failure_is_excused_through_the_day_on_which_it_expires() -> None:
    """The day after it fails the run, whatever its level, and says until when it was known."""
    known = {"echo/0": Known("old", expires=DAY)}

    for failed in (Verdict.FAIL, Verdict.WARN):
        (before,) = settle(lines(failed), known, {}, DAY)
        (after,) = settle(lines(failed), known, {}, DAY + datetime.timedelta(days=1))
        assert (before.verdict, before.reason) == (Verdict.KNOWN, "old")
        assert (after.verdict, after.reason) == (Verdict.FAIL, "known until 2026-01-01 (old), which is over")


@pytest.mark.parametrize("sometimes", [False, True])
def test_an_expired_entry_that_passes_is_to_be_taken_off_the_list(sometimes: bool) -> None:
    """Even one that comes by chance: an expired list fails on the day, and not by chance later."""
    known = {"ECHO-01": Known("old", sometimes=sometimes, expires=DAY)}

    (found,) = settle(lines(Verdict.PASS), known, {"ECHO-01": 1}, DAY + datetime.timedelta(days=1))

    assert found.verdict is Verdict.FIXED
    assert found.reason == "listed as known (old, until 2026-01-01), but it passes: take it off the list"


def test_the_first_entry_that_fits_gives_the_reason_and_the_case_itself_comes_first() -> None:
    """Two causes can fail one case."""
    one = msgspec.structs.replace(line("echo/a", Verdict.FAIL), seen="silence")
    known = {
        "*": Known("of all"),
        "ECHO-01": Known("of the requirement"),
        "echo/a": Known("of the case", seen="silence"),
    }
    assert settle([one], known, {}, DAY)[0].reason == "of the case"

    known["echo/a"] = Known("of the case", seen="a reset")
    assert settle([one], known, {}, DAY)[0].reason == "of all"


def test_an_entry_for_what_was_not_run_is_left_alone() -> None:
    """It says nothing about the other cases."""
    assert settle(lines(Verdict.PASS), {"BUF-01": Known("old")}, {"BUF-01": 4}, DAY) == lines(Verdict.PASS)


# The exit code


@pytest.mark.parametrize(
    ("verdicts", "code", "strict"),
    [
        ("pass", 0, 0),
        ("pass known", 0, 0),
        ("known", 0, 0),
        ("pass n/a", 0, 0),
        ("pass warn", 0, 1),
        ("warn", 0, 1),
        ("pass inconclusive", 0, 3),
        ("pass fail", 1, 1),
        ("pass fixed", 1, 1),
        ("pass unstable", 1, 1),
        ("pass blocked", 1, 1),
        ("blocked", 1, 1),
        ("fail inconclusive", 1, 3),
        ("inconclusive", 3, 3),
        ("inconclusive n/a", 3, 3),
        ("pass broken", 3, 3),
        ("fail broken", 3, 3),
        ("blocked broken", 3, 3),
        ("inconclusive warn", 0, 3),
        ("n/a", 5, 5),
        ("n/a n/a", 5, 5),
        ("", 5, 5),
    ],
)
def test_the_exit_code_is_that_of_the_design(verdicts: str, code: int, strict: int) -> None:
    """Where several hold the order is 5, 3, 1, 0; --strict makes more of them hold."""
    found = lines(*map(Verdict, verdicts.split()))

    assert exit_code(found) == code
    assert exit_code(found, strict=True) == strict


@pytest.mark.parametrize("verdicts", ["", "pass", "fail", "broken", "n/a"])
def test_an_interrupted_run_ends_with_130(verdicts: str) -> None:
    """Whatever was seen until then."""
    assert exit_code(lines(*map(Verdict, verdicts.split())), interrupted=True) == 130


def test_every_pair_of_verdicts_has_one_exit_code() -> None:
    """The order in which verdicts came does not matter, and adding a pass never makes a run worse."""
    for one, other in itertools.product(Verdict, repeat=2):
        assert exit_code(lines(one, other)) == exit_code(lines(other, one))
        assert exit_code(lines(one, Verdict.PASS)) <= max(exit_code(lines(one)), 0)
