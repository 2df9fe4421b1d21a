"""What `forkecho check` makes of its options, right and wrong, before it judges anything."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from forkecho.cli.check import command
from forkecho.cli.judged import address, with_settings, writable
from forkecho.conformance import conftest, fixture, target

NOTHING_SET = {"reply": None, "framing": None, "max_connections": None}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["socat", "--connect", "127.0.0.1:7"], "name one server"),
        (["--pid", "7"], "--pid goes with --connect"),
        (["--connect", "nowhere"], "HOST:PORT"),
        (["--connect", "127.0.0.1:0"], "HOST:PORT"),
        (["--connect", "127.0.0.1:70000"], "HOST:PORT"),
        (["--set", "reply"], "KEY=VALUE"),
        (["--output", "/nowhere/run.jsonl"], "there is no folder /nowhere"),
        (["--"], "after -- comes the command"),
        (["--jobs", "0"], "'--jobs': '0' is not a whole number of at least 1"),
        (["--jobs", "many"], "'--jobs': 'many' is not a whole number of at least 1"),
        (["--timeout-scale", "x"], "'--timeout-scale': 'x' is not a number from 0.01 to 1000"),
        (["--timeout-scale", "0"], "'--timeout-scale': '0' is not a number from 0.01 to 1000"),
        (["--timeout-scale", "nan"], "'--timeout-scale': 'nan' is not a number from 0.01 to 1000"),
    ],
)
def test_wrong_usage_is_refused_with_what_would_be_right(arguments: list[str], complaint: str) -> None:
    """One message that names the option and what is wanted, and exit code 2."""
    ended = CliRunner().invoke(command, arguments)

    assert (ended.exit_code, complaint in ended.output) == (2, True), ended.output


@pytest.mark.parametrize("word", ["x", "0", "-1", "nan", "inf"])
def test_pytest_takes_no_other_scale_either(word: str) -> None:
    """Its own parser says which option it is."""
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{word}' is not a number above 0"):
        conftest._scale(word)
    assert conftest._scale("0.5") == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:7", ("127.0.0.1", 7)), ("[::1]:7", ("::1", 7)), ("localhost:65535", ("127.0.0.1", 65535))],
)
def test_an_address_becomes_numbers(text: str, expected: tuple[str, int]) -> None:
    """Names are looked up, IPv4 first; an IPv6 address stands in brackets."""
    assert address(text) == expected


def test_an_unknown_host_is_wrong_usage() -> None:
    """The resolver's own words are shown."""
    with pytest.raises(click.UsageError, match="no-such-host"):
        address("no-such-host.invalid:7")


def test_settings_change_the_manifest() -> None:
    """Values are TOML where they are, else text; options for the common keys do the same."""
    judged = target.load("c")
    options = {
        **NOTHING_SET,
        "reply": "{pid}:{data}",
        "settings": ("drain-within=7", "drain=cut", 'families=["ipv6"]'),
    }

    manifest = with_settings(judged, options).manifest

    assert (manifest.reply, manifest.drain, manifest.drain_within) == ("{pid}:{data}", "cut", 7.0)
    assert manifest.families == ["ipv6"]
    assert manifest.command == judged.manifest.command


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    """A file in a folder that is there is fine, new or not."""
    writable(None)
    writable(tmp_path / "new.jsonl")
    with pytest.raises(click.UsageError, match="there is no folder"):
        writable(tmp_path / "missing" / "new.jsonl")


def test_what_is_asked_for_is_judged_and_written_down(tmp_path: Path) -> None:
    """A command line of one's own, a selection, both files, and the exit code of the run."""
    record, junit = tmp_path / "run.jsonl", tmp_path / "junit.xml"
    server = fixture.folder("targets") / "reference.py"
    files = ["--output", str(record), "--junit", str(junit)]
    chosen = ["--case", "echo/any-answer", "--reply", "{data}", "--jobs", "1"]

    ended = CliRunner().invoke(
        command, [*chosen, *files, "--", "python3", str(server), "--port", "@PORT@", "--reply", "{data}"]
    )

    assert ended.exit_code == 0, ended.output
    assert "conformant: 1 passed" in ended.output
    assert len(record.read_text().splitlines()) == 3
    assert "<testcase" in junit.read_text()


def test_a_server_that_never_listens_has_an_exit_code_of_its_own() -> None:
    """One line says what it did instead."""
    ended = CliRunner().invoke(command, ["--set", "ready-within=0.2", "--", "sleep", "60"])

    assert ended.exit_code == 4
    assert "has not listened on port" in ended.output


def test_a_machine_is_told_of_a_server_that_never_listens_in_its_own_format() -> None:
    """Standard output is a record as always, and says so."""
    words = ["--format", "jsonl", "--requirement", "ECHO-01", "--set", "ready-within=0.2"]
    ended = CliRunner().invoke(command, [*words, "--", "sleep", "60"])

    _, *cases, footer = (json.loads(line) for line in ended.stdout.splitlines())
    assert (ended.exit_code, footer["exit"]) == (4, 4)
    assert {case["verdict"] for case in cases} == {"blocked"}
