"""The matrix: many targets judged beside each other, and what several runs say side by side."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from forkecho.cli import judging
from forkecho.cli.judging import Judged
from forkecho.cli.matrix import command, exit_code, file_names
from forkecho.conformance import conftest, fixture, requirement, result
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.matrix import Cell, Column, compare, distinct, findings, note
from forkecho.conformance.report import matrix, matrix_html
from forkecho.conformance.result import CaseLine, Footer, Header, Run, Verdict
from forkecho.conformance.verdict import exit_code as exit_code_of

pytestmark = pytest.mark.once

PATIENT = 60.0  # seconds for what takes a few, unless the machine is loaded
ONE_CASE = ("--case", "echo/any-answer")
HOSTILE = "<script>alert(1)</script>\x1b[31m\ud800\n| `x` [red]"


def case(id_: str, verdict: Verdict, needs: str = "FORK-06", **told: Any) -> CaseLine:
    """A result by hand."""
    one = requirement.load().get(needs)
    group, level = (one.group, one.level) if one else ("OLD", "must")
    return CaseLine(id=id_, title="", requirement=needs, group=group, level=level, verdict=verdict, **told)


def column(name: str, *cases: CaseLine, spec: str = "0123456789ab", model: str = "iterative") -> Column:
    """A column by hand, of a run with these cases."""
    header = Header(
        format=1,
        forkecho="0.1.0",
        spec=spec,
        target={"name": name},
        model=model,
        host={},
        seed=0,
        selection={},
        selected=len(cases),
        started="2026-01-01T00:00:00Z",
    )
    footer = Footer(
        totals=result.totals(cases),
        selected=len(cases),
        exit=exit_code_of(cases),
        seconds=12.34,
        interrupted=False,
    )
    return Column(name=name, run=Run(header=header, cases=cases, footer=footer))


def saved(folder: Path, one: Column) -> str:
    """The path of a column's record."""
    assert one.run
    path = folder / f"{len(list(folder.iterdir()))}.jsonl"
    path.write_text(result.dump(one.run))
    return str(path)


def called(*words: str) -> Result:
    """`forkecho matrix` in this process."""
    return CliRunner().invoke(command, list(words))


# What several runs say


def test_a_cell_shows_the_gravest_and_how_many() -> None:
    """What was seen to be broken goes before what could not be seen, and that before a pass."""
    cell = Cell(
        (
            case("x/a", Verdict.PASS),
            case("x/b", Verdict.INCONCLUSIVE),
            case("x/c", Verdict.FAIL),
            case("x/d", Verdict.NOT_APPLICABLE),
            case("x/e", Verdict.FAIL),
        )
    )

    assert (cell.verdict, cell.count, cell.tried) == (Verdict.FAIL, 2, 4)
    assert Cell().verdict is None


@pytest.mark.parametrize(
    ("verdicts", "differs"),
    [
        ((Verdict.PASS, Verdict.PASS), False),
        ((Verdict.FAIL, Verdict.FAIL), False),
        ((Verdict.PASS, Verdict.FAIL), True),
        ((Verdict.PASS, Verdict.KNOWN), True),
        ((Verdict.PASS, Verdict.INCONCLUSIVE), True),
        ((Verdict.PASS, Verdict.NOT_APPLICABLE), False),
        ((Verdict.FAIL, Verdict.BLOCKED), False),
        ((Verdict.NOT_APPLICABLE, Verdict.NOT_APPLICABLE), False),
    ],
)
def test_a_row_differs_where_two_targets_ended_differently(
    verdicts: tuple[Verdict, ...], differs: bool
) -> None:
    """What does not apply, and what was not tried, makes no difference; else one dead target made one of every row."""
    columns = [column(f"t{at}", case("x/a", verdict)) for at, verdict in enumerate(verdicts)]

    assert [row.differs for row in compare([*columns, Column(name="none")]).rows] == [differs]


def test_rows_come_in_the_order_of_the_specification() -> None:
    """Whatever the order in the records; a requirement that is known no more comes last, and has no title."""
    cases = (case("x/a", Verdict.PASS, "ZZZ-01"), case("x/b", Verdict.PASS, "TIME-01"))
    rows = compare([column("a", *cases), column("b", case("x/c", Verdict.FAIL, "ECHO-01"))]).rows

    assert [row.id for row in rows] == ["ECHO-01", "TIME-01", "ZZZ-01"]
    assert [bool(row.title) for row in rows] == [True, True, False]
    assert [[cell.verdict for cell in row.cells] for row in rows] == [
        [None, Verdict.FAIL],
        [Verdict.PASS, None],
        [Verdict.PASS, None],
    ]


def test_names_become_distinct() -> None:
    """The first keeps its name, and no number makes a name that somebody else has."""
    assert distinct(["c", "c", "c (2)", "d", "c"]) == ["c", "c (3)", "c (2)", "d", "c (4)"]


def test_what_was_seen_is_told_once() -> None:
    """Cases that differ in numbers alone are one finding, over all targets; a pass has nothing to tell."""
    one = column(
        "one",
        case("x/a", Verdict.FAIL, seen="process 4711 holds it"),
        case("x/b", Verdict.FAIL, seen="process 12 holds it"),
        case("x/c", Verdict.KNOWN, seen="silence"),
        case("x/d", Verdict.PASS),
    )
    two = column("two", case("x/a", Verdict.FAIL, seen="process 9 holds it"), case("x/d", Verdict.BLOCKED))
    (row,) = compare([one, two]).rows

    found = findings(row)

    assert [(each.seen, each.where) for each in found] == [
        ("process 4711 holds it", ((0, ("x/a", "x/b")), (1, ("x/a",)))),
        ("silence", ((0, ("x/c",)),)),
    ]


def test_what_does_not_apply_is_told_where_nothing_does() -> None:
    """That some sizes of many do not apply to a server is no news; that a requirement does not is."""
    partly = column(
        "partly", case("x/a", Verdict.PASS), case("x/b", Verdict.NOT_APPLICABLE, reason="too large")
    )
    wholly = column("wholly", case("x/a", Verdict.NOT_APPLICABLE, reason="one-shot"))
    (row,) = compare([partly, wholly]).rows

    assert [(each.reason, each.where) for each in findings(row)] == [("one-shot", ((1, ("x/a",)),))]


def test_why_something_was_not_tried_is_told_of_the_target() -> None:
    """The most frequent reason, once, with how many cases; a column without a run says why."""
    dead = column("dead", *(case(f"x/{at}", Verdict.BLOCKED, reason="it does not answer") for at in range(3)))

    assert note(dead) == "3 cases: it does not answer"
    assert note(column("fine", case("x/a", Verdict.PASS))) == ""
    assert note(Column(name="gone", reason="ended by SIGKILL")) == "ended by SIGKILL"
    assert note(Column(name="gone")) == "there is no record of it"


# On a terminal


def three() -> list[Column]:
    """Three targets: one row differs, one is broken by all, one is kept by all."""
    return [
        column(
            name,
            case("e/a", Verdict.PASS, "ECHO-01"),
            case("f/a", verdict, "FORK-06", seen="an echo"),
            case("f/b", Verdict.PASS, "FORK-06"),
            case("h/a", Verdict.FAIL, "HYG-02"),
        )
        for name, verdict in (("one", Verdict.PASS), ("two", Verdict.FAIL), ("three", Verdict.PASS))
    ]


def test_differences_come_first() -> None:
    """The targets, the rows that differ, and of the others how many there are and which are not kept."""
    text = matrix.render(three(), width=120)

    assert "The targets differ in 1 of 3 requirements:\n" in text
    assert "FORK-06    must     pass  fail 1/2  pass   The new process does the work" in text
    assert "2 requirements where all agree: 1 kept wherever tried; 1 broken wherever tried (HYG-02)." in text
    assert "ECHO-01" not in text
    assert "ECHO-01    must     pass  pass  pass" in matrix.render(three(), width=120, all_rows=True)


def test_where_there_is_no_room_columns_have_numbers_and_verdicts_signs() -> None:
    """The numbers are those of the list of targets, and a legend says what the signs mean in words."""
    text = matrix.render(three(), width=50)

    assert "requirement        1  2  3\nFORK-06    must    .  X  ." in text
    assert "X fail, a MUST broken" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 50


def test_many_columns_are_shown_in_several_parts() -> None:
    """No line is longer than the terminal is wide, and no column is missing."""
    many = [column(f"server-{at}", case("x/a", verdict)) for at, verdict in enumerate([*Verdict] * 12)]
    text = matrix.render(many, width=80, all_rows=True)

    assert max(map(len, text.splitlines())) <= 80
    numbers = [
        int(word)
        for line in text.splitlines()
        if line.startswith("requirement ")
        for word in line.split()[1:]
    ]
    assert numbers == list(range(1, 121))


def test_two_renderings_are_the_same_bytes() -> None:
    """Neither the order of cases nor the environment changes a byte; the order of targets is theirs who named them."""
    backwards = [
        msgspec.structs.replace(one, run=msgspec.structs.replace(one.run, cases=one.run.cases[::-1]))
        for one in three()
        if one.run
    ]
    before = dict(os.environ)
    first = matrix.render(three(), all_rows=True)
    try:
        os.environ.update({"COLUMNS": "33", "TERM": "dumb", "FORCE_COLOR": "1", "NO_COLOR": "1"})
        second = matrix.render(backwards, all_rows=True)
    finally:
        os.environ.clear()
        os.environ.update(before)

    assert first == second
    assert matrix.render(three()[::-1]) != matrix.render(three())


def test_colour_adds_nothing_but_escape_sequences() -> None:
    """Without them the text is the same."""
    plain = click.unstyle(matrix.render(three(), color=True)).splitlines()

    assert [line.rstrip() for line in plain] == matrix.render(three()).splitlines()
    assert "\x1b[" in matrix.render(three(), color=True)


def test_hostile_words_stay_in_their_line() -> None:
    """Neither a terminal nor a table is impressed by names, models, levels or reasons."""
    one = column(
        HOSTILE, msgspec.structs.replace(case(HOSTILE, Verdict.FAIL, HOSTILE), level=HOSTILE), model=HOSTILE
    )
    text = matrix.render(
        [one, column("x", case("x/a", Verdict.PASS, HOSTILE)), Column(name="y", reason=HOSTILE)]
    )

    assert "\x1b" not in text
    assert "\\x1b[31m\\ud800\\n| `x` [red]" in "".join(text.split("\n"))
    text.encode()


def test_runs_by_different_suites_are_told() -> None:
    """They may have tried different things."""
    columns = [column("a", case("x/a", Verdict.PASS)), column("b", case("x/a", Verdict.PASS), spec="ffff")]

    assert "forkecho 0.1.0 with specification 0123456789ab" in " ".join(matrix.render(columns).split())
    assert matrix.versions(columns[:1]) == ""


# As a page


def parts(text: str, tag: str) -> list[ElementTree.Element]:
    """All elements of a page by their tag; the page is well-formed but for what HTML leaves open."""
    body = re.sub(r"<(meta|link)[^>]*>", "", text.removeprefix("<!DOCTYPE html>"))
    body = re.sub(r"(?s)<(style|script)>.*?</\1>", "", body).replace("&nbsp;", "")
    return list(ElementTree.fromstring(body).iter(tag))


def test_the_page_is_the_same_bytes_each_time() -> None:
    """It depends on the columns alone, and on their order."""
    assert matrix_html.render(three()) == matrix_html.render(three())
    assert matrix_html.render(three()[::-1]) != matrix_html.render(three())


def test_every_link_of_the_page_has_its_end_in_it() -> None:
    """Ids are given once, and each cell that did not pass leads to what was seen of this target."""
    text = matrix_html.render([*three(), Column(name="gone", reason="ended by SIGKILL")])
    ids = [one.get("id") for one in parts(text, "*") if one.get("id")]
    links = [one.get("href", "") for one in parts(text, "a")]

    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert "#FORK-06:2" in links
    assert all(link.startswith("#") for link in links)


def test_the_page_shows_differences_first_and_folds_the_rest() -> None:
    """What all keep is behind what they differ in."""
    text = matrix_html.render(three())
    folded = "".join(text for one in parts(text, "details") for text in one.itertext())

    assert text.index(">FORK-06<") < text.index("<details>")
    assert "Echoes what it was sent" in folded
    assert "The new process does the work" not in folded


def test_targets_that_share_a_failure_stand_beside_each_other() -> None:
    """Each with an end of its own for the links of its cell, the cases once."""
    columns = [column(f"t{at}", case("x/a", Verdict.FAIL, seen=f"silence for {at} s")) for at in range(3)]
    text = matrix_html.render(columns)

    assert text.count("silence for") == 1
    assert '<b id="FORK-06:1">t0</b>, <b id="FORK-06:2">t1</b>, <b id="FORK-06:3">t2</b>' in text
    assert text.count('<span class="ids">x/a</span>') == 1


def test_the_page_escapes_everything() -> None:
    """Whatever names, models, levels, ids and reasons are: no element, no control character, no lone surrogate."""
    line = msgspec.structs.replace(
        case(HOSTILE, Verdict.FAIL, HOSTILE, seen=HOSTILE), level=HOSTILE, group=HOSTILE
    )
    one = column(HOSTILE, line, model=HOSTILE)
    text = matrix_html.render([one, Column(name="y", reason=HOSTILE)])

    assert parts(text, "script") == []
    assert "\x1b" not in text
    text.encode()


@pytest.mark.parametrize(("many", "shape"), [(2, "words"), (30, "signs")])
def test_the_page_has_words_where_there_is_room(many: int, shape: str) -> None:
    """With many columns there are signs; the words are there all the same, for who cannot see."""
    text = matrix_html.render([column(f"t{at}", case("x/a", [*Verdict][at % 2])) for at in range(many)])

    assert f'class="matrix {shape}"' in text
    assert text.count('<span class="word">fail</span>') == many // 2


def test_a_column_without_a_run_is_shown_with_its_reason() -> None:
    """Its cells are empty, and say so to who cannot see that; never green."""
    text = matrix_html.render(
        [column("a", case("x/a", Verdict.PASS)), Column(name="gone", reason="ended by SIGKILL")]
    )

    assert "ended by SIGKILL" in text
    assert '<td class="empty"><span class="unseen">no record</span></td>' in text


def test_no_target_is_no_page_that_fails() -> None:
    """Nor are targets without a run."""
    assert "no verdict" in matrix_html.render([Column(name="gone")])


def test_the_page_is_written_beside_the_text(tmp_path: Path) -> None:
    """By `--html`, which changes nothing else."""
    path = saved(tmp_path, three()[0])
    page = tmp_path / "page.html"
    done = called(path, "--html", str(page))

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == called(path).stdout
    assert page.read_text() == matrix_html.render(three()[:1])


# Saved runs


def test_saved_runs_are_compared_and_judge_nobody(tmp_path: Path) -> None:
    """They are shown in their order, and the exit code is 0 whatever they say; the same name twice gets a number."""
    paths = [saved(tmp_path, one) for one in (*three(), column("two", case("x/a", Verdict.PASS)))]
    done = called(*paths)

    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:5]] == [
        ["1", "one"],
        ["2", "two"],
        ["3", "three"],
        ["4", "two"],
    ]
    assert "two (2)" in lines[4]


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    """By the names of their files; one in which there is none is wrong usage."""
    for one in three():
        saved(tmp_path, one)
    (tmp_path / "empty").mkdir()

    paths = map(str, sorted(tmp_path.glob("*.jsonl")))
    assert called(str(tmp_path)).stdout == called(*paths).stdout
    assert called(str(tmp_path), "--html", str(tmp_path / "0.jsonl")).exit_code == 2
    with pytest.raises(click.UsageError, match="no record of a run is in that folder"):
        CliRunner().invoke(command, [str(tmp_path / "empty")], standalone_mode=False, catch_exceptions=False)


def test_what_is_missing_is_left_out_and_named(tmp_path: Path) -> None:
    """By `--skip-missing`; where nothing is left, there is nothing to judge."""
    lacking = tmp_path / "lacking.toml"
    lacking.write_text('command = ["no-such", "{port}"]\nneeds = { program = "no-such", debian = "nss" }\n')
    path = saved(tmp_path, three()[0])
    done = called(path, str(lacking), "--skip-missing")

    assert done.exit_code == 0
    assert done.stdout == called(path).stdout
    assert "not judged: lacking needs the program 'no-such' (Debian package: nss)" in done.stderr
    with pytest.raises(click.UsageError, match="nothing is left to judge here: lacking needs the program"):
        CliRunner().invoke(
            command, [str(lacking), "--skip-missing"], standalone_mode=False, catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "Missing argument"),
        (["nope"], "there is no target 'nope'"),
        (["c", "/nowhere/run.jsonl"], "/nowhere/run.jsonl: No such file"),
        (["c", "c"], "c is named twice"),
        (["{saved}", "{saved}"], "is named twice"),
        (["c", "--group", "FROK"], "there is no group 'FROK'"),
        (["c", "--requirement", "CLIENT-02"], "does not judge a server"),
        (["c", "--html", "/nowhere/x.html"], "there is no folder /nowhere"),
        (["c", "--markdown", "/nowhere/x.md"], "there is no folder /nowhere"),
        (["{saved}", "--html", "{saved}"], "would be overwritten"),
        (["{saved}", "--markdown", "{saved}"], "would be overwritten"),
        (
            ["c", "--html", "{saved}.x", "--markdown", "{saved}.x"],
            "is where the page of --html is to be written",
        ),
        (["c", "--output", "{saved}.d", "--html", "{saved}.d/c.jsonl"], "choose another place"),
        (["c", "--output", "/dev/null"], "/dev/null"),
        (["c", "--output", "/dev/null/x"], "/dev/null/x"),
        (["c", "--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_judged(
    words: list[str], complaint: str, tmp_path: Path
) -> None:
    """One line and exit code 2."""
    path = saved(tmp_path, three()[0])
    done = subprocess.run(
        [sys.executable, "-m", "forkecho", "matrix", *(word.format(saved=path) for word in words)],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=PATIENT,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, ""), done
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_page_may_stand_beside_the_records(tmp_path: Path) -> None:
    """In the folder that is made for them."""
    done = called(
        "c", *ONE_CASE, "--output", str(tmp_path / "new"), "--html", str(tmp_path / "new/page.html")
    )

    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["c.jsonl", "page.html"]


def test_a_run_that_was_ended_still_tells_what_passed() -> None:
    """What was not tried hides neither what was nor that targets differ."""
    cut = column("cut", case("x/a", Verdict.PASS), case("x/b", Verdict.BLOCKED))
    bad = column("bad", case("x/a", Verdict.FAIL), case("x/b", Verdict.FAIL))
    made = compare([cut, bad])
    (row,) = made.rows

    assert [cell.verdict for cell in row.cells] == [Verdict.PASS, Verdict.FAIL]
    assert row.differs


def test_a_record_that_is_compared_is_not_overwritten(tmp_path: Path) -> None:
    """The target's record would be put in its place."""
    path = tmp_path / "c.jsonl"
    run = three()[0].run
    assert run
    path.write_text(result.dump(run))
    done = called("c", str(path), "--output", str(tmp_path))

    assert done.exit_code == 2
    assert "would be overwritten" in done.stderr
    assert result.load(path) == run


def test_records_have_names_of_their_own() -> None:
    """Whatever targets are called, also where a file system does not tell case apart; none is hidden or an option."""
    assert file_names(["c", "C", "c", "c-2", "-x", ".y", "a b/\n", ""]) == [
        "c.jsonl",
        "C-3.jsonl",
        "c-4.jsonl",
        "c-2.jsonl",
        "x.jsonl",
        "y.jsonl",
        "a_b__.jsonl",
        "_.jsonl",
    ]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([0, 0], 0), ([0, 1], 1), ([1, 3], 3), ([3, 4], 4), ([4, 5], 5), ([5, 2], 2)],
)
def test_the_gravest_exit_code_is_that_of_all(codes: list[int], expected: int) -> None:
    """Where several hold, the first of 2, 5, 4, 3, 1, 0."""
    assert exit_code(Judged(column=Column(name="x"), exit=code) for code in codes) == expected


def test_the_net_is_that_of_the_suite() -> None:
    """How long a run may be silent is derived from it."""
    assert judging.NET == conftest.NET


# Targets that are judged


@pytest.fixture
def manifest(temporary: Path) -> Callable[..., str]:
    """Writes the manifest of a forking server that first runs a shell's command as its build; gives its path."""

    def manifest(name: str, build: str = ":", command: str = "fork", folder: str = "manifests") -> str:
        server = fixture.folder("targets") / "reference.py"
        commands = {
            "fork": ["{python}", str(server), "--port", "{port}", "--reply", "{data}"],
            "deaf": ["sleep", "600"],
        }
        place = temporary / folder
        place.mkdir(exist_ok=True)
        text = f"command = {json.dumps(commands[command])}\nbuild = [{json.dumps(['sh', '-c', build])}]\n"
        text += "ready-within = 0.5\n" if command == "deaf" else ""
        (place / f"{name}.toml").write_text(text)
        return str(place / f"{name}.toml")

    return manifest


@pytest.mark.usefixtures("nothing_left")
def test_a_target_that_ends_badly_costs_itself_only(manifest: Callable[..., str], tmp_path: Path) -> None:
    """Each has a column that says why, its neighbours are judged, and the exit code tells."""
    records = tmp_path / "records"
    words = [
        "c",
        manifest("killed", "kill -KILL $PPID"),
        manifest("unready", command="deaf"),
        manifest("unbuilt", "exit 7"),
        manifest("fine"),
    ]
    done = called(*words, *ONE_CASE, "--output", str(records))

    assert done.exit_code == 4, done.output
    said = {line.partition(":")[0]: line for line in done.stderr.splitlines()}
    assert "conformant: 1 passed" in said["c"]
    assert "conformant: 1 passed" in said["fine"]
    assert said["killed"] == "killed: no verdict; ended by SIGKILL"
    assert "the target never became ready" in said["unready"]
    assert "unbuilt" in said
    assert [line.split()[1] for line in done.stdout.splitlines()[1:] if line[:1].isdigit()][:5] == [
        Path(word).stem for word in words
    ]
    assert {path.stem for path in records.iterdir()} == {"c", "unready", "unbuilt", "fine"}


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_hangs_is_given_up(manifest: Callable[..., str]) -> None:
    """It is no verdict on the server, and its neighbour has one."""
    # Its neighbour is to be done by then, on a machine that is loaded as well.
    done = called(manifest("hangs", "kill -STOP $PPID"), "c", *ONE_CASE, "--give-up", "45")

    assert done.exit_code == 3, done.output
    assert "given up after 45 s" in done.stderr
    assert "c: conformant: 1 passed" in done.stderr


@pytest.mark.usefixtures("nothing_left")
def test_a_run_that_does_not_close_its_record_is_killed(
    manifest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was given time; here it is deaf, since it stays stopped."""
    monkeypatch.setattr(judging, "CLOSES_WITHIN", 1.0)
    monkeypatch.setattr(judging._Child, "_signal", lambda child, number: None)
    stops = manifest("stops", "kill -STOP $PPID")
    done = called(stops, *ONE_CASE, "--give-up", "15")

    assert done.exit_code == 3
    assert (
        done.stderr == "stops: no verdict; given up after 15 s, and killed, as it did not close its record\n"
    )


@pytest.mark.usefixtures("nothing_left")
def test_a_run_without_a_record_leaves_the_earlier_one(manifest: Callable[..., str], tmp_path: Path) -> None:
    """It is neither lost nor shown as if it were of now."""
    (tmp_path / "killed.jsonl").write_text("earlier")
    done = called(manifest("killed", "kill -KILL $PPID"), *ONE_CASE, "--output", str(tmp_path))

    assert done.exit_code == 3
    assert "an earlier run's" in done.stderr
    assert (tmp_path / "killed.jsonl").read_text() == "earlier"


@pytest.mark.usefixtures("nothing_left")
def test_options_are_passed_on_and_names_told_apart(manifest: Callable[..., str], tmp_path: Path) -> None:
    """Two targets of a name have two columns and two records; a saved run may stand between them."""
    kept = saved(tmp_path, three()[0])
    first, second = manifest("same"), manifest("same", folder="others")
    done = called(
        first,
        kept,
        second,
        *ONE_CASE,
        "--seed",
        "7",
        "--repeat=2",
        "--timeout-scale",
        "2",
        "--strict",
        "--output",
        str(tmp_path / "new"),
    )

    assert done.exit_code == 0, done.output
    assert [line.split()[1] for line in done.stdout.splitlines()[1:4]] == ["same", "one", "same"]
    runs = [result.load(tmp_path / "new" / name) for name in ("same.jsonl", "same-2.jsonl")]
    assert [run.header.target["manifest"] for run in runs] == [first, second]
    for run in runs:
        assert (run.header.seed, run.cases[0].repeats) == (7, {"pass": 2})
        assert run.header.selection == {
            "case": ["echo/any-answer"],
            "scale": 2.0,
            "repeat": 2,
            "strict": True,
        }


@pytest.mark.usefixtures("nothing_left")
def test_a_program_that_is_missing_costs_its_target_only(
    manifest: Callable[..., str], tmp_path: Path
) -> None:
    """Its column says which, and the exit code is that of wrong usage; an empty selection has its own."""
    lacks = tmp_path / "lacks.toml"
    lacks.write_text(
        'command = ["no-such-server", "{port}"]\nneeds = { program = "no-such-server", debian = "nss" }'
    )
    done = called(str(lacks), "c", *ONE_CASE)
    empty = called(manifest("fine"), *ONE_CASE, "--level", "may")

    assert done.exit_code == 2
    assert "needs the program 'no-such-server' (Debian package: nss)" in done.stderr
    assert "c: conformant" in done.stderr
    assert (empty.exit_code, "no case fits" in empty.stderr) == (5, True)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_ends_all_and_shows_what_is_there(
    manifest: Callable[..., str], tmp_path: Path, number: signal.Signals
) -> None:
    """What has been judged is shown, what is being judged is ended, the rest not begun, and no process is left."""
    begun = tmp_path / "begun"
    slow, later = manifest("slow", f"touch {begun}; sleep 600"), manifest("later", f"touch {tmp_path}/later")
    words = ("matrix", "c", slow, later, *ONE_CASE, "--jobs", "1")
    with subprocess.Popen(
        [sys.executable, "-m", "forkecho", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert wait_for(begun.exists, Deadline(PATIENT))
        process.send_signal(number)
        out, errors = process.communicate(timeout=PATIENT)

    assert process.returncode == 130, errors
    assert "c: conformant: 1 passed" in errors
    assert "interrupted" in errors
    assert "not tried: interrupted" in out
    assert not (tmp_path / "later").exists()


@pytest.mark.usefixtures("nothing_left")
def test_runs_end_when_the_matrix_is_killed(manifest: Callable[..., str], tmp_path: Path) -> None:
    """Nobody waits for them any more, which they notice at the next case."""
    begun = tmp_path / "begun"
    server = manifest("long", f"touch {begun}")
    words = ("matrix", server, "--group", "ECHO", "--output", str(tmp_path / "records"))
    with subprocess.Popen(
        [sys.executable, "-m", "forkecho", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        assert wait_for(begun.exists, Deadline(PATIENT))
        process.kill()
