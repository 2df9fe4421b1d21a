"""What the verbs write, and where: a file is written whole or left as it was."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import click
import pytest

from forkecho.cli import check, check_client, main, outputs
from forkecho.cli.saved import save
from forkecho.conformance import result
from forkecho.conformance.plan import spec_digest
from forkecho.conformance.report import FORMATS


def test_every_file_is_an_option_of_both_verbs_that_judge() -> None:
    """One table says what there is."""
    for command in (check.command, check_client.command):
        assert set(outputs.NAMES) <= {option.name for option in command.params}, command.name


def test_two_reports_are_not_written_to_one_file(tmp_path: Path) -> None:
    """The second would be all that is left."""
    path = tmp_path / "run"

    with pytest.raises(click.UsageError, match="--output and --junit name the same file"):
        outputs.places({"output": path, "junit": path})


def test_two_names_of_one_file_are_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another path or by a link; what is no ordinary file can be written twice."""
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "run")

    for other in (tmp_path / "run", Path("./x/../run"), link):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(click.UsageError, match="--output and --junit name the same file"):
            outputs.places({"output": Path("run"), "junit": other})
    assert outputs.places({"output": Path("/dev/null"), "junit": Path("/dev/../dev/null")})


@pytest.mark.parametrize(
    "words",
    [
        ["report", "own", "--output", "own"],
        ["report", "own", "--output", "link"],
        ["diff", "own", "other", "--output", "./own"],
        ["diff", "other", "own", "--output", "own", "--format", "markdown"],
        ["repro", "own", "x/a", "--output", "own"],
        ["check", "mine.toml", "--output", "mine.toml"],
        ["check", "mine.toml", "--known", "known.toml", "--html", "known.toml"],
        ["check-client", "--known", "known.toml", "--junit", "known.toml"],
    ],
)
def test_what_is_read_is_not_overwritten(
    words: list[str],
    hand: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One line, exit code 2, and all files as they were."""
    monkeypatch.chdir(tmp_path)
    for name in ("own", "other"):
        Path(name).write_text(result.dump(hand.run(hand.case("x/a"))))
    Path("link").symlink_to("own")
    Path("mine.toml").write_text('command = ["./mine", "{port}"]\n')
    Path("known.toml").write_text("[known]\n")
    before = {path: path.read_bytes() for path in Path().iterdir()}

    assert main(words) == 2

    err = capfd.readouterr().err
    assert (err.count("\n"), "it is read, and would be overwritten: name another file" in err) == (1, True), (
        err
    )
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_a_report_that_cannot_be_written_costs_no_other(
    hand: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A line for each that cannot; the others are there."""
    full, junit = Path("/dev/full"), tmp_path / "j.xml"
    run = hand.run(hand.case("x/a"))

    assert not outputs.write(run, {"output": full, "junit": junit, "html": full})

    assert junit.read_text() == FORMATS["junit"](run)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["--output:", "--html:"]
    assert all("/dev/full" in line and os.strerror(errno.ENOSPC) in line for line in lines)
    assert outputs.write(run, {"junit": junit})


@pytest.mark.parametrize(("code", "ends"), [(0, 3), (1, 3), (3, 3), (4, 4), (5, 5), (130, 130)])
def test_the_run_is_shown_though_a_report_could_not_be_written(
    hand: Any, code: int, ends: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the exit code says that not all was done, unless it says worse."""
    run = hand.run(hand.case("echo/greeting", "pass"), exit_=code)
    monkeypatch.setattr(check, "watched", lambda *_: (run, ""))

    assert main(["check", "--case", "echo/greeting", "--output", "/dev/full"]) == ends

    assert capfd.readouterr().out == FORMATS["console"](run, width=120)


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--", "python3", "x", "\udcff"],
        ["known", "run", "--reason", "\udcff"],
        ["check", "--case", "\udcff"],
        ["\udcff"],
    ],
)
def test_what_is_no_text_is_wrong_usage(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """It could be written into no record."""
    assert main(words) == 2
    assert capfd.readouterr().err.startswith("forkecho: '\\udcff' is not UTF-8, which each word must be;")


def test_a_list_goes_into_a_pipe(hand: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Which is written and not read; nothing else is written into it."""
    record, pipe = tmp_path / "run.jsonl", tmp_path / "pipe"
    record.write_text(result.dump(hand.run(hand.case("x/a", seen="silence"), spec=spec_digest())))
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    assert main(["known", str(record), "--update", str(pipe), "--reason", "old"]) == 0

    assert os.read(reader, 1000).decode() == '[known]\n"x/a" = {reason = "old", seen = \'^silence$\'}\n'
    assert capfd.readouterr().out == ""
    os.close(reader)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """It keeps its mode, a link to it stays one, and nothing else is left in the folder."""
    path, link = tmp_path / "report", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to(path)

    save("new\n", link)

    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o640)
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, path]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new report, not the old one."""
    path = tmp_path / "report"
    path.write_text("old")

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(click.FileError, match=os.strerror(errno.ENOSPC)):
        save("new\n", path)

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_ordinary_file_is_written_as_it_stands(tmp_path: Path) -> None:
    """A pipe is not replaced by a file of its name."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    save("told\n", pipe)

    assert os.read(reader, 100) == b"told\n"
    assert pipe.is_fifo()
    os.close(reader)
