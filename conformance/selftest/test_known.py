"""Failures that are known: the file that lists them, how it is read, and how a run makes it."""

from __future__ import annotations

import datetime
import random
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner

from forkecho.cli import check, check_client
from forkecho.cli import known as verb
from forkecho.conformance import known, prove, renewal, requirement, result, target
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.inline import inline
from forkecho.conformance.known import entries as load_entries
from forkecho.conformance.manifest import Known, concerns
from forkecho.conformance.plan import spec_digest
from forkecho.conformance.renewal import NotRenewable
from forkecho.conformance.report import listing
from forkecho.conformance.result import CaseLine, Footer, Header, Run, Verdict
from forkecho.conformance.verdict import exit_code, settle


def listed(folder: Path, text: str) -> Path:
    """A file of known failures."""
    path = folder / "known.toml"
    path.write_text(text)
    return path


# The file


def test_a_file_has_entries_as_a_manifest_has(tmp_path: Path) -> None:
    """A reason alone, or a table with all that can be said."""
    path = listed(
        tmp_path,
        '[known]\n"ECHO-10" = "old"\n'
        '"echo/*" = { reason = "chance", sometimes = true, seen = "silence", expires = 2026-12-31 }\n',
    )

    assert known.load(path) == {
        "ECHO-10": Known("old"),
        "echo/*": Known("chance", sometimes=True, seen="silence", expires=datetime.date(2026, 12, 31)),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "what is wanted is a table [known]"),
        ("known = 3", "what is wanted is a table [known]"),
        ("[knwon]\n", "'knwon' has no place here"),
        ('[known]\n"ECHO-10" = ""\n', "known 'ECHO-10': each entry of [known] needs a reason"),
        ('[known]\n"ECHO-10" = 3\n', "known 'ECHO-10': what is wanted is the reason, or a table"),
        ('[known]\n"ECHO-10" = { seen = "x" }\n', "known 'ECHO-10': Object missing required field `reason`"),
        ('[known]\n"ECHO-10" = { reason = "x", until = 3 }\n', "there are expires, reason, seen, sometimes"),
        ('[known]\n"ECHO-10" = { reason = "x", seen = "(" }\n', "known 'ECHO-10': seen '(' is no pattern"),
        ('[known]\n"ECHO-10" = { reason = "x", expires = "soon" }\n', "known 'ECHO-10'"),
        ('[known]\n"ECHO-99" = "x"\n', "'ECHO-99', which is no requirement and fits no case"),
        ('[known]\n"echo/nope*" = "x"\n', "'echo/nope*', which is no requirement and fits no case"),
        ("[known", "not TOML"),
    ],
)
@pytest.mark.parametrize("judge", [check.command, check_client.command], ids=["check", "check-client"])
def test_a_bad_file_is_refused_before_anything_is_judged(
    judge: click.Command, text: str, complaint: str, tmp_path: Path
) -> None:
    """The complaint names the file, the entry, and what would be right."""
    path = listed(tmp_path, text)

    ended = CliRunner().invoke(judge, ["--known", str(path)])

    assert isinstance(ended.exception, BadFixture)
    assert str(ended.exception).startswith(f"{path}: ")
    assert complaint in str(ended.exception)


def test_an_entry_that_was_meant_otherwise_names_what_is_near(tmp_path: Path) -> None:
    """A slip is found without the list of all cases."""
    path = listed(tmp_path, '[known]\n"ECHO01" = "x"\n')

    with pytest.raises(BadFixture, match="did you mean ECHO-01"):
        known.with_file(target.load("reference"), path)


def test_a_file_is_added_to_the_manifest_and_holds_where_both_speak(tmp_path: Path) -> None:
    """What is used is in the record, which its reader needs to know."""
    path = listed(
        tmp_path, '[known]\n"ECHO-10" = { reason = "mine", expires = 2026-12-31 }\n"ECHO-01" = "new"\n'
    )
    socat = target.load("socat")
    assert "ECHO-10" in socat.manifest.known

    both = known.with_file(socat, path)

    assert set(both.manifest.known) == {*socat.manifest.known, "ECHO-01"}
    assert both.describe()["known"]["ECHO-10"] == {
        "reason": "mine",
        "sometimes": False,
        "seen": "",
        "expires": "2026-12-31",
    }
    assert known.with_file(socat, None) is socat


# What a run makes of it: the recipe's client breaks requirements of both levels


def requirement_of(level: str) -> requirement.Requirement:
    """Any requirement of that level."""
    return next(one for one in requirement.load().values() if one.level == level)


MUST, SHOULD = requirement_of("must"), requirement_of("should")


def case(id_: str, verdict: Verdict, **told: Any) -> CaseLine:
    """A result; of a MUST unless it is a warning."""
    one = SHOULD if verdict is Verdict.WARN else MUST
    words = {"title": id_, "seen": "silence"} | told
    return CaseLine(id=id_, requirement=one.id, group=one.group, level=one.level, verdict=verdict, **words)


def run_of(
    *cases: CaseLine,
    known: dict[str, Any] | None = None,
    exit_: int | None = None,
    interrupted: bool = False,
    **header: Any,
) -> Run:
    """A run of everything on the first of 2026."""
    strict = bool(header.get("selection", {}).get("strict"))
    told: dict[str, Any] = {
        "target": {"name": "mine", "command": ["./mine", "{port}"], "known": known or {}},
        "selection": {},
        "spec": spec_digest(),
        "started": "2026-01-01T00:00:00Z",
    } | header
    return Run(
        header=Header(
            format=1, forkecho="0", model=None, host={}, seed=0, selected=len(cases),
            **told,
        ),
        cases=cases,
        footer=Footer(
            totals=result.totals(cases),
            selected=len(cases),
            exit=exit_code(cases, strict=strict) if exit_ is None else exit_,
            seconds=1.0,
            interrupted=interrupted,
        ),
    )  # fmt: skip


def again(run: Run, listed: dict[str, Known]) -> int:
    """The exit code of the same run with that list."""
    cases = [renewal.as_played(one) for one in run.cases]
    sizes = {entry: sum(concerns(entry, one.id, one.requirement) for one in cases) for entry in listed}
    day = datetime.date.fromisoformat(run.header.started[:10])
    return exit_code(settle(cases, listed, sizes, day), strict=bool(run.header.selection.get("strict")))


def test_what_fails_is_entered_by_case_and_the_run_would_have_been_green() -> None:
    """With the reason that was given and a pattern of what was seen; what passes or only warns is not."""
    run = run_of(case("x/a", Verdict.FAIL), case("x/b", Verdict.PASS), case("x/c", Verdict.WARN))

    found = renewal.renew([run], {}, reason="old")

    assert found.entries == {"x/a": Known("old", seen="^silence$")}
    assert found.new == ["x/a"]
    assert again(run, found.entries) == 0


def test_a_strict_run_needs_its_warnings_known() -> None:
    """They would fail it."""
    run = run_of(case("x/c", Verdict.WARN), case("x/b", Verdict.PASS), selection={"strict": True})

    found = renewal.renew([run], {}, reason="old")

    assert list(found.entries) == ["x/c"]
    assert again(run, found.entries) == 0


def test_what_is_fixed_is_dropped_and_what_still_fails_stays() -> None:
    """An entry that fits nothing any more goes as well; one that comes by chance stays, passed or not."""
    listed = {
        "x/a": Known("of old"),
        "x/b": Known("mended"),
        "x/c": Known("by chance", sometimes=True),
        "x/gone": Known("renamed"),
    }
    known = msgspec.to_builtins(listed)
    cases = [
        case("x/a", Verdict.KNOWN, reason="of old"),
        case("x/b", Verdict.FIXED),
        case("x/c", Verdict.PASS),
    ]

    found = renewal.renew([run_of(*cases, known=known)], listed)

    assert list(found.entries) == ["x/a", "x/c"]
    assert found.dropped == {"x/b": "fixed", "x/gone": "there is no such case any more"}
    assert found.new == []


def test_a_case_that_fails_differently_is_new_again() -> None:
    """Its entry is for another failure; the reason has to be given anew."""
    run = run_of(case("x/a", Verdict.FAIL, seen="a reset"), case("x/b", Verdict.KNOWN))
    listed = {"x/a": Known("old", seen="silence"), "x/b": Known("kept", seen="silence")}

    found = renewal.renew([run], listed, reason="new")

    assert found.entries == {"x/a": Known("new", seen="^a reset$"), "x/b": listed["x/b"]}
    assert again(run, found.entries) == 0


def test_an_entry_that_still_holds_is_widened_and_not_replaced(tmp_path: Path) -> None:
    """One by chance, or in one of several runs, that fails in another way keeps its reason, its date and its pattern."""
    chance = Known("mine", sometimes=True, seen="silence", expires=datetime.date(2026, 6, 30))
    listed = {"x/a": chance, "x/b": Known("kept", seen="silence")}
    told = {"known": msgspec.to_builtins(listed)}
    first = run_of(case("x/a", Verdict.FAIL, seen="a reset"), case("x/b", Verdict.KNOWN), **told)
    other = run_of(case("x/a", Verdict.FAIL, seen="7 bytes"), case("x/b", Verdict.FAIL, seen="a ("), **told)

    one, both = renewal.renew([first], listed), renewal.renew([first, other], listed)

    assert one.entries["x/a"] == msgspec.structs.replace(chance, seen="silence|^a reset$")
    assert (one.widened, one.new, one.renewed) == (["x/a"], [], [])
    assert both.entries == {
        "x/a": msgspec.structs.replace(chance, seen=r"silence|^a reset$|^[\d.]+ bytes$"),
        "x/b": Known("kept", seen=r"silence|^a \($"),
    }
    assert [again(run, both.entries) for run in (first, other)] == [0, 0]
    assert verb.told(one)[0] == "x/a is excused where it fails in another way as well"


def test_an_expired_entry_wants_a_date() -> None:
    """It is renewed with one, and refused without."""
    run = run_of(case("x/a", Verdict.FAIL))
    listed = {"x/a": Known("old", expires=datetime.date(2025, 12, 31))}

    with pytest.raises(NotRenewable, match="x/a was known until 2025-12-31, and still fails: give --expires"):
        renewal.renew([run], listed)
    found = renewal.renew([run], listed, expires=datetime.date(2026, 6, 30))

    assert found.entries == {"x/a": Known("old", expires=datetime.date(2026, 6, 30))}
    assert (found.renewed, found.new) == (["x/a"], [])


def test_the_manifests_own_entries_are_not_entered_again() -> None:
    """They excuse what they excuse; but one of theirs that is fixed is not to be dropped here."""
    known = {MUST.id: "of old"}
    run = run_of(case("x/a", Verdict.KNOWN), case("x/b", Verdict.KNOWN), known=known)
    assert renewal.renew([run], {}, reason="new").entries == {}
    assert renewal.renew([run], None).entries == {MUST.id: Known("of old")}

    run = run_of(case("x/a", Verdict.FIXED), known=known)
    with pytest.raises(NotRenewable, match="x/a is listed as known .* the entry stands in the manifest"):
        renewal.renew([run], {})


def test_what_fails_in_some_runs_comes_by_chance() -> None:
    """And what fails in several ways has a pattern for each; all of these runs would have been green."""
    runs = [
        run_of(
            case("x/chance", Verdict.FAIL if number else Verdict.FIXED),
            case("x/old", Verdict.PASS if number else Verdict.KNOWN),
            case("x/ways", Verdict.FAIL, seen="a reset" if number else "silence"),
            case("x/always", Verdict.FAIL),
        )
        for number in range(2)
    ]

    found = renewal.renew(runs, {"x/old": Known("of old")}, reason="new")

    assert found.entries == {
        "x/always": Known("new", seen="^silence$"),
        "x/chance": Known("new", seen="^silence$", sometimes=True),
        "x/old": Known("of old", sometimes=True),
        "x/ways": Known("new", seen="^silence$|^a reset$"),
    }
    assert found.new == ["x/always", "x/chance", "x/ways"]
    assert found.renewed == ["x/old"]
    assert [again(run, found.entries) for run in runs] == [0, 0]


def test_runs_of_several_targets_make_no_list() -> None:
    """Whatever was known in them."""
    run = run_of(case("x/a", Verdict.FAIL))
    same = run_of(case("x/a", Verdict.FAIL), known={"x/a": "old"})
    other = msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, target={"name": "other"}))

    assert renewal.renew([run, same], None, reason="new").entries == {"x/a": Known("old")}
    with pytest.raises(NotRenewable, match="different targets"):
        renewal.renew([run, other], {}, reason="new")


def test_a_list_that_was_used_is_no_manifest() -> None:
    """What was known by another list has to be entered in this one."""
    run = run_of(case("x/a", Verdict.KNOWN))
    told = {**run.header.target, "known": {"x/a": "by a list"}, "listed": ["x/a"]}
    run = msgspec.structs.replace(run, header=msgspec.structs.replace(run.header, target=told))

    assert list(renewal.renew([run], {}, reason="new").entries) == ["x/a"]


@pytest.mark.parametrize(
    ("run", "complaint"),
    [
        (run_of(case("x/a", Verdict.FAIL), selection={"case": ["x/*"]}), "only a part was judged (--case)"),
        (
            run_of(case("x/a", Verdict.FAIL), selection={"level": ["must"]}),
            "only a part was judged (--level)",
        ),
        (run_of(case("x/a", Verdict.FAIL), interrupted=True, exit_=130), "interrupted"),
        (run_of(case("x/a", Verdict.BLOCKED), exit_=4), "never became ready"),
        (run_of(case("x/a", Verdict.FAIL), started="some day"), "but 'some day'"),
        (run_of(case("x/a", Verdict.FAIL), spec="0"), "another specification"),
        (run_of(case("x/a", Verdict.BLOCKED), case("x/b", Verdict.FAIL)), "x/a ended blocked"),
        (run_of(case("x/a", Verdict.INCONCLUSIVE)), "x/a ended inconclusive"),
        (run_of(case("x/a", Verdict.BROKEN), case("x/b", Verdict.BROKEN)), "x/a and 1 more ended broken"),
        (run_of(case("x/a", Verdict.UNSTABLE)), "x/a ended unstable"),
    ],
)
def test_a_run_that_does_not_tell_of_every_case_makes_no_list(
    run: Run, complaint: str, tmp_path: Path
) -> None:
    """One line and exit code 2, and the file is as it was."""
    record = tmp_path / "run.jsonl"
    record.write_text(result.dump(run))
    path = listed(tmp_path, '[known]\n"ECHO-10" = "old"\n')

    ended = CliRunner().invoke(verb.command, [str(record), "--update", str(path), "--reason", "new"])

    assert (ended.exit_code, complaint in ended.output) == (2, True), ended.output
    assert path.read_text() == '[known]\n"ECHO-10" = "old"\n'


# What was seen, as a pattern


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            "process 24407 python recipe.py 127.0.0.1 28512 holds it",
            "process 7 python recipe.py 127.0.0.1 1 holds it",
        ),
        ("/a/bin/python3.11 /b/x.py is alive", "/usr/bin/python3 /tmp/x.py is alive"),
        ("3 of 102400 bytes, then silence for 5.5 s", "77 of 9 bytes, then silence for 5 s"),
        (r"b'a\'b\x00', then a reset", 'b"o\'clock", then a reset'),
        ("got 00ff00ff00ff instead", "got abcdefabcdef0123 instead"),
        ("processes 1 a b, 2 a b, 3 a b hold it", "processes 7 a b, 8 a b hold it"),
        ("a [b] (c)* | d?", "a [b] (c)* | d?"),
        ("one\n\ttwo \x1b\ud800", "one\n\ttwo \x1b\ud800"),
        ("it said 'something " + "x" * 400 + "' at last", "it said 'other " + "y" * 500 + "' at last"),
    ],
)
def test_a_pattern_fits_the_same_failure_of_another_run(first: str, second: str) -> None:
    """Whatever numbers, paths and quoted text are in it."""
    pattern = renewal.pattern(first)

    assert re.search(pattern, first)
    assert re.search(pattern, second), pattern


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("3 of 9 bytes, then silence", "3 of 9 bytes, then a reset"),
        ("a reset", "then a reset after all"),
        ("process 7 holds it", "nobody holds it"),
        ("a.c", "abc"),
    ],
)
def test_a_pattern_fits_no_other_failure(first: str, second: str) -> None:
    """Its words are taken by the letter, from the beginning to the end."""
    assert not re.search(renewal.pattern(first), second)


#: What patterns are made of, and what they are made for; a list in any order is what a server might say.
HOSTILE_WORDS = (
    *("1", "2.5", "..", "4711", "x", "a b", "/a/b", "./server", "/", "deadbeef00", "1.deadbeef", "٣"),
    *(", ", ", ", ", ", ",", " ", "(", ")", "[", "]", "{", "}", "\\", "^", "$", "*", "+", "?", "|", "-", "#"),
    *(
        "'a'",
        "'b'",
        '"c"',
        "b'x'",
        "'",
        '"',
        r"'\'",
        r"'it\'s'",
        "\n",
        "\t",
        "\x1b",
        "\ud800",
        "\u2028",
        "(?:, ",
        "\\1",
    ),
)


@pytest.mark.once
def test_a_pattern_fits_what_it_was_made_of() -> None:
    """Whatever that is; and it is a pattern, long or short, with many of a kind or none."""
    chance = random.Random(1)
    texts = [
        *(
            "it is 4711 (./server [, 1)",
            "1, 2, 3, x",
            "/a b, /c b, d b",
            "(1, 2, 3)",
            "1 a, 2 a, 3 b",
            ", , ",
            "",
        ),
        *("".join(chance.choices(HOSTILE_WORDS, k=chance.randrange(1, 60))) for _ in range(3000)),
    ]

    for text in texts:
        assert re.search(renewal.pattern(text), text), text


@pytest.mark.parametrize("between", [", ", " ", " and then it said ", "\n", " 1, "])
@pytest.mark.parametrize("word", ["'a'", "/a/b", "1.2", "deadbeef", "1 /a 'b'"])
def test_what_does_not_fit_is_found_out_in_one_go(word: str, between: str) -> None:
    """Nothing in a pattern may fit the same text in two ways, however often it is repeated: no end of this test otherwise."""
    text = between.join([word] * 40)
    pattern = renewal.pattern(text)

    assert ".*" not in pattern
    assert not re.search(pattern.removesuffix("$") + r"\x00", text)


# The file that is written


def test_what_stays_in_a_file_stays_as_it_stands() -> None:
    """Comments, order, quotes and the rest of a manifest; what is new comes last."""
    text = """\
title = "mine"   # the best

[known]
# Nobody has looked into it.
"x/b" = { reason = 'old', sometimes = true }   # really
"x/a" = "mended"
'x/c' = { reason = "kept", expires = 2025-12-31 }   # soon

[known."x/d"]
reason = "a table"
seen = "silence"   # for ever

[needs]
program = "true"
"""
    entries = {
        "x/b": Known("old", sometimes=True),
        "x/c": Known("kept", expires=datetime.date(2026, 6, 30)),
        "x/d": Known("a table", seen="silence"),
        "x/new": Known("it's", seen="^a \\d's$"),
        "x/plain": Known("why", seen=r"^\d$", expires=datetime.date(2026, 1, 2)),
    }

    found = listing.render(entries, text)

    wanted = text.replace('"x/a" = "mended"\n', "").replace(
        '{ reason = "kept", expires = 2025-12-31 }', '{reason = "kept", expires = 2026-06-30}'
    )
    for line in wanted.splitlines():
        assert line in found.splitlines()
    assert "'^\\d$', expires = 2026-01-02}" in found
    read = tomllib.loads(found)
    assert (read["title"], read["needs"]) == ("mine", {"program": "true"})
    assert load_entries(read["known"], "") == entries
    assert listing.render(entries, found) == found


@pytest.mark.parametrize("text", ["", "[known]\n", "known = {}\n", 'title = "x"\n'])
def test_a_file_without_entries_gets_them(text: str) -> None:
    """Whatever is in it; hostile text too is TOML."""
    entries = {"x/a": Known("it \"is\"\n'so' \x1b \u2028", seen="'\x00\\d")}

    assert load_entries(tomllib.loads(listing.render(entries, text))["known"], "") == entries


@pytest.mark.parametrize(
    "text",
    [
        '[known]\n"x/a" = "old"\n',
        '# ours\n[known]\n# mine\n"x/a" = "old"   # really\n\n[needs]\nprogram = "true"\n',
        '[known."x/a"]\nreason = "old"\n',
        'title = "x"\n\n[known."x/a"]\nreason = "old"\n\n[needs]\nprogram = "true"\n',
        'known."x/a" = "old"\n',
        'known = { "x/a" = "old" }\n',
        'known."x/a".reason = "old"\ntitle = "x"\n',
    ],
)
def test_a_list_of_which_all_was_fixed_is_still_one(text: str) -> None:
    """Without the table it would be refused; all else stays."""
    found = listing.render({}, text)

    assert tomllib.loads(found) == {**tomllib.loads(text), "known": {}}
    assert all(comment in found for comment in re.findall("# (?:ours|mine)", text))
    assert load_entries(tomllib.loads(listing.render({"x/b": Known("b")}, found))["known"], "") == {
        "x/b": Known("b")
    }


def test_a_list_to_be_filled_in_is_refused_as_it_is(tmp_path: Path) -> None:
    """Without --update and --reason it says where a reason is missing."""
    record = tmp_path / "run.jsonl"
    record.write_text(result.dump(run_of(case("x/a", Verdict.FAIL))))

    ended = CliRunner().invoke(verb.command, [str(record)])

    assert ended.exit_code == 0
    assert (
        ended.output
        == '[known]\n"x/a" = {reason = "", seen = \'^silence$\'} # why? (an entry without a reason is refused)\n'
    )
    with pytest.raises(BadFixture, match="needs a reason"):
        known.load(listed(tmp_path, ended.output))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "new failures need --reason"),
        (["--reason", " "], "--reason: a sentence is wanted"),
        (["--reason", "x", "--expires", "2025-12-31"], "--expires 2025-12-31: that is over"),
        (["--reason", "x", "--expires", "soon"], "--expires"),
        (["--reason", "x", "--update", "/nowhere/known.toml"], "there is no folder /nowhere"),
    ],
)
def test_an_update_without_what_it_needs_is_refused(words: list[str], complaint: str, tmp_path: Path) -> None:
    """Nothing is written."""
    record, path = tmp_path / "run.jsonl", tmp_path / "known.toml"
    record.write_text(result.dump(run_of(case("x/a", Verdict.FAIL))))

    ended = CliRunner().invoke(verb.command, [str(record), "--update", str(path), *words])

    assert (ended.exit_code, complaint in ended.output) == (2, True), ended.output
    assert not path.exists()


@pytest.mark.once
@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ('"process/born-in-a-row" = "threads"', 0, "1 xfailed"),
        (
            '"process/born-in-a-row" = { reason = "threads", expires = 2026-01-01 }',
            1,
            "known until 2026-01-01",
        ),
        (
            '"process/born-in-a-row" = { reason = "threads", seen = "a reset" }',
            1,
            "but it failed differently",
        ),
        ('"echo/greeting" = "of old"', 1, "fixed: ECHO-01 echo/greeting: listed as known (of old)"),
        ('"echo/no-such-case" = "of old"', 4, "fits no case"),
    ],
)
def test_pytest_comes_to_the_same_end(entry: str, code: int, words: str, tmp_path: Path) -> None:
    """`pytest conformance --known FILE`, where wrong usage is pytest's own 4."""
    path = listed(tmp_path, f"[known]\n{entry}\n")
    case = "greeting" if "greeting" in entry else "born-in-a-row"
    suite = Path(renewal.__file__).parent / "test_cases.py"
    # What fails is waited for in vain; what must pass is not, whatever its deadline.
    scale = "1" if case == "greeting" else "0.1"
    words_ = ["--target", "threading", "--timeout-scale", scale, "-k", case, "--known", str(path)]
    command = [sys.executable, "-m", "pytest", str(suite), "-q", "-rA", "-p", "no:cacheprovider", *words_]

    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert (done.returncode, words in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


@pytest.mark.once
def test_judged_listed_and_judged_again(tmp_path: Path) -> None:
    """A target that fails is green with the list that its run makes, and with one that expired it is not."""
    record, path, manifest = (tmp_path / name for name in ("run.jsonl", "known.toml", "mine.toml"))
    broken = prove.load()["compares-lengths"].target
    told = {
        key: value for key, value in broken.describe().items() if key in ("role", "ready-within", "prints")
    }
    told |= {"reply": broken.manifest.reply, "idle-timeout": broken.manifest.idle_timeout}
    told["command"] = [word.replace("{here}", broken.here) for word in broken.manifest.command]
    manifest.write_text("".join(f"{key} = {inline(value)}\n" for key, value in told.items()))
    words = [str(manifest), "--strict", "--output", str(record)]
    assert CliRunner().invoke(check_client.command, words).exit_code == 1

    update = [str(record), "--update", str(path), "--reason", "It counts only."]
    assert CliRunner().invoke(verb.command, update).exit_code == 0
    ended = CliRunner().invoke(check_client.command, [*words, "--known", str(path)])

    assert ended.exit_code == 0, ended.output
    run = result.load(record)
    assert run.header.target["listed"] == list(known.load(path))
    entry = run.header.target["listed"][0]

    path.write_text(path.read_text().replace("}", ", expires = 2026-01-01}"))
    ended = CliRunner().invoke(check_client.command, [*words, "--case", entry, "--known", str(path)])
    (expired,) = result.load(record).cases
    assert (ended.exit_code, expired.verdict) == (1, Verdict.FAIL)
    assert expired.reason == "known until 2026-01-01 (It counts only.), which is over"
