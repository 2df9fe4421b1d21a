"""The small verbs of the command line, and what all verbs have in common: one line for what is wrong."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import forkecho
from forkecho.cli import ERRORS, PROGRAMS, VERBS, code_of, main
from forkecho.conformance import requirement, result, specification, target
from forkecho.conformance.case import expand
from forkecho.conformance.report import FORMATS
from forkecho.conformance.result import CaseLine, Footer, Header, Run, Verdict

FORKECHO = (sys.executable, "-m", "forkecho")
PATIENCE = 30.0  # seconds; no verb here takes one, but the machine may be busy


def called(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `forkecho` with these words, away from the checkout; in a process of its own where it is one, or options say how."""
    if options or words[:1] in [(verb,) for verb in PROGRAMS]:
        settings = {"capture_output": True, "text": True, "cwd": "/", "timeout": PATIENCE} | options
        return subprocess.run([*FORKECHO, *words], check=False, **settings)  # type: ignore[call-overload, no-any-return]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with chdir("/"), redirect_stdout(out), redirect_stderr(err):
        status = main(words)
    printed, complained = (stream.detach().getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(words, status, printed, complained)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """The record of a run with one failure."""
    case = CaseLine(
        id="process/frozen",
        title="It stalls.",
        requirement="FORK-06",
        group="FORK",
        level="must",
        verdict=Verdict.FAIL,
        expected="silence",
        seen="an echo",
    )
    header = Header(
        format=1,
        forkecho="0.1.0",
        spec="0",
        target=target.load("socat").describe(),
        model=None,
        host={},
        seed=0,
        selection={},
        selected=1,
        started="2026-01-01T00:00:00Z",
    )
    footer = Footer(totals=result.totals([case]), selected=1, exit=1, seconds=1.0, interrupted=False)
    path = tmp_path / "run.jsonl"
    path.write_text(result.dump(Run(header=header, cases=(case,), footer=footer)))
    return path


# All verbs


def test_help_names_every_verb_and_imports_none() -> None:
    """So that it is there at once."""
    seen = (
        "import sys\n"
        "from forkecho.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'pytest', 'msgspec', 'rich', 'psutil', 'forkecho.conformance.result'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, cwd="/", check=False)

    assert (done.returncode, done.stderr) == (0, "")
    for verb, (_, short) in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(short)}$", done.stdout, re.MULTILINE), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    """It says what it is called."""
    done = called(verb, "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert f"usage: forkecho {verb} " in done.stdout.replace("Usage", "usage")


def test_the_version_is_that_of_the_package() -> None:
    """Nothing else is on the line."""
    assert f"forkecho {forkecho.__version__}\n" == called("--version").stdout


def test_without_a_verb_the_help_is_an_error() -> None:
    """A CI that has lost its words must not be green."""
    done = called()

    assert (done.returncode, done.stdout) == (2, "")
    assert "Verbs:" in done.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["chekc"], "'chekc'; did you mean check"),
        (["--nope"], "--nope"),
        (["list", "nope"], "'requirements', 'cases', 'targets', 'clients', 'mutants', 'missing'"),
        (["list", "--target", "xyz"], "there is no target 'xyz' (there are asyncio, "),
        (["list", "--requirement", "ECHO01"], "'ECHO01'; did you mean ECHO-01"),
        (["list", "cases", "--group", "FROK"], "did you mean FORK"),
        (["explain"], "Missing argument 'ID'"),
        (["explain", "FORK-66"], "'FORK-66'; did you mean FORK-06"),
        (["explain", "buffer/whole@4098"], "buffer/whole@4097"),
        (["report", "/nowhere/run.jsonl"], "/nowhere/run.jsonl: No such file or directory"),
        (["report", "/dev/null"], "/dev/null: no header"),
        (["report", "/dev/null", "--format", "xml"], "'console', 'junit', 'jsonl'"),
        (["spec", "--check", "/nowhere/SPEC.md"], "/nowhere/SPEC.md"),
        (["spec", "--output", "/nowhere/SPEC.md"], "/nowhere/SPEC.md"),
        (["spec", "--check", "a", "--output", "b"], "exclude each other"),
        (["serve", "--nope"], "--nope"),
        (["serve", "--reply", "{data}{pid}"], "{data}"),
        (["send"], "host"),
        (["send", "127.0.0.1", "http"], "'http' is no port"),
        (["demo", "now"], "now"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_exit_code_2(words: list[str], complaint: str) -> None:
    """On standard error, with what would be right."""
    done = called(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.startswith("forkecho ") or done.stderr.startswith("forkecho: ")
    assert done.stderr.count("\n") == 1


def test_a_malformed_manifest_is_one_line(tmp_path: Path) -> None:
    """It names the file, and the line or the key."""
    path = tmp_path / "mine.toml"
    for text, complaint in (
        ("command = [", "mine.toml: not TOML"),
        ('command = ["x"]\nreplay = "{data}"', "`replay`"),
        ("command = 1", "mine.toml: Expected `array`"),
        ("title = 'x'", "a target needs a command"),
    ):
        path.write_text(text)
        done = called("list", "cases", "--target", str(path))

        assert (done.returncode, done.stdout) == (2, "")
        assert complaint in done.stderr
        assert done.stderr.count("\n") == 1


def test_every_exception_of_the_table_exists() -> None:
    """It goes by name, so that nothing need be imported; a renamed class would become a traceback."""
    for name, code in ERRORS.items():
        module, _, kind = name.rpartition(".")
        __import__(module)
        assert code == code_of(getattr(sys.modules[module], kind)("why"))
    assert code_of(ValueError("a fault of ours")) is None


def test_a_fault_of_ours_does_not_look_like_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 would say that the target is not conformant: it is 3, with the traceback."""
    monkeypatch.setattr("forkecho.conformance.specification.render", lambda: 1 / 0)

    assert main(["spec"]) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_interrupt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 130, as shells have it."""

    def interrupted() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("forkecho.conformance.specification.render", interrupted)

    assert main(["spec"]) == 130
    assert capsys.readouterr().err == "forkecho: interrupted\n"


@pytest.mark.parametrize("words", ["list cases", "spec", "--help", "explain FORK-06"])
def test_a_reader_that_goes_away_is_no_news(words: str) -> None:
    """`forkecho list | head` ends quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = called(*words.split(), capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


def test_no_room_for_the_output_is_one_line() -> None:
    """And not a success."""
    with open("/dev/full", "w") as full:
        done = called("list", capture_output=False, stdout=full, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (3, "forkecho: No space left on device\n")


def test_a_terminal_of_another_age_gets_its_text() -> None:
    """An encoding that lacks a character is no traceback."""
    done = called("spec", env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})

    assert (done.returncode, done.stderr) == (0, "")


def test_closed_standard_streams_are_survived() -> None:
    """As under some launchers."""
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *FORKECHO, "list"], cwd="/", check=False)

    assert done.returncode == 0


# list, explain, report, schema, spec


def test_list_lists_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """A line each, the name first; requirements when nothing is said."""
    reference = target.load("reference").manifest
    for kind, names in (
        ([], list(requirement.load())),
        (["requirements"], list(requirement.load())),
        (["cases"], list(expand(reference))),
        (["targets"], list(target.known())),
        (["mutants"], [name for entry in specification.entries().values() for name in entry.mutants]),
    ):
        assert main(["list", *kind]) == 0
        listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert sorted(names) == sorted(listed)


def test_list_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of servers and clients, with the package; where nothing is, that."""
    monkeypatch.setattr(target, "lacking", lambda one: "more" if one.name == "socat" else "")
    assert main(["list", "missing"]) == 0
    assert capsys.readouterr().out == "server  socat  needs more\nclient  socat  needs more\n"

    monkeypatch.setattr(target, "lacking", lambda one: "")
    assert main(["list", "missing"]) == 0
    assert capsys.readouterr().out.startswith("nothing is missing of what the ")


def test_list_says_what_does_not_apply(capsys: pytest.CaptureFixture[str]) -> None:
    """For the target that was named, with the reason."""
    assert main(["list", "cases", "--target", "socat", "--requirement", "echo-11"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines
    assert all("ECHO-11" in line and "n/a: the target's reply names no process" in line for line in lines)


def test_list_and_explain_know_the_same_cases(capsys: pytest.CaptureFixture[str]) -> None:
    """A name from one can be given to the other, with the same target."""
    assert main(["list", "cases", "--target", "reference-one-shot", "--group", "BUF"]) == 0
    name = capsys.readouterr().out.splitlines()[-1].split()[0]

    assert main(["explain", name, "--target", "reference-one-shot"]) == 0
    assert capsys.readouterr().out.startswith(f"{name}\n")


@pytest.mark.parametrize("form", FORMATS)
def test_report_shows_a_record(form: str, record: Path, tmp_path: Path) -> None:
    """On standard output or in a file the same, whatever the surroundings; the exit code is not the run's."""
    printed = called("report", str(record), "--format", form, env={**os.environ, "FORCE_COLOR": "1"})
    written = called("report", str(record), "--format", form, "--output", str(tmp_path / "out"))

    assert (printed.returncode, printed.stderr, written.returncode, written.stderr) == (0, "", 0, "")
    assert FORMATS[form](result.load(record)) == printed.stdout == (tmp_path / "out").read_text()


def test_report_refuses_a_record_that_was_cut(record: Path) -> None:
    """A run that never ended must not be taken for one that did."""
    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:-1]))
    done = called("report", str(record))

    assert (done.returncode, done.stdout) == (2, "")
    assert "no footer" in done.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals_that_want_them(record: Path, no_color: str, coloured: bool) -> None:
    """NO_COLOR is respected (no-color.org: set and not empty)."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    done = called(
        "report", str(record), capture_output=False, stdout=theirs, stderr=subprocess.PIPE, env=environment
    )
    os.close(theirs)
    seen = b""
    try:
        while octets := os.read(ours, 65536):
            seen += octets
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)

    assert (done.returncode, done.stderr) == (0, "")
    assert b"not conformant" in seen
    assert coloured == (b"\x1b[" in seen)


def test_schema_is_that_of_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON."""
    assert main(["schema"]) == 0
    assert result.schema() == json.loads(capsys.readouterr().out)


def test_spec_check_tells_whether_a_file_is_up_to_date(tmp_path: Path) -> None:
    """With the first lines that differ where it is not."""
    path = tmp_path / "SPEC.md"
    assert called("spec", "--output", str(path)).returncode == 0
    fresh = called("spec", "--check", str(path))
    path.write_text(path.read_text().replace("RFC 862", "RFC 863"))
    stale = called("spec", "--check", str(path))

    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (0, "", "")
    assert stale.returncode == 1
    assert "-- Source: RFC 863\n+- Source: RFC 862\n" in stale.stdout
    assert "out of date" in stale.stderr


# serve, send, demo


def test_serving_imports_nothing_that_makes_forks_dear() -> None:
    """`threading` has a hook that each fork pays for, and click imports it."""
    code = (
        "import sys, forkecho.server\n"
        "from forkecho.cli import main\n"
        "def served(words):\n"
        "    print(words, 'threading' in sys.modules, 'click' in sys.modules)\n"
        "    return 7\n"
        "forkecho.server.main = served\n"
        "sys.exit(main(['serve', '--', '--help']))\n"
    )
    # -S: what the environment has in its .pth files is not ours.
    package = Path(forkecho.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=package, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (7, "['--', '--help'] False False\n", "")


@pytest.mark.parametrize("verb", PROGRAMS)
def test_the_group_knows_the_programs_too(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes by way of click gets the same, with the words untouched."""
    from forkecho.cli import group

    given: list[list[str]] = []

    def played(words: list[str]) -> int:
        given.append(words)
        return 5

    monkeypatch.setattr(f"{PROGRAMS[verb]}.main", played)

    assert group.run([verb, "--help", "--", "-x"]) == 5
    assert given == [["--help", "--", "-x"]]


def test_send_talks_to_serve() -> None:
    """By way of the command line, both with the same form of a reply."""
    with subprocess.Popen(
        [*FORKECHO, "serve", "--reply", "{pid}: {data}"], stdout=subprocess.PIPE, text=True, cwd="/"
    ) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().rpartition(":")[2].strip()
            done = called("send", "127.0.0.1", port, "Hello", "--reply", "{pid}: {data}")
            wrong = called("send", "127.0.0.1", port, "Hello", "--reply", "{ppid}-{data}")
        finally:
            server.terminate()
            server.wait(PATIENCE)

    assert done.returncode == 0
    assert re.fullmatch(r"pid: \d+\ndata: Hello\n", done.stdout)
    assert wrong.returncode == 1
    assert server.returncode == 0


def test_demo_shows_a_process_for_each_client() -> None:
    """The server's PID is the parent of both children, and the port is closed at the end."""
    done = called("demo", cwd="/")
    said = r"^client (\d)  receives b'.*client \1' from process (\d+), a child of process (\d+)$"
    served = re.findall(said, done.stdout, re.MULTILINE)

    assert (done.returncode, done.stderr) == (0, "")
    assert [number for number, _, _ in served] == ["1", "2"]
    (first, parent), (second, same) = ((pid, ppid) for _, pid, ppid in served)
    assert parent == same
    assert len({first, second, parent}) == 3
    assert f"server    process {parent} listens on 127.0.0.1, port " in done.stdout
    assert done.stdout.endswith("2 clients, 2 processes\n")
