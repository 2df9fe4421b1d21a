"""What GitHub Actions is told: annotations, the summary of a step, and no orders of a server's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from forkecho.cli import outputs
from forkecho.conformance.report import FORMATS, github

COMMAND = re.compile(r"::(?P<kind>error|warning) (?P<properties>[^:]*)::(?P<text>.*)")


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    """The workflow commands of a text, read as GitHub reads them; every line must be one."""
    found = []
    for line in text.splitlines():
        command = COMMAND.fullmatch(line)
        assert command, line
        pairs = (one.partition("=") for one in command["properties"].split(","))
        properties = {name: unescaped(value) for name, _, value in pairs}
        found.append((command["kind"], properties, unescaped(command["text"])))
    return found


def unescaped(text: str) -> str:
    for code, one in (("%2C", ","), ("%3A", ":"), ("%0A", "\n"), ("%0D", "\r"), ("%25", "%")):
        text = text.replace(code, one)
    return text


def test_a_failure_is_an_error_and_a_warning_is_one(hand: Any) -> None:
    """With the requirement as title, the case and both sides, and the manifest as the file."""
    run = hand.run(
        hand.case("x/a", expected="100%, all", seen="a: b"),
        hand.case("x/b", "warn"),
        hand.case("x/c", "pass"),
        judged={"name": "mine", "manifest": "servers/a,b.toml"},
    )

    (kind, told, text), (other, _, _) = commands(github.render(run))

    assert (kind, other) == ("error", "warning")
    assert told["title"].startswith("fail: FORK-06 ")
    assert told["file"] == "servers/a,b.toml"
    assert text == "x/a: The title of x/a.\nexpected 100%, all\nseen a: b"


def test_a_strict_run_has_errors_only(hand: Any) -> None:
    """A warning fails it."""
    run = hand.run(hand.case("x/b", "warn"), selection={"strict": True})

    assert [kind for kind, _, _ in commands(github.render(run))] == ["error"]


def test_no_more_are_written_than_are_shown(hand: Any) -> None:
    """The tenth says how many more there are; what has one reason for many is one."""
    failed = [hand.case(f"x/{number:02}") for number in range(25)]
    blocked = [
        hand.case(f"y/{number:03}", "blocked", reason="it does not even echo") for number in range(500)
    ]

    many = commands(github.render(hand.run(*failed)))
    one = commands(github.render(hand.run(*blocked)))

    assert len(many) == 10
    assert many[-1][2] == "and 16 more, see the report of the run"
    assert [(told["title"], text) for _, told, text in one] == [
        ("blocked: y/000 and 499 more", "it does not even echo")
    ]


def test_no_server_writes_a_command(hand: Any) -> None:
    """Hostile text stays within its own, and comes back as it was."""
    found = commands(github.render(hand.hostile()))

    assert {kind for kind, _, _ in found} == {"error", "warning"}
    assert all(set(told) <= {"title", "file"} for _, told, _ in found)
    assert any("::error::x%0A" in text for _, _, text in found)


def test_what_is_in_order_is_not_told(hand: Any) -> None:
    """Nothing at all."""
    assert github.render(hand.run(hand.case("x/a", "pass"), hand.case("x/b", "known"))) == ""


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As a step of GitHub Actions sees the world; the file of its summary."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


def test_people_see_the_report_and_then_the_annotations(
    hand: Any, actions: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """While the report is printed GitHub obeys nothing, and then the annotations alone."""
    run = hand.hostile()
    outputs.show(run, "console", missing=False)
    out, err = capfd.readouterr()

    first, *rest = out.splitlines()
    assert re.fullmatch("::stop-commands::[0-9a-f]{32}", first)
    end = rest.index(f"::{first.rpartition(':')[2]}::")
    assert "\n".join(rest[:end]) + "\n" == FORMATS["console"](run, width=120)
    assert "\n".join(rest[end + 1 :]) + "\n" == github.render(run)
    assert err == ""


def test_a_machine_reads_nothing_else(hand: Any, actions: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Annotations are on standard error then."""
    run = hand.run(hand.case("x/a"))
    outputs.show(run, "sarif", missing=False)

    assert capfd.readouterr() == (FORMATS["sarif"](run), github.render(run))


def test_the_summary_is_added_to(hand: Any, actions: Path) -> None:
    """Another step's words stay."""
    actions.write_text("before\n")
    run = hand.run(hand.case("x/a"))

    outputs.show(run, "jsonl", missing=False)

    assert actions.read_text() == "before\n\n\n" + FORMATS["markdown"](run)


def test_two_runs_of_a_step_are_two_headings(hand: Any, actions: Path) -> None:
    """The first ends with a block of HTML, which would swallow the heading of the second."""
    for _ in range(2):
        outputs.show(hand.run(hand.case("x/a")), "jsonl", missing=False)

    tokens = MarkdownIt("commonmark").parse(actions.read_text())
    assert sum(token.type == "heading_open" for token in tokens) == 2


@pytest.mark.parametrize(
    "text",
    [
        "::error::x",
        "a\n::error::x",
        "a\r \t::add-mask::x",
        "a ##[error]x",
        "###[command]x",
        "::::x",
        "\n\n::x::",
        "##[##[",
    ],
)
def test_what_stands_beside_the_report_is_no_command(
    text: str, actions: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In neither form, wherever GitHub ends a line; elsewhere it is said as it is."""
    outputs.say(text)
    said = capfd.readouterr().err
    assert "##[" not in said
    assert not [line for line in said.splitlines() if line.strip().startswith("::")]

    monkeypatch.delenv("GITHUB_ACTIONS")
    outputs.say(text)
    assert capfd.readouterr().err == text + "\n"


@pytest.mark.parametrize("there", [0, 1_000_000, 1_048_000, 1_048_576])
def test_a_summary_stays_within_what_github_takes(
    hand: Any, actions: Path, there: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in it already; if nothing fits, a line says so."""
    actions.write_text("x" * there)

    outputs.show(
        hand.run(*(hand.case(f"x/{n}", seen="y" * 20_000) for n in range(300))), "jsonl", missing=False
    )

    size = actions.stat().st_size
    assert size <= outputs.SUMMARY_MAX
    assert (size == there) == ("is full, nothing is added" in capfd.readouterr().err)


def test_a_summary_that_cannot_be_written_is_one_line(
    hand: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It changes nothing else."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/nowhere/summary.md")
    run = hand.run(hand.case("x/a"))

    outputs.show(run, "jsonl", missing=False)

    assert capfd.readouterr() == (
        FORMATS["jsonl"](run),
        "forkecho: GITHUB_STEP_SUMMARY: /nowhere/summary.md: No such file or directory\n",
    )
