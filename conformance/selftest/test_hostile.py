"""Hostile targets do not hurt the suite, and nothing of any target outlives it, however either ends."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from forkecho.conformance import guardian, observe, port, target
from forkecho.conformance.case import expand
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guardian import OUTPUT_MAX, PROCESSES_MAX, Guardian, cgroups
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.observe import Process
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.target import Builds, NotInstalled, NotReady, Running, Target, launch

HERE = Path(__file__).with_name("hostile")
SCALE = 0.1  # a hostile server never does what is waited for, so a tenth of the patience is enough
BOMB = 250  # processes
MEGABYTE = 1 << 20
PATIENT = 30.0  # seconds for what takes a moment, unless the machine is loaded

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for what is left in /proc"),
]


def hostile(name: str, *arguments: str, **manifest: object) -> Target:
    """The server of that name beside this file, told its port unless arguments are given."""
    command = ["{python}", f"{{here}}/{name}.py", *(arguments or ["{port}"])]
    return Target(name=name, manifest=Manifest(command=command, **manifest), here=str(HERE))  # type: ignore[arg-type]


@pytest.fixture
def play(builds: Builds) -> Callable[..., CaseLine]:
    """Play one case against a target, and end the target."""

    def play(judged: Target, case_id: str, scale: float = SCALE) -> CaseLine:
        with Bench(Plan(target=judged, scale=scale), builds, canary=None) as bench:
            return judge(expand(judged.manifest)[case_id], bench)

    return play


def family(running: Running) -> set[Process]:
    """Every live process of a running target."""
    return {facts.process for facts in running.alive(thorough=True)}


def none_alive(processes: set[Process]) -> bool:
    """All of them have gone."""
    return not any(observe.here().alive(process) for process in processes)


# It does not come up


def test_a_target_that_exits_at_start_is_not_ready_and_its_words_are_shown(builds: Builds) -> None:
    """A target that ends before it listens is told from one that is slow, with its exit code and what it printed."""
    with pytest.raises(NotReady, match="exited with 3 before it listened; .* printed: 'no licence found'"):
        launch(hostile("exits"), builds)


def test_a_target_that_never_listens_is_not_ready_at_the_deadline(builds: Builds) -> None:
    """A target that lives and never listens is given up after ready-within, with its port named."""
    with pytest.raises(NotReady, match=r"has not listened on port \d+ after 0.3 s; it printed nothing"):
        launch(hostile("deaf", ready_within=0.3), builds)


def test_a_target_that_listens_elsewhere_is_not_ready_and_the_place_is_named(builds: Builds) -> None:
    """A target on another port is not judged there, but the address that it listens on is shown."""
    with pytest.raises(NotReady, match=r"it listens on 127\.0\.0\.1:\d+ instead"):
        launch(hostile("elsewhere", ready_within=3.0), builds)


def test_a_neighbour_on_the_port_is_not_taken_for_the_target(builds: Builds) -> None:
    """Where a stranger listens on the very port, a target that does not listen there is not ready."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        with pytest.raises(NotReady, match="has not listened on port"):
            launch(hostile("deaf", ready_within=0.3), builds, on=neighbour.getsockname())


def test_a_target_that_loses_its_port_to_a_neighbour_is_not_ready(builds: Builds) -> None:
    """Where a stranger was faster, the target's own complaint is what is shown."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        with pytest.raises(NotReady, match="Address already in use"):
            launch(hostile("stubborn"), builds, on=neighbour.getsockname())


def test_a_port_with_a_listener_is_not_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite does not give a target a port on which a neighbour listens."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        number = neighbour.getsockname()[1]
        monkeypatch.setattr(port, "RANGE", (number, number + 1))

        with pytest.raises(OSError, match="no free port"):
            port.reserve("127.0.0.1")


def test_a_target_that_cannot_be_executed_leaves_no_folder(builds: Builds) -> None:
    """A command that does not exist is wrong usage, found before anything is started."""
    absent = Target(name="absent", manifest=Manifest(command=["/nonexistent/server", "{port}"]))

    with pytest.raises(NotInstalled, match="'/nonexistent/server'"):
        launch(absent, builds)


def test_a_build_that_fails_leaves_nothing(builds: Builds) -> None:
    """A build command that fails says so with what it printed, before the target is started."""
    failing = hostile("mute", build=[["{python}", "-c", "raise SystemExit('no compiler')"]])

    with pytest.raises(NotReady, match="build command .* ended with 1: no compiler"):
        launch(failing, builds)


def test_undecodable_output_of_a_target_that_ends_is_shown_all_the_same(builds: Builds) -> None:
    """Bytes that are no text are replaced, and what is shown can be encoded again."""
    with pytest.raises(NotReady, match="exited with 1") as raised:
        launch(hostile("mumbler", "0"), builds)

    str(raised.value).encode()


# It comes up, and misbehaves


def test_a_flood_of_output_is_bounded_on_disk_and_serving_goes_on(
    builds: Builds, play: Callable[..., CaseLine]
) -> None:
    """Of what a target prints only the first OUTPUT_MAX bytes of each stream are kept, and it is not stalled by that."""
    with launch(hostile("babbler"), builds) as running:
        assert running.folder is not None
        files = [running.folder / name for name in ("stdout", "stderr")]
        full = wait_for(lambda: all(path.stat().st_size >= OUTPUT_MAX for path in files), Deadline(PATIENT))
        # A pipe takes 64 KiB: much more than that after the bound is proof that it is still read.
        before = [psutil.Process(one.pid).cpu_times().user for one in family(running)]
        moved = wait_for(
            lambda: [psutil.Process(one.pid).cpu_times().user for one in family(running)] != before,
            Deadline(PATIENT),
        )

        assert full
        assert moved
        assert [path.stat().st_size for path in files] == [OUTPUT_MAX, OUTPUT_MAX]
        assert len(running.output("stdout")) <= OUTPUT_MAX

    assert play(hostile("babbler"), "echo/greeting", 1.0).verdict is Verdict.PASS


@pytest.mark.parametrize("name", ["flooder", "flood_first"])
@pytest.mark.parametrize("reply", ["{data}", "{pid}:{ppid}:{data}"])
@pytest.mark.parametrize("case_id", ["echo/greeting", "echo/half-close-at-once@1024"])
def test_a_flood_of_replies_is_a_failure_and_bounded_in_memory(
    play: Callable[..., CaseLine], name: str, reply: str, case_id: str
) -> None:
    """A server that answers without end fails at the first wrong byte; the flood is not read.

    That byte comes, however late: it has the usual patience.
    """
    case_id = case_id if case_id in expand(Manifest(reply=reply)) else case_id.partition("@")[0]
    tracemalloc.start()
    try:
        line = play(hostile(name, reply=reply), case_id, 1.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert line.verdict is Verdict.FAIL
    assert "!!" in line.seen or "00" in line.seen
    assert len(line.seen) < 400
    assert peak < 16 * MEGABYTE


def test_a_server_that_never_closes_is_a_failure_at_the_deadline(play: Callable[..., CaseLine]) -> None:
    """The end that does not come is waited for no longer than the patience."""
    line = play(hostile("clinger"), "echo/nothing-said")

    assert line.verdict is Verdict.FAIL
    assert "silence for" in line.seen


def test_a_server_that_never_closes_does_not_colour_the_next_verdict(builds: Builds) -> None:
    """The case after a failure gets a fresh target, and the processes of the old one are gone."""
    judged = hostile("clinger")
    cases = expand(judged.manifest)
    # The second must pass, so it gets more patience than what never comes.
    with Bench(Plan(target=judged, scale=4 * SCALE), builds, canary=None) as bench:
        first = judge(cases["echo/nothing-said"], bench)
        second = judge(cases["echo/greeting"], bench)

    assert (first.verdict, second.verdict) == (Verdict.FAIL, Verdict.PASS)


def test_a_server_that_ignores_sigterm_is_killed(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does not end when asked to is killed after STOP_WITHIN, with its children."""
    monkeypatch.setattr("forkecho.conformance.target.running.STOP_WITHIN", 0.2)
    running = launch(hostile("stubborn"), builds)
    with socket.create_connection(running.address):
        wait_for(lambda: len(family(running)) > 1, Deadline(PATIENT))
        members = family(running)
        running.stop()

    assert len(members) == 2
    assert none_alive(members)


def test_a_server_that_ignores_sigterm_fails_the_cases_that_demand_its_end(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it does not end is its failure, and the suite goes on."""
    monkeypatch.setattr("forkecho.conformance.target.running.STOP_WITHIN", 0.2)
    case_id = next(
        one.id for one in expand(Manifest(command=["{port}"])).values() if one.requirement.id == "SHUT-01"
    )

    assert play(hostile("stubborn"), case_id).verdict is Verdict.FAIL


def test_a_server_that_forks_away_is_found_judged_and_ended(
    builds: Builds, play: Callable[..., CaseLine]
) -> None:
    """A double fork into a session of its own hides a server neither from the judge nor from its end."""
    with launch(hostile("runaway"), builds) as running:
        members = family(running)
        owner = running.owner
        assert owner is not None
        assert owner.pid != running.launched
        assert os.getsid(owner.pid) not in (running.launched, os.getsid(running.guard.pid))

    assert none_alive(members)
    assert play(hostile("runaway"), "process/born", 1.0).verdict is Verdict.PASS


def test_processes_that_hide_behind_a_connection_are_ended(builds: Builds) -> None:
    """A grandchild in a session of its own, which holds no descriptor and ignores SIGTERM, goes with the target."""
    with launch(hostile("brood"), builds) as running, socket.create_connection(running.address) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"

        def hidden() -> set[Process]:
            found = set()
            for one in family(running) - {running.owner}:
                with suppress(ProcessLookupError):  # the one between, which forks the hidden one and ends
                    if os.getsid(one.pid) == one.pid:
                        found.add(one)
            return found

        assert wait_for(hidden, Deadline(PATIENT))
        members = family(running)

    assert none_alive(members)


def test_a_fork_bomb_is_ended_to_the_last_process(builds: Builds) -> None:
    """Hundreds of processes, each in a session of its own, are all gone when the launch has failed."""
    # That it is gone is seen by the fixture: every process of it bears the mark.
    with pytest.raises(NotReady, match="has not listened"):
        launch(hostile("bomb", str(BOMB), ready_within=1.0), builds)


def test_a_target_has_a_bound_on_its_processes_where_the_kernel_permits_one(builds: Builds) -> None:
    """A launched target lives in a pids cgroup with the bound PROCESSES_MAX, which goes with it."""
    with launch(hostile("mute"), builds) as running:
        groups = list(map(Path, cgroups(running.guard.pid)))
        group = next((one for one in groups if one.is_dir()), None)
        if group is None:
            pytest.skip("no pids cgroup may be made here")
        assert (group / "pids.max").read_text() == f"{PROCESSES_MAX}\n"
        assert str(running.launched) in (group / "cgroup.procs").read_text().split()

    assert wait_for(lambda: not group.exists(), Deadline(PATIENT))


@pytest.fixture
def unlaunched() -> Iterator[Guardian]:
    """A guardian in this process, that has nothing to guard."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Guardian(theirs)


def test_a_group_that_a_killed_guardian_has_left_is_no_hindrance(unlaunched: Guardian) -> None:
    """Whoever has its PID next takes its place: otherwise the target would have no bound at all."""
    group = Path(cgroups(os.getpid())[0])
    try:
        group.mkdir()
    except OSError:
        pytest.skip("no pids cgroup may be made here")
    (group / "pids.max").write_text("7")

    unlaunched.enter_cgroup()

    assert unlaunched.cgroup == str(group)
    assert (group / "pids.max").read_text() == f"{PROCESSES_MAX}\n"
    unlaunched.clear_away()
    assert not group.exists()


def test_a_folder_that_is_no_cgroup_is_not_taken_for_one(
    unlaunched: Guardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folders of cgroups are but a tmpfs, as with cgroups of version 1, files in it bound nobody."""
    root = tmp_path / "cgroup"
    root.mkdir()
    monkeypatch.setattr(guardian, "PIDS_CGROUPS", (str(root),))

    unlaunched.enter_cgroup()

    assert unlaunched.cgroup is None
    assert list(root.iterdir()) == []


def test_the_bound_on_processes_stops_a_fork_bomb(builds: Builds) -> None:
    """With the bound reached fork fails for the target, and for nobody else."""
    with launch(hostile("late_bomb"), builds) as running, socket.create_connection(running.address) as client:
        group = Path(cgroups(running.guard.pid)[0])
        if not group.is_dir():
            pytest.skip("no pids cgroup may be made here")
        (group / "pids.max").write_text("20")
        client.settimeout(10)
        client.sendall(str(BOMB).encode())

        assert client.recv(1) == b"!"
        assert len(family(running)) <= 20


def test_undecodable_output_does_not_keep_a_server_from_passing(
    builds: Builds, play: Callable[..., CaseLine]
) -> None:
    """What a server prints is text for people, with what is no text replaced."""
    with launch(hostile("mumbler"), builds) as running:
        assert wait_for(lambda: running.output("stderr"), Deadline(PATIENT)).startswith("\ufffd\ufffd\x00")

    assert play(hostile("mumbler"), "echo/greeting", 1.0).verdict is Verdict.PASS


def test_closed_outputs_do_not_keep_a_server_from_passing(play: Callable[..., CaseLine]) -> None:
    """A server without standard streams is judged like any other."""
    assert play(hostile("mute"), "process/born", 1.0).verdict is Verdict.PASS


def test_a_server_whose_first_thread_has_ended_is_judged_and_ended(play: Callable[..., CaseLine]) -> None:
    """To the kernel it looks like a zombie, to its clients it does not; nothing of it is left."""
    assert play(hostile("headless"), "process/frozen", 1.0).verdict is Verdict.PASS


def test_a_target_inherits_its_standard_streams_and_nothing_else(builds: Builds) -> None:
    """No descriptor of the suite gets into a target: it could speak for it, or keep its connections open."""
    idle = hostile("deaf", ready_within=0.3)
    seen: list[str] = []

    def look(running: Running, deadline: Deadline) -> None:
        def names() -> list[str]:
            return sorted(path.name for path in Path(f"/proc/{running.launched}/fd").iterdir())

        def bare() -> bool:
            seen[:] = names()
            return seen == ["0", "1", "2"]

        # An interpreter that starts has files open for moments; what was inherited stays, so that once without it is enough.
        wait_for(lambda: "deaf.py" in observe.here().facts(running.launched).command, deadline)  # type: ignore[union-attr]
        wait_for(bare, Deadline(PATIENT))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forkecho.conformance.target.launching._await_listener", look)
        launch(idle, builds).stop(politely=False)

    assert seen == ["0", "1", "2"]


# The suite is killed

FREEZER = """
import signal, sys
import msgspec
from forkecho.conformance.case import expand
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Open
from forkecho.conformance import target

if sys.argv[1] == "launch":
    judged = target.load("reference")
    if "build" in sys.argv:
        made = msgspec.structs.replace(judged.manifest, build=[[sys.executable, "-c", ""]])
        judged = msgspec.structs.replace(judged, manifest=made)
    running = target.launch(judged, target.Builds())
else:
    judged = target.Target(name="there", manifest=Manifest(), connect=("127.0.0.1", int(sys.argv[2])))
    running = target.attach(judged)
stage = Stage(expand(Manifest())["process/born"], running, 0, 1.0, lambda case, port: running)
stage.open(Open(open="a"))
stage.freeze(["a", "baseline"])
print(*(process.pid for process in stage._freezer.frozen), flush=True)
signal.pause()
"""


def states(pids: list[int]) -> set[str]:
    """The states of processes, as proc(5) names them."""
    observer = observe.here()
    return {facts.state for pid in pids if (facts := observer.facts(pid))}


@pytest.fixture
def suite() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a suite in a process of its own; it is dead at the latest when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()
        one.wait()
        if one.stdout:
            one.stdout.close()


def test_a_suite_killed_in_the_middle_of_a_freeze_takes_its_target_with_it(
    suite: Callable[..., subprocess.Popen[str]],
) -> None:
    """SIGKILL for the suite while the target is frozen ends the target, its files and its guardian."""
    freezer = suite("-c", FREEZER, "launch")
    assert freezer.stdout is not None
    frozen = [int(word) for word in freezer.stdout.readline().split()]
    assert len(frozen) == 2
    assert states(frozen) == {"T"}

    freezer.kill()
    freezer.wait()

    # That nothing else is left either is seen by the fixture.
    assert wait_for(lambda: not states(frozen) - {"Z"}, Deadline(PATIENT))


LIMITER = """
import resource, signal, sys
from forkecho.conformance.case import expand
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Open
from forkecho.conformance import target

running = target.launch(target.load("reference"), target.Builds())
stage = Stage(expand(Manifest())["process/born"], running, 0, 1.0, lambda case, port: running)
stage.open(Open(open="a"))
stage.limit("descriptors")
stage.limit("processes")
print(running.guard.pid, *(facts.process.pid for facts in running.alive()), flush=True)
signal.pause()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="without root a pids cgroup is seldom to be had")
def test_a_suite_killed_while_its_target_is_limited_takes_it_with_it(
    suite: Callable[..., subprocess.Popen[str]],
) -> None:
    """SIGKILL for the suite while the target may have neither descriptors nor processes: target and cgroup are gone."""
    limiter = suite("-c", LIMITER)
    assert limiter.stdout is not None
    guarding, *limited = (int(word) for word in limiter.stdout.readline().split())
    groups = list(map(Path, cgroups(guarding)))
    if not any(group.exists() for group in groups):
        pytest.skip("no pids cgroup is permitted here")
    assert limited
    assert {(group / "pids.max").read_text().strip() for group in groups if group.exists()} == {"1"}

    limiter.kill()
    limiter.wait()

    assert wait_for(lambda: not states(limited) - {"Z"}, Deadline(PATIENT))
    assert wait_for(lambda: not any(group.exists() for group in groups), Deadline(PATIENT))


def test_what_was_taken_is_given_back_to_all(builds: Builds) -> None:
    """Also to a child that inherited the limit; and whoever has gone meanwhile is nobody's loss."""
    with launch(target.load("reference"), builds) as running:
        assert running.owner
        before = resource.prlimit(running.owner.pid, resource.RLIMIT_NOFILE)
        running.guard.limit("descriptors", [running.owner, Process(running.owner.pid, 1)])
        low, hard = resource.prlimit(running.owner.pid, resource.RLIMIT_NOFILE)
        limited = (low, hard)
        running.guard.lift("descriptors")

        assert low < 20
        assert hard == before[1]
        assert limited != before
        assert resource.prlimit(running.owner.pid, resource.RLIMIT_NOFILE) == before


def test_a_suite_that_is_killed_leaves_nothing_of_what_was_built(
    suite: Callable[..., subprocess.Popen[str]], temporary: Path
) -> None:
    """What the target's build commands made goes with the suite, even by SIGKILL."""
    freezer = suite("-c", FREEZER, "launch", "build")
    assert freezer.stdout is not None
    assert freezer.stdout.readline()
    assert list(temporary.glob("forkecho-build-*"))

    freezer.kill()
    freezer.wait()

    assert wait_for(lambda: not list(temporary.glob("forkecho-*")), Deadline(PATIENT))


def test_a_suite_killed_in_the_middle_of_a_freeze_thaws_what_it_did_not_start(
    suite: Callable[..., subprocess.Popen[str]],
) -> None:
    """SIGKILL for the suite while a server that it was only attached to is frozen: the server goes on."""
    server = suite("-m", "forkecho.server", "--port", "0", "--reply", "{data}")
    assert server.stdout is not None
    number = int(server.stdout.readline().rpartition(":")[2])
    freezer = suite("-c", FREEZER, "attach", str(number))
    assert freezer.stdout is not None
    frozen = [int(word) for word in freezer.stdout.readline().split()]
    assert server.pid in frozen
    assert len(frozen) == 2
    assert states(frozen) == {"T"}

    freezer.kill()
    freezer.wait()

    assert wait_for(lambda: "T" not in states(frozen), Deadline(PATIENT))
    with socket.create_connection(("127.0.0.1", number), timeout=PATIENT) as client:
        client.sendall(b"still there")
        assert client.recv(11) == b"still there"
    server.terminate()
    assert server.wait() == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_run_killed_in_the_middle_of_a_freeze_leaves_nothing(
    suite: Callable[..., subprocess.Popen[str]], nothing_left: str, jobs: str
) -> None:
    """The same for `forkecho check` as people start it, with workers and without."""
    run = suite(
        "-m",
        "forkecho",
        "check",
        "--requirement",
        "FORK-06",
        "--requirement",
        "FORK-10",
        "--repeat",
        "50",
        "--jobs",
        jobs,
    )

    def frozen() -> list[int]:
        found = []
        for one in psutil.Process(run.pid).children(recursive=True):
            try:
                if one.status() == psutil.STATUS_STOPPED:
                    found.append(one.pid)
            except psutil.Error:
                continue
        return found

    stopped = wait_for(frozen, Deadline(4 * PATIENT))  # a whole start of all there is comes before
    run.kill()
    run.wait()

    assert stopped
    assert wait_for(lambda: not states(stopped) - {"Z"}, Deadline(PATIENT))
