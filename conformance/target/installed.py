"""Whether what a target needs is on this host: its program, and what that needs in turn."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys

from forkecho.conformance import interpreter
from forkecho.conformance.hosted import HOST
from forkecho.conformance.inline import inline
from forkecho.conformance.interpreter import Interpreter
from forkecho.conformance.target.builds import fill
from forkecho.conformance.target.named import NotInstalled, Target

__all__ = ["PROBED_WITHIN", "lacking", "require", "require_python"]

PROBED_WITHIN = 20.0  # seconds; to find a library takes a fraction of one, to start a virtual machine a few on a loaded host


def require(target: Target, python: str = sys.executable) -> None:
    """What the target needs must be there.

    Args:
        python: what `{python}` stands for.

    Raises:
        NotInstalled: it is not; names the Debian packages.
    """
    if lacks := lacking(target, python):
        raise NotInstalled(f"target {target.name} needs {lacks}")


def require_python(target: Target, python: str) -> Interpreter | None:
    """What the Python says of itself that is to run a target: None where none is, or where it does not answer as a Python.

    Raises:
        NoInterpreter: the target supports others only.
    """
    return interpreter.require(target.name, target.manifest.python, python) if target.by_python else None


def lacking(target: Target, python: str = sys.executable) -> str:
    """What a target needs and this host has not, with the Debian packages that have it; empty where all is there."""
    needs = target.manifest.needs
    if not needs:
        return ""
    packages = f" ({needs.packages})" if needs.packages else ""
    if not shutil.which(needs.program):
        return f"the program {needs.program!r}{packages}"
    tokens = {"python": python, "here": target.here, "suite": str(HOST.parent)}
    if needs.probe and not _answers(tuple(fill(needs.probe, tokens))):
        return f"more than the program {needs.program!r}: the probe {inline(needs.probe)} fails{packages}"
    return ""


@functools.cache  # a host does not change while it is judged, and a target is started hundreds of times
def _answers(probe: tuple[str, ...]) -> bool:
    """The command ends with 0 in time; what it prints is of no interest, and nothing of it is left."""
    nowhere = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            probe, stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
        )
    except (OSError, ValueError):  # ValueError: a NUL in a word
        return False
    try:
        return process.wait(PROBED_WITHIN) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.returncode is None:  # so its number, and that of its group, is nobody else's
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
