"""A target can be launched into another world than the usual one, and where somebody listens already."""

from __future__ import annotations

import json
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from forkecho.conformance import port
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.observe import Effort, Facts, Process
from forkecho.conformance.target import (
    EXTENSIONS,
    Builds,
    NotReady,
    Running,
    Target,
    begin,
    launch,
    launching,
)
from forkecho.conformance.world import USUAL, World

HERE = Path(__file__).with_name("hostile")
PATIENT = 30.0  # seconds for what takes a moment, unless the machine is loaded
ANNOUNCES = r"listening on port (\d+)"

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]


def worldly(mood: str = "", **manifest: Any) -> Target:
    """The server that writes down what it was launched into."""
    command = ["{python}", "{here}/worldly.py", "{port}", "{dir}", mood]
    return Target(name="worldly", manifest=Manifest(command=command, **manifest), here=str(HERE))


def found(running: Running) -> dict[str, Any]:
    """What it has written."""
    assert running.folder
    told: dict[str, Any] = json.loads(wait_for((running.folder / "world").read_text, Deadline(PATIENT)))
    return told


@pytest.mark.parametrize(
    ("world", "wanted", "told"),
    [
        (USUAL, {"open": [0, 1, 2], "ignored": [], "terminal": False}, ""),
        (World(closed=(0, 1, 2)), {"open": []}, "with descriptor 0, 1, 2 closed"),
        (World(closed=(2,)), {"open": [0, 1]}, "with descriptor 2 closed"),
        (World(ignored=(signal.SIGCHLD,)), {"ignored": ["SIGCHLD"]}, "with SIGCHLD ignored"),
        (World(terminal=True), {"terminal": True, "open": [0, 1, 2]}, "with a terminal as stdout"),
    ],
)
def test_a_target_gets_the_world_that_it_is_to_have(
    builds: Builds, world: World, wanted: dict[str, Any], told: str
) -> None:
    """It says itself what it was launched into; and so do we, in words."""
    with launch(worldly(), builds, world=world) as running:
        seen = found(running)

    assert {key: seen[key] for key in wanted} == wanted
    assert str(world) == told


def test_what_is_printed_on_a_terminal_is_kept(builds: Builds) -> None:
    """A pseudo-terminal is read like a pipe, and its end is no error."""
    with launch(worldly("honest"), builds, world=World(terminal=True)) as running:
        assert (
            wait_for(lambda: running.output("stdout"), Deadline(PATIENT)).strip().startswith("listening on")
        )


def test_one_that_speaks_before_it_listens_waits_for_a_reader(builds: Builds) -> None:
    """With a full pipe as its output it never listens, and with the other stream full it does."""
    with pytest.raises(NotReady, match="has not listened"):
        launch(worldly("speaks-first", ready_within=0.5), builds, world=World(full="stdout"))
    launch(worldly("speaks-first", ready_within=PATIENT), builds, world=World(full="stderr")).stop()
    launch(worldly(ready_within=PATIENT), builds, world=World(full="stdout")).stop()


@pytest.mark.parametrize("mood", ["honest", "speaks-first"])
def test_the_port_that_is_announced_is_found(builds: Builds, mood: str) -> None:
    """With the stream that it was announced on."""
    # Patient, or one that is slow to speak would be taken for one that does not.
    with launch(worldly(mood, announce=ANNOUNCES, ready_within=PATIENT), builds) as running:
        assert running.announced() == ("stdout", running.address[1])


def test_a_port_that_is_announced_wrongly_or_not_at_all_is_found_nevertheless(builds: Builds) -> None:
    """It is the one on which the target listens: that it says so is judged, not needed."""
    with launch(worldly("says-zero", announce=ANNOUNCES, ready_within=PATIENT), builds) as running:
        assert running.announced() == ("stdout", 0)
        assert running.address[1]
    with launch(worldly("", announce=ANNOUNCES, ready_within=5.0), builds) as running:
        assert running.announced() is None
        assert running.address[1]
    with launch(worldly("honest", announce=ANNOUNCES), builds, world=World(full="stdout")) as running:
        assert running.address[1]
    with launch(worldly("honest"), builds) as running:
        assert running.announced() is None  # it need not


def test_a_target_that_is_begun_where_somebody_listens_ends(builds: Builds) -> None:
    """Nothing is waited for; how it ends is known."""
    with begin(worldly(), builds, taken=True) as running:
        assert wait_for(lambda: not running.left(), Deadline(PATIENT))
        assert wait_for(lambda: running.guard.status(running.launched), Deadline(PATIENT))


def test_a_port_that_is_taken_cannot_be_shared() -> None:
    """SO_REUSEPORT helps only where all have set it; once released, the port is free again."""
    taken = port.reserve("127.0.0.1", taken=True)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", taken.number))
        taken.release()
        other.bind(("127.0.0.1", taken.number))


def test_a_target_that_is_about_to_start_a_worker_is_not_ready(builds: Builds) -> None:
    """Whoever is there once it is called ready was there before any client."""
    manifest = Manifest(command=["{python}", "{here}/pool.py", "{port}", "5"])
    with launch(Target(name="pool", manifest=manifest, here=str(HERE)), builds) as running:
        assert len(running.baseline) == 6


def test_a_target_that_never_rests_is_ready_in_the_end(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time is over in which it must listen, at the latest: it does."""
    monkeypatch.setattr(launching, "RESTLESS", 3600.0)
    manifest = Manifest(command=["{python}", "{here}/restless.py", "{port}"], ready_within=3.0)
    with launch(Target(name="restless", manifest=manifest, here=str(HERE)), builds) as running:
        assert len(running.baseline) == 2


def test_what_has_ended_takes_nothing_along(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the processes of a target have had and missed is added up for each, and never less than it was."""
    now = {7: Effort(1.0, 5.0), 8: Effort(2.0, 1.0)}
    with launch(worldly(), builds) as running:
        begun = running.missed()
        with monkeypatch.context() as patched:
            patched.setattr(
                running, "alive", lambda: [Facts(process=Process(pid, 1), ppid=1, state="S") for pid in now]
            )
            patched.setattr(running.observer, "effort", lambda process: now[process.pid])
            patched.setattr(running.observer, "alive", lambda process: True)
            assert running.missed() - begun == pytest.approx(6.0)
            del now[7]
            now[8] = Effort(2.0, 1.5)
            assert running.missed() - begun == pytest.approx(6.5)
            now[7] = Effort(1.0, 5.0)  # which had only been missed
            assert running.missed() - begun == pytest.approx(6.5)
            now[9] = Effort(0.0, 2.0)
            assert running.missed() - begun == pytest.approx(8.5)
            patched.setattr(running.observer, "alive", lambda process: False)
            now.clear()
            assert running.missed() - begun == pytest.approx(8.5)
            assert running._efforts == {}  # nor is it kept for ever


def test_a_target_that_is_kept_from_running_is_given_that_time_once_more(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it goes on being kept, but not for ever; one that had its chance is given no more.

    The system counts a wait when it is over, so one that wants to run and has not done so has waited all the time.
    """
    asked: list[float] = []

    def kept(seconds: float, ran: float = 0.0) -> Effort:
        asked.append(seconds)
        return Effort(ran=ran * len(asked), waited=seconds * len(asked))

    with launch(worldly(), builds) as running:
        for effort, busy, looks in (
            (lambda: kept(1.0), False, 1 + EXTENSIONS),
            (lambda: kept(0.0), False, 2),
            (lambda: kept(0.0), True, 1 + EXTENSIONS),
            (lambda: kept(0.0, ran=1.0), True, 2),
        ):
            monkeypatch.setattr(running, "_effort", effort)
            monkeypatch.setattr(running, "busy", lambda busy=busy: busy)
            asked.clear()
            assert not running.wait_for(lambda: False, Deadline(0.01))
            assert len(asked) == looks

        monkeypatch.setattr(running, "_effort", lambda: kept(1.0))
        asked.clear()
        assert running.wait_for(lambda: len(asked) == 3, Deadline(0.01))
