"""What a target needs of its host: its program, and what a probe asks for besides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forkecho.cli import main
from forkecho.conformance import target
from forkecho.conformance.target import Builds, NotInstalled, installed, lacking, launch

PRINTS = "print('out'); import sys; print('err', file=sys.stderr); raise SystemExit(%s)"


@pytest.fixture
def needing(tmp_path: Path) -> Callable[[str], str]:
    """A manifest that needs what the inline table says, by the path of its file."""

    def write(needs: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(f'title = "mine"\ncommand = ["{{python}}", "-c", "0", "{{port}}"]\nneeds = {needs}\n')
        return str(path)

    return write


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ('{ program = "sh" }', ""),
        ('{ program = "sh", probe = ["true"] }', ""),
        ('{ program = "sh", probe = ["test", "-d", "{here}"] }', ""),
        ('{ program = "sh", probe = ["{python}", "{suite}/deadline.py"] }', ""),
        ('{ program = "no-such", debian = "nss", probe = ["true"] }', "the program 'no-such' (Debian package: nss)"),
        ('{ program = "sh", probe = ["false"] }', "more than the program 'sh': the probe [\"false\"] fails"),
        (
            '{ program = "sh", debian = "lua5.4  lua-posix", probe = ["no-such-probe"] }',
            "more than the program 'sh': the probe [\"no-such-probe\"] fails (Debian packages: lua5.4, lua-posix)",
        ),
        ('{ program = "sh", probe = ["a\\u0000b"] }', "more than the program 'sh': the probe [\"a\\u0000b\"] fails"),
    ],
)  # fmt: skip
def test_what_is_lacking_is_said(needs: str, said: str, needing: Callable[[str], str]) -> None:
    """The program first, then the probe, with all Debian packages; of what is there, nothing."""
    assert lacking(target.load(needing(needs))) == said


def test_a_probe_asks_the_python_that_will_run(needing: Callable[[str], str], tmp_path: Path) -> None:
    """`{python}` is the one that was chosen, in a probe as in the command."""
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 7\n")
    other.chmod(0o755)
    one = target.load(needing('{ program = "sh", probe = ["{python}", "-c", ""] }'))

    assert lacking(one) == ""
    assert lacking(one, str(other)) == 'more than the program \'sh\': the probe ["{python}", "-c", ""] fails'


def test_a_probe_is_asked_once(needing: Callable[[str], str], tmp_path: Path) -> None:
    """A target is started hundreds of times; what its host has is looked for at the first."""
    one = target.load(needing('{ program = "sh", probe = ["sh", "-c", "echo >>{here}/asked"] }'))

    assert [lacking(one), lacking(one)] == ["", ""]
    assert (tmp_path / "asked").read_text() == "\n"


@pytest.mark.usefixtures("nothing_left")
def test_a_probe_that_does_not_end_is_no_answer(
    needing: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a deadline, and neither it nor what it started is left."""
    monkeypatch.setattr(installed, "PROBED_WITHIN", 0.1)

    said = lacking(target.load(needing('{ program = "sh", probe = ["sh", "-c", "sleep 600 & sleep 600"] }')))

    assert said.endswith("fails")


def test_nothing_is_started_where_something_is_lacking(
    needing: Callable[[str], str], builds: Builds, capfd: pytest.CaptureFixture[str]
) -> None:
    """The target is refused before its launch, and the probe's own words are not shown."""
    probe = f'["{{python}}", "-c", "{PRINTS % 1}"]'

    with pytest.raises(NotInstalled, match=r"target mine needs more than the program 'sh': the probe "):
        launch(target.load(needing(f'{{ program = "sh", probe = {probe} }}')), builds)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verb", ["check", "classify", "matrix"])
def test_a_failed_probe_is_what_a_missing_program_is(
    verb: str, needing: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that names the packages, and exit code 2."""
    manifest = needing('{ program = "sh", debian = "lua5.4 lua-posix", probe = ["false"] }')

    status = main([verb, manifest])

    said = capsys.readouterr().err
    assert status == 2
    assert (
        "needs more than the program 'sh': the probe [\"false\"] fails (Debian packages: lua5.4, lua-posix)"
        in said
    )
    assert "Traceback" not in said


def test_the_list_of_targets_says_what_is_lacking(
    monkeypatch: pytest.MonkeyPatch, needing: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that cannot be started here stands there all the same, with the packages."""
    path = Path(needing('{ program = "sh", debian = "a b", probe = ["{python}", "-c", "exit(3)"] }'))
    monkeypatch.setattr(target, "known", lambda role: {str(path): path})

    assert main(["list", "targets"]) == 0
    assert capsys.readouterr().out.strip() == (
        f"{path}  mine (not installed: more than the program 'sh': the probe "
        '["{python}", "-c", "exit(3)"] fails (Debian packages: a, b))'
    )


def test_all_that_is_bundled_can_be_asked_for() -> None:
    """Each probe in the manifests is a command whose program is the target's own, or Python, and none hangs."""
    for role in ("server", "client"):
        for name in target.known(role):
            needs = target.load(name, role).manifest.needs
            if needs and needs.probe:
                assert needs.probe[0] in (needs.program, "{python}"), name
            assert isinstance(lacking(target.load(name, role), sys.executable), str)
