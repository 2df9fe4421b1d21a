"""What the self-tests share: a folder for everything temporary, and the proof that nothing was left behind."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from forkecho.conformance import observe, port, requirement, result, target
from forkecho.conformance.clients import running
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.guardian import cgroups
from forkecho.conformance.result import CaseLine, Footer, Header, Run, Verdict
from forkecho.conformance.target import attaching, launching
from forkecho.conformance.target import builds as building
from forkecho.conformance.verdict import exit_code

#: A variable in the environment of everything that a test starts, with a value of its own.
# A shell that starts the tests in the background has them ignore Ctrl-C, and what they start as well, which they then press in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MARK = "FORKECHO_SELFTEST"
LEAVES_WITHIN = 120.0  # seconds until whatever was killed has gone; a moment, unless the machine is loaded


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


@pytest.fixture(autouse=True)
def no_step_of_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these tests are a step of GitHub Actions, the runs that they make are none."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


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
    older: set[tuple[str, int]] = set()

    class Recorded(Guard):
        def __init__(self) -> None:
            super().__init__()
            guardians.append(self.pid)
            # It has launched nothing yet: what bears its PID is of one that was killed, and that had the PID before.
            older.update(_cgroups([self.pid]))

    for module in (building, launching, attaching, running):
        monkeypatch.setattr(module, "Guard", Recorded)
    monkeypatch.setenv(MARK, mark)
    before, ports = _below(), set(port._used)
    yield mark
    new = set(port._used) - ports

    def left() -> list[str]:
        held = [f"port {one}" for one in new if not _free(one)]
        children = [f"our descendant {pid}" for pid in _below() - before]
        files = [str(path) for path in temporary.glob("forkecho-*")]
        rest = [group for group, _ in _cgroups(guardians) - older]
        return marked_apart_from_the_nursery(mark) + held + children + files + rest

    seen: list[str] = []

    def clean() -> bool:
        seen[:] = left()
        return not seen

    wait_for(clean, Deadline(LEAVES_WITHIN))

    # Not asked again: a port that was free is anybody's.
    assert seen == []


@pytest.fixture
def bearers(nothing_left: str) -> Callable[[], list[str]]:
    """All processes that bear the mark of this test: what it has started, and what came of that."""
    return lambda: marked(nothing_left)


@pytest.fixture
def builds() -> Iterator[target.Builds]:
    """Where a test's targets are built; what was is taken away."""
    made = target.Builds()
    yield made
    made.close()


def _cgroups(guardians: list[int]) -> set[tuple[str, int]]:
    """Those that bear the PIDs of these guardians, with their inodes: the path alone does not say who made one."""
    found = set()
    for group in (group for pid in guardians for group in cgroups(pid)):
        with suppress(FileNotFoundError):
            found.add((group, os.stat(group).st_ino))
    return found


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


# Records by hand


class Hand:
    """Makes results and runs by hand, as `forkecho check` would record them."""

    #: Text that tries to be something else in a terminal, in Markdown, HTML, XML, JSON, a workflow command and a URI.
    HOSTILE = (
        "\n::error::x%0A\r\n| a | b |\n# h\n- l\n```\n~~~\n``x`\n<script>alert(1)</script><!-- --> &amp; **b** _i_ ~~s~~ [l](http://e.xx)"
        " ![i](x) @octocat #1 :tada: $x$ http://e.xx www.e.xx a@e.xx \x1b[31m\x00\ud800\u202e\ufffe\u2028 ]]> \"'\\ {0} é"
    )

    @staticmethod
    def case(id_: str, verdict: str = "fail", **told: Any) -> CaseLine:
        """A result; of FORK-06, a MUST, unless told."""
        one = requirement.load().get(told.get("requirement", "FORK-06"))
        words: dict[str, Any] = {
            "title": f"The title of {id_}.",
            "repeats": {verdict: 1},
            **({"requirement": one.id, "group": one.group, "level": one.level} if one else {}),
        } | told
        return CaseLine(id=id_, verdict=Verdict(verdict), **words)

    @staticmethod
    def run(
        *cases: CaseLine, judged: dict[str, Any] | None = None, exit_: int | None = None, **header: Any
    ) -> Run:
        """A run of socat, unless told."""
        told: dict[str, Any] = {
            "format": 1,
            "forkecho": "0.1.0",
            "spec": "0123456789ab",
            "target": judged or target.load("socat").describe(),
            "model": None,
            "host": {},
            "seed": 42,
            "selection": {},
            "selected": len(cases),
            "started": "2026-01-01T00:00:00Z",
        } | header
        code = exit_code(cases, strict=bool(told["selection"].get("strict"))) if exit_ is None else exit_
        footer = Footer(
            totals=result.totals(cases),
            selected=len(cases),
            exit=code,
            seconds=12.34,
            interrupted=code == 130,
        )
        return Run(header=Header(**told), cases=cases, footer=footer)

    def hostile(self) -> Run:
        """A run in which every verdict was given once, and all text that is not ours is hostile."""
        words = dict.fromkeys(("title", "reason", "expected", "seen"), self.HOSTILE)
        event = {"t": 0.1, "on": self.HOSTILE, "event": self.HOSTILE}
        born = {"t": 0.1, "pid": 1, "ppid": 1, "event": "born", "on": "a", "command": self.HOSTILE}
        cases = [
            self.case(
                f"x/{verdict.name.lower()}", verdict.value, transcript=[event], processes=[born], **words
            )
            for verdict in Verdict
        ]
        gone = self.case("x/gone", requirement=self.HOSTILE, group=self.HOSTILE, level="must", **words)
        judged = {
            "name": self.HOSTILE,
            "title": self.HOSTILE,
            "command": [self.HOSTILE],
            "manifest": self.HOSTILE,
        }
        told = {"selection": {"case": [self.HOSTILE]}, "packages": {self.HOSTILE: self.HOSTILE}}
        return self.run(*cases, gone, judged=judged, model=self.HOSTILE, **told)


@pytest.fixture(scope="session")
def hand() -> Hand:
    """Makes records by hand."""
    return Hand()


#: What a server could say in the hope that somebody's browser believes it.
MARKUP = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;{{ 7*7 }}|\x1b[31m\u202e\udcff\n]]>"


def wire_events(count: int) -> list[dict[str, Any]]:
    """What two connections have sent and received, from beginning to end."""
    octets = {"length": 17, "head": "00" * 16, "tail": "ff" * 16}
    told: list[dict[str, Any]] = [{"t": 0.001, "on": name, "event": "connected"} for name in ("a", "b")]
    told += [
        {"t": number / 99, "on": "ab"[number % 3 > 1], "event": ["sent", "received"][number % 2], **octets}
        for number in range(count - 5)
    ]
    end = count / 99
    told.append({"t": end, "on": "a", "event": "half-closed"})
    return [*told, *({"t": end + 1, "on": "a", "event": what} for what in ("end of stream", "closed"))]


def process_events(count: int, command: str = "/usr/bin/server") -> list[dict[str, Any]]:
    """The owner, and so many processes that were born, were frozen and have gone."""
    told = {"start": 9, "ppid": 700, "state": "S", "command": command}
    events: list[dict[str, Any]] = [{"t": 0.002, "event": "owner", "on": "", **told, "pid": 700}]
    for number in range(count):
        at, who = 0.01 + number / 1000, told | {"pid": 701 + number}
        events.append({"t": at, "event": "born", "on": "ab"[number % 2], **who, "until": at + 0.5})
        events.append({"t": at + 0.6, "event": "frozen", "on": "a", **who})
        events.append({"t": at + 0.7, "event": "thawed", "on": "", **who})
        events.append({"t": at + 0.8, "event": "sent SIGKILL", "on": "a", **who})
    ends = ("gone", "zombie", "alive")
    events += [
        {"t": 2.5, "event": ends[number % 3], "on": "", "pid": 701 + number, "start": 9}
        for number in range(count)
    ]
    return events


@pytest.fixture(scope="session")
def big_run(hand: Hand) -> Run:
    """500 cases by hand, 30 of them failures with all the evidence that there is room for, and a hostile server's words."""
    known = [one for one in requirement.load().values() if one.role == "server"]
    others = [one for one in Verdict if one not in (Verdict.PASS, Verdict.FAIL)]
    cases = []
    for number in range(500):
        one = known[number % len(known)]
        verdict = Verdict.FAIL if number < 30 else others[number - 30] if number < 38 else Verdict.PASS
        words = {"reason": "for a reason", "expected": "what is right", "seen": "what is wrong"}
        if number == 7:
            words = dict.fromkeys(words, MARKUP)
        failed = verdict is Verdict.FAIL
        cases.append(
            CaseLine(
                id=f"{one.group.lower()}/a-case-of-some-length@{number}",
                title=f"The title of case {number}, which says what is done and what must be seen of it.",
                requirement=one.id,
                group=one.group,
                level=one.level,
                verdict=verdict,
                seconds=0.25,
                seed=number,
                repeats={verdict.value: 1},
                transcript=wire_events(300 if failed else 12),
                processes=process_events(40 if failed else number % 4, words["reason"]),
                **(words if verdict is not Verdict.PASS else {}),
            )
        )
    return hand.run(
        *cases, exit_=1, model="fork-per-connection (direct)", host={"system": "Linux", "cpus": 2}
    )
