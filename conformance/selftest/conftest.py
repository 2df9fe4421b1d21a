"""What the self-tests share: a folder for everything temporary, and the proof that nothing was left behind."""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from forkecho.conformance import observe, port, target
from forkecho.conformance.clients import running
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.guardian import PIDS_CGROUPS

#: A variable in the environment of everything that a test starts, with a value of its own.
MARK = "FORKECHO_SELFTEST"
LEAVES_WITHIN = 30.0  # seconds until whatever was killed has gone; a moment, unless the machine is loaded


def marked(mark: str) -> list[str]:
    """Every process that was started with this mark, however it hid since; zombies are nobody's any more."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for one in psutil.process_iter():
        try:
            environment = Path(f"/proc/{one.pid}/environ").read_bytes()
            if needle in environment.split(b"\0") and one.pid != os.getpid():
                found.append(f"{one.pid} {' '.join(one.cmdline())}")
        except (OSError, psutil.Error):
            continue
    return found


def _below() -> set[int]:
    """Our descendants, but for the nursery of guardians, which stays as long as we do."""
    me = os.getpid()
    found = observe.here().descendants(me, thorough=True)
    return {
        facts.process.pid
        for facts in found
        if not (facts.ppid == me and _is_guardian(facts.process.pid)) and facts.alive
    }


def _is_guardian(pid: int) -> bool:
    try:
        return "guardian.py" in " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where all temporary files of the test go, those of programs that it starts as well."""
    place = tmp_path / "t"  # short, since the path of a UNIX socket has at most 107 bytes
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def nothing_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Afterwards no process, no file, no cgroup and no port is left; gives the mark that all processes bear."""
    mark = str(uuid.uuid4())  # other runs of the same test must not be taken for ours
    guardians: list[int] = []

    class Recorded(Guard):
        def __init__(self) -> None:
            super().__init__()
            guardians.append(self.pid)

    monkeypatch.setattr(target, "Guard", Recorded)
    monkeypatch.setattr(running, "Guard", Recorded)
    monkeypatch.setenv(MARK, mark)
    before, ports = _below(), set(port._used)
    yield mark
    new = set(port._used) - ports

    def left() -> list[str]:
        held = [f"port {one}" for one in new if not _free(one)]
        children = [f"our descendant {pid}" for pid in _below() - before]
        files = [str(path) for path in temporary.glob("forkecho-*")]
        groups = [Path(root, f"forkecho-{pid}") for root in PIDS_CGROUPS for pid in guardians]
        rest = [str(group) for group in groups if group.exists()]
        return marked_apart_from_the_nursery(mark) + held + children + files + rest

    wait_for(lambda: not left(), Deadline(LEAVES_WITHIN))

    assert left() == []


@pytest.fixture
def builds() -> Iterator[target.Builds]:
    """Where a test's targets are built; what was is taken away."""
    made = target.Builds()
    yield made
    made.close()


def _free(number: int) -> bool:
    """Nobody listens there, and the lock on the port can be had again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        try:
            lock.bind(f"\0forkecho-port-{number}")
        except OSError:
            return False
    return not observe.here().listeners(number)


def marked_apart_from_the_nursery(mark: str) -> list[str]:
    """As `marked`; the nursery, if this test was the first to need one, bears its mark and stays."""
    mine = {child.pid for child in psutil.Process().children()}
    return [one for one in marked(mark) if not (int(one.split()[0]) in mine and "guardian.py" in one)]
