"""What each step says where the target does not do what it must: the verdict, expected and seen."""

from __future__ import annotations

import itertools
import re
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forkecho.conformance import acts
from forkecho.conformance.case import Template, expand
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.hosted import Hosted, Return
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.observe import Effort, Process
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import PERFORM, Bench, judge
from forkecho.conformance.sights import holding
from forkecho.conformance.sights.hosting import returned
from forkecho.conformance.stage import PATIENCE, Stage
from forkecho.conformance.step import See, Step
from forkecho.conformance.target import Builds, Running, Target, launch
from forkecho.conformance.verdict import Unmet, Unobservable

HERE = Path(__file__).with_name("hostile")
SHORT = 0.1  # of the patience, where what is waited for never comes
LONG = 50  # seconds in which something must not come that does: it ends as soon as it has

PIDS = "{pid}:{ppid}:{data}"
PING: dict[str, Any] = {"exchange": {"text": "ping"}}
SENT: dict[str, Any] = {"send": {"text": "ping"}}
ACCEPTED: dict[str, Any] = {"expect": "accepted", "within": 30.0}
GONE: dict[str, Any] = {"see": "gone", "within": 30.0}

#: What is printed on a terminal before any client, and what a child adds to it on a pipe while its parent is stopped.
ENDS: list[dict[str, Any]] = [
    {"launch": "another", "terminal": True},
    {"mark": ["words"]},
    {"launch": "another"},
    {"mark": ["files"]},
    {"open": "b"},
    {"expect": "accepted", "on": "b", "within": 30.0},
    {"freeze": "owner"},
    {"exchange": {"text": "ping"}, "on": "b"},
    {"mark": ["output"]},
    {"close": "b"},
    {"see": "gone", "on": "b", "within": 30.0},
    {"see": "not-repeated"},
]

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


@pytest.fixture
def play(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CaseLine]:
    """Play steps against the moody server, as a case of their own."""

    def play(mood: str, *steps: dict[str, Any], in_vain: bool = False, **manifest: Any) -> CaseLine:
        template = Template(requirement="ECHO-01", title="A title.", steps=list(steps))
        monkeypatch.setattr(
            "forkecho.conformance.case.templates", lambda: {"step/one": (template, "step.toml, [one]")}
        )
        # A shipped case must have something echoed; here a step is looked at by itself.
        monkeypatch.setattr("forkecho.conformance.case.check", lambda case, place: None)
        place = "{path}" if "unix" in manifest.get("families", ()) else "{port}"
        script = manifest.pop("script", "moody.py")
        declared = Manifest(command=["{python}", f"{{here}}/{script}", place, mood], **manifest)
        (case,) = expand(declared).values()
        if in_vain:
            # What comes before must come, and has the usual patience: only the last step is one that is waited for in vain.
            last = case.steps[-1]
            usual = PERFORM[type(last)]

            def hasten(stage: Stage, step: Step) -> None:
                stage.scale = SHORT if step is last else 1.0
                usual(stage, step)

            monkeypatch.setitem(PERFORM, type(last), hasten)
        judged = Target(name="moody", manifest=declared, here=str(HERE))
        with Bench(Plan(target=judged), builds, canary=None) as bench:
            return judge(case, bench)

    return play


@pytest.mark.parametrize(
    ("mood", "steps"),
    [
        ("echo", [{"open": "a"}, PING, {"half-close": "a"}, {"expect": "end"}]),
        ("echo", [{"open": "a"}, {"expect": "accepted"}, PING, {"see": "serves"}]),
        ("echo", [{"open": "a"}, PING, {"close": "a"}, {"see": "gone"}]),
        ("echo", [{"expect": "room", "on": "a"}]),
        ("echo", [{"open": ["a", "b"]}, SENT, {"expect": "served-or-refused", "on": ["a"]}]),
        ("echo", [{"open": "a"}, PING, {"reset": "a"}, {"see": "gone"}]),
        ("echo", [{"open": "a"}, {"expect": "nothing"}]),
        ("echo", [{"open": "a"}, PING, {"see": "idle-cpu", "share": 0.5}]),
        ("echo", [{"reach": {"text": "ping"}, "times": 3, "fast": 20}]),
        ("echo", [{"open": "a"}, {**PING, "times": 8, "unstalled": 20}]),
        (
            "waits",
            [
                {"open": "a"},
                PING,
                {"limit": "descriptors"},
                {"expect": "unserved", "on": ["m", "n"]},
                {"lift": "descriptors"},
                {"expect": "served-or-refused", "on": ["m", "n"]},
                {"expect": "room", "on": "b"},
            ],
        ),
        ("accepts-nobody", [{"expect": "unserved", "on": ["m", "n"]}]),
        ("echo", [{"open": "a"}, PING, {"mark": ["memory"]}, {"see": "bounded", "of": ["memory"]}]),
        ("resets", [{"open": "a"}, SENT, {"expect": "reset"}]),
        ("resets", [{"open": "a"}, SENT, {"expect": "closed"}]),
        ("once", [{"open": "a"}, SENT, {"expect": "closed"}]),
        # Who has served at once, and is done with it, has accepted it none the less.
        ("once", [{"open": "a"}, SENT, {"expect": "closed"}, {"expect": "accepted"}]),
        ("discards", [{"open": "a"}, {"stuff": "a", "at-most": 2000000}]),
    ],
)
def test_what_must_come_comes(play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]]) -> None:
    """A case passes when its last step has."""
    line = play(mood, *steps)

    assert (line.verdict, line.seen, line.reason) == (Verdict.PASS, "", "")


@pytest.mark.parametrize(
    ("mood", "steps", "expected", "seen"),
    [
        # What comes back
        ("changes", [{"open": "a"}, PING], "b'ping' ", "b'XXXX' there"),
        ("once", [{"open": "a"}, SENT, {"expect": "echo"}, {"idle": 0.05}, PING], "8 bytes ", "4 of "),
        ("changes", [{"open": "a"}, SENT, {"expect": "end"}], "b'ping' ", "b'XXXX' there"),
        # The end
        (
            "resets",
            [{"open": "a"}, SENT, {"expect": "end"}],
            "all 4 bytes, then an orderly end (FIN)",
            "reset",
        ),
        ("resets_late", [{"open": "a"}, SENT, {"expect": "end"}], "orderly end (FIN", "reset"),
        ("prattles", [{"open": "a"}, {"half-close": "a"}, {"expect": "end"}], "nothing that was not sent", "b'welcome'"),
        ("once", [{"open": "a"}, SENT, {"expect": "reset"}], "connection a to be reset", "end of stream"),
        # What must not come
        ("prattles", [{"open": "a"}, {"expect": "nothing", "stays": LONG}], "nothing to come for 50 s", "welcome"),
        ("echo", [{"open": "a"}, SENT, {"expect": "nothing", "stays": LONG}], "nothing to come", "something came on a"),
        (
            "echo",
            [{"open": "a"}, {"expect": "queued", "stays": LONG}],
            "nobody to accept it for 50 s",
            "connection a was accepted by process ",
        ),
        # Room
        ("changes", [{"expect": "room", "on": "a"}], "b'ping' ", "b'XXXX' there"),
        (
            "changes",
            [{"open": "a"}, SENT, {"expect": "served-or-refused"}],
            "b'ping' ",
            "b'XXXX' there",
        ),
        ("echo", [{"expect": "unserved", "on": "a", "stays": LONG}], "no further client to be served for 50 s", "connection a was served after"),
        ("echo", [{"open": "a"}, PING, {"limit": "processes"}, {"lift": "processes"}, {"expect": "unserved", "on": "b", "stays": LONG}], "no further client to be served", "b was served after"),
        ("echo", [{"expect": "unserved", "on": ["b"], "stays": LONG}], "no further client to be served for 50 s", "connection b was served"),
        ("echo", [{"bind": "port"}], "to be free for a successor at once", "EADDRINUSE, still listened on by process "),
        # Processors and timers
        ("dawdles", [{"reach": {"text": "ping"}, "times": 3, "fast": 0.02}], "the first echo within 0.02 s, for all but 5% of 3 clients", "3 had it later, the last after "),
        ("dawdles", [{"open": "a"}, {**PING, "times": 4, "unstalled": 0.02}], "a quarter of the later messages back within 20 ms", " ms at the least, over 2 messages"),
        ("spins", [{"open": "a"}, PING, {"see": "idle-cpu"}], "at most 20% of a processor to be used while", "% of it by process "),
    ],
)  # fmt: skip
def test_what_comes_and_is_wrong_is_told(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], expected: str, seen: str
) -> None:
    """Expected and seen, in words that need no source; what comes may take its time, as the suite sees at once that it has."""
    line = play(mood, *steps)

    assert line.verdict is Verdict.FAIL, line
    assert expected in line.expected
    assert seen in line.seen


@pytest.mark.parametrize(
    ("mood", "steps", "expected", "seen"),
    [
        # What comes back, and the end
        ("discards", [{"open": "a"}, PING], "all 4 bytes back", "0 of 4 bytes, then silence for "),
        (
            "discards",
            [{"open": ["a", "b"]}, {**PING, "on": ["a", "b"]}],
            "all 4 bytes back",
            "(connection a of 2)",
        ),
        ("clings", [{"open": "a"}, PING, {"half-close": "a"}, {"expect": "end"}], "a to end", "silence for"),
        # What must stay: that it is so is waited for, for a moment.
        # Exchanged before: of an echo on its way it is chance whether it is seen to be read first, or to be there.
        ("echo", [{"open": "a"}, PING, {"expect": "unread", "stays": LONG}], "to stay unread", "4 of 4 bytes"),
        (
            "discards",
            [{"open": "a"}, {"expect": "accepted"}, SENT, {"expect": "unread", "stays": LONG}],
            "to stay unread",
            "0 of 4 bytes are left in the receive queue",
        ),
        # Room
        ("echo", [{"expect": "refused"}], "a connect to port ", "it was connected; process "),
        ("accepts-nobody", [{"open": "a", "queued": True}, {"expect": "accepted"}], "a to be accepted", "nobody has"),
        (
            "accepts-nobody",
            [{"open": "a", "queued": True}, SENT, {"expect": "served-or-refused"}],
            "served once there is room, or turned away",
            "silence for",
        ),
        ("discards", [{"expect": "room", "on": "a"}], "a new client, a, to be served", "silence for"),
        # Processes, and a timer
        ("echo", [{"open": "a"}, PING, {"see": "keepalive"}], "connection a to probe a silent client", "its timer is off"),
        ("alone", [{"open": "a"}, PING, {"see": "born"}], "born for it", "alive before the connection"),
        ("alone", [{"open": "a"}, PING, {"see": "not-owner"}], "another process", ", alone"),
        ("alone", [{"open": "a"}, PING, {"see": "alone"}], "only by processes born for it", "holds it too"),
        ("alone", [{"open": "a"}, PING, {"see": "child-of-owner"}], "a child of the listener's owner", "with parent"),
        (
            "alone",
            [{"open": ["a"]}, PING, {"see": "disjoint", "on": ["a"]}],
            "processes of their own",
            "no process was born for a",
        ),
        (
            "once",
            [{"open": "a"}, SENT, {"expect": "closed", "within": 30.0}, {"see": "child-of-owner"}],
            "a child of the listener's owner",
            "",
        ),
        ("clings", [{"open": "a"}, PING, {"close": "a"}, {"see": "gone"}], "of connection a to exit", "is alive"),
        ("echo", [{"see": "none-left"}], "no process of the server to be left", "is alive"),
        ("echo", [{"see": "no-listener-left"}], "nobody to listen on port ", "holds a listener"),
        ("echo", [{"see": "gone", "on": "owner"}], "the listener's owner to exit", "is alive"),
        ("echo", [{"see": "exit-status"}], "the server to exit after SIGTERM", "is alive"),
    ],
)  # fmt: skip
def test_what_does_not_come_is_told(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], expected: str, seen: str
) -> None:
    """Expected and seen, in words that need no source; a silence is told to be no shorter than it was waited for."""
    line = play(mood, *steps, in_vain=True)

    assert line.verdict is Verdict.FAIL, line
    assert expected in line.expected
    assert seen in line.seen
    if "silence for" in seen:
        (told,) = re.findall(r"silence for ([0-9.]+) s", line.seen)
        assert float(told) >= PATIENCE * SHORT


@pytest.mark.parametrize(
    ("mood", "steps", "expected", "seen"),
    [
        ("announces-zero", [{"see": "announced"}], ", on which it listens, to be announced", "port 0 on stdout"),
        ("announces-nothing", [{"see": "announced"}], ", on which it listens, to be announced", "nothing of the form "),
        ("everywhere", [{"see": "own-address"}], "to be listened on at 127.0.0.1 alone", "it listens on 0.0.0.0"),
        ("waits", [{"launch": "port-taken"}, {"see": "gave-up", "within": 1.0}], "cannot have its address to exit", "is alive"),
        ("ends-well", [{"launch": "port-taken"}, {"see": "gave-up"}], "with another status than 0", "exit status 0"),
        ("shares", [{"launch": "second"}, {"see": "sole-listener"}], "one server alone to listen on", "one more, process "),
        ("wants-stderr", [{"launch": "another", "closed": [2]}], "to listen with descriptor 2 closed", "exited with 1 before"),
        ("speaks-first", [{"launch": "another", "full-output": True}], "to listen with stdout a full pipe", "has not listened"),
        ("cat-with-all", [{"see": "signals", "within": 0.5}], "with its signals as usual", " cat has SIGHUP blocked"),
        ("cat-without-sigpipe", [{"see": "signals", "within": 0.5}], "with its signals as usual", " cat ignores SIGPIPE"),
        ("cat-with-all", [{"see": "descriptors", "within": 0.5}], "descriptors 0, 1 and 2 alone", " cat has descriptor "),
        ("repeats", ENDS, "nothing that the server had to print before it", "once more: 'a server, at your service'"),
        ("clears", ENDS, "to leave the server's files alone", "mine has gone"),
        (
            "children-fail",
            [ACCEPTED, {"freeze": "owner"}, {"close": "a"}, GONE, {"see": "child-status"}],
            "exit status 0 of the process of connection a",
            "exit status 3",
        ),
        (
            "complains",
            [ACCEPTED, {"mark": ["stderr"]}, {"reset": "a"}, GONE, {"see": "quiet"}],
            "at most one line on stderr",
            "2 lines, the last: 'was reset, says {here}/starter.py'",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_start_is_told(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], expected: str, seen: str
) -> None:
    """Where it listens, what it announces, what it does where it cannot, what its children leave."""
    announces = (
        r"listening on port (\d+)" if mood in ("announces-zero", "announces-nothing", "speaks-first") else ""
    )
    line = play(
        mood,
        *[{"open": "a"}, PING, *steps],
        in_vain=True,
        script="starter.py",
        announce=announces,
        cwd="{dir}",
        env={"PYTHONUNBUFFERED": ""},  # what is not buffered is not repeated
        ready_within=2.5,
    )

    assert line.verdict is Verdict.FAIL, line
    assert expected in line.expected
    assert seen in line.seen


@pytest.mark.parametrize(
    ("mood", "steps"),
    [
        ("honest", [{"see": "announced"}, {"launch": "another", "full-output": True}]),
        ("honest", [{"see": "own-address"}, {"launch": "port-taken"}, {"see": "gave-up"}]),
        ("honest", [{"launch": "second"}, {"see": "sole-listener"}]),
        ("cat", [{"see": "signals"}, {"see": "descriptors"}]),
        ("honest", ENDS),
        ("honest", [{"launch": "another", "closed": [0, 2]}, {"open": "b"}, {"exchange": {"text": "x"}, "on": "b"}]),
        (
            "honest",
            [ACCEPTED, {"freeze": "owner"}, {"close": "a"}, GONE, {"see": "child-status"}],
        ),
        ("honest", [ACCEPTED, {"mark": ["stderr"]}, {"reset": "a"}, GONE, {"see": "quiet"}]),
    ],
)  # fmt: skip
def test_an_honest_start_is_found_good(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]]
) -> None:
    """The same steps, and a server that does what it must."""
    announces = r"listening on port (\d+)" if mood == "honest" else ""
    line = play(mood, {"open": "a"}, PING, *steps, script="starter.py", announce=announces, cwd="{dir}")

    assert line.verdict is Verdict.PASS, line


@pytest.mark.parametrize("sight", ["signals", "descriptors"])
def test_what_a_program_inherits_is_asked_only_where_one_is_executed(
    play: Callable[..., CaseLine], sight: str
) -> None:
    """Of a server that serves by itself nothing is said."""
    line = play("honest", {"open": "a"}, PING, {"see": sight}, script="starter.py")

    assert line.verdict is Verdict.NOT_APPLICABLE
    assert line.reason == "the server executes no other program for a connection"


@pytest.mark.parametrize(
    ("mood", "verdict", "said"),
    [
        ("cat", Verdict.PASS, ""),
        ("beside-a-thread", Verdict.FAIL, " has 2"),
        (
            "cat-beside-a-thread",
            Verdict.NOT_APPLICABLE,
            " has 2 threads, but what it forks executes another program at once",
        ),
    ],
)
def test_a_thread_is_no_danger_to_a_child_that_becomes_another_program(
    play: Callable[..., CaseLine], mood: str, verdict: Verdict, said: str
) -> None:
    """A lock that another thread held at the fork is gone with the program that it belonged to."""
    steps = [{"open": "a"}, {"expect": "accepted"}, {"see": "single-thread", "within": 1.0}]
    line = play(mood, *steps, PING, script="starter.py")

    assert line.verdict is verdict, line
    assert (line.seen + line.reason).endswith(said)


def test_where_an_announcement_stands_must_be_known_to_hold_it_up(play: Callable[..., CaseLine]) -> None:
    """A full pipe in the place of another stream would show nothing."""
    line = play(
        "announces-nothing",
        {"open": "a"},
        PING,
        {"launch": "another", "full-output": True},
        in_vain=True,
        script="starter.py",
        announce="(port)",
        ready_within=1.0,
    )

    assert line.verdict is Verdict.INCONCLUSIVE
    assert "on which stream" in line.reason


@pytest.mark.parametrize(
    ("mood", "steps", "expected", "seen"),
    [
        ("lies", [{"see": "claims"}], "the PID of the process that serves a (", "1"),
        ("lies_of_its_parent", [{"see": "claims"}], "the PID of the parent of the process that serves a (", ""),
        ("lies_of_its_parent", [{"see": "parent-claim"}], "the PID of the process that forked (", ""),
        ("pads", [{"expect": "prefix"}], "the prefix b'", "b'0"),
    ],
)  # fmt: skip
def test_a_false_prefix_is_told(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], expected: str, seen: str
) -> None:
    """What it claims, and what is true."""
    line = play(mood, {"open": "a"}, {"expect": "accepted"}, PING, *steps, in_vain=True, reply=PIDS)

    assert line.verdict is Verdict.FAIL, line
    assert line.expected.startswith(expected)
    assert line.seen.startswith(seen)


@pytest.mark.parametrize("step", [{"see": "claims"}, {"expect": "prefix"}])
def test_a_prefix_that_does_not_come_is_told(play: Callable[..., CaseLine], step: dict[str, str]) -> None:
    """The form that was declared is named."""
    line = play("discards", {"open": "a"}, {"expect": "accepted"}, SENT, step, in_vain=True, reply=PIDS)

    assert line.verdict is Verdict.FAIL
    assert line.expected == f"a reply of the form {PIDS}"


def test_a_path_that_is_left_behind_is_told(play: Callable[..., CaseLine]) -> None:
    """By its name, though whoever made it has gone."""
    steps = [
        {"open": "a"},
        PING,
        {"signal": "TERM"},
        {"see": "gone", "on": "owner"},
        {"see": "no-path", "within": 0.5},
    ]
    line = play("echo", *steps, families=["unix"])

    assert line.verdict is Verdict.FAIL, line
    assert line.expected.startswith("the path of the UNIX socket to be gone")
    assert line.seen.endswith("/socket is there")


@pytest.mark.parametrize(
    ("mood", "verdict"),
    [("echo", Verdict.PASS), ("crashes-late", Verdict.PASS), ("outlives-faults", Verdict.FAIL)],
)
def test_a_fault_comes_again_where_a_handler_returns_from_it(
    play: Callable[..., CaseLine], mood: str, verdict: Verdict
) -> None:
    """A fault that is only sent would otherwise be none to a runtime whose first handler waits for the second."""
    steps = [
        {"open": "a"},
        PING,
        {"signal": "SEGV", "to": "a", "again": 0.5},
        {"expect": "closed", "within": 1.0},
    ]
    line = play(mood, *steps)
    told = [event for event in line.processes if event["event"] == "sent SIGSEGV"]

    assert line.verdict is verdict, line
    assert len(told) == (1 if mood == "echo" else 2)


def test_a_server_that_was_not_let_run_is_not_slow(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a loaded machine the reference once took 1.04 s for a case that gives it one."""
    steps = [{"open": "a"}, {"exchange": {"text": "ping"}, "times": 2, "fast": 0.05}]
    # Whatever this machine does meanwhile: first it was let run all the time, then hardly ever.
    monkeypatch.setattr(Running, "missed", lambda running: 7.0)
    slow = play("dawdles", *steps)
    waited = iter([7.0, 70.0])
    monkeypatch.setattr(Running, "missed", lambda running: next(waited))
    starved = play("dawdles", *steps)

    assert slow.verdict is Verdict.FAIL
    assert slow.expected == "a median of at most 50 ms"
    assert starved.verdict is Verdict.PASS, starved


@pytest.mark.parametrize(
    "wanted",
    [
        {"expect": "echo", "within": 0.09},
        {"expect": "served-or-refused", "within": 0.09},
        {"expect": "room", "on": "b", "within": 0.09},
    ],
)
def test_an_echo_within_a_bound_is_waited_for_while_the_server_is_not_let_run(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
) -> None:
    """On a loaded machine a program that was to be executed once had not come to it after a second."""
    steps = [{"open": "a"}, {"send": {"text": "ping"}}, wanted]
    monkeypatch.setattr("forkecho.conformance.target.running.EXTENSIONS", 100)
    # Whatever this machine does meanwhile: first it was let run all the time, then never.
    monkeypatch.setattr(Running, "busy", lambda running: False)
    monkeypatch.setattr(Running, "_effort", lambda running: Effort(0.0))
    # Late by so much that no pause of ours makes up for it; it is not waited for.
    slow = play("ponders", *steps)
    waited = itertools.count()
    monkeypatch.setattr(Running, "_effort", lambda running: Effort(0.0, waited=float(next(waited))))
    starved = play("dawdles", *steps)

    assert slow.verdict is Verdict.FAIL
    assert starved.verdict is Verdict.PASS, starved


@pytest.fixture
def starved(monkeypatch: pytest.MonkeyPatch) -> None:
    """No target is let run, for as long as it is asked."""
    waited = itertools.count()
    monkeypatch.setattr("forkecho.conformance.target.running.EXTENSIONS", 100)
    monkeypatch.setattr(Running, "_effort", lambda running: Effort(0.0, waited=float(next(waited))))


@pytest.mark.usefixtures("starved")
def test_a_fault_does_not_come_again_while_the_server_is_not_let_run(play: Callable[..., CaseLine]) -> None:
    """Of two signals that come before it has run it would see one."""
    steps = [{"open": "a"}, PING, {"signal": "SEGV", "to": "a", "again": 0.05}, {"expect": "closed"}]
    line = play("takes-its-time", *steps)

    assert line.verdict is Verdict.PASS, line
    assert [event["event"] for event in line.processes].count("sent SIGSEGV") == 1


@pytest.mark.usefixtures("starved")
def test_another_program_is_waited_for_while_the_server_is_not_let_run(play: Callable[..., CaseLine]) -> None:
    """A child that has not come to execute it is what it was forked off, and has as many threads to fear."""
    steps = [{"open": "a"}, {"expect": "accepted"}, {"see": "single-thread", "within": 0.05}]
    line = play("late-cat-beside-a-thread", *steps, PING, script="starter.py")

    assert line.verdict is Verdict.NOT_APPLICABLE, line


def test_a_call_is_waited_for_while_its_host_is_not_let_run(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bound is one on the server, as all others are."""
    judged = Target(
        name="moody", manifest=Manifest(command=["{python}", "{here}/moody.py", "{port}", "echo"]), here=str(HERE)
    )  # fmt: skip
    asked: list[float] = []

    def effort() -> Effort:
        asked.append(float(len(asked)))
        return Effort(0.0, waited=asked[-1])

    class Late(Hosted):
        def returned(self, number: int) -> Return | None:
            return Return(call=number, name="serve", seconds=0.1) if len(asked) == 3 else None

    case = next(iter(expand(judged.manifest).values()))
    with launch(judged, builds) as running:
        assert running.folder
        running.hosted = Late(running.folder)
        monkeypatch.setattr(running, "_effort", effort)
        bench = Bench(Plan(target=judged), builds, canary=None)
        returned(Stage(case, running, 0, 1.0, bench), See(see="returned", of=["serve"], within=0.01))

    assert len(asked) == 3


@pytest.mark.parametrize(
    ("ran", "waited", "busy", "windows", "wrong"),
    [
        # By the number of windows since: what it has had of the processors, and what it has missed.
        (lambda window: 0.0, lambda window: 0.0, False, 1, None),
        (lambda window: 0.3 * window, lambda window: 0.0, True, 1, Unmet),
        # It had waited for long, until within the first window.
        (lambda window: 0.0006 * (window > 0), lambda window: 9.0 * (window > 0), False, 2, None),
        # It spins, and gets a tenth of a processor: how long it waits now is not counted yet.
        (lambda window: 0.05 * window, lambda window: 0.45 * max(0, window - 1), True, 5, Unmet),
        # It has had a thousandth of a processor, and wanted more all the time: of what it would do is nothing known.
        (lambda window: 0.0005 * window, lambda window: 0.4995 * window, True, 5, Unobservable),
    ],
    ids=["idle", "spins", "waited-before", "waits-still", "starved"],
)
def test_a_server_that_is_not_let_run_is_neither_idle_nor_busy(
    monkeypatch: pytest.MonkeyPatch,
    ran: Callable[[int], float],
    waited: Callable[[int], float],
    busy: bool,
    windows: int,
    wrong: type[Exception] | None,
) -> None:
    """It is looked on until it has had time of its own; by a clock that goes on while nothing is done, and only then."""
    one = Process(4711, 1)
    over: list[float] = []
    monkeypatch.setattr(acts, "idle", lambda stage, step: over.append(step.idle))
    monkeypatch.setattr(holding, "time", SimpleNamespace(monotonic=lambda: sum(over)))
    facts = SimpleNamespace(process=one)
    stage: Any = SimpleNamespace(
        scale=1.0,
        running=SimpleNamespace(
            alive=lambda: [facts], busy=lambda: busy, wait_for=lambda look, deadline: look()
        ),
        observer=SimpleNamespace(
            alive=lambda process: True, effort=lambda process: Effort(ran(len(over)), waited(len(over)))
        ),
        transcript=SimpleNamespace(note=lambda *told: None),
        describe=lambda processes: "process 4711",
    )

    with pytest.raises(wrong) if wrong else nullcontext():
        holding.idle_cpu(stage, See(see="idle-cpu"))
    assert len(over) == windows


def test_what_is_forked_while_it_is_killed_is_killed_too(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell was killed between its start and that of its program, which then kept the connection: the server's fault it was not."""
    plain = Stage._send
    heirs: list[Process] = []

    def late(stage: Stage, process: Process, number: int) -> None:
        if not heirs:
            heirs.append(process)
            stage.observer.send(process, signal.SIGUSR1)
            assert wait_for(lambda: len(stage.running.with_descendants({process})) == 2, Deadline(5.0))
        plain(stage, process, number)

    monkeypatch.setattr(Stage, "_send", late)
    steps = [{"open": "a"}, PING, {"signal": "KILL", "to": "a"}, {"expect": "closed", "within": 1.0}]
    line = play("has-an-heir", *steps)
    told = [event for event in line.processes if event["event"] == "sent SIGKILL"]

    assert line.verdict is Verdict.PASS, line
    assert len(told) == 2


@pytest.mark.parametrize("step", [{"call": "shutdown"}, {"see": "returned", "of": ["shutdown"]}])
def test_a_server_that_is_not_used_in_process_cannot_be_called(
    play: Callable[..., CaseLine], step: dict[str, Any]
) -> None:
    """Nothing is concluded."""
    line = play("echo", {"open": "a"}, PING, step)

    assert line.verdict is Verdict.INCONCLUSIVE
    assert "not used in process" in line.reason


def test_newcomers_that_wait_or_are_refused_are_not_served(play: Callable[..., CaseLine]) -> None:
    """Whether they are refused, or nobody accepts them."""
    newcomers = {"expect": "unserved", "on": ["b", "c"]}
    end: list[dict[str, Any]] = [{"open": "a"}, PING, {"signal": "KILL"}, {"see": "gone", "on": "owner"}]

    assert play("accepts-nobody", newcomers).verdict is Verdict.PASS
    assert play("echo", *end, {"see": "no-listener-left"}, newcomers).verdict is Verdict.PASS


def test_a_parent_cannot_be_claimed_by_a_connection_that_said_nothing(play: Callable[..., CaseLine]) -> None:
    """Nothing was seen, so nothing is said."""
    line = play("discards", {"open": "a"}, {"expect": "accepted"}, {"see": "parent-claim"}, reply=PIDS)

    assert line.verdict is Verdict.INCONCLUSIVE
    assert "did not outlive its parent" in line.reason


def test_a_target_that_cannot_take_a_message_is_told(play: Callable[..., CaseLine]) -> None:
    """The bytes that it took, and the bytes that it should have."""
    line = play(
        "accepts-nobody", {"open": "a", "queued": True}, {"send": {"random": 20_000_000}}, in_vain=True
    )

    assert line.verdict is Verdict.FAIL
    assert line.expected == "connection a to take 20000000 bytes"
    assert line.seen.startswith("it took ")


def test_a_target_that_has_more_than_it_was_left_is_not_judged(play: Callable[..., CaseLine]) -> None:
    """One that raises its limit itself has shown nothing about what it does at it."""
    unserved = {"expect": "unserved", "on": ["m", "n"], "stays": LONG}
    line = play("helps_itself", {"limit": "descriptors"}, unserved)

    assert line.verdict is Verdict.INCONCLUSIVE, line
    assert line.reason.startswith("the target has more descriptors than it was left: connection n was ")


def test_a_server_that_serves_instead_of_a_child_and_listens_no_more_has_failed(
    play: Callable[..., CaseLine],
) -> None:
    """A client that is served although no process can be had proves no limit wrong where it cost the listener."""
    line = play("steps_in", {"limit": "processes"}, {"expect": "unserved", "on": ["m", "n"], "stays": LONG})

    assert line.verdict is Verdict.FAIL, line
    assert line.expected == "the server to go on listening"
    assert line.seen.startswith("nobody listens any more, and connection m was served ")


def test_a_limit_that_is_not_permitted_is_not_judged(
    play: Callable[..., CaseLine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is told, and there is nothing to lift."""

    def limit(guard: Guard, what: str, processes: object = ()) -> None:
        raise PermissionError("takes what we have not")

    monkeypatch.setattr(Guard, "limit", limit)
    line = play("echo", {"limit": "processes"})

    assert line.verdict is Verdict.INCONCLUSIVE
    assert line.reason == "to let the target have no more processes takes what we have not"


def test_a_client_can_vanish_without_a_word(play: Callable[..., CaseLine]) -> None:
    """Neither FIN nor RST where that is permitted; elsewhere nothing is concluded."""
    line = play("echo", {"open": "a"}, {"expect": "accepted"}, PING, {"vanish": "a"})

    if line.verdict is Verdict.INCONCLUSIVE:
        assert "takes CAP_NET_ADMIN" in line.reason
    else:
        assert line.verdict is Verdict.PASS
