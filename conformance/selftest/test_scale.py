"""Thousands of connections: each is proven to have its own process, and what that takes grows with their number alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from forkecho.conformance import prove, target
from forkecho.conformance.case import expand
from forkecho.conformance.observe import Process
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.target import Builds, Running, Target

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="who holds a connection is seen by /proc"),
]


def declaring(judged: Target, limit: int) -> Target:
    """The same, with another limit."""
    manifest = msgspec.structs.replace(judged.manifest, max_connections=limit)
    return msgspec.structs.replace(judged, manifest=manifest)


@pytest.fixture
def crowd(builds: Builds) -> Callable[..., CaseLine]:
    """Hold so many connections of a target at once, and prove that each has its own process."""

    def crowd(judged: Target, limit: int, scale: float = 1.0) -> CaseLine:
        judged = declaring(judged, limit)
        with Bench(Plan(target=judged, scale=scale), builds, canary=None) as bench:
            return judge(expand(judged.manifest)[f"concurrency/each-its-own@{limit}"], bench)

    return crowd


def test_each_of_three_hundred_connections_is_seen_to_have_its_own_process(
    crowd: Callable[..., CaseLine],
) -> None:
    """The reference forks for each, whatever their number."""
    line = crowd(target.load("reference"), 300)

    assert (line.verdict, line.reason, line.seen) == (Verdict.PASS, "", "")


@pytest.mark.once
def test_each_of_a_thousand_connections_is_seen_to_have_its_own_process(
    crowd: Callable[..., CaseLine],
) -> None:
    """The same of a thousand."""
    line = crowd(target.load("reference"), 1000)

    assert (line.verdict, line.reason, line.seen) == (Verdict.PASS, "", "")


def test_two_connections_of_many_in_one_process_are_found(crowd: Callable[..., CaseLine]) -> None:
    """A server that gives two of 128 connections to one process, and all others their own, is caught with their names."""
    line = crowd(prove.load()["shares-a-process-in-a-crowd"].target, 128, 0.5)

    assert line.verdict is Verdict.FAIL
    assert "128 connections to have processes of their own" in line.expected
    assert "was born for n61 and holds n62 as well" in line.seen


@pytest.mark.once
def test_two_connections_of_a_thousand_in_one_process_are_found(crowd: Callable[..., CaseLine]) -> None:
    """They are found among a thousand."""
    line = crowd(prove.load()["shares-a-process-in-a-crowd"].target, 1000, 0.2)

    assert line.verdict is Verdict.FAIL
    assert "was born for n61 and holds n62 as well" in line.seen


def test_the_processes_of_a_crowd_are_looked_through_as_often_as_those_of_a_few(
    crowd: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All descriptors are read for all connections at once: to read them for each would take the square of their number."""
    asked: list[int] = []
    real = Running.holders

    def holders(running: Running, keys: Collection[int]) -> dict[int, set[Process]]:
        asked.append(len(keys))
        return real(running, keys)

    monkeypatch.setattr(Running, "holders", holders)
    for limit in (24, 96):
        line = crowd(target.load("reference"), limit)
        assert (line.verdict, line.seen) == (Verdict.PASS, "")

    # A look is repeated where a connection was not handed over yet: a few times, not for each.
    assert len(asked) < 24
    assert max(asked) == 96


def test_a_connection_that_one_look_has_missed_is_looked_for_by_itself(
    crowd: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is handed from process to process at that moment is seen with neither, and is not taken for one that nobody has."""
    real = Running.holders

    def holders(running: Running, keys: Collection[int]) -> dict[int, set[Process]]:
        found = real(running, keys)
        return found | ({min(found): set()} if len(found) > 1 else {})

    monkeypatch.setattr(Running, "holders", holders)
    line = crowd(target.load("reference"), 24, 0.2)

    assert (line.verdict, line.seen) == (Verdict.PASS, "")


CI = Path(__file__).parents[2] / ".ci"


@pytest.mark.once
@pytest.mark.skipif(not CI.is_dir(), reason="a checkout has them")
def test_what_a_crowd_takes_is_measured_and_drawn(temporary: Path) -> None:
    """The command beside the picture in the README: a line for each number, and a picture that is XML."""
    drawn = temporary / "scale.svg"
    words = [sys.executable, str(CI / "scale"), "10", "40", "--output", str(drawn)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["connections", "10", "40"]
    assert ElementTree.parse(drawn).getroot().get("role") == "img"


@pytest.mark.once
@pytest.mark.skipif(not CI.is_dir(), reason="a checkout has them")
def test_what_observations_cost_is_measured() -> None:
    """The other command: a line for each observation, alone and beside others; of figures it is not said what they are."""
    words = [sys.executable, str(CI / "observe-cost"), "--sockets", "50", "--processes", "5", "--rounds", "1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=150, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the server's end of a connection" in done.stdout
    assert "5 further processes" in done.stdout
