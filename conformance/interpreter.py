"""Python interpreters: which there are on this machine, and what each says of itself.

No library is used: python-discovery, which virtualenv has, finds nothing older than Python 3.6, and keeps a cache on disk.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import msgspec
from packaging.specifiers import SpecifierSet

__all__ = [
    "WANTED",
    "Interpreter",
    "NoInterpreter",
    "ask",
    "here",
    "installed",
    "named",
    "numbers",
    "place",
    "program",
    "require",
    "short",
    "unfound",
]

#: The versions of CPython that are looked for: the last 2, and all that may still be met of 3.
VERSIONS = ("2.7", *(f"3.{minor}" for minor in range(6, 16)))
NAMES = (*(f"python{version}" for version in VERSIONS), "pypy3", "pypy", "pypy2")
WANTED = (*VERSIONS, "pypy")  # what is worth a word where it was not found

ANSWERS_WITHIN = 10.0  # seconds; a loaded machine takes one, and what waits for input is no interpreter

#: Runs on all of them. The kind of a release sorts as it is spelt: alpha, beta, candidate, final.
QUESTION = (
    "import json, platform, sys; print(json.dumps([platform.python_implementation(), platform.python_version(),"
    " list(sys.version_info), '.'.join(map(str, getattr(sys, 'pypy_version_info', ())[:3]))]))"
)


class NoInterpreter(LookupError):
    """No interpreter of that name or version answers, or none that a target supports; the text says which."""


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """A Python interpreter.

    Attributes:
        path: as it was given or found.
        implementation: `CPython`, `PyPy`, ...
        version: of the language, in full.
        order: the same version as numbers that can be compared.
        release: of the implementation, where it counts its own.
    """

    path: str
    implementation: str
    version: str
    order: tuple[int, int, int, str, int]
    release: str = ""

    @property
    def short(self) -> str:
        """What a column is called by: `3.8`, `pypy3.9`."""
        return short(self.describe())

    def fits(self, specifier: str) -> bool:
        """It is one of the versions that a specifier (PEP 440) means; a release candidate is what it is one of."""
        return SpecifierSet(specifier).contains(".".join(map(str, self.order[:3])))

    def describe(self) -> dict[str, str]:
        """For the record."""
        told = {"path": self.path, "implementation": self.implementation, "version": self.version}
        return told | ({"release": self.release} if self.release else {})


def short(told: Mapping[str, object]) -> str:
    """What a column is called by, of an interpreter as a record describes it; empty where it does not."""
    version = ".".join(str(told.get("version", "")).split(".")[:2])
    name = str(told.get("implementation", "CPython"))
    return version and ("" if name == "CPython" else name.lower()) + version


def program(told: Mapping[str, object]) -> str:
    """What its program is called wherever one of its version is, `python3.11` or `pypy3.9`; empty where the record does not tell."""
    name = short(told)
    return f"python{name}" if name[:1].isdigit() else name


@cache
def ask(path: str) -> Interpreter | None:
    """What a program says of itself, if it is an interpreter; pyenv's shims, say, mostly are none."""
    if path == sys.executable:
        return here()
    try:
        answer = subprocess.run(
            [path, "-E", "-S", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWERS_WITHIN,
            check=True,
        )
        implementation, version, order, release = json.loads(answer.stdout)
        return msgspec.convert(
            {
                "path": path,
                "implementation": implementation,
                "version": version,
                "order": order,
                "release": release,
            },
            Interpreter,
        )
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None


def here() -> Interpreter:
    """The one that runs this."""
    version = sys.version_info
    return Interpreter(
        path=sys.executable,
        implementation=platform.python_implementation(),
        version=platform.python_version(),
        order=(version.major, version.minor, version.micro, version.releaselevel, version.serial),
        release=".".join(map(str, getattr(sys, "pypy_version_info", ())[:3])),
    )


def installed(names: Sequence[str] = NAMES) -> list[Interpreter]:
    """Those that were found, one of each implementation and X.Y, the newest; CPython first, by version.

    Looked for are programs of these names in the versions of pyenv and on PATH. Of two that are the same to the last
    number, the one that runs this goes before pyenv's, and that before those on PATH.
    """
    paths = [sys.executable, *_of_pyenv(names), *_on_path(names)]
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as several:
        return newest(filter(None, several.map(ask, dict.fromkeys(paths))))


def newest(those: Iterable[Interpreter]) -> list[Interpreter]:
    """One of each implementation and X.Y: the newest, and of these the first."""
    best: dict[str, Interpreter] = {}
    for one in those:
        other = best.get(one.short)
        if other is None or (one.order, numbers(one.release)) > (other.order, numbers(other.release)):
            best[one.short] = one
    return sorted(
        best.values(), key=lambda one: (one.implementation != "CPython", one.implementation, one.order)
    )


def numbers(version: str) -> list[int]:
    """A version as what can be compared, whatever a record calls one: 7.3.17 is newer than 7.3.9."""
    return [int(part) for part in re.findall(r"[0-9]{1,6}", version)]


def unfound(those: Iterable[Interpreter]) -> list[str]:
    """What is looked for and not among them: versions of CPython, and PyPy in any."""
    found = [one.short for one in those]
    return [
        wanted
        for wanted in WANTED
        if wanted not in found and not (wanted == "pypy" and any(one.startswith(wanted) for one in found))
    ]


def named(text: str) -> Interpreter:
    """The interpreter of that path, name (`python3`) or version (`3.8`, `pypy3`, `pypy3.9`).

    Raises:
        NoInterpreter: there is none, or it does not answer as one.
    """
    path = shutil.which(text)
    if path and (one := ask(text)):
        return one
    if version := _version(text):
        names = [name for name in NAMES if name.startswith("pypy") or name == f"python{version}"]
        those = [one for one in installed(names) if one.short == version or _of_family(one, version)]
        if those:
            return those[-1]
        raise NoInterpreter(f"Python {text} was not found, neither on PATH nor in pyenv")
    why = "does not answer as a Python" if path else "there is no such program"
    raise NoInterpreter(
        f"Python {text!r}: {why}; what is wanted is a path, or a version such as 3.8 or pypy3"
    )


def require(name: str, specifier: str, path: str) -> Interpreter | None:
    """What a program says of itself, which is to run a target: None where it does not answer as a Python.

    Raises:
        NoInterpreter: the target supports others only.
    """
    found = ask(path)
    if found and not found.fits(specifier):
        raise NoInterpreter(f"target {name} needs Python {specifier}, and {path} is {found.version}")
    return found


def place(text: str) -> str:
    """What to start for a path or a name, as it stands, or for a version: where that was found.

    Raises:
        NoInterpreter: that version was not.
    """
    return named(text).path if _version(text) and not shutil.which(text) else text


def _version(text: str) -> str:
    """A version as `Interpreter.short` begins with it, or nothing where the text is something else."""
    found = re.fullmatch(r"(?:python)?(\d\.\d+)|(pypy(?:\d(?:\.\d+)?)?)", text)
    return (found[1] or found[2]) if found else ""


def _of_family(one: Interpreter, version: str) -> bool:
    """It is a PyPy, of the series that the version says, or of any."""
    return version in ("pypy", "pypy2", "pypy3") and one.short.startswith(version)


def _of_pyenv(names: Sequence[str]) -> Iterator[str]:
    """What pyenv has installed, whichever of its versions it has chosen."""
    if not shutil.which("pyenv"):
        return
    try:
        answer = subprocess.run(
            ["pyenv", "root"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ANSWERS_WITHIN,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return
    for folder in sorted(Path(os.fsdecode(answer.stdout.strip()), "versions").glob("*/bin")):
        yield from _in(str(folder), names)


def _on_path(names: Sequence[str]) -> Iterator[str]:
    for folder in os.get_exec_path():
        yield from _in(folder, names)


def _in(folder: str, names: Sequence[str]) -> Iterator[str]:
    paths = (os.path.join(folder, name) for name in names)
    return (path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK))
