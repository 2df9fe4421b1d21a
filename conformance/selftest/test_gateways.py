"""Judging over gateways: what is refused, who judges what, and what becomes of a host that is lost in the middle."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psutil
import pytest
from click.testing import CliRunner, Result

import forkecho
from forkecho.cli import gateways
from forkecho.cli.followed import Stream
from forkecho.cli.gateways import Host, Source, label, opened, parsed
from forkecho.cli.judging import Judged, Order, Watcher, judge
from forkecho.cli.matrix import command
from forkecho.conformance import fixture, result, target
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.plan import Plan, Selection, select
from forkecho.conformance.result import Run, Verdict

PATIENT = 300.0  # seconds for what takes a few, unless the machine is loaded
ONE_CASE = ("--case", "echo/any-answer")


def called(*words: str) -> Result:
    """`forkecho matrix` in this process."""
    return CliRunner().invoke(command, list(words))


@pytest.fixture
def manifest(temporary: Path) -> Callable[..., str]:
    """Writes the manifest of a forking server, its source and an executable beside it; gives the manifest's path."""

    def manifest(name: str, build: str = ":") -> str:
        place = temporary / "manifests"
        place.mkdir(exist_ok=True)
        shutil.copy(fixture.folder("targets") / "forking_stream.py", place / "ours.py")
        words = ["{python}", "{here}/ours.py", "{host}", "{port}"]
        commands = [["sh", "-c", build], ["test", "-s", "{here}/ours.py"]]
        path = place / f"{name}.toml"
        path.write_text(f"command = {json.dumps(words)}\nbuild = {json.dumps(commands)}\n")
        return str(path)

    return manifest


# What is meant


def test_a_number_stands_for_so_many_gateways() -> None:
    """As with pytest-xdist's `--tx`; a specification is execnet's own."""
    found = parsed(["2*popen", "ssh=host//python=python3.12//chdir=/tmp", "popen//python=a*b"])

    assert [str(one) for one in found] == [
        "popen",
        "popen",
        "ssh=host//python=python3.12//chdir=/tmp",
        "popen//python=a*b",
    ]


@pytest.mark.parametrize(
    "word", ["", "host", "ssh", "ssh=", "python=python3", "popen//popen", "_x=1//popen", "0*popen", "2*"]
)
def test_what_is_no_gateway_is_refused(word: str) -> None:
    """In one line that begins with what was said."""
    with pytest.raises(click.UsageError, match=f"^--tx {re.escape(word)}: "):
        parsed([word])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ssh=me@host//python=python3", "me@host"),
        ("ssh=-p 2222 -i /home/me/key host", "host"),
        ("ssh=host -o Port=22", "host"),
        ("ssh=-p", "-p"),
        ("popen//python=python3.12", "popen//python=python3.12"),
    ],
)
def test_a_host_is_called_by_its_name(spec: str, expected: str) -> None:
    """Which keys are used on the way is nobody's business who reads the record."""
    assert label(parsed([spec])[0]) == expected


@pytest.mark.parametrize("words", [("--python", "all"), ("--jobs", "2")])
def test_options_about_this_machine_are_refused(words: tuple[str, ...]) -> None:
    """They would mean nothing at the other end; what does is said."""
    done = called("c", "--tx", "popen", *words)

    assert done.exit_code == 2
    assert f"{words[0]} is about this machine" in done.output


def order(word: str, folder: Path, **chosen: list[str]) -> Order:
    """To judge that target, by these cases."""
    plan = Plan(target=target.load(word), selection=Selection(**chosen))
    options = [f"--{name}={one}" for name, values in chosen.items() for one in values]
    return Order(
        name=Path(word).stem,
        plan=plan,
        options=("--jobs=2", *options),
        known=None,
        word=word,
        cases=len(select(plan)),
        record=folder / f"{Path(word).stem}.jsonl",
        patience=PATIENT,
        silence=PATIENT,
    )


def test_a_name_is_taken_for_no_option(tmp_path: Path) -> None:
    """Whatever the manifest is called; and what lies elsewhere there is named by its place there."""
    one = order("c", tmp_path)

    assert one.words("-x.toml")[-1] == "./-x.toml"
    assert one.words("x.toml", Path("k.toml")) == ["--jobs=2", "--known=k.toml", "x.toml"]


def test_a_line_that_was_cut_costs_no_other() -> None:
    """An interrupt may come in the middle of one: the whole record begins on a line of its own."""
    reading, writing = os.pipe()
    stream = Stream(writing)
    stream._torn = True
    stream._write(b"{}\n")
    stream._write(b"[]\n")
    os.close(writing)

    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"\n{}\n[]\n"


# What is refused before anything is judged


@pytest.mark.usefixtures("nothing_left")
def test_a_python_without_forkecho_is_refused_with_what_mends_it() -> None:
    """One line for each gateway, once, and nothing was judged."""
    done = called("c", "--tx", f"2*popen//python={sys.executable} -S", "--tx", "popen")

    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "forkecho is missing there" in line
    assert line.endswith(f"`{sys.executable} -S -m pip install forkecho=={forkecho.__version__}`")


@pytest.mark.usefixtures("nothing_left")
def test_another_version_or_other_requirements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts of two suites are not to stand in one table."""
    monkeypatch.setattr(gateways, "spec_digest", lambda: "elsewhere")
    other = called("c", "--tx", "popen")
    monkeypatch.setattr(forkecho, "__version__", "99.0")
    older = called("c", "--tx", "popen")

    assert (other.exit_code, older.exit_code) == (2, 2)
    assert "with other requirements and cases than here" in other.stderr
    assert "is there, and 99.0 is here" in older.stderr
    assert "-m pip install forkecho==99.0`" in older.stderr


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("python", ["/no/such/python", "false", "sh -c 'echo no >&2; exit 7' x"])
def test_where_no_python_answers_the_gateway_is_refused(python: str) -> None:
    """With its last words, if it had any, and the command that shows more."""
    done = called("c", "--tx", f"popen//python={python}")

    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"forkecho: popen//python={python}: no Python answers there (")
    assert line.endswith(f"`{python} --version`?")


@pytest.mark.usefixtures("nothing_left")
def test_a_folder_that_is_too_much_is_not_sent(
    manifest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest in somebody's home would take all of it along."""
    monkeypatch.setattr(gateways, "FILES_MAX", 1)
    monkeypatch.setattr(Host, "same_files", property(lambda host: False))
    done = called(manifest("mine"), "--tx", "popen")

    assert done.exit_code == 2
    assert "put the manifest and its sources into a folder of their own" in done.output


# What is judged


@pytest.mark.usefixtures("nothing_left")
def test_targets_are_judged_over_gateways(manifest: Callable[..., str], tmp_path: Path) -> None:
    """The record says where, and a manifest of one's own is named as it was."""
    own = manifest("mine")
    done = called(own, "c", *ONE_CASE, "--tx", "2*popen", "--output", str(tmp_path))

    assert done.exit_code == 0, done.output
    assert "c: conformant: 1 passed" in done.stderr
    for name in ("mine", "c"):
        run = result.load(tmp_path / f"{name}.jsonl")
        assert run.header.host["gateway"] == "popen"
        assert run.header.host["name"]
        assert [case.verdict for case in run.cases] == [Verdict.PASS]
    assert result.load(tmp_path / "mine.jsonl").header.target["manifest"] == own


@pytest.mark.usefixtures("nothing_left")
def test_manifests_and_lists_are_sent_where_files_are_others(
    manifest: Callable[..., str], tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a folder that goes with the gateway; what is made anew or hidden stays."""
    monkeypatch.setattr(Host, "same_files", property(lambda host: False))
    own, lists = (
        manifest("mine", f"ls -A {{here}} > {tmp_path}/there; pwd >> {tmp_path}/there"),
        tmp_path / "lists",
    )
    (Path(own).parent / ".hidden").touch()
    os.mkfifo(Path(own).parent / "pipe")
    lists.mkdir()
    (lists / "mine.toml").write_text('[known]\n"echo/any-answer" = "listed"\n')
    done = called(own, *ONE_CASE, "--tx", "popen", "--known", str(lists), "--output", str(tmp_path))

    assert done.exit_code == 1, done.output
    run = result.load(tmp_path / "mine.jsonl")
    assert [case.verdict for case in run.cases] == [Verdict.FIXED]
    assert run.header.target["manifest"] == own
    *names, place = (tmp_path / "there").read_text().split()
    assert names == ["mine.toml", "ours.py"]
    assert place.startswith(f"{temporary}/forkecho-")


@pytest.mark.usefixtures("nothing_left")
def test_what_is_on_no_host_is_left_out_and_named(tmp_path: Path) -> None:
    """It is the other machines that are asked what is there."""
    lacks = tmp_path / "lacks.toml"
    lacks.write_text('command = ["no-such-server", "{port}"]\nneeds = { program = "no-such-server" }')
    done = called("c", str(lacks), *ONE_CASE, "--tx", "popen", "--skip-missing")

    assert done.exit_code == 0, done.output
    assert "not judged: lacks needs the program 'no-such-server'" in done.stderr


class Killer(Watcher):
    """Ends something once a target has reported so many cases, and remembers what became of each."""

    def __init__(self, name: str, many: int, end: Callable[[], None]) -> None:
        self.name, self.many, self.end = name, many, end
        self.ends: list[str] = []

    def advances(self, order: Order, done: int, bad: int) -> None:
        if order.name == self.name and done >= self.many and self.many:
            self.many = 0
            self.end()

    def ended(self, order: Order, judged: Judged) -> None:
        self.ends.append(order.name)


@pytest.fixture
def two(temporary: Path) -> Iterator[list[Host]]:
    """Two gateways to Pythons of their own."""
    sources = {name: Source(target=target.load(name)) for name in ("c", "perl", "reference")}
    with opened(parsed(["popen//env:HOST=one", "popen//env:HOST=two"]), sources) as hosts:
        yield hosts


def killed(host: Host) -> Callable[[], None]:
    """Kills the process at the other end."""
    return lambda: os.kill(host.gateway._io.popen.pid, signal.SIGKILL)


def lost_run(judged: Judged, host: str, reported: int) -> Run:
    """The run of a host that was lost, with what must be true of it."""
    run = judged.column.run
    assert run
    assert judged.exit == 3 == run.footer.exit
    broken = [case for case in run.cases if case.verdict is Verdict.BROKEN]
    assert len({case.id for case in run.cases}) == len(run.cases) == run.footer.selected
    assert reported <= len(run.cases) - len(broken) < len(run.cases)
    assert all(case.reason.startswith(f"host {host} was lost") for case in broken)
    assert f"host {host} was lost" in judged.column.reason
    return run


@pytest.mark.once
def test_a_lost_host_costs_its_own_cases_only(nothing_left: str, two: list[Host], tmp_path: Path) -> None:
    """What it had reported stands, the rest is broken and names it, and what was to come goes to the other."""
    orders = [order(name, tmp_path, group=["ECHO", "FORK"]) for name in ("c", "perl", "reference")]
    watcher = Killer("c", 3, killed(two[0]))
    judged, interrupted = judge(orders, two, watcher)

    assert not interrupted
    run = lost_run(judged[0], "popen//env:HOST=one", 3)
    assert result.load(tmp_path / "c.jsonl") == run
    assert sorted(watcher.ends) == ["c", "perl", "reference"]
    for one in judged[1:]:
        assert one.exit in (0, 1), one  # on a machine that is loaded not every case passes
        assert one.column.run
        assert one.column.run.header.host["gateway"] == "popen//env:HOST=two"


@pytest.mark.once
def test_where_no_host_is_left_the_rest_is_named(nothing_left: str, two: list[Host], tmp_path: Path) -> None:
    """It could not be judged, and each target says so once."""
    orders = [order(name, tmp_path, group=["ECHO", "FORK"]) for name in ("c", "perl")]
    watcher = Killer("c", 2, killed(two[0]))
    judged, _ = judge(orders, two[:1], watcher)

    lost_run(judged[0], "popen//env:HOST=one", 2)
    assert (judged[1].exit, judged[1].column.run) == (3, None)
    assert judged[1].column.reason.startswith("not tried: no host is left (popen//env:HOST=one: ")
    assert watcher.ends == ["c", "perl"]


def test_a_host_that_goes_while_nothing_is_judged_there_costs_nothing(
    nothing_left: str, two: list[Host], tmp_path: Path
) -> None:
    """What would have been its next goes to the other."""
    killed(two[0])()
    two[0].gateway.join(PATIENT)
    judged, _ = judge([order("c", tmp_path, case=["echo/any-answer"])], two, Watcher())

    assert judged[0].exit == 0
    assert judged[0].column.run
    assert judged[0].column.run.header.host["gateway"] == "popen//env:HOST=two"


@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_matrix_ends_what_runs_elsewhere(
    manifest: Callable[..., str], tmp_path: Path, number: signal.Signals
) -> None:
    """Told to end, or with nobody there any more: nothing is left at the other end, which `nothing_left` has seen."""
    begun = tmp_path / "begun"
    words = ("matrix", manifest("slow", f"touch {begun}; sleep 600"), *ONE_CASE)
    words += ("--tx", "popen", "--output", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "forkecho", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert wait_for(begun.exists, Deadline(PATIENT))
        below = psutil.Process(process.pid).children(recursive=True)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: what the gateway was started by hears it too
        else:
            process.send_signal(number)
        out, errors = process.communicate(timeout=PATIENT)

    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    assert len(below) >= 2
    _, left = psutil.wait_procs(below, timeout=PATIENT)
    assert left == []
    if number == signal.SIGINT:
        assert "interrupted" in out + errors
