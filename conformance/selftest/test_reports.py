"""Reports: what a run said is found in each of them again, in the same bytes every time."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from forkecho.cli.judged import with_settings
from forkecho.conformance import requirement, result, target
from forkecho.conformance.case import expand
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.report import FORMATS, again, console, evidence, junit
from forkecho.conformance.report.printable import printable
from forkecho.conformance.result import BadRecord, CaseLine, Footer, Header, Run, Verdict
from forkecho.conformance.verdict import exit_code

BORN = {"t": 0.002, "event": "born", "on": "a", "pid": 4711, "start": 99, "ppid": 4700, "command": "/bin/cat"}
SENT = {"t": 0.0123, "on": "a", "event": "sent", "length": 17, "head": "00" * 16, "tail": "ff" * 16}


def line(case_id: str, verdict: Verdict, **told: Any) -> CaseLine:
    """A result by hand; the requirement is FORK-06 unless told."""
    one = requirement.load()[told.pop("requirement", "FORK-06")]
    words: dict[str, Any] = {
        "title": f"The title of {case_id}.",
        "seconds": 0.25,
        "repeats": {verdict.value: 1},
    } | told
    return CaseLine(
        id=case_id, requirement=one.id, group=one.group, level=one.level, verdict=verdict, seed=1, **words
    )


def run_of(*cases: CaseLine, judged: dict[str, Any] | None = None, **header: Any) -> Run:
    """A run by hand, as `forkecho check socat` would record it."""
    told: dict[str, Any] = {
        "format": 1,
        "forkecho": "0.1.0",
        "spec": "0123456789ab",
        "target": judged or target.load("socat").describe(),
        "model": None,
        "host": {"system": "Linux"},
        "seed": 42,
        "selection": {},
        "selected": len(cases),
        "started": "2026-01-01T00:00:00Z",
    }
    strict = bool(header.get("selection", {}).get("strict"))
    return Run(
        header=Header(**(told | header)),
        cases=cases,
        footer=Footer(
            totals=result.totals(cases),
            selected=len(cases),
            exit=exit_code(cases, strict=strict),
            seconds=12.34,
            interrupted=False,
        ),
    )


def one_of_each(**header: Any) -> Run:
    """A run in which every verdict was given once."""
    words = {"reason": "for a reason", "expected": "what is right", "seen": "what is wrong"}
    return run_of(*(line(f"x/{verdict.name.lower()}", verdict, **words) for verdict in Verdict), **header)


@pytest.mark.parametrize("form", FORMATS)
def test_two_renderings_are_the_same_bytes(form: str) -> None:
    """Neither the order of the cases nor the environment changes a byte."""
    run = one_of_each()
    backwards = msgspec.structs.replace(run, cases=run.cases[::-1])
    before = dict(os.environ)
    first = FORMATS[form](run, width=90)
    try:
        os.environ.update({"COLUMNS": "33", "TERM": "dumb", "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"})
        second = FORMATS[form](backwards, width=90)
    finally:
        os.environ.clear()
        os.environ.update(before)

    assert first.encode() == second.encode()


# The record


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """load() of dump() is the run."""
    run = run_of(line("x/a", Verdict.PASS, transcript=[SENT], processes=[BORN]), line("x/b", Verdict.WARN))
    (tmp_path / "run.jsonl").write_text(FORMATS["jsonl"](run))

    assert run == result.load(tmp_path / "run.jsonl")


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "a\nb", "a\r\nb"])
def test_a_record_keeps_whatever_ends_lines_elsewhere(tmp_path: Path, text: str) -> None:
    """A text with an end of line in it is no end of a line of the record."""
    run = run_of(line("x/a", Verdict.FAIL, seen=text))
    (tmp_path / "run.jsonl").write_text(FORMATS["jsonl"](run))

    assert run == result.load(tmp_path / "run.jsonl")


def without_footer(lines: list[str]) -> list[str]:
    return lines[:-1]


def without_header(lines: list[str]) -> list[str]:
    return lines[1:]


def without_a_case(lines: list[str]) -> list[str]:
    return lines[:1] + lines[2:]


def with_a_case_twice(lines: list[str]) -> list[str]:
    return [lines[0], lines[1], *lines[1:]]


def with_half_a_line(lines: list[str]) -> list[str]:
    return [*lines[:-1], lines[-1][:20]]


def of_the_future(lines: list[str]) -> list[str]:
    return [lines[0].replace('"format":1', '"format":2'), *lines[1:]]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (without_footer, "no footer"),
        (without_header, "no header"),
        (without_a_case, "9 cases, but 10 were selected"),
        (with_a_case_twice, "stands twice"),
        (with_half_a_line, "line 12"),
        (of_the_future, "format 2"),
    ],
)
def test_an_incomplete_record_is_refused(
    spoil: Callable[[list[str]], list[str]], complaint: str, tmp_path: Path
) -> None:
    """The complaint names the file and where it stops being a record."""
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(spoil(result.dump(one_of_each()).splitlines())))

    with pytest.raises(BadRecord, match=complaint) as caught:
        result.load(path)
    assert str(path) in str(caught.value)


def test_each_line_has_what_the_schema_demands() -> None:
    """The published schema names every field of every line, and which line has which."""
    schema = result.schema()
    kinds = {
        one["properties"]["kind"]["enum"][0]: one for one in schema["$defs"].values() if "properties" in one
    }

    lines = [json.loads(one) for one in result.dump(one_of_each()).splitlines()]

    assert {"header", "case", "footer"} == set(kinds) == {one["kind"] for one in lines}
    for one in lines:
        assert set(kinds[one["kind"]]["required"]) <= set(one) <= set(kinds[one["kind"]]["properties"])


def test_a_record_fits_the_schema() -> None:
    """The same by a validator that is not ours, where it is installed."""
    jsonschema = pytest.importorskip("jsonschema")

    for one in result.dump(one_of_each()).splitlines():
        jsonschema.validate(json.loads(one), result.schema())


# JUnit


def parsed(run: Run) -> ElementTree.Element:
    return ElementTree.fromstring(FORMATS["junit"](run))


def test_junit_has_a_testcase_for_each_case() -> None:
    """Class and name are the group and the id, and the attributes count what is there."""
    root = parsed(one_of_each())
    suite = root.find("testsuite")

    assert suite is not None
    cases = suite.findall("testcase")
    assert [("FORK", case.id) for case in sorted(one_of_each().cases, key=lambda case: case.id)] == [
        (case.get("classname"), case.get("name")) for case in cases
    ]
    for element, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(suite.findall(f"testcase/{element}")) == int(suite.get(attribute, "-1"))
    assert len(cases) == int(suite.get("tests", "-1"))


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("strict", [False, True])
def test_junit_fails_where_the_exit_code_does(verdict: Verdict, strict: bool) -> None:
    """A CI that reads the report comes to the same end as one that reads the exit code."""
    run = run_of(
        line("x/a", verdict, reason="why"),
        line("x/b", Verdict.PASS),
        selection={"strict": True} if strict else {},
    )
    root = parsed(run)

    expected = {0: (False, False), 1: (True, False), 3: (False, True)}[run.footer.exit]
    assert expected == (root.get("failures") != "0", root.get("errors") != "0")


def test_junit_escapes_what_xml_cannot_say() -> None:
    """Control characters, surrogates and non-characters of a server's words do not break the document."""
    seen = "\x00\x1b[31m\r]]> <&\"' \ufffe \u2028 é"
    root = parsed(run_of(line("x/a", Verdict.FAIL, expected="e", seen=seen)))

    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert printable(seen) in (failure.text or "")
    assert printable(seen) in failure.get("message", "")


#: What junit-10.xsd of Jenkins' xUnit plugin allows: for each element its attributes, those that must be, and its children.
COMMON = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {
            "name",
            "tests",
            "failures",
            "errors",
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
        },
        {"name", "tests", "failures", "errors"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set(), set()),
    "error": ({"type", "message"}, set(), set()),
    "skipped": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}
SECONDS = re.compile(r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?")


@pytest.mark.parametrize("strict", [False, True])
def test_junit_is_what_the_common_schema_allows(strict: bool) -> None:
    """No other element or attribute, none missing, and times as it has them."""
    root = parsed(one_of_each(model="fork", selection={"strict": strict}))

    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, needed, children = COMMON[element.tag]
        assert needed <= set(element.keys()) <= allowed, element.tag
        assert {child.tag for child in element} <= children, element.tag
        assert SECONDS.fullmatch(element.get("time", "")), element.get("time")
        assert element.get("time") is None or len(element.get("time", "").partition(".")[2]) == 3


def test_junit_tells_of_each_case_what_it_was() -> None:
    """A failure for what failed, an error for what is our own fault, and whatever was skipped has its reason."""
    found = {case.get("name"): case for case in parsed(one_of_each()).iter("testcase")}

    assert found["x/fail"].find("failure") is not None
    assert found["x/broken"].find("error") is not None
    assert not list(found["x/pass"])
    for name in ("x/known", "x/not_applicable", "x/inconclusive"):
        skipped = found[name].find("skipped")
        assert skipped is not None
        assert "for a reason" in skipped.get("message", "")


def test_junit_names_an_element_for_each_verdict() -> None:
    """A new verdict is not forgotten."""
    assert set(Verdict) == set(junit.ELEMENTS)


# The console


def failing(**told: Any) -> CaseLine:
    return line("process/frozen", Verdict.FAIL, expected="all of it", seen="a half", **told)


def test_the_console_tells_a_failure_whole() -> None:
    """Everything that is needed to understand it without the source, each word once."""
    text = FORMATS["console"](run_of(failing(transcript=[SENT], processes=[BORN])), width=200)

    one = requirement.load()["FORK-06"]
    for wanted in (
        f"failed: FORK-06 (MUST) {one.title}, 1 of 1 case",
        one.statement,
        "process/frozen\n",
        "The title of process/frozen.",
        "expected  all of it",
        "seen      a half",
        "+0.012 a sent 17 bytes 0000000000000000...ffffffff",
        "+0.002 born 4711 (a, child of 4700): /bin/cat",
        "forkecho check socat --case process/frozen --seed 42",
    ):
        assert text.count(wanted) == 1, wanted
    assert text.endswith("\nnot conformant: 1 failed (of 1 case, 12.3 s)\n")


def test_the_console_has_no_evidence_of_what_passed() -> None:
    """A conformant run is a table and a sentence."""
    passed = line("x/a", Verdict.PASS, transcript=[SENT], processes=[BORN])
    text = FORMATS["console"](run_of(passed, line("x/b", Verdict.NOT_APPLICABLE, reason="no limit declared")))

    assert "4711" not in text
    assert "1 x  no limit declared\n" in text
    assert text.endswith("\nconformant: 1 passed, 1 n/a (of 2 cases, 12.3 s)\n")


def test_what_is_known_to_be_broken_is_not_called_conformant(hand: Any) -> None:
    """It passes a gate, but is no server that keeps everything."""
    run = hand.run(hand.case("x/a", "pass"), hand.case("x/b", "known"))

    assert console.sentence(run).startswith("conformant but for known failures: 1 passed, 1 known")


@pytest.mark.parametrize(
    "verdict", [Verdict.BLOCKED, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE, Verdict.KNOWN]
)
def test_a_reason_that_many_have_is_said_once(verdict: Verdict) -> None:
    """Five hundred blocked cases are one paragraph, not five hundred."""
    cases = [line(f"x/y@{number}", verdict, reason="the same for all") for number in range(500)]
    text = FORMATS["console"](run_of(*cases))

    assert text.count("the same for all") == 1
    assert "500 x" in text
    assert len(text.splitlines()) < 20


@pytest.mark.parametrize("verdict", Verdict)
def test_the_console_names_every_verdict(verdict: Verdict) -> None:
    """In the table, in the totals, and with the reason or the words unless it passed."""
    text = FORMATS["console"](run_of(line("x/a", verdict, reason="only because")))

    assert console.WORDS[verdict][0] in text.splitlines()[-1]
    assert (verdict is not Verdict.PASS) == ("only because" in text)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("odd", [None, 5, "x y", {"a": 1}, [[1], {}, None]])
def test_anything_in_a_record_from_elsewhere_is_borne(form: str, odd: object) -> None:
    """In what is told of the target, and in events: no report is lost to it."""
    keys = ("t", "event", "on", "pid", "start", "ppid", "command", "length", "head", "until", "untold")
    events = [{}, dict.fromkeys(keys, odd), BORN | {"pid": odd}, BORN | {"event": "owner", "command": odd}]
    judged = dict.fromkeys(("name", "title", "manifest", "connect", "command", "reply", "role"), odd)
    case = line("x/a", Verdict.FAIL, expected="x", seen="y", transcript=events, processes=events)
    for told in (judged, {"name": "x", "command": odd}, {"name": "socat", "command": odd, "env": odd}):
        assert FORMATS[form](run_of(case, judged=told))


def test_colours_are_escape_sequences_and_nothing_else() -> None:
    """Without them the text is the same; a server's own escape sequences never get through."""
    run = run_of(failing(), line("x/b", Verdict.WARN, seen="\x1b[2Jgone", expected="é\ttab"))
    plain = FORMATS["console"](run)
    coloured = FORMATS["console"](run, color=True)

    assert "\x1b" not in plain
    assert r"\x1b[2Jgone" in plain
    assert "\x1b[" in coloured
    assert (
        plain.split()
        == "".join(part[part.find("m") + 1 :] for part in ("m" + coloured).split("\x1b[")).split()
    )


def test_what_is_to_be_copied_is_never_broken() -> None:
    """However narrow the terminal."""
    text = FORMATS["console"](run_of(failing()), width=40)

    assert "    again     forkecho check socat --case process/frozen --seed 42\n" in text


def test_a_requirement_that_is_no_more_is_still_reported() -> None:
    """A record of another version of the specification can be shown."""
    gone = msgspec.structs.replace(failing(), requirement="OLD-01", group="OLD")
    text = FORMATS["console"](run_of(gone))

    assert "failed: OLD-01 (MUST), 1 of 1 case" in text


def test_a_long_transcript_is_cut_in_the_middle() -> None:
    """The beginning and the end stay, and what was left out is counted."""
    events = [{**SENT, "t": number / 1000, "length": number + 20} for number in range(300)]
    lines = evidence.transcript(failing(transcript=events))

    assert len(lines) == evidence.LINES_MAX
    assert "+0.000" in lines[0]
    assert "+0.299" in lines[-1]
    assert "281 lines" in lines[9]


def test_what_many_connections_do_alike_is_one_line() -> None:
    """Sixty-four that connect are not sixty-four lines."""
    events = [
        {"t": 0.001, "on": f"n{number}", "event": "connected", "local": number} for number in range(1, 65)
    ]

    assert evidence.transcript(failing(transcript=events)) == [
        "+0.001 n1, n2 ... n64 (64 connections) connected"
    ]


# The line to try a case again


def line_again(judged: dict[str, Any], **header: Any) -> list[str]:
    return shlex.split(again.command_line(run_of(judged=judged, **header).header, "x/a"))


def test_again_a_command() -> None:
    """A command stands at the end, and what was declared before it."""
    manifest = Manifest(
        command=["./server", "a b", "{port}"],
        reply="{pid}: {data}",
        max_connections=40,
        drain="cut",
        env={"X": "1"},
    )
    told = {"name": "server", **msgspec.to_builtins(manifest)}

    assert [
        *["forkecho", "check", "--case", "x/a", "--seed", "42"],
        *[
            "--set",
            "drain=cut",
            "--set",
            'env={ X = "1" }',
            "--max-connections",
            "40",
            "--reply",
            "{pid}: {data}",
        ],
        *["--", "./server", "a b", "{port}"],
    ] == line_again(told)


def test_again_a_bundled_target() -> None:
    """Its name is enough, with what was said otherwise on the command line."""
    told = target.load("socat").describe() | {"drain-within": 9.0}

    assert line_again(told) == [
        "forkecho",
        "check",
        "socat",
        "--case",
        "x/a",
        "--seed",
        "42",
        "--set",
        "drain-within=9.0",
    ]


def test_again_a_manifest(tmp_path: Path) -> None:
    """With what was said beside it, even where that is what a manifest says that says nothing."""
    path = tmp_path / "mine.toml"
    path.write_text('command = ["./mine", "{port}"]\nreply = "{pid}:{data}"\ndrain = "cut"\n')
    options = dict.fromkeys(("framing", "max_connections")) | {"settings": ("drain=cut", "drain-within=9")}
    plain = with_settings(target.load(str(path)), options | {"reply": None, "settings": ()}).describe()
    told = with_settings(target.load(str(path)), options | {"reply": "{data}"}).describe()
    words = ["forkecho", "check", str(path), "--case", "x/a", "--seed", "42"]
    path.unlink()

    assert line_again(plain) == words
    assert line_again(told) == [*words, "--set", "drain-within=9.0", "--reply", "{data}"]
    assert line_again(told | {"given": [{}, 3, "no-such-key"]}) == words


def test_again_what_runs_already() -> None:
    """The address, and how the run was played."""
    told = target.Target(name="there", manifest=Manifest(), connect=("127.0.0.1", 7)).describe()

    assert [
        *["forkecho", "check", "--connect", "127.0.0.1:7", "--case", "x/a", "--seed", "42"],
        *["--timeout-scale", "2.0", "--stress"],
    ] == line_again(told, selection={"scale": 2.0, "stress": True})


def test_again_names_a_case_that_shells_leave_alone() -> None:
    """No id of a case needs a quote."""
    header = run_of().header
    for case_id in expand(Manifest()):
        assert f"--case {case_id} --seed" in again.command_line(header, case_id)
