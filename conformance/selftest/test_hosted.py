"""Servers that are used in process: the host does what it is told, and what comes of it is judged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forkecho.conformance import session, target
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.hosted import HOST, Hosted, HostLost, Return
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import Plan, Selection
from forkecho.conformance.target import Builds, NotReady, Target, launch

HERE = Path(__file__).with_name("hostile")
PATIENT = 30.0  # seconds for what takes a moment, unless the machine is loaded
IN_PROCESS = ["in-process/*"]

pytestmark = [
    pytest.mark.once,
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


def verdicts(name: str | Target, case: list[str], **more: Any) -> dict[str, str]:
    """The verdict of each case, without its file."""
    judged = target.load(name) if isinstance(name, str) else name
    run, missing = session.play(Plan(target=judged, selection=Selection(case=case), **more))
    assert missing == ""
    return {line.id.partition("/")[2]: line.verdict.value for line in run.cases}


# The host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Hosted]]:
    """A host of one of the classes beside this file, that listens."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str, file: Path = HERE / "hosted.py") -> Hosted:
        argv = [sys.executable, str(HOST), f"{file}:Patient", "127.0.0.1", "0", str(tmp_path)]
        started.append(subprocess.Popen([*argv, *words]))
        assert wait_for(lambda: is_read(tmp_path / "calls"), Deadline(PATIENT))
        return Hosted(tmp_path)

    yield start
    for one in started:
        one.kill()
        one.wait()


def is_read(pipe: Path) -> bool:
    """Somebody has it open for reading; with those that a launch starts, before they listen."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def returned(hosted: Hosted, name: str) -> Return:
    """How a call returns."""
    number = hosted.call(name)
    told = wait_for(lambda: hosted.returned(number), Deadline(PATIENT))
    assert told is not None
    assert (told.call, told.name) == (number, name)
    return told


def test_a_host_leaves_nothing_beside_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Callable[..., Hosted]
) -> None:
    """Python would keep what it has compiled there; Python 2 in a file right beside it."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    beside = tmp_path / "beside"
    beside.mkdir()
    for name in ("hosted.py", "honest.py"):
        shutil.copy(HERE / name, beside)
    host(file=beside / "hosted.py")

    assert sorted(path.name for path in beside.iterdir()) == ["honest.py", "hosted.py"]


def test_a_host_tells_how_its_calls_return(host: Callable[..., Hosted]) -> None:
    """Each with its number; one that does not return does not keep others from it."""
    hosted = host("note='two words'")
    stuck = hosted.call("shutdown")

    assert returned(hosted, "server-close").error == "ValueError: two words"
    assert returned(hosted, "bear").result
    assert returned(hosted, "wait").result == 7
    assert returned(hosted, "wait").error.startswith("ChildProcessError")
    assert hosted.returned(stuck) is None


def test_a_host_can_be_a_client_of_its_own_server(host: Callable[..., Hosted]) -> None:
    """It is served like any other, once the server serves."""
    hosted = host()
    hosted.call("serve")

    assert returned(hosted, "visit").error == ""
    assert returned(hosted, "leave").error == ""


def test_an_argument_that_is_no_literal_is_text(host: Callable[..., Hosted]) -> None:
    """Quotes are for those who want them."""
    assert returned(host("note=plain words"), "server-close").error == "ValueError: plain words"


def test_a_host_can_be_stuck_in_a_handler_and_serve_in_its_main_thread(host: Callable[..., Hosted]) -> None:
    """A signal handler runs in the main thread, which serves or waits to; other calls go on."""
    hosted = host()
    serving, stuck = hosted.call("serve-in-main"), hosted.call("shutdown-from-handler")

    assert returned(hosted, "server-close").error
    assert hosted.returned(serving) is None
    assert hosted.returned(stuck) is None


def test_a_host_that_has_gone_takes_no_calls(tmp_path: Path) -> None:
    """Without a pipe, and with one that nobody reads."""
    with pytest.raises(HostLost, match="takes no calls"):
        Hosted(tmp_path).call("shutdown")
    os.mkfifo(tmp_path / "calls")
    with pytest.raises(HostLost, match="takes no calls"):
        Hosted(tmp_path).call("shutdown")


def test_a_line_that_is_not_whole_is_not_read(tmp_path: Path) -> None:
    """The host writes while we read."""
    (tmp_path / "returns").write_text('{"call": 1, "name": "serve", "seconds": 0.5}\n{"call": 2, "na')
    hosted = Hosted(tmp_path)

    assert hosted.returned(1) == Return(call=1, name="serve", seconds=0.5)
    assert hosted.returned(2) is None


# What is judged


def test_the_reference_passes_in_process() -> None:
    """All that is called of its class, and processes and the wire as well."""
    found = verdicts("reference-in-process", [*IN_PROCESS, "process/born", "process/frozen", "echo/greeting"])

    assert set(found.values()) == {"pass"}
    assert len(found) > 10


def test_socketserver_fails_in_process_what_it_must() -> None:
    """It waits for itself, and for its clients, keeps those of its host open, and waits at its limit for whichever child there is."""
    failing = [
        "shutdown-from-a-handler",
        "shutdown-before-serving",
        "close",
        "close-beside-a-stopped-process",
    ]
    failing.append("child-holds-no-client-of-its-host")
    limit, passing = "child-of-the-host-at-the-limit", ["child-of-the-host", "nobody-after-the-shutdown"]
    chosen = [f"in-process/{name}" for name in (*failing, limit, *passing)]

    assert verdicts("socketserver-in-process", chosen, scale=0.7) == {
        **dict.fromkeys(failing, "fail"),
        limit: "warn",
        **dict.fromkeys(passing, "pass"),
    }


def patient(**more: Any) -> Target:
    """A target whose host uses the class beside this file."""
    command = ["{python}", "{suite}/host.py", "{here}/hosted.py:Patient", "{host}", "{port}", "{dir}"]
    return Target(name="patient", manifest=Manifest(command=command, in_process=True, **more), here=str(HERE))


def test_what_does_not_return_is_told_and_so_is_an_error() -> None:
    """In words that need no source."""
    chosen = ["in-process/shutdown", "in-process/shutdown-before-serving"]
    run, _ = session.play(Plan(target=patient(), selection=Selection(case=chosen), scale=0.5))

    assert {line.seen for line in run.cases} == {"it has not"}
    assert {line.expected.partition(" to return")[0] for line in run.cases} == {
        "shutdown() in another thread"
    }


def test_a_server_without_a_host_cannot_be_called(builds: Builds) -> None:
    """What declares that it is used in process must be started by the host, and says so where it is not."""
    command = ["{python}", "{here}/moody.py", "{port}", "echo"]
    alone = Target(name="alone", manifest=Manifest(command=command, in_process=True), here=str(HERE))

    with pytest.raises(NotReady, match="target alone is to be used in process: the host takes no calls"):
        launch(alone, builds)


def test_a_server_of_its_own_is_not_judged_as_a_class() -> None:
    """The requirements do not apply to it."""
    assert set(verdicts("reference", [*IN_PROCESS, "echo/greeting"]).values()) == {"n/a", "pass"}
