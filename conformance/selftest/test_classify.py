"""Models are named as they are: a zoo of servers, and the mistakes that are easily made in telling them apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import psutil
import pytest

from forkecho.cli.classify import agreed
from forkecho.conformance import fixture, prove, session, target
from forkecho.conformance.classify import classify, threads
from forkecho.conformance.classify.scene import Scene
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.model import UNKEPT, WAYS, Classification, Flag, Model, explainable, explanation
from forkecho.conformance.observe import Facts, Process, Task
from forkecho.conformance.observe.linux import LinuxObserver
from forkecho.conformance.plan import Plan, Selection
from forkecho.conformance.report import console, junit
from forkecho.conformance.requirement import load as requirements
from forkecho.conformance.result import Run, Verdict
from forkecho.conformance.session import play
from forkecho.conformance.target import Builds, NotInstalled, Running, Target

WITHIN = 60.0  # seconds; most take less than one, but the machine may be busy
FORKECHO = (sys.executable, "-m", "forkecho")

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(sys.platform != "linux", reason="threads and sockets are told apart on Linux only"),
]

#: What each is, by the name of a bundled target, a mutant, or a model.
ZOO = {
    "asyncio": "event loop",
    "c": "fork-per-connection (direct)",
    "iterative": "iterative",
    "ncat": "fork-per-connection (direct), child holds the listener, has further descendants",
    "perl": "fork-per-connection (direct)",
    "prefork": "pre-forked pool",
    "recipe": "fork-per-connection (direct), child holds the listener",
    "recipe-pid": "fork-per-connection (direct), child holds the listener",
    "reference": "fork-per-connection (direct)",
    "reference-one-shot": "fork-per-connection (direct)",
    "socat": "fork-per-connection (direct), has further descendants",
    "socat-pipe": "fork-per-connection (direct)",
    "socketserver": "fork-per-connection (direct), child holds the listener",
    "tcpserver": "fork-per-connection (exec)",
    "tcpsvd": "fork-per-connection (exec)",
    "threading": "thread-per-connection",
    "xinetd": "fork-per-connection (exec)",
    "xinetd-internal": "fork-per-connection (direct)",
    "busy-threads": "thread-per-connection",
    "child-accepts": "fork-per-connection (direct), child holds the listener",
    "double-fork": "fork-per-connection (indirect)",
    "few-threads": "thread pool",
    "forks-with-help": "hybrid",
    "late-start": "event loop",
    "lazy-thread-pool": "thread pool",
    "loop-pool": "pre-forked pool",
    "mixed": "mixed",
    "never-exits": "fork-per-connection (direct), does not exit",
    "one-shot-pool": "one-shot pool",
    "parent-leak": "fork-per-connection (direct), parent keeps the connection",
    "reuseport-pool": "pre-forked pool",
    "role-swap": "role swap",
    "scm-rights-pool": "pre-forked pool",
    "serial-fork": "serial-fork (direct)",
    "short-queue": "iterative",
    "socat-nofork": "fork-per-connection (exec)",
    "socat-system": "fork-per-connection (direct), has further descendants",
    "thread-per-message": "thread pool",
    "thread-pool": "thread pool",
    "accepts-in-a-child": "fork-per-connection (direct)",
    "asks-an-older-helper": "fork-per-connection (indirect)",
    "decoy": "decoy",
    "forks-for-every-message": "fork-per-connection (direct)",
    "forks-twice": "fork-per-connection (indirect)",
    "keeps-connections-in-the-parent": "fork-per-connection (direct), parent keeps the connection",
    "keeps-the-listener": "fork-per-connection (direct), child holds the listener",
    "serves-in-threads": "thread-per-connection",
}

#: The same models with one message a connection, where that makes a difference to what can be seen.
ONE_SHOT = {
    name: ZOO[name]
    for name in (
        "child-accepts", "double-fork", "few-threads", "lazy-thread-pool", "mixed", "never-exits", "one-shot-pool", "parent-leak",
        "reuseport-pool", "role-swap", "scm-rights-pool", "serial-fork", "short-queue", "thread-pool",
    )
}  # fmt: skip


def found(name: str) -> Target:
    """The model, target or mutant of that name."""
    path = fixture.folder("models") / f"{name}.toml"
    if path.exists():
        return target.load(str(path))
    return prove.load()[name].target if name in prove.load() else target.load(name)


def start(name: str, builds: Builds, **changed: Any) -> Running:
    """It running; skips where its program is missing. `changed`: keys of its manifest."""
    one = found(name)
    one = msgspec.structs.replace(one, manifest=msgspec.structs.replace(one.manifest, **changed))
    try:
        return target.launch(one, builds)
    except NotInstalled as error:
        pytest.skip(str(error))


def seen(name: str, builds: Builds, **changed: Any) -> Classification:
    """What is seen of it."""
    with start(name, builds, **changed) as running:
        return classify(running)


# The zoo


@pytest.mark.parametrize("name", ZOO)
def test_every_model_is_named(name: str, nothing_left: str, builds: Builds) -> None:
    """Real servers, contrasts, mutants, and a server for each model: the name, the lineage and the flags."""
    assert str(seen(name, builds)) == ZOO[name]


@pytest.mark.parametrize("name", ONE_SHOT)
def test_every_model_is_named_by_connections_of_one_message(
    name: str, nothing_left: str, builds: Builds
) -> None:
    """Whoever holds a connection is looked at before anything is sent on it."""
    command = [*found(name).manifest.command, "one-shot"]

    assert str(seen(name, builds, command=command, framing="one-shot")) == ONE_SHOT[name]


def test_every_model_has_a_server_in_the_zoo() -> None:
    """None is named that was never seen."""
    named = {answer.partition(" (")[0].partition(",")[0] for answer in ZOO.values()}

    assert named == {model.value for model in Model}
    assert all(any(flag.value in answer for answer in ZOO.values()) for flag in Flag)


def test_every_model_of_ours_is_in_the_zoo() -> None:
    """A server in `fixtures/models` is there to be looked at; `stuck` has no model."""
    ours = {path.stem for path in fixture.folder("models").glob("*.toml")}

    assert ours - set(ZOO) == {"stuck"}


# What cannot be told


def test_a_server_that_has_stalled_is_undetermined(nothing_left: str, builds: Builds) -> None:
    """It is no iterative server: nobody is served when the first client has gone either."""
    ended = seen("stuck", builds)

    assert ended.model is None
    assert "nor when that has ended" in ended.reason


def test_a_server_that_does_not_echo_is_undetermined(nothing_left: str, builds: Builds) -> None:
    """What came of the message is said."""
    with target.launch(prove.nulls()["silent"].target, builds) as running:
        ended = classify(running)

    assert ended.model is None
    assert ended.reason.startswith("connection a is not served: ")


def test_it_ends_when_its_time_is_over(nothing_left: str, builds: Builds) -> None:
    """A run of the suite must not wait for it for long."""
    with start("iterative", builds) as running:
        ended = classify(running, budget=0.3)

    assert str(ended) == "undetermined: it could not be told within 0.3 s"


def test_a_server_on_another_host_is_undetermined() -> None:
    """Its processes cannot be looked at, and nothing is guessed from the wire; 192.0.2.1 is nobody's (RFC 5737)."""
    with target.attach(
        Target(name="far", manifest=target.load("c").manifest, connect=("192.0.2.1", 7))
    ) as running:
        ended = classify(running)

    assert str(ended) == "undetermined: the target is on another host (192.0.2.1)"


def test_a_server_that_is_not_ours_is_not_frozen_but_for_our_own_connections(
    nothing_left: str, builds: Builds
) -> None:
    """Its other clients, if there are any, are served all the time."""
    with start("reference", builds) as running:
        owner = running.owner
        assert owner
        foreign = Target(name="foreign", manifest=running.manifest, connect=running.address, pid=owner.pid)
        with target.attach(foreign) as attached:
            ended = classify(attached)

    assert ended.model is Model.FORK
    assert [one.seen for one in ended.evidence if one.step == "freeze all others"] == [
        "not tried, since the server was not started by us"
    ]


# Mistakes that are easily made


class Sleepy(LinuxObserver):
    """Shows a process whose thread takes a while to go to sleep again, as it does on a loaded machine."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def tasks(self, process: Process) -> dict[int, Task]:
        """Running five times, then asleep, for the eighth time."""
        self.looks += 1
        return {1: Task("S", 3), 2: Task("R", 7) if self.looks <= 5 else Task("S", 8)}


def scene_of(observer: LinuxObserver, **does: Callable[..., Any]) -> Scene:
    """A scene of a target that is not there."""
    running = SimpleNamespace(
        observer=observer,
        manifest=target.load("c").manifest,
        alive=list,
        guard=SimpleNamespace(pid=0),
        **{"persist": lambda attempt, seconds: attempt(seconds), **does},
    )
    return Scene(cast(Running, running), 1.0, WITHIN)


def test_a_thread_that_has_not_gone_to_sleep_yet_is_waited_for() -> None:
    """Else the next message would find it awake, and it would never be seen to wake: nothing could be told."""
    scene = scene_of(Sleepy())

    assert scene.settle([Process(1, 1)]) == {1: Task("S", 3), 2: Task("S", 8)}


def test_who_comes_to_rest_between_two_questions_has_done_what_is_looked_for() -> None:
    """Where we were not let run for longer than a target must be quiet, it does all of it in our absence."""
    done = False

    def busy() -> bool:
        nonlocal done
        done = True
        return False

    def look() -> bool:
        wait_for(lambda: False, Deadline(0.02))  # we are away
        return done

    assert scene_of(LinuxObserver(), busy=busy).until(look, WITHIN, quiet=0.01)


def test_a_target_that_was_not_let_run_is_waited_for() -> None:
    """It is given the time that it has missed, as everywhere."""
    tries = 0

    def persist(attempt: Callable[[float], bool], seconds: float) -> bool:
        nonlocal tries
        for _ in range(2):
            tries += 1
            seen = attempt(seconds)
        return seen

    assert scene_of(LinuxObserver(), persist=persist).until(lambda: tries == 2, 0.01)


class Haunted(LinuxObserver):
    """Shows a process that has gone between the look at who holds a socket and the next one at the process."""

    GHOST = Process(4194303, 1)  # the highest PID there can be

    def __init__(self) -> None:
        super().__init__()
        self.shown = 0

    def holders(self, keys: Collection[int], among: Iterable[int] | None = None) -> dict[int, set[Process]]:
        """Every other time the ghost holds everything."""
        self.shown += 1
        ghost = {self.GHOST} if self.shown % 2 else set()
        return {key: by | ghost for key, by in super().holders(keys, among).items()}

    def descendants(self, pid: int, thorough: bool = False) -> list[Facts]:
        """It is among the living as well."""
        found = super().descendants(pid, thorough)
        ghost = Facts(process=self.GHOST, ppid=pid, state="S")
        return [*found, ghost] if self.shown % 2 else found


@pytest.mark.parametrize("name", ["reference", "threading", "prefork", "iterative"])
def test_a_process_that_vanishes_between_two_looks_is_no_error(
    name: str, nothing_left: str, builds: Builds
) -> None:
    """It was seen to hold a connection, and is not there any more: it tells nothing of the model."""
    with start(name, builds) as running:
        running.observer = Haunted()
        ended = classify(running, budget=WITHIN)

    assert str(ended) == ZOO[name]


def test_an_unlucky_pair_of_connections_is_no_proof(nothing_left: str, builds: Builds) -> None:
    """Of two listeners on a port (SO_REUSEPORT) the kernel chose that of the busy process twice; the third is served."""
    ended = seen("reuseport-pool", builds)
    tried = [one.seen for one in ended.evidence if one.step == "connection b"]

    assert ended.model is Model.PREFORK
    assert tried[0] == "not served while a is held: nobody has accepted it"
    assert "served while a is held" in tried


def test_a_short_queue_is_not_overrun(nothing_left: str, builds: Builds) -> None:
    """A single listener leaves no doubt: one connection in its queue is proof, and a full queue makes a connect hang."""
    ended = seen("short-queue", builds)

    assert ended.model is Model.ITERATIVE
    assert [one.seen for one in ended.evidence if one.step == "connection b"] == [
        "not served while a is held: nobody has accepted it"
    ]


def test_the_inner_program_of_a_relay_does_not_make_it_indirect(nothing_left: str, builds: Builds) -> None:
    """The relay forks a child that forks a cat: it is whose child the outer one is that counts."""
    ended = seen("socat", builds)

    assert (ended.lineage, ended.flags) == ("direct", (Flag.DESCENDANTS,))


@pytest.mark.parametrize(
    ("a", "b", "model", "own"),
    [
        ([{1}] * 5, [{2}] * 5, Model.THREAD, {1}),
        ([{1, 9}] * 5, [{2, 9}] * 5, Model.THREAD, {1}),
        ([{1}, {1}, {1, 3}, {1}, {1}], [{2}, {2, 3}, {2}, {2}, {2}], Model.THREAD, {1}),
        ([{1, 9}, {1}, {1, 9}, {1}, {1, 9}], [{2}, {2, 9}, {2}, {2, 9}, {2}], Model.THREAD, {1}),
        ([{1}, set(), {1}, {1}, {1}], [{2}] * 5, Model.THREAD, {1}),
        ([{1}] * 5, [{1}] * 5, Model.EVENT_LOOP, set()),
        ([{1}, {1}, set(), {1}, {1, 4}], [{1}] * 5, Model.EVENT_LOOP, set()),
        (
            [{9, 1}, {9, 2}, {9, 3}, {9, 4}, {9, 1}],
            [{9, 2}, {9, 3}, {9, 4}, {9, 1}, {9, 2}],
            Model.THREAD_POOL,
            set(),
        ),
        ([set()] * 5, [set()] * 5, None, set()),
        ([{1}], [{2}], Model.THREAD, {1}),
    ],
    ids=[
        "own",
        "own-and-acceptor",
        "own-and-noise",
        "own-and-a-timer",
        "own-and-one-missed",
        "same",
        "same-and-noise",
        "whoever-is-free",
        "none",
        "one-shot",
    ],
)
def test_the_threads_that_wake_tell_the_model(
    a: list[set[int]], b: list[set[int]], model: Model | None, own: set[int]
) -> None:
    """What wakes at most messages of a connection counts; what wakes now and then does so for reasons of its own."""
    assert threads.model_of(a, b) == (model, own)


# Nothing stays frozen


def stopped_below(pid: int) -> list[psutil.Process]:
    """The stopped processes below one."""
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        try:
            if one.status() == psutil.STATUS_STOPPED:
                found.append(one)
        except psutil.Error:
            continue
    return found


def test_what_is_frozen_is_thawed_although_we_are_killed(nothing_left: str, builds: Builds) -> None:
    """The guardian knows of it before it is stopped."""
    with start("reference", builds) as running:
        assert running.owner
        owner = running.owner.pid
        where = f"{running.address[0]}:{running.address[1]}"
        words = [
            *FORKECHO,
            "classify",
            "--connect",
            where,
            "--pid",
            str(owner),
            "--reply",
            running.manifest.reply,
            "--timeout-scale",
            "300",  # frozen for half a minute, which nobody can miss
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd="/") as one:
            frozen = wait_for(lambda: stopped_below(owner), Deadline(WITHIN))
            one.send_signal(signal.SIGKILL)
        assert frozen
        assert wait_for(lambda: not stopped_below(owner), Deadline(WITHIN))


# The verb


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `forkecho classify` with these words, away from the checkout."""
    return subprocess.run(
        [*FORKECHO, "classify", *words], capture_output=True, text=True, cwd="/", timeout=WITHIN, check=False
    )


def test_the_model_is_printed_with_the_evidence_and_written_as_json(
    tmp_path: Path, nothing_left: str
) -> None:
    """Exit code 0: a model was named."""
    done = called("reference", "--output", str(tmp_path / "seen.json"))
    told = json.loads((tmp_path / "seen.json").read_text())

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("reference: fork-per-connection (direct)\n  +")
    assert "thaw them: all 12 bytes come back on a" in done.stdout
    assert (told["model"], told["lineage"], told["flags"]) == ("fork-per-connection", "direct", [])
    assert told["target"]["name"] == "reference"
    assert told["repeats"] == {"fork-per-connection (direct)": 1}
    assert {"t", "step", "seen"} == set(told["evidence"][0])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--connect", "192.0.2.1:7"], 3, "undetermined: the target is on another host"),
        (["--", sys.executable, "-c", "pass"], 4, "before it listened"),
        (["nope"], 2, "there is no target 'nope'"),
        (["c", "--connect", "127.0.0.1:7"], 2, "name one server"),
        (["--output", "/nowhere/seen.json"], 2, "there is no folder /nowhere"),
    ],
    ids=["elsewhere", "never-ready", "unknown", "two", "unwritable"],
)
def test_exit_codes(words: list[str], code: int, said: str) -> None:
    """Those of the design, where no model can be named."""
    done = called(*words)

    assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done


def test_repeats_that_differ_are_undetermined() -> None:
    """All answers are told, and how often each was given."""
    answers = [Classification(model=Model.THREAD), Classification(model=Model.THREAD_POOL)]
    ended, repeats = agreed([answers[0], answers[1], answers[1]])

    assert repeats == {"thread-per-connection": 1, "thread pool": 2}
    assert str(ended) == "undetermined: it differs: thread pool 2 of 3; thread-per-connection 1 of 3"


# What it explains


def test_models_explain_only_requirements_that_exist() -> None:
    """And every model but the one that is wanted says how it serves."""
    assert {id_ for ids in UNKEPT.values() for id_ in ids} <= set(requirements())
    assert set(WAYS) == set(UNKEPT) == set(Model) - {Model.FORK}


def test_an_explanation_is_one_sentence() -> None:
    """Where the model has nothing to do with it there is none."""
    assert explanation(Model.ITERATIVE, "CONC-01").endswith("its model is iterative")
    assert explanation(Model.FORK, "CONC-01") == ""
    assert explanation(Model.ITERATIVE, "ECHO-10") == ""
    assert explanation(None, "FORK-01") == ""
    assert (explainable("FORK-01"), explainable("ECHO-10")) == (True, False)
    assert os.linesep not in explanation(Model.THREAD, "FORK-01")


# In a run of the suite


def played(name: str, **selection: list[str]) -> Run:
    """The run of some cases against a target."""
    plan = Plan(target=target.load(name), selection=Selection(**selection))
    run, missing = play(plan, jobs=4)
    assert missing == ""
    return run


def test_a_run_of_many_cases_names_the_model(nothing_left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the header of the record, from which all reports are made."""
    monkeypatch.setattr(session, "FEW", 1)
    monkeypatch.setattr(session, "CLASSIFY_WITHIN", WITHIN)

    assert played("c", requirement=["ECHO-14"]).header.model == "fork-per-connection (direct)"


def test_a_run_of_few_cases_that_pass_does_not_look_for_it(nothing_left: str) -> None:
    """It would take longer than the cases."""
    assert played("c", requirement=["ECHO-14"]).header.model is None


def test_a_failure_is_explained_by_the_model(nothing_left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the one case that is played, and in words; what was expected and seen is told as well."""
    monkeypatch.setattr(session, "CLASSIFY_WITHIN", WITHIN)
    run = played("threading", case=["process/born"])
    (case,) = run.cases

    assert run.header.model == "thread-per-connection"
    assert case.verdict is Verdict.FAIL
    assert case.reason.startswith("each connection is served by a thread of its own")
    assert case.seen.startswith("held by process ")
    assert f"reason    {case.reason[:40]}" in console.render(run)
    assert f"model     {run.header.model}" in console.render(run)
    assert f'message="fail: expected {case.expected}' in junit.render(run)


def test_a_fault_of_ours_in_finding_out_does_not_fail_the_run(
    nothing_left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header says that the model is undetermined, and why."""

    def broken(running: Running, **_: object) -> Classification:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(session, "classify", broken)
    monkeypatch.setattr(session, "FEW", 1)
    run = played("c", requirement=["ECHO-14"])

    assert run.header.model == "undetermined: the suite failed: ZeroDivisionError: oops"
    assert run.footer.exit == 0
