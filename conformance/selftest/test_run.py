"""Runs from end to end: verdicts, exit codes and records of small selections against real targets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
import pytest

from forkecho.conformance import conftest, observe, requirement, result, session, sights, target
from forkecho.conformance.case import Case, expand
from forkecho.conformance.collector import PROPERTY, Collector, line_for
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import GuardianLost
from forkecho.conformance.guardian import cgroups
from forkecho.conformance.manifest import Family, Manifest
from forkecho.conformance.plan import EmptySelection, Plan, Selection, UnknownId, select
from forkecho.conformance.result import CaseLine, Run, Verdict
from forkecho.conformance.run import PERFORM, Bench, judge
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Exchange, See
from forkecho.conformance.target import Builds, NotReady, Target, attaching, launching

HERE = Path(__file__).with_name("hostile")
SUITE = Path(__file__).parents[1]
FORK_CASES = ["process/born", "process/not-the-owner", "process/born-together"]
PATIENT = 30.0  # seconds for what takes a moment, unless the machine is loaded

# Warnings of the runs inside are theirs; two workers of xdist in a process that has threads are no news here.
pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


def planned(name: str | Target, *, case: list[str] | None = None, **more: object) -> Plan:
    """A plan for a shipped target, or another, with a selection."""
    chosen = {key: more.pop(key) for key in ("requirement", "group", "level") if key in more}
    selection = Selection(case=case or [], **chosen)  # type: ignore[arg-type]
    return Plan(target=target.load(name) if isinstance(name, str) else name, selection=selection, **more)  # type: ignore[arg-type]


def verdicts(run: Run) -> dict[str, str]:
    """The verdict of each case."""
    return {case.id: case.verdict.value for case in run.cases}


def by_requirement(id_: str) -> list[str]:
    """The ids of the cases of a requirement for the reference, in file order."""
    manifest = target.load("reference").manifest
    return [case.id for case in expand(manifest).values() if case.requirement.id == id_]


@pytest.fixture
def server() -> Iterator[Callable[..., tuple[int, int]]]:
    """A reference server that somebody else has started: its PID and its port."""
    started: list[subprocess.Popen[str]] = []

    def start(reply: str = "{pid}:{ppid}:{data}") -> tuple[int, int]:
        argv = [sys.executable, "-m", "forkecho.server", "--port", "0", "--reply", reply]
        one = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        started.append(one)
        assert one.stdout is not None
        return one.pid, int(one.stdout.readline().rpartition(":")[2])

    yield start
    for one in started:
        one.terminate()
        one.communicate(timeout=PATIENT)


def there(port: int, pid: int = 0) -> Target:
    """A target that runs already."""
    manifest = Manifest(title="a server that runs already", reply="{pid}:{ppid}:{data}")
    return Target(name=f"127.0.0.1:{port}", manifest=manifest, connect=("127.0.0.1", port), pid=pid)


# Verdicts of whole runs


def test_the_reference_passes() -> None:
    """A run of passes ends with 0, and its totals add up to what was selected."""
    run, missing = session.play(planned("reference", case=["echo/greeting", "buffer/whole@*", *FORK_CASES]))

    assert missing == ""
    assert set(verdicts(run).values()) == {"pass"}
    assert len(run.cases) == run.header.selected == run.footer.selected > 10
    assert run.footer.totals["pass"] == run.footer.selected
    assert (run.footer.exit, run.footer.interrupted) == (0, False)


def test_passing_fork_cases_name_the_processes_they_saw() -> None:
    """No FORK case passes without evidence: the PIDs of what was born for its connections."""
    chosen = [
        by_requirement(id_)[0]
        for id_, one in requirement.load().items()
        if one.group == "FORK" and by_requirement(id_)
    ]
    run, _ = session.play(planned("reference", case=chosen))
    passed = [case for case in run.cases if case.verdict is Verdict.PASS]

    assert len(passed) > 8
    for case in passed:
        assert [event["pid"] for event in case.processes if event["event"] == "born"], case.id
        assert all(event["t"] >= 0 for event in case.processes)


def test_a_contrast_fails_what_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with threads echoes, and breaks FORK-01."""
    run, _ = session.play(planned("threading", case=["echo/greeting"], requirement=[]))
    assert (verdicts(run), run.footer.exit) == ({"echo/greeting": "pass"}, 0)

    def hasten(stage: Stage, step: See) -> None:
        stage.scale = 0.1
        sights.see(stage, step)

    # To be accepted takes what it takes; only that it is handed over, and then a process of its own, are waited for in vain.
    monkeypatch.setattr(Stage, "await_handover", lambda stage, wanted: None)
    monkeypatch.setitem(PERFORM, See, hasten)
    run, _ = session.play(planned("threading", case=["process/born", "process/not-the-owner"]))
    assert set(verdicts(run).values()) == {"fail"}
    assert run.footer.exit == 1
    assert all(
        "alive before the connection" in case.seen for case in run.cases if case.requirement == "FORK-01"
    )
    # Opened, accepted, and then looked at.
    assert {case.id: case.step for case in run.cases} == {"process/born": 3, "process/not-the-owner": 3}


def test_a_target_that_does_not_echo_blocks_the_rest() -> None:
    """The canary fails once, and everything else is not tried; nobody waits for each of them."""
    silent = Target(
        name="silent", manifest=Manifest(command=["{python}", "{here}/silent.py", "{port}"]), here=str(HERE)
    )
    canary = by_requirement("ECHO-14")[0]
    run, _ = session.play(
        planned(silent, case=["echo/any-answer", "echo/greeting", "process/born"], scale=0.1)
    )
    found = verdicts(run)

    assert found[canary] == "fail"
    assert {found[id_] for id_ in ("echo/greeting", "process/born")} == {"blocked"}
    assert all("does not even echo" in case.reason for case in run.cases if case.verdict is Verdict.BLOCKED)
    assert run.footer.exit == 1


def test_what_does_not_apply_is_said_and_counted() -> None:
    """n/a with the reason; and when nothing else is left, there was nothing to judge."""
    run, _ = session.play(planned("threading", case=["echo/greeting", "echo/prefix"]))
    assert verdicts(run) == {"echo/greeting": "pass", "echo/prefix": "n/a"}
    assert "reply" in next(case.reason for case in run.cases if case.id == "echo/prefix")
    assert run.footer.exit == 0

    run, _ = session.play(planned("threading", case=["echo/prefix"]))
    assert run.footer.exit == 5


def test_a_target_that_never_gets_ready_ends_with_4() -> None:
    """Every case is blocked with the reason, and the record is whole."""
    deaf = Target(
        name="deaf", manifest=Manifest(command=["{python}", "{here}/deaf.py"], announce="(x)", ready_within=0.3), here=str(HERE)
    )  # fmt: skip
    run, missing = session.play(planned(deaf, case=["echo/greeting", "process/born"]))

    assert "has not listened" in missing
    assert set(verdicts(run).values()) == {"blocked"}
    assert all(missing in case.reason for case in run.cases)
    assert (run.footer.exit, run.footer.totals["blocked"]) == (4, 2)


@pytest.mark.parametrize(
    ("judged", "family"), [("address/ipv6", "ipv6"), ("address/dual", "dual"), ("address/unix", "unix")]
)
def test_a_declared_family_that_is_not_served_fails(judged: str, family: Family) -> None:
    """A server that listens elsewhere breaks its promise; whoever does not declare the family made none."""
    command = ["{python}", "{here}/moody.py", "{port}", "echo"]
    promised = Manifest(command=command, families=["ipv4", family], ready_within=3.0)
    run, _ = session.play(planned(Target(name="ipv4", manifest=promised, here=str(HERE)), case=[judged]))
    (line,) = run.cases

    assert line.verdict in (Verdict.FAIL, Verdict.WARN), line
    assert (family in line.expected) if family == "unix" else ("connection a to be made" in line.expected)

    run, _ = session.play(planned("reference-data", case=[judged, "echo/greeting"]))
    assert verdicts(run)[judged] == "n/a"


@pytest.mark.parametrize("name", ["reference-ipv6", "reference-dual", "reference-unix"])
def test_the_reference_serves_every_family(name: str) -> None:
    """Its processes are seen with connections over IPv6 and UNIX sockets too, as they are over IPv4."""
    chosen = ["echo/greeting", *FORK_CASES, "process/frozen", "shutdown/restart-*"]
    run, missing = session.play(planned(name, case=chosen))

    assert missing == ""
    assert set(verdicts(run).values()) == {"pass"}


def test_a_host_without_ipv6_judges_no_server_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inconclusive with the reason: it is not the server's fault."""
    monkeypatch.setattr(launching, "local", lambda host: False)
    run, _ = session.play(planned("reference", case=["address/dual", "echo/greeting"]), jobs=1)
    found = {line.id: line for line in run.cases}

    assert found["address/dual"].verdict is Verdict.INCONCLUSIVE
    assert "this host has no IPv6" in found["address/dual"].reason


def test_a_known_failure_passes_the_run_and_a_fixed_one_fails_it() -> None:
    """Known keeps the exit code at 0; fixed, a list that is out of date, does not."""
    judged = target.load("threading")
    known = msgspec.structs.replace(
        judged.manifest, known={"process/born": "it has threads", "echo/greeting": "it was old"}
    )
    listed = msgspec.structs.replace(judged, manifest=known)

    run, _ = session.play(planned(listed, case=["process/born"], scale=0.1))
    assert (verdicts(run), run.footer.exit) == ({"process/born": "known"}, 0)

    run, _ = session.play(planned(listed, case=["echo/greeting"]))
    assert (verdicts(run), run.footer.exit) == ({"echo/greeting": "fixed"}, 1)


def test_repeats_are_counted_in_one_line() -> None:
    """Three times the same is one case line that says so."""
    run, _ = session.play(planned("reference", case=["echo/greeting", "process/born"], repeat=3))

    assert [case.repeats for case in run.cases] == [{"pass": 3}, {"pass": 3}]
    assert run.footer.totals["pass"] == 2


@pytest.mark.once
def test_verdicts_do_not_depend_on_the_number_of_workers() -> None:
    """The same selection with one worker and with two: the same verdicts, expected, totals and exit code."""
    chosen = ["buffer/whole@*", "process/born", "process/not-the-owner", "echo/prefix", "echo/greeting"]
    one, two = (session.play(planned("threading", case=chosen, scale=0.4), jobs=jobs)[0] for jobs in (1, 2))

    assert verdicts(one) == verdicts(two)
    assert set(verdicts(one).values()) == {"pass", "fail", "n/a"}
    assert [case.seed for case in one.cases] == [case.seed for case in two.cases]
    assert (one.footer.totals, one.footer.exit) == (two.footer.totals, two.footer.exit)
    assert sum(two.footer.totals.values()) == two.footer.selected


def test_stop_first_leaves_the_rest_untried() -> None:
    """-x ends at the first failure; the totals still add up to what was selected."""
    run, _ = session.play(planned("threading", group=["FORK"], scale=0.1), stop_first=True)
    totals = run.footer.totals

    assert totals["fail"] == 1
    assert totals["blocked"] > 10
    assert sum(totals.values()) == run.footer.selected
    assert run.footer.exit == 1


def test_results_are_told_as_they_come() -> None:
    """Each result once, for the progress bar."""
    told: list[str] = []
    run, _ = session.play(
        planned("reference", case=["buffer/whole@*"]), told=lambda line: told.append(line.id)
    )

    assert sorted(told) == [case.id for case in run.cases]


def test_a_run_is_a_record_that_can_be_read_back(tmp_path: Path) -> None:
    """What was played is dumped and loaded again without loss."""
    run, _ = session.play(planned("reference", case=["echo/greeting", "process/born"]))
    path = tmp_path / "run.jsonl"
    path.write_text(result.dump(run), encoding="utf-8")

    assert result.load(path) == run


def test_surroundings_do_not_change_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of other tests are not obeyed, and are there again afterwards."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    run, _ = session.play(planned("reference", case=["echo/greeting"]))

    assert run.footer.exit == 0
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option"
    assert "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ


# Selections


@pytest.mark.parametrize("what", ["requirement", "group", "level"])
def test_an_unknown_id_is_refused_with_those_that_there_are(what: str) -> None:
    """Wrong usage is told from an empty selection."""
    with pytest.raises(UnknownId, match=f"there is no {what} 'ECHO-99' "):
        select(planned("reference", **{what: ["ECHO-99"]}))


def test_a_selection_of_nothing_is_refused() -> None:
    """Known words that fit no case together."""
    with pytest.raises(EmptySelection, match="no case fits case echo/no-such-case"):
        select(planned("reference", case=["echo/no-such-case"]))
    with pytest.raises(EmptySelection, match="requirement ECHO-01, group FORK"):
        select(planned("reference", requirement=["ECHO-01"], group=["FORK"]))


def test_filters_must_all_let_a_case_through() -> None:
    """Requirement, group, level and glob narrow each other."""
    cases = select(planned("reference", case=["process/*"], group=["FORK"], level=["must"]))

    assert cases
    assert {(case.requirement.group, case.requirement.level) for case in cases} == {("FORK", "must")}
    assert all(case.id.startswith("process/") for case in cases)


# A server that runs already


def test_a_server_that_runs_already_is_judged_and_lives_on(server: Callable[..., tuple[int, int]]) -> None:
    """Its owner is found in the kernel; what needs to launch or end it is n/a; it is alive afterwards."""
    pid, port = server()
    run, missing = session.play(planned(there(port), case=[*FORK_CASES, "echo/greeting", "shutdown/*"]))
    counted = Counter(verdicts(run).values())

    assert missing == ""
    assert {verdicts(run)[id_] for id_ in (*FORK_CASES, "echo/greeting")} == {"pass"}
    assert set(counted) == {"pass", "n/a"}
    assert run.footer.exit == 0
    assert run.header.target["connect"] == f"127.0.0.1:{port}"
    os.kill(pid, 0)
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENT) as client:
        client.sendall(b"x")
        assert client.recv(1)


def test_the_right_pid_is_accepted_and_a_wrong_one_refused(server: Callable[..., tuple[int, int]]) -> None:
    """--pid names a process that holds the listener, or the run ends with 4 and names those that do."""
    pid, port = server()
    run, _ = session.play(planned(there(port, pid), case=["process/born"]))
    assert verdicts(run) == {"process/born": "pass"}

    run, missing = session.play(planned(there(port, os.getpid()), case=["process/born"]))
    assert f"--pid {os.getpid()} does not hold the listener of port {port} (those that do: {pid})" in missing
    assert run.footer.exit == 4


def test_nobody_there_is_not_ready() -> None:
    """Where nobody listens there is nothing to judge."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotReady, match="nobody listens on 127.0.0.1:"):
            target.attach(there(bound.getsockname()[1]))


def test_what_cannot_be_observed_is_inconclusive_and_never_a_pass(
    server: Callable[..., tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On what seems to be another host the wire is judged, and no case that looks at processes passes."""
    _, port = server()
    monkeypatch.setattr(attaching, "local", lambda host: False)
    run, _ = session.play(planned(there(port), group=["FORK", "HYG", "RES"]))
    wire, _ = session.play(planned(there(port), case=["echo/greeting", "buffer/whole@1024"]))
    found = Counter(verdicts(run).values())

    assert found["inconclusive"] > 20
    assert set(found) <= {"inconclusive", "n/a"}
    reasons = {case.reason for case in run.cases if case.verdict is Verdict.INCONCLUSIVE}
    assert all("another host" in reason or "has not started" in reason for reason in reasons)
    assert run.footer.exit == 3
    assert set(verdicts(wire).values()) == {"pass"}
    assert not any(case.processes for case in run.cases)


def test_another_host_is_not_stressed_unasked() -> None:
    """More clients than 64 are opened to another host only with --stress, and nothing is made scarce or crashed there."""
    large = Manifest(max_connections=512)
    crowd = next(
        one for one in expand(large).values() if one.held > 64 and not one.controls and not one.unfit(large)
    )
    far = Target(name="far", manifest=large, connect=("192.0.2.1", 7))
    near = Target(name="near", manifest=large, connect=("127.0.0.1", 7))

    assert "only with --stress" in Plan(target=far).unfit(crowd)
    assert Plan(target=far, stress=True).unfit(crowd) == ""
    assert Plan(target=near).unfit(crowd) == ""

    silent = expand(large)["robustness/silent-crowd"]

    assert "only with --stress" in Plan(target=far).unfit(silent)
    assert Plan(target=far, stress=True).unfit(silent) == ""
    assert Plan(target=near).unfit(silent) == ""


# Faults of the suite


def test_a_fault_of_the_suite_is_broken_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in the interpreter is ours: exit code 3, with the place."""

    def stumble(stage: object, step: object) -> None:
        raise KeyError("stumbled")

    monkeypatch.setitem(PERFORM, Exchange, stumble)
    plan = planned("reference", case=["echo/greeting"])
    with Bench(plan, Builds(), canary=None) as bench:
        line = judge(select(plan)[0], bench)

    assert line.verdict is Verdict.BROKEN
    assert line.reason.startswith("KeyError: 'stumbled' in stumble, line ")


def test_a_guardian_that_was_killed_is_a_fault_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """The target's guardian is ours: without it nothing can be said of the target, and that is noticed at once."""
    running = target.launch(target.load("reference"), Builds())
    members = {facts.process for facts in running.alive()}
    started = time.monotonic()
    os.kill(running.guard.pid, signal.SIGKILL)
    try:
        with pytest.raises(GuardianLost):
            running.guard.sync()
        assert time.monotonic() - started < 5
    finally:
        observer = observe.here()
        for process in members:  # whom the guardian would have ended
            observer.send(process, signal.SIGKILL)
        with suppress(GuardianLost):
            running.stop(politely=False)
        for group in map(Path, cgroups(running.guard.pid)):
            if group.is_dir():
                wait_for(lambda group=group: not (group / "cgroup.procs").read_text(), Deadline(PATIENT))  # type: ignore[misc]
                group.rmdir()


class Report:
    """As much of a pytest report as a collector looks at."""

    def __init__(
        self, case: Case, when: str, failed: bool, line: CaseLine | None = None, words: str = ""
    ) -> None:
        self.nodeid = f"conformance/test_cases.py::test_case[{case.id}]"
        self.when, self.failed, self.longrepr = when, failed, words
        self.user_properties = [(PROPERTY, msgspec.to_builtins(line))] if line else []


@pytest.fixture
def collector() -> Collector:
    """A collector that waits for three results."""
    plan = planned("reference", case=["echo/greeting", "process/born", "echo/prefix"])
    return Collector(plan, select(plan))


def test_a_worker_that_crashed_is_broken(collector: Collector) -> None:
    """The case that a worker was playing is reported as failed, without a result: not the target's failure."""
    case = collector.cases["process/born"]
    collector.pytest_runtest_logreport(Report(case, "???", True, words="worker 'gw0' crashed while running"))  # type: ignore[arg-type]
    found = {line.id: line for line in collector.results()}

    assert found["process/born"].verdict is Verdict.BROKEN
    assert found["process/born"].reason == "the suite failed: worker 'gw0' crashed while running"
    assert collector.exit_code() == 3


def test_a_fixture_that_fails_is_broken_even_after_a_pass(collector: Collector) -> None:
    """What goes wrong in clearing up is not hidden by the result before it."""
    case = collector.cases["echo/greeting"]
    passed = line_for(case, Verdict.PASS, "")
    collector.pytest_runtest_logreport(Report(case, "call", False, passed))  # type: ignore[arg-type]
    collector.pytest_runtest_logreport(Report(case, "teardown", True, words="E\nOSError: no more files"))  # type: ignore[arg-type]

    assert {line.id: line.verdict for line in collector.results()}["echo/greeting"] is Verdict.BROKEN


def test_cases_without_a_result_are_blocked_with_the_reason(collector: Collector) -> None:
    """Interrupted, stopped, never ready or crashed: each selected case has a line that says why."""

    def said() -> set[tuple[str, str]]:
        return {(line.verdict.value, line.reason) for line in collector.results()}

    assert said() == {("blocked", "not tried: the run was stopped before")}
    collector.interrupted = True
    assert said() == {("blocked", "not tried: interrupted")}
    assert collector.exit_code() == 130
    collector.interrupted, collector.crashed = False, "pytest ended with 3"
    assert said() == {("broken", "pytest ended with 3")}
    assert collector.exit_code() == 3


def test_a_known_failure_is_told_as_known_at_once() -> None:
    """Whoever watches a run is not alarmed by what its end calls known."""
    manifest = msgspec.structs.replace(target.load("reference").manifest, known={"ECHO-01": "so it is"})
    plan = planned("reference", case=["echo/greeting", "process/born"])
    plan = msgspec.structs.replace(plan, target=msgspec.structs.replace(plan.target, manifest=manifest))
    told: list[CaseLine] = []
    collector = Collector(plan, select(plan), told.append)
    for case in collector.cases.values():
        failed = line_for(case, Verdict.FAIL, "")
        collector.pytest_runtest_logreport(Report(case, "call", False, failed))  # type: ignore[arg-type]

    assert [(line.requirement, line.verdict.value) for line in told] == [
        ("ECHO-01", "known"),
        ("FORK-01", "fail"),
    ]
    assert {line.id: line.verdict for line in collector.results()} == {line.id: line.verdict for line in told}


@pytest.mark.parametrize(("repeat", "scale", "net"), [(1, 1.0, 180.0), (3, 2.0, 1080.0), (1, 0.1, 180.0)])
def test_the_last_net_grows_with_the_repeats_and_the_patience(repeat: int, scale: float, net: float) -> None:
    """It is there for what hangs, not for what was asked for."""
    plan = msgspec.structs.replace(planned("reference", case=["echo/greeting"]), repeat=repeat, scale=scale)

    class Metafunc:
        fixturenames = ("case",)
        config = SimpleNamespace(stash={conftest.PLAN: plan}, getini=lambda name: "180")
        found: ClassVar[list[Any]] = []

        def parametrize(self, name: str, parameters: list[Any]) -> None:
            self.found[:] = parameters

    metafunc = Metafunc()
    conftest.pytest_generate_tests(metafunc)  # type: ignore[arg-type]

    assert [one.id for one in metafunc.found] == ["echo/greeting"]
    assert [mark.args for mark in metafunc.found[0].marks] == [(net,)]


def test_a_worker_that_dies_in_a_run_is_broken(tmp_path: Path) -> None:
    """With xdist, a worker that is killed in the middle of a case: that case is broken, all others are judged, exit 3."""
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys\n"
        "from forkecho.conformance import session, target\n"
        "from forkecho.conformance.plan import Plan, Selection\n"
        "from forkecho.conformance.result import dump\n"
        "run, _ = session.play(Plan(target=target.load(sys.argv[1]), selection=Selection(case=['buffer/whole@*'])), jobs=2)\n"
        "print(dump(run))\n"
    )
    # The server ends the one that talks to it, which is one of those that it comes from: to look through all processes of
    # the machine for the peer of its connection may take longer than its client waits.
    killer = tmp_path / "killer.toml"
    killer.write_text('command = ["{python}", "{here}/killer.py", "{port}"]\n')
    (tmp_path / "killer.py").write_text(
        f"import os, sys\nsys.path.insert(0, {str(HERE)!r})\n"
        "from honest import listen, serve\n"
        "import psutil\n"
        "def handle(connection):\n"
        "    data = connection.recv(65536, 0)\n"
        "    total = data\n"
        "    if len(data) == 1025:\n"
        "        here = connection.getpeername()\n"
        "        for one in psutil.Process().parents():\n"
        "            if any(tuple(row.laddr) == here for row in one.net_connections('tcp4')):\n"
        "                one.kill()\n"
        "        os._exit(0)\n"
        "    while data:\n"
        "        connection.sendall(data)\n"
        "        data = connection.recv(65536)\n"
        "serve(listen(int(sys.argv[1])), handle)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(killer)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    found = [msgspec.json.decode(text) for text in done.stdout.splitlines() if text.startswith("{")]
    ended = {one["id"]: one["verdict"] for one in found if one["kind"] == "case"}

    assert ended.pop("buffer/whole@1025") == "broken", done.stderr
    assert set(ended.values()) == {"pass"}
    assert found[-1]["exit"] == 3


# The same for those who type pytest


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--target", "reference", "-k", "greeting"], 0),
        (["--target", "threading", "-k", "born-in-a-row", "--timeout-scale", "0.1"], 1),
        (["--target", "threading", "-k", "echo/prefix"], 5),
        (["--target", "no-such-target"], 4),
        (["--target", "reference", "-k", "no-such-case"], 5),
        (["--target", "reference", "-k", "greeting", "-n", "2"], 0),
        (["--target", "threading", "-k", "born-in-a-row", "--timeout-scale", "0.1", "-n", "2"], 1),
    ],
)
def test_pytest_ends_with_the_codes_of_check(arguments: list[str], code: int) -> None:
    """`pytest conformance --target ...` in a checkout; wrong usage is pytest's own 4."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(SUITE / "test_cases.py"),
        "-q",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert done.returncode == code, done.stdout + done.stderr


def test_what_is_called_like_a_case_is_none() -> None:
    """Self-tests named after cases, with workers: pytest's own exit code, not that of a run of which nothing came."""
    own = Path(__file__).with_name("test_repro.py")
    only = "sends_the_very_bytes_of_the_record and echo/unicode"
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(own),
        "-q",
        "-p",
        "no:cacheprovider",
        "-n",
        "1",
        "-k",
        only,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    assert "1 passed" in done.stdout
    assert done.returncode == 0, done.stdout + done.stderr


def test_pytest_ends_with_4_when_the_target_is_never_ready(tmp_path: Path) -> None:
    """The target is tried once before the first case, and the reason is shown."""
    manifest = tmp_path / "deaf.toml"
    manifest.write_text(f'command = ["{{python}}", "{HERE}/deaf.py", "{{port}}"]\nready-within = 0.3\n')
    command = [sys.executable, "-m", "pytest", str(SUITE / "test_cases.py"), "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--target", str(manifest)], check=False, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 4
    assert "has not listened" in done.stdout + done.stderr


def test_a_parent_that_closes_its_copy_late_is_not_taken_for_the_one_who_serves() -> None:
    """Who holds a connection is only remembered once it was handed over; a conformant server was failed for less."""
    script = Path(__file__).parent / "hostile" / "closes_late.py"
    command = [sys.executable, str(script), "--port", "{port}"]
    judged = target.Target(name="late", manifest=Manifest(command=command, reply="{pid}:{ppid}:{data}"))
    run, _ = session.play(planned(judged, requirement=["FORK-04", "FORK-09"], repeat=3))

    assert set(verdicts(run).values()) == {"pass"}


def test_a_server_that_rests_after_a_client_is_not_said_to_be_held_up_by_a_silent_one() -> None:
    """What an ended client costs is not a silent one's fault: inetd sleeps for a second then, and was failed every other time."""
    script = Path(__file__).parent / "hostile" / "naps.py"
    judged = target.Target(
        name="naps", manifest=Manifest(command=[sys.executable, str(script), "{port}"], reply="{data}")
    )
    run, _ = session.play(planned(judged, requirement=["CONC-04"]))

    assert set(verdicts(run).values()) == {"pass"}


@pytest.mark.parametrize(
    ("judged", "arguments", "code"),
    [
        ("reference", ["-k", "greeting"], 0),
        ("reference", ["-k", "greeting", "-n", "2"], 0),
        ("deaf.toml", ["-k", "greeting"], 1),
        ("deaf.toml", ["-k", "greeting", "-n", "2"], 1),
    ],
)
def test_pytest_users_judge_from_their_own_project(
    tmp_path: Path, judged: str, arguments: list[str], code: int
) -> None:
    """`pytest --pyargs` with the target in FORKECHO_TARGET: their settings hold, not those of the suite."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    (tmp_path / "deaf.toml").write_text(
        f'command = ["{{python}}", "{HERE}/deaf.py", "{{port}}"]\nready-within = 0.3\n'
    )
    command = [sys.executable, "-m", "pytest", "--pyargs", "forkecho.conformance.test_cases"]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "FORKECHO_TARGET": judged},
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert f"1 {'passed' if code == 0 else 'failed'}" in done.stdout
