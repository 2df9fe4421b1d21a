"""Two runs compared: what counts as worse, what as better, and what makes them hard to compare."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from forkecho.cli.diff import command
from forkecho.conformance import result
from forkecho.conformance.comparison import ORDER, Kind, compare
from forkecho.conformance.report.difference import FORMATS
from forkecho.conformance.result import Verdict


def kinds(hand: Any, before: str, after: str) -> list[str]:
    """What became of the cases x/0, x/1 ..., with these verdicts before and after; `-` is not there."""

    def run(verdicts: str) -> Any:
        given = enumerate(verdicts.split())
        return hand.run(*(hand.case(f"x/{n}", verdict) for n, verdict in given if verdict != "-"))

    return [change.kind.value for change in compare(run(before), run(after)).changes]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("pass", "fail", "worse"),
        ("pass", "warn", "worse"),
        ("pass", "known", "worse"),
        ("pass", "inconclusive", "worse"),
        ("known", "fail", "worse"),
        ("inconclusive", "fail", "worse"),
        ("fail", "blocked", "worse"),
        ("-", "fail", "worse"),
        ("n/a", "fail", "worse"),
        ("-", "broken", "worse"),
        ("fail", "pass", "better"),
        ("known", "fixed", "better"),
        ("fail", "known", "changed"),
        ("warn", "known", "changed"),
        ("broken", "known", "changed"),
        ("inconclusive", "known", "changed"),
        ("inconclusive", "warn", "changed"),
        ("blocked", "warn", "changed"),
        ("blocked", "fail", "changed"),
        ("broken", "unstable", "changed"),
        ("inconclusive", "unstable", "worse"),
        ("unstable", "known", "changed"),
        ("blocked", "pass", "better"),
        ("broken", "fixed", "better"),
        ("known", "pass", "better"),
        ("unstable", "pass", "better"),
        ("broken", "fail", "changed"),
        ("inconclusive", "pass", "better"),
        ("fail", "inconclusive", "changed"),
        ("broken", "blocked", "changed"),
        ("pass", "fixed", "changed"),
        ("-", "pass", "new"),
        ("n/a", "pass", "new"),
        ("-", "warn", "new"),
        ("-", "inconclusive", "new"),
        ("pass", "-", "gone"),
        ("pass", "n/a", "gone"),
        ("fail", "-", "gone"),
    ],
)
def test_what_became_of_a_case(hand: Any, before: str, after: str, kind: str) -> None:
    """By the order of the verdicts."""
    assert kinds(hand, before, after) == [kind]


def test_every_verdict_has_a_place(hand: Any) -> None:
    """In the order, but for what does not apply; and no verdict differs from itself."""
    placed = [verdict for verdicts in ORDER for verdict in verdicts]
    assert set(placed) == set(Verdict) - {Verdict.NOT_APPLICABLE}
    assert len(placed) == len(set(placed))
    for verdict in Verdict:
        assert kinds(hand, verdict.value, verdict.value) == []


def test_nothing_is_worse_both_ways(hand: Any) -> None:
    """Of two runs that differ at most one is worse for a case, unless it is not there in one of them."""
    for one, other in product(set(Verdict) - {Verdict.NOT_APPLICABLE}, repeat=2):
        there, back = kinds(hand, one.value, other.value), kinds(hand, other.value, one.value)
        assert not (there == back == ["worse"]), (one, other)
        assert not (there == back == ["better"]), (one, other)


def test_another_failure_in_the_same_verdict_is_told(hand: Any) -> None:
    """Other PIDs and times are none."""
    old = hand.run(hand.case("x/a", seen="process 7 holds it"), hand.case("x/b", seen="silence for 2.0 s"))
    new = hand.run(hand.case("x/a", seen="process 8 holds it"), hand.case("x/b", seen="a reset"))

    (change,) = compare(old, new).changes

    assert (change.kind, change.case.id) == (Kind.CHANGED, "x/b")


def test_runs_that_are_not_alike_are_marked(hand: Any) -> None:
    """Another target, specification, selection or seed may be all that is different."""
    old = hand.run(hand.case("x/a"), judged={"name": "a", "drain": "cut"})
    assert compare(old, old).warnings == ()

    new = hand.run(
        hand.case("x/a"),
        judged={"name": "b"},
        spec="9",
        seed=7,
        selection={"group": ["FORK"]},
        exit_=130,
    )
    assert compare(old, new).warnings == (
        "the targets are different: a, b",
        "the specifications are different: 0123456789ab, 9",
        "the selections are different: everything, group FORK",
        "the seeds are different: 42, 7",
        "the new run was interrupted",
    )
    other = hand.run(hand.case("x/a"), judged={"name": "a", "drain": "finish", "known": {"ECHO-01": "x"}})
    assert compare(old, other).warnings == ("the targets declare different things: drain",)


def test_the_worst_comes_first_by_requirement(hand: Any) -> None:
    """With from what to what, and what is seen."""
    old = hand.run(hand.case("x/a", "pass"), hand.case("x/b"), hand.case("x/c", "pass"))
    new = hand.run(hand.case("x/a", seen="a half"), hand.case("x/b", "pass"), hand.case("x/d", "pass"))

    text = FORMATS["console"](old, new, compare(old, new))

    wanted = [
        "got worse (1)",
        "FORK-06 (MUST)",
        "x/a: pass to fail",
        "seen      a half",
        "got better (1)",
        "x/b: fail to pass",
    ]
    wanted += [
        "new (1)",
        "x/d: new, pass",
        "gone (1)",
        "x/c: was pass",
        "1 got worse, 1 got better, 1 new, 1 gone, 0 as before",
    ]
    places = [text.find(one) for one in wanted]
    assert -1 not in places, text
    assert places == sorted(places)


@pytest.mark.parametrize("form", FORMATS)
def test_two_differences_are_the_same_bytes(hand: Any, form: str) -> None:
    """Hostile text and all."""
    runs = hand.run(hand.case("x/fail", "pass"), hand.case("x/z", seen=hand.HOSTILE)), hand.hostile()

    first = FORMATS[form](*runs, compare(*runs))

    assert first == FORMATS[form](*runs, compare(*runs))
    assert not {"\x1b", "\x00", "\ud800", "\u202e"} & set(first)


@pytest.mark.parametrize(
    ("before", "after", "code"), [("pass", "fail", 1), ("fail", "pass", 0), ("pass", "pass", 0)]
)
def test_the_exit_code_says_whether_anything_got_worse(
    hand: Any, before: str, after: str, code: int, tmp_path: Path
) -> None:
    """So that a CI can stop there; a bad record is wrong usage."""
    for name, verdict in (("old", before), ("new", after)):
        (tmp_path / name).write_text(result.dump(hand.run(hand.case("x/a", verdict))))
    words = [str(tmp_path / "old"), str(tmp_path / "new")]

    ended = CliRunner().invoke(
        command, [*words, "--format", "markdown", "--output", str(tmp_path / "diff.md")]
    )

    assert (ended.exit_code, ended.output) == (code, "")
    assert (tmp_path / "diff.md").read_text().startswith("### forkecho diff: ")


def test_another_python_is_told(hand: Any) -> None:
    """By its version, wherever it stands; of an older record only the option is known."""
    told = {"path": "/a/python", "implementation": "CPython", "version": "3.8.18"}
    old = hand.run(python=told, selection={"python": "/a/python"})
    moved = hand.run(python=told | {"path": "/b/python"}, selection={"python": "/b/python"})
    new = hand.run(python=told | {"version": "3.9.1"})
    before = hand.run(selection={"python": "/a/python"})

    assert compare(old, moved).warnings == ()
    assert compare(old, new).warnings == ("the Pythons are different: CPython 3.8.18, CPython 3.9.1",)
    assert compare(before, new).warnings == ("the selections are different: python /a/python, everything",)
