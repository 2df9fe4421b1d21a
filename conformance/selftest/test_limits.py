"""Limits that thousands of connections meet: raised where that is possible, else named, and never the server's fault."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import msgspec
import pytest

from forkecho.cli.check import workers_for
from forkecho.conformance import limits, target, wire
from forkecho.conformance.case import expand
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.target import Builds, Target

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="limits are read in /proc"),
]

#: A namespace of its own has its own range of ports: forty, where a hundred clients come.
FEW_PORTS = """
ip link set lo up
echo 50000 50039 > /proc/sys/net/ipv4/ip_local_port_range
exec "$@"
"""


@pytest.fixture(autouse=True)
def limit_of_ours() -> Iterator[None]:
    """Afterwards our limit is what it was."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def declaring(limit: int) -> Target:
    """The reference with another limit."""
    judged = target.load("reference")
    return msgspec.structs.replace(
        judged, manifest=msgspec.structs.replace(judged.manifest, max_connections=limit)
    )


@pytest.fixture
def play(builds: Builds) -> Callable[..., CaseLine]:
    """Hold as many connections as are declared."""

    def play(limit: int, case_id: str = "all-served") -> CaseLine:
        judged = declaring(limit)
        with Bench(Plan(target=judged), builds, canary=None) as bench:
            return judge(expand(judged.manifest)[f"concurrency/{case_id}@{limit}"], bench)

    return play


def unraisable(kind: int, wanted: tuple[int, int]) -> None:
    """As setrlimit(2) for one who may not."""
    raise ValueError("not allowed to raise maximum limit")


def test_our_limit_of_descriptors_is_raised_and_the_target_does_not_see_it(builds: Builds) -> None:
    """We hold more connections than our soft limit let us; the target has the one that it would have had without us."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))

    assert limits.lack(100) == ""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 164

    with target.start(declaring(100), builds) as running:
        assert running.owner is not None
        assert resource.prlimit(running.owner.pid, resource.RLIMIT_NOFILE)[0] == limits.STARTED_WITH[0]


def test_a_target_that_declares_more_connections_than_fit_gets_room_for_them(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That our shell has a low limit is not what the server has declared."""
    monkeypatch.setattr(limits, "STARTED_WITH", (256, 256))
    found = []
    for limit in (100, 300):
        with target.start(declaring(limit), builds) as running:
            assert running.owner is not None
            found.append(resource.prlimit(running.owner.pid, resource.RLIMIT_NOFILE)[0])

    assert found == [256, 364]


def test_a_limit_of_descriptors_that_cannot_be_raised_is_named(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is judged then: the reason says what is wanted, what there is, and how it is asked for."""
    bound = SimpleNamespace(
        **vars(resource) | {"getrlimit": lambda kind: (256, 256), "setrlimit": unraisable}
    )
    monkeypatch.setattr(limits, "resource", bound)
    line = play(300)

    assert (line.verdict, line.seen) == (Verdict.INCONCLUSIVE, "")
    assert line.reason == (
        "300 connections at once take 364 descriptors, and this process may have 256 (RLIMIT_NOFILE, ulimit -Hn)"
    )


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"/proc/sys/kernel/pid_max": "500\n", "/proc/loadavg": "0.1 0.1 0.1 1/200 4711\n"}, "500 (kernel.pid_max)"),
        (
            {
                "/proc/self/cgroup": "0::/\n",
                "/sys/fs/cgroup/pids.max": "512\n",
                "/sys/fs/cgroup/pids.current": "200\n",
            },
            "512 (/sys/fs/cgroup/pids.max)",
        ),
        (
            {
                "/proc/self/cgroup": "8:pids:/\n",
                "/sys/fs/cgroup/pids/pids.max": "512\n",
                "/sys/fs/cgroup/pids/pids.current": "200\n",
            },
            "512 (/sys/fs/cgroup/pids/pids.max)",
        ),
    ],
)  # fmt: skip
def test_a_limit_of_processes_is_named_before_a_server_is_blamed_for_it(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch, files: dict[str, str], named: str
) -> None:
    """With 200 taken of 500, three hundred clients cannot have a process each, whatever the server does."""
    monkeypatch.setattr(limits, "_read", lambda path: files.get(path, ""))
    line = play(300)

    assert (line.verdict, line.seen) == (Verdict.INCONCLUSIVE, "")
    assert line.reason == (
        f"300 connections at once take as many processes, and there may be {named}, of which 200 are taken"
    )


def test_a_range_of_ports_that_is_too_small_is_named(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight addresses with 20 ports each do not do for three hundred clients."""
    real = limits._read
    monkeypatch.setattr(
        limits, "_read", lambda path: "50000 50019" if path.endswith("_port_range") else real(path)
    )

    assert "there are 160 (net.ipv4.ip_local_port_range" in play(300).reason


def test_clients_for_whom_no_port_is_left_come_from_a_further_address() -> None:
    """A hundred clients of one server are served where there are forty ports."""
    unshare, ip = shutil.which("unshare"), shutil.which("ip")
    if not unshare or not ip or os.geteuid() != 0:
        pytest.skip("takes a network namespace of its own (CAP_SYS_ADMIN)")
    check = ["check", "reference", "--max-connections", "100", "--case", "concurrency/each-its-own@100"]
    done = subprocess.run(
        [unshare, "--net", "sh", "-ec", FEW_PORTS, "sh", sys.executable, "-P", "-m", "forkecho", *check],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "unshare failed" in done.stderr or "Read-only" in done.stderr:
        pytest.skip(done.stderr)

    assert "conformant: 1 passed" in done.stdout, done.stdout + done.stderr


def test_what_we_lack_at_a_connect_is_not_the_servers_fault(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that is taken by somebody else meanwhile is named, and nothing is judged."""

    def none_left(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(wire.socket, "socket", none_left)
    with pytest.raises(wire.CannotConnect) as raised:
        wire.begin(("127.0.0.1", 9))
    monkeypatch.undo()

    assert raised.value.errno in wire.OURS

    def refused(*_: object) -> socket.socket:
        raise raised.value

    monkeypatch.setattr(wire, "begin", refused)
    line = play(40)

    assert (line.verdict, line.seen) == (Verdict.INCONCLUSIVE, "")
    assert line.reason == "connection n1 cannot be made, which is not the server's fault: EMFILE"


def test_few_connections_are_not_asked_about(
    monkeypatch: pytest.MonkeyPatch, play: Callable[..., CaseLine]
) -> None:
    """Cases of a handful of connections cost no look at any limit."""
    monkeypatch.setattr(limits, "lack", lambda *_, **__: pytest.fail("asked"))

    assert play(limits.WORTH_ASKING - 1).verdict is Verdict.PASS


def test_crowds_are_not_held_beside_each_other() -> None:
    """A run with thousands of connections has one worker, since two would take twice the processes."""
    cpus = os.cpu_count() or 1

    assert workers_for(Plan(target=declaring(512))) == min(2 * cpus, 8)
    assert workers_for(Plan(target=declaring(5000))) == 1
