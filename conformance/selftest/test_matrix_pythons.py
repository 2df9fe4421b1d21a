"""The matrix with a column for each Python: what is judged, how columns are called, and which are shown as one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forkecho.cli import columns as asked
from forkecho.cli.columns import beside_each_other, entered, left_out
from forkecho.cli.matrix import command, listed
from forkecho.conformance import interpreter, result, target
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.interpreter import Interpreter, NoInterpreter
from forkecho.conformance.matrix import Column, compare, groups
from forkecho.conformance.report import matrix, matrix_html
from forkecho.conformance.result import Run

RECIPE = {"name": "recipe", "title": "The recipe", "command": ["{python}", "recipe.py"]}


def python(minor: int, major: int = 3, implementation: str = "CPython") -> Interpreter:
    """One by hand."""
    return Interpreter(
        path=f"/opt/{implementation}{major}.{minor}",
        implementation=implementation,
        version=f"{major}.{minor}.1",
        order=(major, minor, 1, "final", 0),
    )


PYPY = python(9, implementation="PyPy")


def run(hand: Any, one: Interpreter, verdicts: str, **header: Any) -> Run:
    """A run under a Python, with these verdicts of cases of different requirements."""
    ids = ("ECHO-01", "FORK-06", "CONC-02", "HYG-04")
    cases = [
        hand.case(f"x/{id_}", verdict, requirement=id_)
        for id_, verdict in zip(ids, verdicts.split(), strict=False)
    ]
    told = {"python": one.describe(), "selection": {"python": one.path}, "model": "iterative"} | header
    return hand.run(*cases, judged=RECIPE, **told)  # type: ignore[no-any-return]


def columns(hand: Any, *those: tuple[Interpreter, str]) -> list[Column]:
    """Columns of one target under these Pythons."""
    return [
        Column(
            name=f"recipe ({one.short})",
            target="recipe",
            python=one.short,
            run=run(hand, one, verdicts),
        )
        for one, verdicts in those
    ]


def several(hand: Any) -> list[Column]:
    """What differs between 2.7, the 3s up to 3.9, and PyPy."""
    return columns(
        hand,
        (python(7, 2), "pass pass fail fail"),
        (python(6), "pass pass fail pass"),
        (python(7), "pass pass fail pass"),
        (python(8), "pass pass fail pass"),
        (python(10), "pass pass fail pass"),
        (PYPY, "pass warn fail pass"),
    )


def test_pythons_that_ended_alike_are_shown_as_one(hand: Any) -> None:
    """In the list and in the rows; a row of versions is told by its ends, and none is said that was not there."""
    found = groups(compare(several(hand)))

    assert [(one.name, one.at) for one in found] == [
        ("recipe (2.7)", (0,)),
        ("recipe (3.6 - 3.8, 3.10)", (1, 2, 3, 4)),
        ("recipe (pypy3.9)", (5,)),
    ]


@pytest.mark.parametrize("version", ["3.\u00b2", "3." + "9" * 5000, "3.", ""])
def test_a_record_may_say_any_version(hand: Any, tmp_path: Path, version: str) -> None:
    """Records come from elsewhere: what they call a version is a text."""
    for number in range(2):
        told = {"python": {"implementation": "CPython", "version": f"{version}{number}", "path": "/p"}}
        (tmp_path / f"{number}.jsonl").write_text(result.dump(run(hand, python(8), "pass", **told)))
    done = CliRunner().invoke(command, [str(tmp_path)])

    assert done.exit_code == 0, done.output
    assert "recipe" in done.stdout


def test_nothing_else_is_shown_as_one(hand: Any) -> None:
    """Neither two targets, nor a run that was not whole, nor one of which there is no record, nor another model."""
    one, other, *_ = columns(hand, (python(6), "pass"), (python(7), "pass"))
    apart = [
        one,
        Column(name="recipe (3.7)", target="recipe", python="3.7", reason="it hung"),
        Column(name="recipe (3.8)", target="recipe", python="3.8", run=other.run, reason="given up"),
        Column(name="other (3.9)", target="other", python="3.9", run=other.run),
        Column(name="c", target="c", run=other.run),
        Column(name="c (2)", target="c", run=other.run),
        Column(
            name="recipe (3.9)",
            target="recipe",
            python="3.9",
            run=run(hand, python(9), "pass", model="mixed"),
        ),
    ]

    assert [group.name for group in groups(compare(apart))] == [column.name for column in apart]


def test_the_terminal_shows_groups_and_ranges(hand: Any) -> None:
    """Where names are too long they are numbers in the rows, and words stay as long as there is room."""
    text = matrix.render(several(hand), width=90)
    rows = [
        line.split() for line in text.splitlines() if line.startswith(("requirement ", "HYG-04", "FORK-06"))
    ]

    assert rows[0] == ["requirement", "1", "2", "3"]
    assert rows[1][:5] == ["FORK-06", "must", "pass", "pass", "warn"]
    assert rows[2][:5] == ["HYG-04", "must", "fail", "pass", "pass"]
    assert "recipe (3.6 - 3.8, 3.10)" in text
    assert "recipe (2.7)  recipe (3.6 - 3.8, 3.10)  recipe (pypy3.9)" in matrix.render(several(hand))


def test_counts_of_one_group_are_told_by_their_ends(hand: Any) -> None:
    """Two cases of three here, one of three there: a word for both."""
    cases = [
        [hand.case(f"x/{n}", verdict) for n, verdict in enumerate(verdicts)]
        for verdicts in (("fail", "fail", "pass"), ("fail", "pass", "pass"), ("pass", "pass", "pass"))
    ]
    those = [
        Column(
            name=f"recipe ({one.short})",
            target="recipe",
            python=one.short,
            run=hand.run(*some, judged=RECIPE, python=one.describe()),
        )
        for one, some in zip((python(6), python(7), python(8)), cases, strict=True)
    ]
    text = matrix.render(those)

    assert "fail 1-2/3" in text
    assert "1 - 2 passed, 1 - 2 failed (of 3 cases" in text


def test_many_pythons_have_room_in_eighty_characters(hand: Any) -> None:
    """Twenty-four columns that differ in pairs."""
    those = [
        column
        for number in range(12)
        for column in columns(
            hand,
            (python(2 * number), "pass " + ("pass" if number % 2 else "fail")),
            (python(2 * number + 1), "pass " + ("pass" if number % 2 else "fail")),
        )
    ]
    text = matrix.render(those, width=80)

    assert max(map(len, text.splitlines())) <= 80
    assert len(groups(compare(those))) == 2


def test_the_page_says_which_python_it_was(hand: Any) -> None:
    """In full, as a release may differ from the one before it."""
    assert "CPython 2.7.1" in matrix_html.render(several(hand))


# What is judged


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> list[Interpreter]:
    """All that is said to be installed."""
    found = [python(7, 2), python(6), python(8), PYPY]
    monkeypatch.setattr(asked, "installed", lambda: found)
    return found


def test_a_target_that_is_run_by_python_has_a_column_for_each(there: list[Interpreter]) -> None:
    """Another has one; one that says which it supports has those."""
    found = entered(["recipe", "c", "reference"], there)

    assert list(found) == [
        "recipe (2.7)",
        "recipe (3.6)",
        "recipe (3.8)",
        "recipe (pypy3.9)",
        "c",
        "reference (3.8)",
        "reference (pypy3.9)",
    ]
    assert found["recipe (2.7)"].record == "recipe-2.7"
    assert found["recipe (2.7)"].words == ["--python=/opt/CPython2.7"]
    assert (found["c"].record, found["c"].words) == ("c", [])


def test_a_saved_run_is_called_as_it_was(hand: Any, tmp_path: Path, there: list[Interpreter]) -> None:
    """Whatever the order of the files; the one of the suite's own Python is told from the others as well."""
    own = interpreter.here()
    for number, one in enumerate(reversed([*there, own])):
        told = {"selection": {}} if one is own else {}
        (tmp_path / f"{number}.jsonl").write_text(result.dump(run(hand, one, "pass", **told)))
    live = list(entered(["recipe"], [*there, own]))
    saved = list(entered(sorted(map(str, tmp_path.iterdir()))))

    assert set(saved) == set(live)
    assert saved[:3] == ["recipe (2.7)", "recipe (3.6)", "recipe (3.8)"]


def test_a_lone_python_is_named_where_it_was_asked_for(hand: Any, tmp_path: Path) -> None:
    """One that nobody asked for is not; an older record does not know."""
    assert list(entered(["recipe"], [python(8)])) == ["recipe (3.8)"]
    assert list(entered(["recipe"], [interpreter.here()])) == ["recipe"]
    assert list(entered(["recipe"])) == ["recipe"]
    path = tmp_path / "old.jsonl"
    path.write_text(result.dump(run(hand, python(8), "pass", python={})))
    assert list(entered([str(path)])) == ["recipe"]


def test_columns_of_others_stay_where_they_were_named(hand: Any, tmp_path: Path) -> None:
    """The Pythons of a target stand beside each other, at the place of the first."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(result.dump(run(hand, python(8 + (name == "a")), "pass")))
    found = entered([str(tmp_path / "a.jsonl"), "c", str(tmp_path / "b.jsonl")])

    assert list(found) == ["recipe (3.8)", "recipe (3.9)", "c"]
    assert beside_each_other(list(found.values())) == list(found.values())


def test_a_target_that_supports_none_of_them_is_refused() -> None:
    """Before anything is judged."""
    with pytest.raises(NoInterpreter, match=r"target reference needs Python >=3.8, and not 2.7$"):
        entered(["reference"], [python(7, 2)])


def test_what_was_not_judged_is_told(there: list[Interpreter]) -> None:
    """Never silently green: what was not found, and what a target does not support."""
    told = list(left_out(["all"], there, entered(["recipe", "reference"], there).values()))

    assert told == [
        "reference needs Python >=3.8, so not judged under 2.7, 3.6",
        "Python not found: 3.7, 3.9, 3.10, 3.11, 3.12, 3.13, 3.14, 3.15",
    ]
    assert list(left_out(["3.8"], [python(8)], entered(["recipe"], [python(8)]).values())) == []


def called(*words: str) -> Result:
    """`forkecho matrix` in this process."""
    return CliRunner().invoke(command, list(words))


def test_an_interpreter_that_is_not_there_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says what was looked through."""
    monkeypatch.setenv("PATH", "")
    done = called("recipe", "--python", "2.6")

    assert isinstance(done.exception, NoInterpreter), done.output
    assert str(done.exception) == "Python 2.6 was not found, neither on PATH nor in pyenv"


def test_a_list_of_known_failures_is_taken_by_name(tmp_path: Path) -> None:
    """Where there is one; what is wrong with it is told before anything is judged."""
    (tmp_path / "recipe.toml").write_text('[known]\n"HYG-02" = "inherited"\n')

    assert listed(target.load("recipe"), tmp_path) == tmp_path / "recipe.toml"
    assert listed(target.load("c"), tmp_path) is listed(target.load("c"), None) is None
    (tmp_path / "c.toml").write_text('[known]\n"HYG-99" = "no such"\n')
    with pytest.raises(BadFixture, match="HYG-99"):
        listed(target.load("c"), tmp_path)


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_each_python_is_recorded_and_each_list_is_used(tmp_path: Path) -> None:
    """Of a target that fails one case, which is listed; the record says which Python it was."""
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "recipe.toml").write_text('[known]\n"HYG-02" = "inherited"\n')
    words = ("--case", "hygiene/child-lets-go-of-the-listener", "--known", str(lists))
    done = called("recipe", *words, "--python", sys.executable, "--output", str(tmp_path / "runs"))

    assert done.exit_code == 0, done.output
    version = interpreter.here().short
    loaded = result.load(tmp_path / "runs" / f"recipe-{version}.jsonl")
    assert loaded.header.python == interpreter.here().describe()
    assert [case.verdict.value for case in loaded.cases] == ["known"]
