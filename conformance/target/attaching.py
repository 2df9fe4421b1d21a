"""A target that runs already: who it is, as the kernel knows."""

from __future__ import annotations

import sys

from forkecho.conformance import observe
from forkecho.conformance.address import is_unix, written
from forkecho.conformance.guard import Guard
from forkecho.conformance.observe import Observer, Process
from forkecho.conformance.target.builds import Builds
from forkecho.conformance.target.launching import launch, local
from forkecho.conformance.target.named import NotReady, Target
from forkecho.conformance.target.running import Running, root_of

__all__ = ["attach", "start"]


def start(target: Target, builds: Builds, *, scale: float = 1.0, python: str = sys.executable) -> Running:
    """A target that listens: launched, or found where it runs already; see `launch` and `attach`."""
    return attach(target) if target.connect else launch(target, builds, scale=scale, python=python)


def attach(target: Target) -> Running:
    """A target that runs already: its owner is found in the kernel if it is on this host; it is never ended.

    Raises:
        NotReady: nobody listens there, or `--pid` names a process that does not hold the listener.
    """
    assert target.connect is not None
    observer = observe.here()
    running = Running(target, target.connect, observer, Guard())
    try:
        _find_owner(running, observer, target.pid)
    except BaseException:
        running.stop()
        raise
    return running


def _find_owner(running: Running, observer: Observer, pid: int) -> None:
    """Set owner and baseline, or say in `blind` why they cannot be known."""
    host, place = running.address[0], running.place
    if not is_unix(running.address) and not local(host):
        running.observer, running.blind = None, f"the target is on another host ({host})"
        if pid:
            raise NotReady(f"--pid {pid}: {host} is not an address of this host")
        return
    listeners = {one.key for one in observer.listeners(place) if one.address[0] in (host, "0.0.0.0", "::")}
    if not listeners:
        raise NotReady(f"nobody listens on {written(running.address)}")
    owners: set[Process] = set().union(*observer.holders(listeners).values())
    if pid:
        named = {process for process in owners if process.pid == pid}
        if not named:
            held = ", ".join(str(process.pid) for process in sorted(owners)) or "none that we may look at"
            raise NotReady(
                f"--pid {pid} does not hold the listener of {running.listens_on} (those that do: {held})"
            )
        owners = named
    owner = root_of(owners, observer)
    if owner is None:
        running.observer, running.blind = None, "the listener belongs to a process that we may not look at"
        return
    running.owner = owner
    running.baseline = frozenset(
        {owner} | {facts.process for facts in observer.descendants(owner.pid) if facts.alive}
    )
