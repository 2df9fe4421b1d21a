"""Scripts that stand alone: they show the fault while it is there, need nothing, leave nothing, and say what they did not see."""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forkecho.cli import main
from forkecho.conformance import fixture, prove, repro, result, target
from forkecho.conformance.case import Case, expand
from forkecho.conformance.clients.bench import bench_for
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.payload import Payload
from forkecho.conformance.plan import Plan, spec_digest
from forkecho.conformance.prove import Mutant
from forkecho.conformance.repro.cut import cut
from forkecho.conformance.repro.literal import literal, quoted
from forkecho.conformance.repro.play import Acts, Looks, Play, told, written
from forkecho.conformance.result import CaseLine, Footer, Header, Run, Verdict
from forkecho.conformance.run import judge
from forkecho.conformance.step import (
    Close,
    Exchange,
    Expect,
    HalfClose,
    Idle,
    Open,
    Reach,
    Reset,
    Send,
    Stuff,
    Vanish,
)
from forkecho.conformance.target import Builds, Target

HERE = Path(__file__).with_name("hostile")
BROKEN = (Verdict.FAIL, Verdict.WARN)
PATIENT = 120.0  # seconds for what takes a few, unless the machine is loaded
TRIES = 10  # of a script, until it shows a fault that is there

#: Scales of deadlines that a mutant is judged with: in haste, and where that does not catch it with the usual patience.
HASTE = (0.4, 1.0)

#: What nobody need look at processes for.
WIRE = (Open, Send, Exchange, Reach, Stuff, HalfClose, Close, Reset, Vanish, Idle)

#: Mutants of which scripts show the fault, at the least: no rule may leave out so many that nobody notices.
COVERED_MIN = 40

pytestmark = [
    pytest.mark.once,
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


def record(judged: Target, *lines: CaseLine, **header: Any) -> Run:
    """A run with these results."""
    given: dict[str, Any] = {
        "format": 1,
        "forkecho": "0.1.0",
        "spec": spec_digest(),
        "target": judged.describe(),
        "model": None,
        "host": {},
        "seed": 0,
        "selection": {},
        "selected": len(lines),
        "started": "2026-01-01T00:00:00Z",
    } | header
    footer = Footer(totals=result.totals(lines), selected=len(lines), exit=1, seconds=1.0, interrupted=False)
    return Run(header=Header(**given), cases=lines, footer=footer)


def line(case: Case, verdict: Verdict = Verdict.FAIL, **more: Any) -> CaseLine:
    """The result of a case, by hand."""
    one = case.requirement
    words = {"expected": "this", "seen": "that"} if verdict in BROKEN else {}
    told = {"requirement": one.id, "group": one.group, "level": one.level, **words, **more}
    return CaseLine(id=case.id, title=case.title, verdict=verdict, **told)


def scripted(judged: Target, case_id: str, verdict: Verdict = Verdict.FAIL, **more: Any) -> str:
    """The script of a case of a record by hand."""
    header = {key: more.pop(key) for key in ("seed", "selection", "spec", "python") if key in more}
    return repro.script(
        record(judged, line(expand(judged.manifest)[case_id], verdict, **more), **header), case_id
    ).text


def start(text: str, folder: Path, *arguments: str, python: str = sys.executable) -> subprocess.Popen[str]:
    """The script at work: alone, away from the checkout, with nothing but the standard library."""
    path = folder / f"script-{abs(hash(text))}.py"
    path.write_text(text)
    command = [python, "-I", "-S", "-W", "error::SyntaxWarning", str(path), *arguments]
    return subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(text: str, folder: Path, *arguments: str, python: str = sys.executable) -> tuple[int, str]:
    """How the script ended, and all that it said."""
    with start(text, folder, *arguments, python=python) as process:
        said, complained = process.communicate(timeout=PATIENT)
    return process.returncode, said + complained


def hostile(name: str, *words: str, **manifest: Any) -> Target:
    """One of the servers that the self-tests have."""
    command = ["{python}", f"{{here}}/{name}.py", *(words or ("{port}",))]
    return Target(
        name=name, manifest=Manifest(command=command, **manifest), here=str(HERE), path=str(HERE / "x.toml")
    )


# Every mutant whose fault shows on the wire


def caught(mutant: Mutant, builds: Builds) -> tuple[Run, Case]:
    """The record of the first case that catches a mutant, which is the one that kills it."""
    judged = msgspec.structs.replace(
        mutant.target, path=str(Path(mutant.target.here) / f"{mutant.name}.toml")
    )
    cases = [case for case in expand(judged.manifest).values() if case.requirement.id == mutant.breaks]
    # What a server does by a clock of its own it does no sooner in haste.
    for scale in HASTE[1:] if judged.manifest.idle_timeout else HASTE:
        with bench_for(Plan(target=judged, scale=scale), builds, canary=None) as bench:
            for case in cases:
                if case.unfit(judged.manifest):
                    continue
                ended = judge(case, bench)
                if ended.verdict in BROKEN:
                    return record(judged, ended, selection={"scale": scale}), case
    raise AssertionError(f"nothing catches {mutant.name}")


def mended(run: Run) -> Run:
    """The same record with the reference in the mutant's place, and with more patience than usual.

    Nothing is waited for in vain, and a script does not know, as the suite does, that the server was not let run.
    """
    (script,) = [word for word in run.header.target["command"] if word.startswith("{here}/")]
    reference = str(fixture.folder("targets") / "reference.py")
    command = [reference if word == script else word for word in run.header.target["command"]]
    described = {**run.header.target, "command": command}
    header = msgspec.structs.replace(run.header, target=described, selection={"scale": 4.0})
    return msgspec.structs.replace(run, header=header)


def script_or_reason(run: Run, case: Case) -> tuple[str, str]:
    """The script of a case; or why there is none."""
    try:
        return repro.script(run, case.id).text, ""
    except repro.NoScript as why:
        return "", str(why)


def on_the_wire(case: Case) -> bool:
    """Nobody need look at processes for any step of it."""
    return all(
        isinstance(step, WIRE) or (isinstance(step, Expect) and step.expect not in ("queued", "unread"))
        for step in case.steps
    )


def servers() -> list[str]:
    """The mutants that are servers."""
    return [name for name, one in prove.load().items() if one.target.manifest.role == "server"]


@pytest.mark.parametrize("name", servers())
def test_a_script_shows_the_fault_while_it_is_there(name: str, builds: Builds, tmp_path: Path) -> None:
    """Against the mutant it ends with 1, with the reference in its place with 0; or what failed is not on the wire."""
    told_by_suite, case = caught(prove.load()[name], builds)
    broken, why = script_or_reason(told_by_suite, case)
    if why:
        assert re.search("used in process|play it again with: forkecho check ", why)
        assert "used in process" in why or not on_the_wire(case)
        return
    sound = repro.script(mended(told_by_suite), case.id).text
    with start(broken, tmp_path) as first, start(sound, tmp_path) as second:
        at_first, then = first.communicate(timeout=PATIENT), second.communicate(timeout=PATIENT)
    tries = 1
    # Some faults are races, which a loaded machine lets the server win now and then.
    while first.returncode == 0 and tries < TRIES:
        with start(broken, tmp_path) as first:
            at_first = first.communicate(timeout=PATIENT)
        tries += 1

    assert first.returncode == 1, at_first
    assert re.search("\nexpected: .+\nseen:     .+\n", at_first[0])
    assert "The fault is there." in at_first[0]
    assert second.returncode == 0, then
    assert "The fault is not there." in then[0]


def scriptable(mutant: Mutant) -> bool:
    """Of a case that judges what it breaks there is a whole script, if its last step fails."""
    manifest = mutant.target.manifest
    for case in expand(manifest).values():
        if case.requirement.id == mutant.breaks and not (manifest.in_process or case.unfit(manifest)):
            with suppress(Looks, Acts):
                written(Play(case, manifest, set(), 1.0), len(case.steps))
                return True
    return False


def test_most_faults_that_show_on_the_wire_are_covered() -> None:
    """The rule that leaves mutants out is the script's own, and cannot leave out all of them."""
    assert len([name for name in servers() if scriptable(prove.load()[name])]) >= COVERED_MIN


# What there is a script of


@cache
def everything() -> dict[str, str]:
    """The scripts of all cases for the reference, and of some for its kin, as if all had passed, by a file's name."""
    found = {}
    for name in ("reference", "reference-one-shot", "reference-unix", "reference-dual"):
        judged = target.load(name)
        cases = expand(judged.manifest)
        header = record(judged).header
        firsts = {case.requirement.id: case.id for case in reversed(cases.values())}
        for id_, case in cases.items():
            if not case.unfit(judged.manifest) and (name == "reference" or id_ in firsts.values()):
                with suppress(repro.NoScript):
                    text = repro.text_of(header, line(case, Verdict.PASS), case, judged.manifest)
                    found[f"{name}-{re.sub('[^a-z0-9A-Z]', '-', id_)}"] = text
    return found


def test_most_cases_have_a_script() -> None:
    """What is left out is what does something to processes that a script cannot do."""
    assert len(everything()) > 500


def test_scripts_are_as_the_tools_want_them(tmp_path: Path) -> None:
    """Without warnings for the compiler, formatted, and nothing to say for ruff's own rules."""
    for name, text in everything().items():
        assert text.isascii()
        compile(text, name, "exec")
        (tmp_path / f"{name}.py").write_text(text)
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if not ruff:
        pytest.skip("there is no ruff here")
    for words in (["check", "--isolated", "-q"], ["format", "--isolated", "--check", "-q"]):
        done = subprocess.run([ruff, *words, str(tmp_path)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[:4000]


def test_a_record_made_with_a_list_of_known_failures_has_scripts() -> None:
    """What a record says of its target beside the manifest is no key of one."""
    judged = msgspec.structs.replace(
        target.load("socat"), path="a/x.toml", listed=("echo/greeting",), connect=("127.0.0.1", 7)
    )

    assert "def play" in scripted(judged, "echo/greeting")


def test_a_script_has_what_its_case_needs_alone() -> None:
    """No listening socket is frozen, and no payload made at random, for a line of text."""
    text = scripted(target.load("socat"), "echo/greeting", step=1)

    assert 'b"Hello echo server\\n"' in text
    assert not [
        word for word in ("getrandbits", "def freeze", "PREFIX", "forkecho.", "AF_UNIX") if word in text
    ]
    assert text.index("def play") < text.index("class Fault")


def test_the_same_record_makes_the_same_script() -> None:
    """Nothing of the moment is in it."""
    judged = target.load("reference")

    assert scripted(judged, "echo/two-streams@17") == scripted(judged, "echo/two-streams@17")


# The very bytes


@pytest.fixture
def witness() -> Iterator[Callable[[], tuple[int, list[bytes]]]]:
    """A server of our own that echoes, and keeps what each connection has said."""
    open_: list[socket.socket] = []

    def serve(one: socket.socket, kept: bytearray) -> None:
        with one:
            while data := one.recv(65536):
                kept.extend(data)
                one.sendall(data)

    def accept(listener: socket.socket, heard: list[bytearray]) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            heard.append(bytearray())
            threading.Thread(target=serve, args=(one, heard[-1]), daemon=True).start()

    def begin() -> tuple[int, Any]:
        heard: list[bytearray] = []
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        open_.append(listener)
        threading.Thread(target=accept, args=(listener, heard), daemon=True).start()
        return listener.getsockname()[1], heard

    yield begin
    for listener in open_:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "case_id",
    [
        "echo/random-bytes@65536",
        "echo/counting-bytes@1000",
        "echo/every-byte@4",
        "echo/conversation@50",
        "echo/half-close-of-several",
        "echo/each-connection-afresh",
        "buffer/uneven-pieces",
        "buffer/many-messages-in-one-segment",
        "echo/unicode",
    ],
)
def test_a_script_sends_the_very_bytes_of_the_record(
    case_id: str, witness: Callable[[], tuple[int, list[bytes]]], builds: Builds, tmp_path: Path
) -> None:
    """What the suite sends with that seed, connection by connection."""
    heard = []
    for scripted_ in (False, True):
        port, kept = witness()
        judged = Target(name="witness", manifest=Manifest(), connect=("127.0.0.1", port))
        if scripted_:
            code, said = run(
                scripted(judged, case_id, Verdict.PASS, seed=7), tmp_path, "127.0.0.1", str(port)
            )
            assert code == 0, said
        else:
            with bench_for(Plan(target=judged, seed=7), builds, canary=None) as bench:
                assert judge(expand(judged.manifest)[case_id], bench).verdict is Verdict.PASS
        heard.append([bytes(one) for one in kept])

    assert sorted(heard[0]) == sorted(heard[1])
    assert all(heard[0])


def test_the_server_is_run_by_the_python_of_the_record(tmp_path: Path) -> None:
    """By that very one, where it is here; by one of its version, or by the script's own, where not; and the script says so."""
    used, wrapper = tmp_path / "used", tmp_path / "python2.9"
    wrapper.write_text(f'#!/bin/sh\ntouch {used}\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    judged, case_id = target.load("reference"), "echo/any-answer"
    told = {"path": str(wrapper), "implementation": "CPython", "version": "2.9.1"}
    text = scripted(judged, case_id, python=told)
    code, said = run(text, tmp_path)

    assert (code, used.exists()) == (0, True), said
    assert "Run by CPython 2.9.1; the script has it run by the first of these that is there:" in text
    assert text.index(f'"{wrapper}"') < text.index('"python2.9"')
    used.unlink()
    for elsewhere in (told | {"path": "/no/such/python"}, {"path": "/no/such/python"}, {}):
        code, said = run(scripted(judged, case_id, python=elsewhere), tmp_path)
        assert (code, used.exists()) == (0, False), said


def test_of_another_python_its_own_name_is_tried() -> None:
    """PyPy's programs are not called python3.9; and what a record does not tell is not made up."""
    judged, case_id = target.load("reference"), "echo/any-answer"
    pypy = {"path": "/no/pypy", "implementation": "PyPy", "version": "3.9.16", "release": "7.3.11"}
    text = scripted(judged, case_id, python=pypy)

    assert 'PYTHON = ["/no/pypy", "pypy3.9"]' in text
    assert "Run by PyPy 7.3.11, Python 3.9.16;" in text
    assert 'PYTHON = ["/no/python"]' in scripted(judged, case_id, python={"path": "/no/python"})


def test_a_server_that_no_python_runs_has_none_named() -> None:
    """Whatever the record has."""
    assert "PYTHON" not in scripted(target.load("c"), "echo/any-answer", python={"path": "/usr/bin/python3"})


def test_random_bytes_are_regenerated(tmp_path: Path) -> None:
    """By the generator of the suite, without a method that Python 3.8 has not."""
    text = scripted(target.load("socat"), "echo/random-bytes@300000", seed=42)
    scope: dict[str, Any] = {"__name__": "script"}
    exec(text, scope)

    chance = random.Random("42 echo/random-bytes@300000")
    assert scope["random_bytes"](300000) == chance.randbytes(300000)
    for size in (0, 1, 1 << 20, (1 << 20) + 1, 5000000):
        assert scope["random_bytes"](size) == Payload(random=size).make(chance)
    assert len(text) < 30000


# How it ends


def test_a_running_server_can_be_asked(tmp_path: Path) -> None:
    """HOST PORT: it is neither started nor ended."""
    judged = target.load("reference")
    text = scripted(judged, "echo/random-bytes@1024")
    with target.launch(judged, Builds()) as running:
        host, port = running.address
        code, said = run(text, tmp_path, host, str(port))

        assert (code, running.observer and running.owner and running.observer.alive(running.owner)) == (
            0,
            True,
        ), said


def test_what_cannot_be_tried_is_no_fault(tmp_path: Path) -> None:
    """Nobody listens; the server ends, or is none; the case needs one of its own: always 3, with the reason."""
    reference = target.load("reference")
    plain = scripted(reference, "echo/greeting")
    own = scripted(reference, "shutdown/refuses-when-idle", step=5)
    none = Target(name="none", manifest=Manifest(command=["/no/such/program", "{port}"]))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        ended = [
            run(plain, tmp_path, "127.0.0.1", str(unused.getsockname()[1])),
            run(own, tmp_path, "127.0.0.1", "7"),
            run(scripted(hostile("exits"), "echo/greeting"), tmp_path),
            run(scripted(none, "echo/greeting"), tmp_path),
        ]

    assert [code for code, _ in ended] == [3, 3, 3, 3], ended
    for (_, said), why in zip(
        ended, ("ECONNREFUSED|refused", "has started", "has ended", "cannot be started"), strict=True
    ):
        assert any(one in said for one in why.split("|")), said
        assert "The fault" not in said


@pytest.mark.parametrize("arguments", [("127.0.0.1",), ("127.0.0.1", "echo"), ("a", "1", "2"), ("--help",)])
def test_wrong_usage_is_told(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """2, and how it is used."""
    code, said = run(scripted(target.load("reference"), "echo/greeting"), tmp_path, *arguments)

    assert code == 2
    assert "Usage: python3 SCRIPT [HOST PORT]" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_script_leaves_nobody(
    number: signal.Signals, bearers: Callable[[], list[str]], temporary: Path, tmp_path: Path
) -> None:
    """Neither a process nor its folder, also of a server that has gone into sessions of its own."""
    # A script that would end by itself before it is interrupted shows nothing.
    text = scripted(hostile("silent"), "echo/greeting", selection={"scale": 20.0})
    with start(text, tmp_path) as process:
        assert wait_for(lambda: len([one for one in bearers() if "silent.py" in one]) > 1, Deadline(PATIENT))
        process.send_signal(number)
        process.communicate(timeout=PATIENT)

    assert process.returncode == 128 + number
    assert not list(temporary.glob("repro-*"))
    assert not [one for one in bearers() if "silent.py" in one]


# Words from elsewhere

NASTY = 'it\'s "quoted" \\ \\n\nline \t \u00e9 \u202e \U0001f600 \x1b[31m \'\'\' """ {0} %s $HOME \\'
ECHO = """
import os, socket, sys
assert sys.argv[2] == os.environ["NASTY"] == open("file").read(), sys.argv
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        with listener.accept()[0] as one:
            while data := one.recv(65536):
                one.sendall(data)
"""


def test_words_from_elsewhere_are_kept_and_do_no_harm(tmp_path: Path) -> None:
    """Quotes, line ends, escapes and letters of any kind: in a command, a file, the environment, a path, what was seen."""
    place = tmp_path / 'it\'s \u00fcn\u00efcode "here" {dir}'
    place.mkdir()
    (place / "echo.py").write_text(ECHO)
    manifest = Manifest(
        title=NASTY,
        command=["{python}", "{here}/echo.py", "{port}", NASTY],
        env={"NASTY": NASTY},
        files={"file": NASTY},
        cwd="{dir}",
    )
    judged = Target(name="nasty", manifest=manifest, path=str(place / "nasty.toml"))
    saved = tmp_path / "run.jsonl"
    saved.write_text(
        result.dump(
            record(judged, line(expand(judged.manifest)["echo/greeting"], expected=NASTY, seen=NASTY, step=1))
        )
    )
    text = repro.script(result.load(saved), "echo/greeting").text
    code, said = run(text, tmp_path)

    assert text.isascii()
    assert code == 0, said


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "it's",
        'say "x"',
        "both ' and \"",
        "back\\slash",
        "line\nend",
        "\u00e9\U0001f600\x00",
        "\udc80",
    ],
)
def test_texts_are_written_as_python_reads_them(value: str) -> None:
    """In ASCII, with the quotes that take fewer escapes, and the same for bytes."""
    octets = value.encode("utf-8", "surrogatepass")

    assert eval(quoted(value)) == value
    assert eval(quoted(octets)) == octets
    assert quoted(value).isascii()


def test_what_does_not_fit_on_a_line_is_laid_out() -> None:
    """As the formatters do it: one a line, with a comma."""
    value = {"a": ["x" * 40, "y" * 40], "b": (1,), "c": {}}

    assert eval(literal(value)) == value
    assert literal([1, 2]) == "[1, 2]"
    assert literal(value).splitlines()[:3] == ["{", '    "a": [', f'        "{"x" * 40}",']


TOLD = """
import os, socket, sys
told = os.environ["FORKECHO_HOST"], os.environ["FORKECHO_PORT"]
assert told == tuple(sys.argv[1:3]), told
family = socket.AF_UNIX if "/" in told[0] else socket.AF_INET
with socket.create_server(told[0] if "/" in told[0] else (told[0], int(told[1])), family=family) as listener:
    while True:
        with listener.accept()[0] as one:
            while data := one.recv(65536):
                one.sendall(data)
"""


@pytest.mark.parametrize(("family", "words"), [("ipv4", ["{host}", "{port}"]), ("unix", ["{path}", "0"])])
def test_a_server_is_always_told_its_address_in_the_environment(
    family: str, words: list[str], tmp_path: Path
) -> None:
    """Also if its command names it, and whatever the manifest says of the environment: as the suite does."""
    (tmp_path / "told.py").write_text(TOLD)
    env = {"FORKECHO_PORT": "1", "FORKECHO_HOST": "nowhere"}
    manifest = Manifest(command=["{python}", "{here}/told.py", *words], env=env, families=[family])
    judged = Target(name="told", manifest=manifest, path=str(tmp_path / "told.toml"))
    code, said = run(scripted(judged, "echo/greeting"), tmp_path)

    assert code == 0, said


LISTENS_LATE = """
import os, socket, sys, time
listener = socket.socket(socket.AF_UNIX if sys.argv[1] == "0" else socket.AF_INET)
listener.bind(os.environ["FORKECHO_HOST"] if sys.argv[1] == "0" else ("127.0.0.1", int(sys.argv[1])))
time.sleep(0.5)  # no wait for anything: a server that is slow at this point is what is tried
listener.listen()
while True:
    connection, _ = listener.accept()
    if os.fork() == 0:
        while data := connection.recv(1024):
            connection.sendall(data)
        os._exit(0)
    connection.close()
"""


@pytest.mark.parametrize(("family", "word"), [("ipv4", "{port}"), ("unix", "0")])
def test_a_server_that_is_bound_may_take_its_time_to_listen(family: str, word: str, tmp_path: Path) -> None:
    """The path of a UNIX socket is there from bind(2) on, and a client that comes before listen(2) is refused."""
    (tmp_path / "late.py").write_text(LISTENS_LATE)
    manifest = Manifest(command=["{python}", "{here}/late.py", word], families=[family])
    judged = Target(name="late", manifest=manifest, path=str(tmp_path / "late.toml"))
    code, said = run(scripted(judged, "echo/greeting"), tmp_path)

    assert code == 0, said


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize(
    ("place", "raised", "wanted"),
    [
        ("free_port", "CannotTry", "CannotTry"),
        ("start", "CannotTry", "CannotTry"),
        ("await_listener", "NotListening", "Fault"),
    ],
)
def test_what_keeps_another_server_from_being_started_is_no_fault(
    place: str, raised: str, wanted: str
) -> None:
    """No free port is none of the server's, nor is a program that cannot be executed; that it does not listen is."""
    scope: dict[str, Any] = {"__name__": "script"}
    exec(scripted(target.load("reference"), "hygiene/serves-without-input"), scope)

    def fail(*_: object) -> None:
        raise scope[raised]("for a reason")

    methods = {"start": lambda _: None, "await_listener": lambda _: None, place: fail}
    scope["free_port"] = methods.pop("free_port", lambda: 7)
    with pytest.raises(scope[wanted], match="for a reason") as seen:
        scope["launch_another"](**methods)
    assert seen.type is scope[wanted]


# What there is no script of


@pytest.mark.parametrize(
    ("case_id", "step", "words"),
    [
        ("process/born", 3, r'step 3 of process/born looks at processes \(\{ see = "born" \}\)'),
        ("process/frozen", 9, r'process/frozen does something to processes \(\{ freeze = "a" \}\)'),
        ("process/born", 0, "the record does not say which step of process/born failed"),
    ],
)
def test_what_does_not_show_on_the_wire_is_refused(case_id: str, step: int, words: str) -> None:
    """With the step, and the command that plays the case again."""
    with pytest.raises(
        repro.NoScript, match=words + ".*play it again with: forkecho check reference --case "
    ):
        scripted(target.load("reference"), case_id, step=step)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    """In the script and by it, where the step that failed is another."""
    text = scripted(target.load("reference"), "process/born", Verdict.PASS)
    code, said = run(text, tmp_path)
    words = 'Left out, as it does not show on the wire: { see = "born" }'

    assert words in text
    assert words in said
    assert code == 0


def test_clients_and_servers_in_process_have_no_script() -> None:
    """It is said of each what it is."""
    client = target.load("reference", "client")
    hosted = target.load("reference-in-process")

    with pytest.raises(repro.NoScript, match="judges a client"):
        scripted(client, "client/prints")
    with pytest.raises(repro.NoScript, match="used in process"):
        scripted(hosted, "echo/greeting")


def test_what_does_not_apply_has_no_script() -> None:
    """The reason of the record is given."""
    judged = target.load("socat")
    with pytest.raises(repro.NoScript, match=r"echo/prefix does not apply to this target: no numbers"):
        scripted(judged, "echo/prefix", Verdict.NOT_APPLICABLE, reason="no numbers")


def test_every_verb_is_written_or_refused() -> None:
    """No case of the suite comes to a verb that the writer does not know; each failed step gives a script or a reason."""
    manifest = target.load("reference").manifest
    for case in expand(manifest).values():
        for failed in range(len(case.steps) + 1)[:12]:
            made, refused = None, ""
            try:
                made = written(Play(case, manifest, set(), 1.0), failed)
            except (Looks, Acts) as step:
                refused = str(step)
            assert made is not None or refused in [told(one) for one in case.steps]
            marks = "\n".join(made.lines if made else []).count("# Here it failed")
            assert marks == bool(made and failed and failed_is_written(case, failed)), (case.id, failed)


def failed_is_written(case: Case, failed: int) -> bool:
    """A launch that goes without saying is no line of the script."""
    step = case.steps[failed - 1]
    return getattr(step, "launch", "") != "fresh"


def test_a_mark_takes_out_what_stands_behind_it() -> None:
    """Whole statements, or lines of a call; both ways."""
    source = "def f():\n    if a:  # if x\n        b()\n    c(\n        d,  # if not x\n    )\n"

    assert cut(source, {"x"}, "f")[0] == {"f": "def f():\n    if a:\n        b()\n    c(\n    )"}
    assert cut(source, set(), "f")[0] == {"f": "def f():\n    c(\n        d,\n    )"}


# The verb


def test_the_verb_writes_the_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To a file, or to standard output; where the cases were others, that is said."""
    judged = target.load("reference")
    saved, script = tmp_path / "run.jsonl", tmp_path / "script.py"
    saved.write_text(
        result.dump(record(judged, line(expand(judged.manifest)["echo/greeting"]), spec="other"))
    )

    assert main(["repro", str(saved), "echo/greeting", "--output", str(script)]) == 0
    assert "(spec other)" in capsys.readouterr().err
    assert main(["repro", str(saved), "echo/greeting"]) == 0
    assert capsys.readouterr().out == script.read_text()
    assert "(spec other)" in script.read_text()


@pytest.mark.parametrize(
    ("case_id", "words"),
    [("echo/greting", "did you mean echo/greeting?"), ("process/born", "play it again with: forkecho check")],
)
def test_the_verb_complains_in_one_line(
    case_id: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With 2, and nothing is written."""
    judged = target.load("reference")
    saved = tmp_path / "run.jsonl"
    lines = (
        line(expand(judged.manifest)["echo/greeting"]),
        line(expand(judged.manifest)["process/born"], step=3),
    )
    saved.write_text(result.dump(record(judged, *lines)))

    assert main(["repro", str(saved), case_id, "--output", str(tmp_path / "script.py")]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert words in said.err
    assert not (tmp_path / "script.py").exists()


# Old Pythons


def old_python() -> str:
    """A Python 3.8, where there is one; a name of pyenv's may stand for none."""
    places = [
        shutil.which("python3.8"),
        *map(str, (Path.home() / ".pyenv" / "versions").glob("3.8.*/bin/python")),
    ]
    works = (
        one
        for one in places
        if one and not subprocess.run([one, "-c", ""], check=False, capture_output=True).returncode
    )
    return next(works, "")


@pytest.mark.skipif(not old_python(), reason="there is no Python 3.8")
def test_scripts_run_on_python_3_8(tmp_path: Path) -> None:
    """All of them are Python 3.8; some are played on it."""
    for name, text in everything().items():
        (tmp_path / f"{name}.py").write_text(text)
    compiled = subprocess.run(
        [old_python(), "-W", "error", "-m", "compileall", "-q", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert compiled.returncode == 0, compiled.stdout[:4000]
    played = tmp_path / "played"
    played.mkdir()
    for name in (
        "echo-random-bytes-65536",
        "buffer-uneven-pieces",
        "shutdown-refuses-when-idle",
        "robustness-crash-SEGV",
    ):
        code, said = run(everything()[f"reference-{name}"], played, python=old_python())
        assert code == 0, said
