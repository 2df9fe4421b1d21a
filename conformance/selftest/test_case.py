"""Cases: how tables expand, what is refused and in which words, and that every verb has what performs it."""

from __future__ import annotations

import re
from typing import Any, get_args, get_type_hints

import pytest

from forkecho.conformance import acts, requirement, run, sights, target
from forkecho.conformance.case import (
    BUFFERS,
    Case,
    Template,
    check,
    expand,
    fill,
    matching,
    number,
    templates,
    values,
    verb,
)
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.manifest import DEFAULT_DEMAND, Manifest
from forkecho.conformance.step import BLOCKING_MAX, VERBS, Exchange, Expect, Open, See, parse, parse_all

STREAM = Manifest(command=["{port}"])
ONE_SHOT = Manifest(command=["{port}"], framing="one-shot", message_max=1024)
PLACE = "echo.toml, [greeting], step 1"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Expand one table as if it were all of the case files."""

    def expanded(manifest: Manifest = STREAM, **content: Any) -> dict[str, Case]:
        raw = {
            "requirement": "ECHO-01",
            "title": "A title.",
            "steps": [{"exchange": {"text": "x"}}],
            **content,
        }
        template = Template(**raw)
        monkeypatch.setattr(
            "forkecho.conformance.case.templates", lambda: {"file/name": (template, "file.toml, [name]")}
        )
        return expand(manifest)

    return expanded


# Expansion


def test_b_runs_over_the_buffers_and_nothing_twice() -> None:
    """`B-1`, `B`, `B+1` and `2B+1` are worked out for each buffer; what comes twice or below 1 is dropped."""
    found = values(["B-1", "B", "B+1", "2B+1"], STREAM)

    assert found[:4] == [99, 255, 511, 1023]
    assert len(found) == len(set(found))
    assert set(found) == {
        one for base in BUFFERS for one in (base - 1, base, base + 1, 2 * base + 1) if one > 0
    }


def test_b_runs_over_the_own_buffer_of_a_one_shot_target() -> None:
    """The largest request of a one-shot target is one of its buffers."""
    odd = Manifest(command=["{port}"], framing="one-shot", message_max=777)

    assert 778 in values(["B+1"], odd)
    assert 778 not in values(["B+1"], STREAM)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("B", 4096), ("B-1", 4095), ("2B", 8192), ("2B+1", 8193), ("M", 1024), ("M+1", 1025),
        ("limit", DEFAULT_DEMAND), ("limit+1", DEFAULT_DEMAND + 1), ("blocking", None), ("B+", None), ("", None), ("12", None),
    ],
)  # fmt: skip
def test_sums_are_worked_out_and_names_left_alone(text: str, result: int | None) -> None:
    """`B`, `M` and `limit` with a factor and a term are sums, and nothing else is."""
    assert number(text, 4096, STREAM) == result


def test_the_limit_is_what_the_target_declares() -> None:
    """`limit` is max-connections where that is declared."""
    assert values(["limit", "limit+1"], Manifest(command=["{port}"], max_connections=40)) == [40, 41]


def test_parameters_replace_values_and_never_text() -> None:
    """A text that names a parameter becomes its value, but for `text`, which is data."""
    raw = [
        {"exchange": {"random": "size"}, "pieces": "size"},
        {"send": {"text": "size"}, "on": ["size", "b"]},
    ]

    assert fill(raw, {"size": 7}) == [
        {"exchange": {"random": 7}, "pieces": 7},
        {"send": {"text": "size"}, "on": [7, "b"]},
    ]


def test_ids_are_path_and_expansion(table: Any) -> None:
    """The id is file, table and the values of size and each, in that order."""
    steps = [{"open": "a", "style": "style"}, {"exchange": {"random": "size"}}]
    found = table(size=["1", "B"][1:], each={"style": ["blocking", "callback"]}, steps=steps)

    assert list(found)[:3] == ["file/name@1-blocking", "file/name@1-callback", "file/name@100-blocking"]
    assert len(found) == 2 * len(BUFFERS)
    assert all(case.id == id_ for id_, case in found.items())


def test_a_table_without_parameters_is_one_case(table: Any) -> None:
    """No parameters, no expansion in the id."""
    assert list(table()) == ["file/name"]


def test_steps_are_repeated_as_often_as_they_say() -> None:
    """`times` and `steps` stand for all the repetitions."""
    raw = [{"times": 3, "steps": [{"open": "a"}, {"close": True}]}]

    assert [verb(step) for step in parse_all(raw, PLACE)] == ["open", "close"] * 3


def test_matching_is_by_glob_with_and_without_the_expansion() -> None:
    """A pattern fits ids; without `@` it fits all expansions."""
    cases = expand(STREAM).values()
    whole = matching(cases, ["buffer/whole"])

    assert len(whole) > 5
    assert {case.id.partition("@")[0] for case in whole} == {"buffer/whole"}
    assert len(matching(cases, ["buffer/whole@1024"])) == 1
    assert len(matching(cases, ["*"])) == len(cases)
    assert matching(cases, ["nothing/*"]) == []
    assert len(matching(cases, ["echo/*", "buffer/*"])) == len(matching(cases, ["echo/*"])) + len(
        matching(cases, ["buffer/*"])
    )


# Refusals


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"exchnge": {"text": "x"}}, ["a step has one verb, here none of exchnge", "there are open, send, exchange"]),
        ({}, ["a step has one verb", "there are open"]),
        ({"send": {"text": "x"}, "expect": "echo"}, ["a step has one verb, here 'send' and 'expect'"]),
        ({"open": "a", "cuont": 3}, ["unknown field `cuont`", "there are count, on, open, queued, receive-buffer, style"]),
        ({"open": "a", "receive_buffer": 3}, ["unknown field `receive_buffer`", "receive-buffer"]),
        ({"open": 7}, ["Expected `str | array`, got `int`"]),
        ({"open": "a", "style": "threaded"}, ["Invalid enum value 'threaded'", "$.style"]),
        ({"expect": "ecco"}, ["Invalid enum value 'ecco'"]),
        ({"see": "bornn"}, ["Invalid enum value 'bornn'"]),
        ({"exchange": {"text": "x", "hex": "00"}}, ["exactly one of text, hex, every-byte, random, counter"]),
        ({"exchange": {}}, ["exactly one of text, hex, every-byte, random, counter"]),
        ({"send": {"hex": "0g"}}, ["hex"]),
        ({"send": {"random": -1}}, ["no negative length"]),
        ({"send": {"random": "B+1x"}}, ["Expected `int | null`, got `str`", "$.send.random"]),
        ({"times": 2, "steps": [{"oepn": "a"}]}, ["step 1, step 1: a step has one verb, here none of oepn"]),
    ],
)  # fmt: skip
def test_a_bad_step_is_refused_with_its_place_and_what_would_be_right(
    raw: dict[str, Any], words: list[str]
) -> None:
    """A complaint begins with file, table and step, and names what was found and what there is."""
    with pytest.raises(BadFixture) as raised:
        parse(raw, PLACE)

    message = str(raised.value)
    assert message.startswith(PLACE)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"steps": [{"open": "a"}, {"exchange": {"text": "x"}, "on": "b"}]},
            "file.toml, [name]: no step has opened 'b'",
        ),
        ({"steps": [{"open": "a"}, {"expect": "nothing"}]}, "nothing is ever echoed in it"),
        ({"steps": []}, "nothing is ever echoed in it"),
        (
            {"steps": [{"open": "a", "style": "blocking"}, {"exchange": {"random": BLOCKING_MAX + 1}}]},
            f"a blocking client sends at most {BLOCKING_MAX} bytes at once",
        ),
        ({"each": {"x": ["$HOME"]}}, "the id 'file/name@$HOME' has characters that shells eat"),
        ({"each": {"x": ["a b"]}}, "has characters that shells eat"),
        ({"each": {"x": ["*"]}}, "has characters that shells eat"),
    ],
)
def test_a_case_that_cannot_be_meant_is_refused(table: Any, content: dict[str, Any], words: str) -> None:
    """What can be parsed but makes no sense is refused at load time with its place."""
    with pytest.raises(BadFixture) as raised:
        table(**content)

    assert words in str(raised.value)
    assert str(raised.value).startswith("file.toml, [name]: ")


def test_a_blocking_client_may_send_what_a_server_can_hold(table: Any) -> None:
    """The bound itself is allowed, and more is for clients of other styles."""
    table(steps=[{"open": "a", "style": "blocking"}, {"exchange": {"random": BLOCKING_MAX}}])
    table(steps=[{"open": "a", "style": "callback"}, {"exchange": {"random": BLOCKING_MAX + 1}}])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[name]\nrequirement = "ECHO-99"\ntitle = "T."\nsteps = []\n', "cases.toml, [name]: there is no requirement 'ECHO-99'"),
        ('[Name]\nrequirement = "ECHO-01"\ntitle = "T."\nsteps = []\n', "small letters, digits and dashes only"),
        ('[name]\nrequirement = "ECHO-01"\ntitle = "T."\nstep = []\n', "unknown field `step`"),
        ('[name]\nrequirement = "ECHO-01"\nsteps = []\n', "missing required field `title`"),
        ('[name\n', "not TOML"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, content: str, words: str
) -> None:
    """The complaint names the file, and the table where it got that far."""
    (tmp_path / "cases.toml").write_text(content)
    requirement.load()
    monkeypatch.setattr("forkecho.conformance.fixture.folder", lambda name: tmp_path)
    with pytest.raises(BadFixture) as raised:
        templates.__wrapped__()

    assert "cases.toml" in str(raised.value)
    assert words in str(raised.value)


# Tables


def test_every_verb_is_performed() -> None:
    """No verb is half added: what can be parsed is performed, and nothing else."""
    assert set(run.PERFORM) == set(VERBS.values())


def test_every_expectation_is_looked_for() -> None:
    """What `expect` can name is what the table has."""
    assert set(acts.EXPECT) == set(get_args(get_type_hints(Expect)["expect"]))


def test_every_sight_is_looked_for() -> None:
    """What `see` can name is what the table has."""
    assert set(sights.SEE) == set(get_args(get_type_hints(See)["see"]))


@pytest.mark.parametrize("name", list(VERBS))
def test_a_verb_is_a_field_of_its_own_record(name: str) -> None:
    """The key that makes a table a step is the field that the record keeps it in."""
    assert name.replace("-", "_") in VERBS[name].__struct_fields__
    assert all(kind.__doc__ for kind in VERBS.values())


# What is shipped


@pytest.mark.parametrize("manifest", [STREAM, ONE_SHOT], ids=["stream", "one-shot"])
def test_all_shipped_cases_load(manifest: Manifest) -> None:
    """Every case file is well-formed for both framings, and no id has a character that shells or globs eat."""
    cases = expand(manifest)

    assert cases
    assert [id_ for id_ in cases if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+(@[A-Za-z0-9._+-]+)?", id_)] == []


@pytest.mark.parametrize("name", list(target.known()))
def test_all_shipped_cases_load_for_every_shipped_target(name: str) -> None:
    """Whatever a target declares, every case can be made for it, and some apply."""
    manifest = target.load(name).manifest
    cases = expand(manifest).values()

    assert any(not case.unfit(manifest) for case in cases)


def test_there_are_cases_enough_for_the_reference() -> None:
    """At least 350 apply to the reference server, and no two do the same."""
    manifest = target.load("reference").manifest
    cases = [case for case in expand(manifest).values() if not case.unfit(manifest)]
    same: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        same.setdefault((case.requirement.id, repr(case.steps)), []).append(case.id)

    assert len(cases) >= 350
    assert [ids for ids in same.values() if len(ids) > 1] == []


def test_titles_are_sentences() -> None:
    """Every case says in one sentence what must hold."""
    assert [stem for stem, (template, _) in templates().items() if not template.title.endswith(".")] == []


def test_what_a_case_demands_is_derived_from_its_steps() -> None:
    """Its longest message, its connections, and whether it looks at processes or ends the target."""
    steps = [
        {"open": ["a", "b"]},
        {"open": "n", "count": 5},
        {"send": {"random": 10}},
        {"exchange": {"hex": "00ff"}},
    ]
    case = Case(
        id="x/y",
        title="",
        requirement=next(iter(requirement.load().values())),
        steps=tuple(parse_all(steps, "")),
    )

    assert (case.held, case.longest, case.observes, case.controls) == (7, 10, False, False)
    for raw, observes, controls in (
        ({"see": "born"}, True, False),
        ({"expect": "accepted"}, True, False),
        ({"freeze": "a"}, True, False),
        ({"freeze": "owner"}, True, True),
        ({"thaw": ["a", "baseline"]}, True, True),
        ({"signal": "TERM"}, True, True),
        ({"launch": "fresh"}, False, True),
        ({"bind": "port"}, False, True),
    ):
        other = Case(id="x/y", title="", requirement=case.requirement, steps=tuple(parse(raw, "")))
        assert (other.observes, other.controls) == (observes, controls), raw


def test_what_does_not_fit_a_target_says_why(table: Any) -> None:
    """Too long for one request, or too many for a declared limit; unless that is what the case is about."""
    long = {"steps": [{"exchange": {"random": 2000}}]}
    many = {"steps": [{"open": "n", "count": 9}, {"exchange": {"text": "x"}, "on": "n"}]}
    few = Manifest(command=["{port}"], max_connections=8)

    assert "one-shot target takes 1024 bytes" in table(ONE_SHOT, **long)["file/name"].unfit(ONE_SHOT)
    assert "max-connections = 8, this needs 9" in table(few, **many)["file/name"].unfit(few)
    assert table(STREAM, **long)["file/name"].unfit(STREAM) == ""
    assert table(few, **many, beyond_limit=True)["file/name"].unfit(few) == ""


def test_what_a_unix_socket_cannot_do_is_not_tried(table: Any) -> None:
    """To bind a path again, and to take a mebibyte that nobody reads; nor is a family that is not declared."""
    ping = {"exchange": {"text": "x"}}
    unix = Manifest(command=["{path}"], families=["unix"])
    bind, much = {"steps": [ping, {"bind": "port"}]}, {"steps": [ping, {"send": {"random": 1 << 20}}]}
    dual = {"steps": [{"launch": "fresh", "family": "dual"}, ping]}

    assert "cannot be bound" in table(unix, **bind)["file/name"].unfit(unix)
    assert "does not take 1048576 bytes" in table(unix, **much)["file/name"].unfit(unix)
    assert table(unix, **dual)["file/name"].unfit(unix) == "the target does not declare dual (families)"
    assert [table(STREAM, **case)["file/name"].unfit(STREAM) for case in (bind, much)] == ["", ""]


def test_check_is_what_refuses(table: Any) -> None:
    """A case that was made by hand is checked by the same rules."""
    case = Case(
        id="x/y", title="", requirement=next(iter(requirement.load().values())), steps=(Open(open="a"),)
    )
    with pytest.raises(BadFixture, match="here: nothing is ever echoed"):
        check(case, "here")
    assert isinstance(table()["file/name"].steps[0], Exchange)
