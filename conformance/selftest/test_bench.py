"""The benchmark: its load takes nothing for an echo that is none, its figures are those of the rounds, and it says what it did not see."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forkecho.cli import bench as verb
from forkecho.cli import main
from forkecho.conformance import bench, observe, port, target
from forkecho.conformance.bench import Course, Lane, generator, rounds
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.measurement import CEILING, Measurement, Memory, Window, ratio
from forkecho.conformance.observe import Meter
from forkecho.conformance.report import bench as report
from forkecho.conformance.target import Builds, Target, launch

HERE = Path(__file__).with_name("hostile")
BRIEF = Course(clients=(2,), rounds=1, seconds=1.0, warm_up=0.05)
SILENT = 0.3  # seconds in place of those that are waited for in vain

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


def hostile(name: str, *arguments: str, **manifest: object) -> Target:
    """The server of that name beside this file."""
    command = ["{python}", f"{{here}}/{name}.py", "{port}", *arguments]
    return Target(name=name, manifest=Manifest(command=command, **manifest), here=str(HERE))  # type: ignore[arg-type]


def window(target: str = "a", clients: int = 1, round_: int = 0, rate: int = 100, **told: object) -> Window:
    """One by hand, of a second."""
    latency = {"p50": 1000, "p99": 2000, "worst": 3_000_000}
    known = {"errors": {}, "busy": 0.1, "seconds": 1.0, **latency, **told}
    return Window(target=target, clients=clients, round=round_, connections=rate, **known)  # type: ignore[arg-type]


def by_hand(*windows: Window, **told: object) -> Measurement:
    """A record with these windows, of the servers a and b."""
    known: dict[str, object] = {
        "forkecho": "0.1.0",
        "started": "2026-01-01T00:00:00Z",
        "host": {"system": "Linux", "release": "6.1", "cpus": 2},
        "targets": [{"name": "a"}, {"name": "b"}],
        "clients": [1],
        "rounds": 3,
        "seconds": 1.0,
        "warm_up": 0.5,
        "windows": list(windows),
        "memory": [],
        "unseen": [],
        **told,
    }
    return Measurement(**known)  # type: ignore[arg-type]


# The load


@pytest.mark.parametrize(
    "name", ["reference", "reference-one-shot", "reference-ipv6", "reference-unix", "reference-dual", "c"]
)
def test_every_form_of_a_server_is_measured(name: str, builds: Builds) -> None:
    """Prefixes, one-shot framing, IPv6 and UNIX sockets; nothing fails, and a process is forked for each."""
    with launch(target.load(name), builds) as running:
        found = rounds.window(BRIEF, Lane(name=name, running=running), 3, 0)

    assert (found.errors, found.clients) == ({}, 3)
    assert found.connections > 0
    assert found.p50
    assert found.p99
    assert found.worst
    assert found.p50 <= found.p99 <= found.worst
    assert 0 < found.busy <= 1
    assert found.faults
    assert found.faults > 10  # a fork is never free
    assert found.seconds_each


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("other", "another reply than the echo|not served 0.3 s after the window"),
        ("more", "more than the echo"),
        ("flood", "another reply than the echo"),
        ("part", "the end of the stream in place of the echo"),
        ("nothing", "the end of the stream in place of the echo|Connection reset by peer"),
        ("silence", "not served 0.3 s after the window"),
    ],
)
def test_what_is_no_echo_is_an_error(
    what: str, error: str, builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted by what it was, and is no connection."""
    if "not served" in error:
        monkeypatch.setattr(generator, "DRAIN", SILENT)
    with launch(hostile("wordy", what), builds) as running:
        host, number = running.address
        told = generator.Load((host, number), 2, 0.0, 0.3, b"").run()

    assert told["connections"] == 0
    assert told["errors"]
    assert set(told["errors"]) <= set(error.split("|"))  # type: ignore[call-overload]


def test_where_nobody_listens_the_load_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many errors none is tried any more, and before that no faster than a server would need."""
    monkeypatch.setattr(generator, "ERRORS_MAX", 3)
    monkeypatch.setattr(generator, "STEP", 0.001)
    free = port.reserve("127.0.0.1")
    try:
        told = generator.Load(("127.0.0.1", free.number), 2, 0.0, 60.0, b"").run()
    finally:
        free.release()

    assert told["errors"] == {"Connection refused": 3}


def test_a_generator_that_fails_is_no_result(
    builds: Builds, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is said how it ended, and the verb ends with 3."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no luck')")
    monkeypatch.setattr(rounds, "GENERATOR", broken)
    with (
        launch(target.load("reference"), builds) as running,
        pytest.raises(bench.Ended, match="ended with 1: no luck"),
    ):
        rounds.window(BRIEF, Lane(name="reference", running=running), 1, 0)


# The rounds


def test_each_round_begins_with_another_server() -> None:
    """Every server with every number of clients once a round, in turns."""
    lanes = [Lane(name=name, running=None) for name in "abc"]  # type: ignore[arg-type]
    course = Course(clients=(1, 8), rounds=2, seconds=1.0, warm_up=0.0)

    assert [(round_, clients, lane.name) for round_, clients, lane in course.order(lanes)] == [
        *((0, 1, name) for name in "abc"),
        *((0, 8, name) for name in "abc"),
        *((1, 1, name) for name in "bca"),
        *((1, 8, name) for name in "bca"),
    ]


@pytest.mark.parametrize(
    ("values", "part", "expected"),
    [
        ([], 0.5, None),
        ([7], 0.5, 7),
        ([7], 1.0, 7),
        ([1, 2], 0.5, 1),
        ([1, 2, 3], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 101)), 1.0, 100),
        (list(range(1, 201)), 0.99, 198),
    ],
)
def test_a_quantile_is_a_value_that_was_seen(values: list[int], part: float, expected: int | None) -> None:
    """The smallest that so large a part does not exceed."""
    assert rounds.quantile(values, part) == expected


def test_a_ratio_is_of_the_same_rounds() -> None:
    """A round in which the other was not measured, or served nobody, is none."""
    mine = [
        window(round_=0, rate=100),
        window(round_=1, rate=300),
        window(round_=2, rate=50),
        window(round_=3),
    ]
    others = [window("b", round_=0, rate=200), window("b", round_=1, rate=100), window("b", round_=2, rate=0)]
    found = ratio(mine, others)

    assert found
    assert (found.middle, found.low, found.high) == (1.75, 0.5, 3.0)
    assert ratio(mine, []) is None


# What it costs


def test_a_meter_counts_what_children_used_that_have_ended() -> None:
    """Each of three children writes to a hundred pages, and is reaped by nobody who could add it up."""
    code = "import mmap, os, sys; sys.stdin.read(1)\nfor _ in range(3):\n  if os.fork() == 0:\n    m = mmap.mmap(-1, 409600)\n    [m.__setitem__(n, 1) for n in range(0, 409600, 4096)]\n    os._exit(0)\n  os.wait()\nprint(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    with child:
        facts = observe.here().facts(child.pid)
        assert facts
        meter = Meter([facts.process])
        child.stdin.write(b"x")
        child.stdin.flush()
        child.stdout.readline()
        cost = meter.read()
        meter.close()
        child.stdin.close()

    assert cost.faults > 300
    assert cost.seconds > 0


# Its child says who it is, then writes to all of its memory, then ends: each when it is told to go on.
SHARES_ITS_MEMORY = """
import mmap, os
block = mmap.mmap(-1, 4 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block.write(bytes(4 << 20))
if os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    os.read(0, 1)
    block.seek(0)
    block.write(b"1" * (4 << 20))
    os.write(1, b"written\\n")
    os.read(0, 1)
    os._exit(0)
os.wait()
"""


def test_private_memory_is_what_is_shared_with_nobody() -> None:
    """Of pages that parent and child have in common none is; those that the child writes to are."""
    observer = observe.here()
    # Not forked from here: other tests may have left threads in this process.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SHARES_ITS_MEMORY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as parent:
        assert parent.stdin
        assert parent.stdout
        facts = observer.facts(int(parent.stdout.readline()))
        assert facts
        before = observer.private(facts.process)
        parent.stdin.write(b"x")
        assert parent.stdout.readline() == b"written\n"
        after = observer.private(facts.process)
        parent.stdin.write(b"x")

    assert before is not None
    assert after is not None
    assert after - before >= 4 << 20
    assert observer.private(facts.process) is None


def test_a_child_is_weighed_where_there_is_one(builds: Builds) -> None:
    """A server in one process has none."""
    with launch(target.load("reference"), builds) as running:
        forked = bench.weigh(Lane(name="reference", running=running))
    with launch(target.load("iterative"), builds) as running:
        alone = bench.weigh(Lane(name="iterative", running=running))

    assert forked.server
    assert forked.child
    assert alone.server
    assert alone.child is None


# The report


def test_a_table_shows_medians_and_ratios() -> None:
    """The worst latency is that of all rounds; the other columns are medians."""
    mine = [
        window(round_=n, rate=rate, faults=200.4, seconds_each=0.000612)
        for n, rate in enumerate((90, 100, 400))
    ]
    others = [
        window("b", round_=n, rate=rate, p50=None, p99=None, worst=None)
        for n, rate in enumerate((100, 100, 100))
    ]
    lines = report.text(by_hand(*mine, *others)).splitlines()

    assert [line.split() for line in lines[2:5]] == [
        ["1", "client", "conn/s", "ratio", "p50", "p99", "worst", "errors", "faults", "processor"],
        ["a", "100", "1.00", "ms", "2.00", "ms", "3.00", "s", "0", "200", "612", "µs"],
        ["b", "100", "1.00", "(0.90", "to", "4.00)", "-", "-", "-", "0", "-", "-"],
    ]


def test_a_load_generator_in_the_way_is_said() -> None:
    """Where a server comes near to what it can do, or where it has no processor left; otherwise not."""
    ceiling = window(CEILING, rate=120)
    near, busy, far = by_hand(window(), ceiling), by_hand(window(busy=0.9)), by_hand(window(rate=10), ceiling)

    assert " 100* " in report.text(near)
    assert " 100* " in report.text(busy)
    assert "in the way" in report.text(near)
    assert "*" not in report.text(far)


def test_errors_are_counted_with_the_most_frequent() -> None:
    """In all rounds together."""
    windows = [window(errors={"reset": 2, "late": 1}), window(round_=1, errors={"late": 3})]

    assert "6 (late)" in report.text(by_hand(*windows))


def test_what_was_not_seen_is_said_and_nothing_of_a_target_is_markup() -> None:
    """Names are of files and commands, and may be anything."""
    name = "x|\n\x1b[31m"
    record = by_hand(
        window(name),
        targets=[{"name": name}],
        unseen=["the ceiling\nwas not measured"],
        memory=[Memory(target=name, server=4096, child=None)],
        interrupted=True,
    )
    for rendered in (report.text(record), report.markdown(record)):
        assert "\x1b" not in rendered
        assert "the ceiling" in rendered
        assert "interrupted" in rendered
        assert "4 kB" in rendered
    assert "x\\|" in report.markdown(record)


def test_the_record_can_be_read_again() -> None:
    """Whole."""
    record = by_hand(window(), window("b"), memory=[Memory(target="a", server=1, child=None)])

    assert msgspec.json.decode(report.as_json(record), type=Measurement) == record
    assert report.as_json(record) == report.as_json(record)


# The verb

FEW = ("--clients", "2", "--rounds", "1", "--seconds", "1", "--warm-up", "0")


def test_servers_are_measured_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that follow `--vs`; the record has every window, and is what was printed."""
    output = tmp_path / "bench.json"

    assert main(["bench", "reference", "--vs", "lean", "c", *FEW, "--output", str(output)]) == 0
    record = msgspec.json.decode(output.read_bytes(), type=Measurement)
    assert capsys.readouterr().out == report.text(record)
    assert record.names == ["reference", "lean", "c"]
    assert [one.target for one in record.windows] == ["reference", "lean", "c", CEILING]
    assert all(one.connections and not one.errors for one in record.windows)
    assert [one.target for one in record.memory] == record.names


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--clients", "1,x"], "'1,x': what is wanted are numbers from 1 to 10000, such as 1,8,64"),
        (["--clients", "0"], "'0': what is wanted are numbers from 1 to 10000"),
        (["--vs", "reference"], "reference is named twice"),
        (["--vs", "sockat"], "there is no target 'sockat'"),
        (["--vs"], "--vs"),
        (["reference", "c"], "unexpected extra argument"),
        (["--output", "/nowhere/x"], "there is no folder /nowhere"),
    ],
)
def test_wrong_usage_is_one_line(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is measured."""
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("order", [["lean", "--rounds", "1", "c"], ["--rounds", "1", "lean", "--vs", "c"]])
def test_a_word_after_another_option_is_the_server_itself(order: list[str]) -> None:
    """Only what follows `--vs` at once is measured beside it."""
    with verb.command.make_context(
        "bench", ["--vs", "socat", *order] if order[0] == "lean" else order
    ) as context:
        named = (context.params["name"], context.params["others"])

    assert named == (("c", ("socat", "lean")) if order[0] == "lean" else ("lean", ("c",)))


def test_a_command_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """As `check` takes it; it may have options of its own."""
    words = ["bench", *FEW, "--vs", "lean", "--", sys.executable, str(HERE / "plain.py"), "{port}"]

    assert main(words) == 0
    assert "lean" in capsys.readouterr().out


def test_a_server_that_serves_nobody_cannot_be_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3 and one line; what was wrong stands in it."""
    words = ["bench", *FEW, "--", sys.executable, str(HERE / "wordy.py"), "{port}", "part"]

    assert main(words) == 3
    assert "no connection was served (the end of the stream in place of the echo)" in capsys.readouterr().err


def test_without_a_compiler_the_ceiling_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the rest is, and the reason is told."""
    monkeypatch.setattr(verb, "GENERATOR", "needs-what-is-not-there")
    load = target.load
    missing = Manifest(command=["cc-that-is-not-there"])
    monkeypatch.setattr(
        target,
        "load",
        lambda name, *more: (
            Target(name=name, manifest=missing) if name.startswith("needs") else load(name, *more)
        ),
    )

    assert main(["bench", "lean", *FEW]) == 0
    shown = capsys.readouterr().out
    assert CEILING not in shown
    assert "What the load generator can do by itself was not measured" in shown


def test_what_was_measured_before_an_interrupt_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 130, and the record says that it is a part."""
    measure: Callable[..., Window] = rounds.window

    def once(course: Course, lane: Lane, *more: Any) -> Window:
        if lane.name != "lean":
            raise KeyboardInterrupt
        return measure(course, lane, *more)

    monkeypatch.setattr(rounds, "window", once)

    assert main(["bench", "lean", "--vs", "reference", *FEW]) == 130
    assert "interrupted, so that what follows is a part" in capsys.readouterr().out
