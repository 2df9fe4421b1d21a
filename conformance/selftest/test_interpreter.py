"""Which Pythons there are: found on PATH and in pyenv, asked, and named; and the targets that run on all of them."""

from __future__ import annotations

import json
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from forkecho.conformance import interpreter, target
from forkecho.conformance.interpreter import WANTED, Interpreter, NoInterpreter
from forkecho.conformance.target import Builds

Maker = Callable[..., str]

#: Targets of ours that run on whatever Python there is.
EVERYWHERE = ("recipe", "recipe-pid", "socketserver", "socketserver-in-process")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Makes a program that answers as a Python; nothing else is on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    monkeypatch.setattr(interpreter, "ANSWERS_WITHIN", 5.0)

    def make(name: str, *order: object, implementation: str = "CPython", release: str = "") -> str:
        version = ".".join(map(str, order[:3]))
        return program(name, f"echo '{json.dumps([implementation, version, [*order], release])}'")

    def program(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    make.program = program  # type: ignore[attr-defined]
    return make


def shorts() -> dict[str, str]:
    """What was found, but for the one that runs this: paths by what they are called."""
    return {one.short: one.path for one in interpreter.installed() if one.path != sys.executable}


def test_what_does_not_answer_as_a_python_is_left_out(made: Maker) -> None:
    """The shims of pyenv claim to be any Python, and mostly end with 127."""
    good = made("bin/python3.8", 3, 8, 18, "final", 0)
    for name, text in {
        "3.6": "exit 127",
        "3.7": "echo hello",
        "3.9": "echo '[1, 2]'",
        "2.7": "echo 7",
    }.items():
        made.program(f"bin/python{name}", text)  # type: ignore[attr-defined]

    assert shorts() == {"3.8": good}


def test_what_never_answers_is_waited_for_in_vain_once(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out like one that answers something else; the answer is kept."""
    monkeypatch.setattr(interpreter, "ANSWERS_WITHIN", 0.2)
    path = made.program("bin/python3.6", "exec /bin/sleep 60")  # type: ignore[attr-defined]

    assert interpreter.ask(path) is None


def test_of_each_version_the_newest_is_taken(made: Maker, tmp_path: Path) -> None:
    """Those of pyenv are looked through as well, whichever it has chosen; PyPy counts beside CPython."""
    made.program("bin/pyenv", f"echo {tmp_path}/pyenv")  # type: ignore[attr-defined]
    made("bin/python3.8", 3, 8, 2, "final", 0)
    newest = made("pyenv/versions/3.8.10/bin/python3.8", 3, 8, 10, "final", 0)
    made("pyenv/versions/3.8.9/bin/python3.8", 3, 8, 9, "final", 0)
    last = made("pyenv/versions/2.7.18/bin/python2.7", 2, 7, 18, "final", 0)
    pypy = made("bin/pypy3", 3, 8, 13, "final", 0, implementation="PyPy", release="7.3.9")

    assert shorts() == {"2.7": last, "3.8": newest, "pypy3.8": pypy}
    assert interpreter.named("3.8").path == newest
    assert interpreter.named("pypy3").short == interpreter.named("pypy").short == "pypy3.8"
    assert interpreter.place("3.8") == newest
    assert interpreter.place("some-program") == "some-program"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("3.8", "Python 3.8 was not found"),
        ("pypy3", "Python pypy3 was not found"),
        ("nowhere", "there is no such program"),
        ("false", "does not answer as a Python"),
    ],
)
def test_what_is_asked_for_and_not_there_is_told(made: Maker, name: str, complaint: str) -> None:
    """In one line that says what would be right."""
    made.program("bin/false", "exit 1")  # type: ignore[attr-defined]

    with pytest.raises(NoInterpreter, match=complaint) as error:
        interpreter.named(name)

    assert "\n" not in str(error.value)


def hand(*order: int, implementation: str = "CPython") -> Interpreter:
    """One by hand."""
    return Interpreter(
        path="/python",
        implementation=implementation,
        version=".".join(map(str, order)),
        order=(*order, "final", 0),  # type: ignore[arg-type]
    )


def test_what_was_looked_for_in_vain_is_known() -> None:
    """Any PyPy is one."""
    found = [hand(3, minor, 1) for minor in range(6, 14)]

    assert interpreter.unfound(found) == ["2.7", "3.14", "3.15", "pypy"]
    assert interpreter.unfound([*found, hand(3, 9, 1, implementation="PyPy")]) == ["2.7", "3.14", "3.15"]


@pytest.mark.parametrize(
    ("order", "specifier", "fits"),
    [
        ((2, 7, 18), ">=3.8", False),
        ((3, 10, 0), ">=3.8", True),
        ((3, 8, 0), "", True),
        ((3, 12, 1), "<3.12", False),
    ],
)
def test_a_specifier_is_of_versions(order: tuple[int, int, int], specifier: str, fits: bool) -> None:
    """And no comparison of texts."""
    assert hand(*order).fits(specifier) is fits


def test_of_two_releases_of_pypy_the_newer_is_taken() -> None:
    """Of the same version of the language; 7.3.17 is newer than 7.3.9."""
    old, new = (
        msgspec.structs.replace(hand(2, 7, 18, implementation="PyPy"), release=release, path=release)
        for release in ("7.3.9", "7.3.17")
    )

    assert interpreter.newest([old, new]) == interpreter.newest([new, old]) == [new]


def test_a_release_candidate_is_what_it_is_one_of() -> None:
    """PEP 440 puts 3.14.0rc1 before 3.14, but whoever tries it wants to know about 3.14."""
    one = Interpreter(
        path="/p", implementation="CPython", version="3.14.0rc1", order=(3, 14, 0, "candidate", 1)
    )

    assert one.fits(">=3.14")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("version", WANTED)
def test_our_targets_run_on_every_python(version: str, builds: Builds) -> None:
    """The sources stand as they are from 2.7 on; the reference from 3.8 on."""
    try:
        python = interpreter.named(version)
    except NoInterpreter as error:
        pytest.skip(str(error))
    for name in (*EVERYWHERE, "reference", "iterative"):
        judged = target.load(name)
        if not python.fits(judged.manifest.python):
            assert name not in EVERYWHERE
            continue
        with (
            target.start(judged, builds, scale=4, python=python.path) as running,
            socket.create_connection(running.address, 20) as client,
        ):
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            said = b"".join(iter(lambda: client.recv(4096), b""))
        assert said.endswith(b"hello"), f"{name} under {python.short}: {said!r}"
