"""Which versions of which Debian packages a target's program comes from, so that a result says what was judged."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from forkecho.conformance.manifest import Needs

__all__ = ["ASKED_WITHIN", "versions"]

ASKED_WITHIN = 10.0  # seconds; to look through all files of all packages takes a tenth of one

DOCUMENTS = Path("/usr/share/doc")  # where each package has its changelog (Debian Policy, section 12.7)
VERSION = "${binary:Package}\t${Version}\t${db:Status-Status}\n"


def versions(needs: Needs | None) -> dict[str, str]:
    """Packages with their versions: the one that owns the program, and those that are named besides.

    A program that belongs to no package, such as one that was built by hand, is of no version that is known here, even
    where the package is installed as well; unless the package was only unpacked, which its version is told with. Not on
    Debian: empty.
    """
    if not needs or not (program := shutil.which(needs.program)):
        return {}
    owners = _owners(program)
    if owners:
        return _installed({*owners, *needs.debian.split()})
    named = set(needs.debian.split())
    unpacked = {name: _unpacked(name) for name in sorted(named - _installed(named).keys())}
    return {name: f"{version} (unpacked)" for name, version in unpacked.items() if version}


def _installed(names: set[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    # One line each; a name may stand for several architectures, and one that is not installed is left out.
    for line in _dpkg("--show", f"--showformat={VERSION}", *sorted(names)) if names else ():
        package, _, rest = line.partition("\t")
        version, _, state = rest.partition("\t")
        if state == "installed" and version:
            found[package.partition(":")[0]] = version
    return found


def _unpacked(name: str) -> str:
    """The version of a package whose files are there although dpkg knows nothing of it, empty if they are not: its changelog's first."""
    with suppress(OSError, EOFError), gzip.open(DOCUMENTS / name / "changelog.Debian.gz", "rt") as changelog:
        if found := re.match(r"\S+ \((\S+)\) ", changelog.readline()):
            return found[1]
    return ""


def _owners(program: str) -> list[str]:
    """The packages that a program is a file of, as what it is called or what that is a link to (Debian's alternatives)."""
    real = os.path.realpath(program)
    # /bin is a link to /usr/bin nowadays, of which packages do not know.
    names = {program, real, *(name.removeprefix("/usr") for name in (program, real))}
    return [
        one
        for line in _dpkg("--search", *sorted(names))
        if not line.startswith("diversion by ")
        for one in line.rpartition(": ")[0].split(", ")
    ]


def _dpkg(*words: str) -> list[str]:
    """What dpkg-query(1) says, whatever else it does not find; nothing where there is none."""
    try:
        done = subprocess.run(
            ["dpkg-query", *words],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=ASKED_WITHIN,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
