"""How the server has started: where it listens, what it says of that, and what it does where it cannot."""

from __future__ import annotations

import os

from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.target import HOSTS
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["announced", "gave_up", "own_address", "sole_listener"]


def announced(stage: Stage, step: See) -> None:
    """It has printed the port on which it listens, in the form that its manifest declares."""
    running = stage.running
    port = running.address[1]

    def look() -> str:
        said = running.announced()
        if said is None:
            return f"nothing of the form {running.manifest.announce!r}"
        return "" if said[1] == port else f"port {said[1]} on {said[0]}"

    stage.require(f"port {port}, on which it listens, to be announced", look, step.within)


def own_address(stage: Stage, step: See) -> None:
    """On its port the server listens on the address that it was told, and on no other."""
    running = stage.running
    host = HOSTS[running.family]
    listeners = {one.key: one.address[0] for one in running.listeners()}
    held = stage.observer.holders(listeners, [facts.process.pid for facts in running.alive()])
    hosts = {listeners[key] for key, by in held.items() if by}
    if hosts != {host}:
        said = " and ".join(sorted(hosts)) or "nowhere that we may look at"
        raise Unmet(f"{running.listens_on} to be listened on at {host} alone", f"it listens on {said}")


def gave_up(stage: Stage, step: See) -> None:
    """One that was started where somebody listens already has ended, and its exit status says that it failed."""
    running = stage.in_vain
    within = _start_within(stage, step)
    if not running.wait_for(lambda: not running.left(), Deadline(within)):
        raise Unmet(
            f"a server that cannot have its address to exit within {within:g} s",
            f"{stage.describe(running.left())} is alive",
        )
    # The guardian takes note of it a moment after the process has gone.
    wait_for(lambda: running.guard.status(running.launched) is not None, Deadline(stage.patience()))
    if (status := running.guard.status(running.launched)) is None:
        raise Unobservable("the exit status of what was started was not told")
    if os.waitstatus_to_exitcode(status) == 0:
        raise Unmet(
            "a server that cannot have its address to exit with another status than 0", "exit status 0"
        )


def sole_listener(stage: Stage, step: See) -> None:
    """One that was started on the port of the first does not come to listen there, whatever else it does."""
    running, first = stage.in_vain, stage.owner

    def look() -> str:
        listeners = {one.key for one in stage.running.listeners()}
        family = [facts.process.pid for facts in running.alive()]
        if any(stage.observer.holders(listeners, family).values()):
            return "listens"
        return "" if running.left() else "ended"

    seen = running.wait_for(look, Deadline(_start_within(stage, step)))
    if seen == "listens":
        raise Unmet(
            f"one server alone to listen on {stage.running.listens_on}",
            f"one more, {stage.describe(facts.process for facts in running.alive())}, beside process {first.pid}",
        )


def _start_within(stage: Stage, step: See) -> float:
    """Seconds to start or to give up; a scale below 1 is for what never comes, and one of the two always does."""
    return (step.within or stage.in_vain.manifest.ready_within) * max(1.0, stage.scale)
