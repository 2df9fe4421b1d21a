"""Soaking: what grows is seen, what is flat is not taken for it, and both are told with their numbers."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from forkecho.cli import main
from forkecho.cli.journal import Journal
from forkecho.cli.soak import DURATION, command
from forkecho.conformance import target
from forkecho.conformance.case import expand
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import Plan, Selection, select
from forkecho.conformance.report import SOAKS
from forkecho.conformance.result import BadRecord
from forkecho.conformance.soak import judged, playing, record, trend
from forkecho.conformance.soak.load import DO, KINDS, ROOM, room_for
from forkecho.conformance.soak.record import Fault, Repeat, Sample, Soak, SoakFooter, SoakHeader
from forkecho.conformance.target import Target

HERE = Path(__file__).with_name("hostile")
CASES = ["echo/greeting", "process/born", "hygiene/reaped"]


# Trends


def test_a_slope_is_that_of_most_points() -> None:
    """A straight line is itself, and a few odd values change nothing."""
    points = [(float(t), 5.0 + 2 * t) for t in range(20)]
    odd = [(t, 1e9 if t in (3, 11, 17) else value) for t, value in points]

    assert trend.slope(points) == trend.surely(points) == 2
    assert trend.slope(odd) == pytest.approx(2, rel=0.1)
    assert trend.surely(odd) > 0


@pytest.mark.parametrize("count", [4, 5, 9, 40, 1000])
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_one_step_is_no_trend(count: int, part: float) -> None:
    """Memory that is taken once, whenever, is level before and after."""
    points = [(float(t), 1e6 if t < count * part else 5e6) for t in range(count)]

    assert trend.surely(points) <= 0


@pytest.mark.parametrize("seed", range(10))
def test_noise_is_no_trend_and_does_not_hide_one(seed: int) -> None:
    """Values that go up and down by chance, alone and on a slope of a tenth of their range over the time."""
    chance = random.Random(seed)
    noise = [(float(t), chance.gauss(1e6, 1e4)) for t in range(200)]

    assert abs(trend.slope(noise) * 200) < 1e4
    assert trend.surely([(t, value + 500 * t) for t, value in noise]) > 0


def test_too_few_points_are_no_trend() -> None:
    """Of none, of one, of several at one time nothing is known."""
    for points in ([], [(1.0, 1.0)], [(1.0, 1.0), (1.0, 2.0)]):
        assert (trend.slope(points), trend.surely(points)) == (0, 0)
    assert trend.surely([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]) == -math.inf


# Judging, by hand


def soaked(
    held: list[tuple[int, int, int, int]] | None = None,
    faults: list[list[Fault]] | None = None,
    selection: dict[str, Any] | None = None,
    **footer: Any,
) -> Soak:
    """A soak by hand: at each rest descriptors, processes, zombies, private memory; by repeat, the faults. Two rests a repeat."""
    given = held or [(6, 1, 0, 4_000_000)] * 9
    repeats = faults or [[] for _ in range((len(given) - 1) // 2)]
    samples = [
        Sample(
            t=10.0 * number,
            phase="rest",
            descriptors=d,
            processes=p,
            zombies=z,
            rss=m,
            private=m,
            served=100 * number,
        )
        for number, (d, p, z, m) in enumerate(given)
    ]
    busy = [
        Sample(
            t=10.0 * number + 5,
            phase="load",
            descriptors=9,
            processes=8,
            zombies=1,
            rss=5_000_000,
            private=None,
        )
        for number in range(len(given) - 1)
    ]
    return Soak(
        header=SoakHeader(
            format=1,
            forkecho="0.1.0",
            spec="0123456789ab",
            target={"name": "c", "title": "a server", "command": ["./c", "{port}"]},
            model="fork-per-connection (direct)",
            host={"system": "Linux"},
            seed=0,
            selection=selection or {},
            selected=7,
            started="2026-01-01T00:00:00Z",
            duration=60.0,
            interval=1.0,
            load={"room": 12, "rate": 20.0},
        ),
        samples=tuple(sorted([*samples, *busy], key=lambda one: one.t)),
        repeats=tuple(
            Repeat(number=number, t=20.0 * number - 19.5, seconds=19.0, totals={"pass": 7}, faults=these)
            for number, these in enumerate(repeats, 1)
        ),
        footer=SoakFooter(
            **{
                "seconds": 80.0,
                "exit": 0,
                "interrupted": False,
                "load": {"opened": 900, "served": 800},
                **footer,
            }
        ),
    )


def words(soak: Soak) -> str:
    """All that is found, a line each."""
    return "\n".join(one.words for one in judged.findings(soak))


def fault(verdict: str = "fail", id_: str = "echo/greeting", **told: str) -> Fault:
    """A case that is not in order."""
    told = {"expected": "all 5 bytes back", "seen": "a reset"} | told
    return Fault(id=id_, requirement="ECHO-01", level="must", verdict=verdict, **told)


def test_what_stays_as_it_is_is_flat() -> None:
    """Nothing is found, and nothing is left open: 0."""
    assert (words(soaked()), judged.unjudged(soaked()), judged.exit_code(soaked())) == ("", [], 0)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (
            [(6 + n, 1, 0, 4_000_000) for n in range(9)],
            "descriptors grew from 8 to 14 (over 60 s, 7 samples at rest)",
        ),
        ([(6 + (n == 5), 1, 0, 1) for n in range(9)], "descriptors rose from 6 to 7 and fell again"),
        ([(6, 1 + n // 4, 0, 4_000_000) for n in range(9)], "processes grew from 1 to 3"),
        ([(6, 3 - n // 4, 0, 4_000_000) for n in range(9)], "processes fell from 3 to 1"),
        ([(6, 1, 2 * (n == 4), 4_000_000) for n in range(9)], "zombies: 2 zombies at rest after 40 s"),
        ([(6, 1, int(n == 1), 4_000_000) for n in range(9)], "zombies: 1 zombie at rest after 10 s"),
        (
            [(6, 1, 0, 4_000_000 + 500_000 * n) for n in range(9)],
            "private memory grew from 5,000 kB to 8,000 kB (3,000 kB by its trend over 60 s, 5,000 bytes for each of 600",
        ),
    ],
)
def test_what_grows_is_told_from_what_to_what(held: list[tuple[int, int, int, int]], expected: str) -> None:
    """One finding, with the numbers after the warm-up; zombies from the first rest on: 1."""
    assert (expected in words(soaked(held)), judged.exit_code(soaked(held))) == (True, 1), words(soaked(held))


@pytest.mark.parametrize(
    "memory",
    [
        [4_000_000 + 9_000_000 * (n > 1) for n in range(9)],  # in the first repeat
        [4_000_000 + 2_000_000 * (n > 5) for n in range(9)],  # once
        [4_000_000 + 1_000_000 * (n % 2) for n in range(9)],  # up and down
        [4_000_000 + 20_000 * n for n in range(9)],  # less than can be told from pages that are counted late
        [400_000_000 + 500_000 * n for n in range(9)],  # less than a fiftieth
        [9_000_000 - 900_000 * n for n in range(9)],  # less and less
    ],
)
def test_memory_that_has_no_trend_is_flat(memory: list[int]) -> None:
    """What is taken once, given back, or too little to be told is no leak."""
    assert words(soaked([(6, 1, 0, value) for value in memory])) == ""


def test_where_private_memory_cannot_be_seen_the_resident_one_decides() -> None:
    """The same, of less worth."""
    soak = soaked([(6, 1, 0, 4_000_000 + 500_000 * n) for n in range(9)])
    blind = tuple(msgspec.structs.replace(one, private=None) for one in soak.samples)

    assert words(msgspec.structs.replace(soak, samples=blind)).startswith(
        "resident memory grew from 5,000 kB"
    )


def test_a_case_that_fails_now_and_then_is_told_with_its_interval() -> None:
    """How often, in how many repeats, and what was seen the first time: 1."""
    soak = soaked(faults=[[], [fault()], [], [fault(seen="silence")]])

    told = "ECHO-01 echo/greeting failed 2 of 4, 95 %: 15.0 % to 85.0 %: expected all 5 bytes back; seen: a reset"
    assert (words(soak), judged.exit_code(soak)) == (told, 1)


@pytest.mark.parametrize(
    ("verdict", "strict", "code"),
    [
        ("warn", False, 0),
        ("warn", True, 1),
        ("inconclusive", False, 0),
        ("inconclusive", True, 3),
        ("broken", False, 3),
        ("blocked", False, 1),
    ],
)
def test_other_endings_count_as_in_a_run(verdict: str, strict: bool, code: int) -> None:
    """A SHOULD and what could not be observed with --strict only; a fault of the suite is none of the server's."""
    soak = soaked(faults=[[fault(verdict)], [], [], []], selection={"strict": True} if strict else {})

    assert judged.exit_code(soak) == code


def test_too_short_a_soak_is_no_pass() -> None:
    """Without four repeats nothing is known of memory: 3; what grew all the same: 1."""
    short = soaked([(6, 1, 0, 1)] * 5)
    assert (judged.exit_code(short), [one.what for one in judged.unjudged(short)]) == (3, ["memory"])
    assert judged.exit_code(soaked([(6 + n, 1, 0, 1) for n in range(5)])) == 1
    none = msgspec.structs.replace(short, repeats=())
    assert (judged.exit_code(none), [one.what for one in judged.unjudged(none)]) == (3, ["suite"])


def test_what_ended_it_is_told() -> None:
    """The server's end is a finding, the load's own one a fault of the suite, Ctrl-C neither."""
    assert words(soaked(ended="the server ended after 7 s")) == "the server ended after 7 s"
    assert judged.exit_code(soaked(ended="the server ended after 7 s")) == 1
    assert judged.exit_code(soaked(broken="the load has gone")) == 3
    assert judged.exit_code(soaked(interrupted=True, ended="x")) == 130


def test_wrong_replies_to_the_load_are_told() -> None:
    """How many of how many, and the first."""
    soak = soaked(wrong=["expected b'a'; seen: b'b' (short)"], load={"opened": 100, "wrong": 3})

    assert (
        words(soak)
        == "the load: wrong replies, 3 of 100, 95 %: 1.0 % to 8.5 %: expected b'a'; seen: b'b' (short)"
    )


# The record, and what is made of it


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All of it, to the byte; in the order of time."""
    soak = soaked(faults=[[fault()], [], [], []])
    text = record.dump(soak)
    (tmp_path / "soak.jsonl").write_text(text)

    assert record.load(tmp_path / "soak.jsonl") == soak
    assert record.dump(record.load(tmp_path / "soak.jsonl")) == text
    assert [json.loads(line)["kind"] for line in text.splitlines()][:4] == [
        "soak",
        "sample",
        "sample",
        "sample",
    ]


def test_a_record_fits_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """`forkecho schema --soak` prints it."""
    jsonschema = pytest.importorskip("jsonschema")
    assert main(["schema", "--soak"]) == 0
    schema = json.loads(capsys.readouterr().out)

    for line in record.dump(soaked(faults=[[fault()], [], [], []])).splitlines():
        jsonschema.validate(json.loads(line), schema)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda lines: lines[1:], "no header in the first line"),
        (lambda lines: [lines[0], lines[0], *lines[1:]], "a header or a footer stands among the samples"),
        (lambda lines: [lines[0], "{", *lines[1:]], "line 2"),
        (lambda lines: [lines[0].replace('"format":1', '"format":9'), *lines[1:]], "format 9"),
        (lambda lines: [], "no header"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, change: Any, complaint: str) -> None:
    """One line that says where it stops being one."""
    file = tmp_path / "soak.jsonl"
    file.write_text("".join(f"{line}\n" for line in change(record.dump(soaked()).splitlines())))

    with pytest.raises(BadRecord, match=complaint):
        record.load(file)
    with pytest.raises(BadRecord, match="No such file"):
        record.load(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("torn", ["", '{"kind":"samp'])
def test_what_a_killed_soak_has_written_is_read(tmp_path: Path, torn: str) -> None:
    """All whole lines, and that there is no end; none of it is a pass."""
    soak = soaked(load={"served": 7})
    (tmp_path / "soak.jsonl").write_text("".join(record.dump(soak).splitlines(keepends=True)[:-1]) + torn)
    found = record.load(tmp_path / "soak.jsonl")

    assert (found.header, found.samples, found.repeats) == (soak.header, soak.samples, soak.repeats)
    assert found.footer.exit == judged.exit_code(found) == 3
    assert "no end" in found.footer.broken
    assert found.footer.seconds == soak.samples[-1].t
    assert found.footer.load == {"served": soak.samples[-1].served}


def test_a_record_without_the_end_of_its_last_line_is_whole(tmp_path: Path) -> None:
    """Its footer is there."""
    (tmp_path / "soak.jsonl").write_text(record.dump(soaked()).rstrip("\n"))

    assert record.load(tmp_path / "soak.jsonl") == soaked()


@pytest.mark.parametrize("form", list(SOAKS))
def test_reports_are_made_of_the_record_alone(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes twice, and from the file what is made of the soak itself."""
    soak = soaked(faults=[[fault()], [], [], []])
    (tmp_path / "soak.jsonl").write_text(record.dump(soak))

    assert SOAKS[form](soak, width=120) == SOAKS[form](soak, width=120)
    assert main(["report", str(tmp_path / "soak.jsonl"), "--format", form]) == 0
    assert capsys.readouterr().out == SOAKS[form](soak, width=120)


def test_a_soak_is_not_shown_as_what_it_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Formats for runs are refused with those that there are."""
    (tmp_path / "soak.jsonl").write_text(record.dump(soaked()))

    assert main(["report", str(tmp_path / "soak.jsonl"), "--format", "sarif"]) == 2
    assert "it is of a soak, which is shown as console, jsonl, html" in capsys.readouterr().err


def test_people_are_told_what_was_held_and_what_grew() -> None:
    """A table at rest, each finding, and a sentence."""
    flat = SOAKS["console"](soaked(), width=120)
    assert any(line.split() == ["descriptors", "6", "6", "6", "6", "6"] for line in flat.splitlines())
    assert "flat, and every repeat conformant: 4 repeats (28 passed) in 80 s, beside 800 connections" in flat

    grown = soaked([(6 + n, 1, 0, 4_000_000) for n in range(9)], faults=[[fault()], [], [], []], exit=1)
    text = SOAKS["console"](grown, width=120)
    assert "descriptors grew from 8 to 14" in text
    assert "not flat and not conformant: 4 repeats" in text


def test_a_page_needs_nothing_but_itself() -> None:
    """A picture for all that is watched, told in words as well; no script, no address, hostile text inert."""
    hostile = '</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\udcff {{ 7*7 }} "'
    soak = soaked(faults=[[fault(seen=hostile, id_=hostile)], [], [], []], ended=hostile, wrong=[hostile])
    told = {"name": hostile, "title": hostile, "command": [hostile]}
    soak = msgspec.structs.replace(
        soak, header=msgspec.structs.replace(soak.header, target=told, model=hostile, host={hostile: hostile})
    )
    page = SOAKS["html"](soak)

    assert page.count('<svg class="plot"') == 5
    assert "At rest 6 at first, 6 at the end. Since the first repeat, at rest, 6 to 6." in page
    assert "<script" not in page
    assert "<img" not in page
    assert "http" not in page.replace("http-equiv", "")
    page.encode()


def test_a_long_soak_fits_a_page() -> None:
    """A day of samples and a thousand repeats: the page has some of them, evenly spread, and stays small."""
    soak = soaked([(6, 1, 0, 4_000_000)] * 3001, faults=[[] for _ in range(1500)], seconds=30000.0)

    page = SOAKS["html"](soak)
    assert len(page) < 500_000
    assert "There are more than fit here" in page


def test_a_soak_of_nothing_has_reports_too() -> None:
    """Interrupted before the first sample."""
    empty = msgspec.structs.replace(soaked(interrupted=True, exit=130, load={}), samples=(), repeats=())

    for form in SOAKS:
        assert SOAKS[form](empty, width=100)


# What is played when


def test_each_kind_of_client_can_do_something() -> None:
    """The cycle names kinds that there are, and all of them."""
    assert set(KINDS) == set(DO)


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (0, (ROOM, True)),
        (512, (ROOM, True)),
        (10, (6, True)),
        (6, (2, True)),
        (5, (5, False)),
        (1, (1, False)),
    ],
)
def test_the_load_leaves_room_for_the_suite(declared: int, expected: tuple[int, bool]) -> None:
    """Four connections of those that a server declares; where that is too much, cases are played when the load rests."""
    assert room_for(declared) == expected


def test_each_case_is_played_once_a_repeat() -> None:
    """Beside the load, or while it rests; what looks at the server as a whole is among the latter."""
    plan = Plan(target=target.load("reference"))
    beside, apart = (
        {case.id for case in select(msgspec.structs.replace(plan, beside=used))} for used in (True, False)
    )

    assert beside | apart == set(expand(plan.target.manifest))
    assert not beside & apart
    assert {"echo/greeting", "process/born", "process/frozen"} <= beside
    assert {"hygiene/reaped", "concurrency/all-served@64"} <= apart


# The command line


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("10m", 600.0), ("1h", 3600.0), ("1h30m", 5400.0), ("0.5s", 0.5), (" 2M ", 120.0)],
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, minutes and hours, and sums of them."""
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "m", "10x", "-5s", "0s", "1m 30", "nan", "8760h", "1e3s", "٣s", "1.2.3s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """One line with examples of what is wanted, and exit code 2."""
    with pytest.raises(click.BadParameter, match="such as 90s, 10m or 1h"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--for", "10x"], "such as 90s, 10m or 1h"),
        (["--interval", "fast"], "such as 90s, 10m or 1h"),
        (["--output", "/nowhere/soak.jsonl"], "there is no folder /nowhere"),
        (["--html", "/nowhere/soak.html"], "there is no folder /nowhere"),
        (["socat", "--connect", "127.0.0.1:7"], "name one server"),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], complaint: str) -> None:
    """Before anything is started."""
    ended = CliRunner().invoke(command, arguments)

    assert (ended.exit_code, complaint in ended.output) == (2, True), ended.output


def test_an_empty_selection_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As for `check`."""
    assert main(["soak", "--case", "echo/greeting", "--group", "TIME"]) == 5
    assert "no case fits" in capsys.readouterr().err


def test_a_server_that_never_listens_has_an_exit_code_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """As for `check`."""
    assert main(["soak", "--set", "ready-within=0.2", "--", "sleep", "60"]) == 4
    assert "has not listened" in capsys.readouterr().err


# Real ones


def worn(mood: str, *cases: str, repeats: int = 4, **manifest: Any) -> Soak:
    """The soak of a server of our own that is worn out in some way."""
    made = Manifest(command=["{python}", "{here}/soaked.py", "{port}", mood], **manifest)
    judged_ = Target(name=mood, manifest=made, here=str(HERE))
    plan = Plan(target=judged_, selection=Selection(case=list(cases or CASES)))
    return playing.soak(plan, 0.1, every=0.1, repeats=repeats)


@pytest.mark.usefixtures("nothing_left")
def test_the_reference_is_flat(tmp_path: Path) -> None:
    """By the command line, with a record and a page: 0, and nothing is left."""
    files = [tmp_path / "soak.jsonl", tmp_path / "soak.html"]
    chosen = [word for case in CASES for word in ("--case", case)]
    ended = CliRunner().invoke(
        command,
        ["--for", "4s", "--interval", "0.1s", *chosen, "--output", str(files[0]), "--html", str(files[1])],
    )

    soak = record.load(files[0])
    # A machine that is too busy for the repeats that it takes says so.
    assert ended.exit_code == (3 if len(judged.ends(soak)) < judged.FEWEST else 0), ended.output
    assert judged.findings(soak) == []
    assert {one.phase for one in soak.samples} == {"load", "cases", "rest"}
    assert soak.footer.load["served"] > 0
    assert soak.header.model == "fork-per-connection (direct)"
    assert files[1].read_text() == SOAKS["html"](soak)


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("mood", "what"),
    [
        ("flat", set()),
        ("descriptors", {"descriptors"}),
        ("memory", {"memory"}),
        ("stays", {"processes"}),
        ("liar", {"load"}),
        ("mortal", {"server"}),
    ],
)
def test_a_server_that_is_worn_out_is_caught(mood: str, what: set[str]) -> None:
    """By what it is worn out in, and by nothing else; one that is not is not."""
    # One that is never at rest is waited for in vain after each repeat; two show that it is not.
    soak = worn(mood, "echo/greeting", "process/born", repeats=2 if mood == "stays" else 4)

    # Of one that has ended a case may fail as well, if it ended in the middle of it.
    found = {one.what for one in judged.findings(soak)}
    assert (found & {"server"} if mood == "mortal" else found) == what, words(soak)
    assert soak.footer.exit == (1 if what else 0)


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_server_that_leaves_zombies_is_caught() -> None:
    """At rest as by the case that looks for them."""
    found = {one.what for one in judged.findings(worn("zombies", repeats=2))}

    assert found == {"zombies", "hygiene/reaped"}


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_server_that_fails_a_case_now_and_then_is_caught() -> None:
    """By that case, in some of the repeats; where it is known, by nothing."""
    soak = worn("fickle", repeats=4)
    (found,) = judged.findings(soak)
    assert found.what == "echo/greeting"
    assert "failed 2 of 4, 95 %: 15.0 % to 85.0 %" in found.words

    excused = worn("fickle", known={"echo/greeting": "it is fickle"})
    assert judged.findings(excused) == []
    assert excused.footer.exit == 0


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    "name", ["reference-unix", "reference-ipv6", "recipe", "socketserver-in-process", "threading"]
)
def test_servers_of_other_kinds_can_be_soaked(name: str) -> None:
    """Over UNIX sockets and IPv6, one-shot, in process, without forks: what they hold does not grow."""
    plan = Plan(target=target.load(name), selection=Selection(case=["echo/greeting"]))
    soak = playing.soak(plan, 0.1, every=0.1, repeats=3)

    assert [one for one in judged.findings(soak) if one.what != "zombies"] == [], words(soak)
    assert soak.footer.load["served"] > 0


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_soak_tells_what_it_saw(number: signal.Signals, tmp_path: Path) -> None:
    """By Ctrl-C or SIGTERM: 130, the record is closed, what was seen is told, and nothing is left."""
    file = tmp_path / "soak.jsonl"
    words = ["soak", "--for", "1h", "--interval", "0.1s", "--case", "echo/greeting", "--output", str(file)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "forkecho", *words], stdout=subprocess.PIPE, text=True
    ) as made:
        # Before its load is at work there is nothing to tell.
        part = file.with_name(f"{file.name}.{made.pid}.part")
        assert wait_for(lambda: part.exists() and '"phase":"load"' in part.read_text(), Deadline(60))
        made.send_signal(number)
        text, _ = made.communicate(timeout=60)

    assert made.returncode == 130
    assert "interrupted" in text
    assert record.load(file).footer.interrupted


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_killed_soak_leaves_what_it_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By a signal that nobody can catch: in a file beside the record's, which a report is made of."""
    file = tmp_path / "soak.jsonl"
    words = ["soak", "--for", "1h", "--interval", "0.1s", "--case", "echo/greeting", "--output", str(file)]
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "forkecho", *words], stdout=subprocess.DEVNULL
    ) as made:
        part = file.with_name(f"{file.name}.{made.pid}.part")
        assert wait_for(lambda: part.exists() and '"repeat"' in part.read_text(), Deadline(60))
        made.kill()

    found = record.load(part)
    assert not file.exists()
    assert found.repeats
    assert found.repeats[0].totals == {"pass": 1}
    assert len(found.samples) > 1
    assert main(["report", str(part)]) == 0
    assert "the record has no end" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("full", [False, True])
def test_what_grows_beside_the_record_is_gone_with_it(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once the record is written; where that fails it stays, whole."""
    file = tmp_path / "alone" / "soak.jsonl"
    file.parent.mkdir()
    if full:

        def no_place(text: str, path: Path | None) -> None:
            if path:
                raise click.FileError(str(path), "No space left on device")

        monkeypatch.setattr("forkecho.cli.soak.save", no_place)
    code = main(
        ["soak", "--for", "1s", "--interval", "0.1s", "--case", "echo/greeting", "--output", str(file)]
    )

    (left,) = file.parent.iterdir()
    assert code == (3 if full else record.load(file).footer.exit)
    assert (left == file) is not full
    assert (f"what was seen is in {left}" in capsys.readouterr().err) is full
    assert not record.load(left).footer.broken


def test_a_journal_that_cannot_be_written_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is said once; and beside what is no file nothing is written."""
    lost = Journal(tmp_path / "missing" / "soak.jsonl")
    lost.add("{}\n")
    lost.add("{}\n")
    (said,) = capsys.readouterr().err.splitlines()
    assert "No such file or directory; what is seen is not written before the end" in said
    assert not lost.close(keep=True)
    nowhere = Journal(Path(os.devnull))
    nowhere.add("{}\n")
    assert nowhere.path is None
    assert not nowhere.close(keep=True)


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_killed_load_is_a_fault_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as one: 3."""
    monkeypatch.setattr(playing.Loading, "go", lambda load: load._process.kill())
    soak = worn("flat", repeats=1)

    assert "the load" in soak.footer.broken
    assert soak.footer.exit == 3
