"""What must have gone: processes, zombies, listeners, and how the server has ended."""

from __future__ import annotations

import os
import signal

from forkecho.conformance.deadline import Deadline
from forkecho.conformance.observe import Process
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = [
    "child_status",
    "exit_status",
    "gone",
    "no_listener_left",
    "no_path",
    "none_left",
    "quiet",
    "reaped",
]


def gone(stage: Stage, step: See) -> None:
    """The owner has exited; the processes of connections have, and nothing that came of them is left (zombies have exited).

    Not only those that were seen with a connection: whatever was not there at first, and is not there for a connection that is
    still open, must go.
    """
    members = stage.members(step.on)
    if "owner" in members:
        owner = stage.owner
        stage.require(
            "the listener's owner to exit",
            lambda: f"{stage.describe([owner])} is alive" if stage.alive(owner) else "",
            step.within,
        )
    concerned = [name for name in members if name != "owner"]
    if not concerned:
        return
    seen = {process for name in concerned for process in stage.born.get(name, ())}
    others = [name for name, one in stage.connections.items() if name not in concerned and not one.closed]

    def look() -> str:
        left = {process for process in seen if stage.alive(process)} | stage.strangers(others)
        return f"{stage.describe(left)} is alive" if left else ""

    what = f"connection {concerned[0]}" if len(concerned) == 1 else f"{len(concerned)} connections"
    stage.require(f"the processes of {what} to exit", look, step.within)


def none_left(stage: Stage, step: See) -> None:
    """No process of the target is alive."""

    def look() -> str:
        left = stage.running.left()
        return f"{stage.describe(left)} is alive" if left else ""

    stage.require("no process of the server to be left", look, step.within)


def _zombies(stage: Stage) -> list[Process]:
    """Children of the listener's owner that have exited and were not waited for; not those of its host's own."""
    below = stage.observer.descendants(stage.owner.pid, thorough=True)
    ended = {facts.process for facts in below if not facts.alive and facts.ppid == stage.owner.pid}
    return sorted(ended - stage.not_the_servers)


def reaped(stage: Stage, step: See) -> None:
    """The listener's owner has no zombie."""

    def look() -> str:
        left = _zombies(stage)
        return (
            f"{len(left)} zombie{'s' if len(left) > 1 else ''} of the listener's owner ({left[0].pid})"
            if left
            else ""
        )

    stage.require("every child that has ended to be reaped", look, step.within)


def no_listener_left(stage: Stage, step: See) -> None:
    """Nobody listens where the server has listened."""

    def look() -> str:
        held = stage.observer.listeners(stage.running.place)
        return f"{stage.describe(stage.listening())} holds a listener" if held else ""

    stage.require(f"nobody to listen on {stage.running.listens_on}", look, step.within)


def no_path(stage: Stage, step: See) -> None:
    """The path of the UNIX socket that it has listened on is gone."""
    path = stage.running.address[0]
    stage.require(
        "the path of the UNIX socket to be gone",
        lambda: f"{path} is there" if os.path.lexists(path) else "",
        step.within,
    )


def exit_status(stage: Stage, step: See) -> None:
    """The server ended well: with 0, or by the signal that it was sent, or with 128 + that signal."""
    sent = stage.signalled or signal.SIGTERM
    status: list[int] = []

    def look() -> str:
        if stage.alive(stage.owner):
            return f"process {stage.owner.pid} is alive"
        found = stage.running.exit_status(stage.owner)
        if found is not None:
            status.append(os.waitstatus_to_exitcode(found))
        elif stage.owner.pid == stage.running.launched:
            return "its exit status cannot be had yet"  # its first thread has ended, another has not
        return ""

    stage.require(f"the server to exit after {sent.name}", look, step.within)
    if not status:
        raise Unobservable(
            "the listener's owner was not started by the suite, so its exit status is its parent's to know"
        )
    if status[-1] not in (0, -sent, 128 + sent):
        raise Unmet(f"exit status 0, death by {sent.name}, or {128 + sent}", f"{_exit(status[-1])}")


def child_status(stage: Stage, step: See) -> None:
    """The roots of the processes that were born for each connection, which have exited, ended with 0.

    Its status is its parent's to know: it can be read of a zombie that the parent has not reaped yet, and is told to us of an
    orphan.
    """
    for name in stage.members(step.on):
        _status_of(stage, name)


def _status_of(stage: Stage, name: str) -> None:
    born = stage.born.get(name, {})
    pids = {process.pid for process in born}
    roots = [process for process, sighting in born.items() if sighting.facts.ppid not in pids]
    if not roots:
        raise Unmet(f"connection {name} to have a process of its own", "none was born for it")
    level = roots
    while level:
        told = [status for process in level if (status := _told(stage, process)) is not None]
        if bad := [os.waitstatus_to_exitcode(status) for status in told if status]:
            raise Unmet(f"exit status 0 of the process of connection {name}", _exit(bad[0]))
        if told:
            return
        # One that has gone before the owner was stopped only made the next, which served.
        pids = {process.pid for process in level}
        level = [process for process, sighting in born.items() if sighting.facts.ppid in pids]
    raise Unobservable(
        f"how {stage.describe(roots)} ended cannot be seen: it was reaped at once, or may not be looked at"
    )


def _told(stage: Stage, process: Process) -> int | None:
    status = stage.running.exit_status(process)
    return stage.observer.exit_status(process) if status is None else status


def _exit(code: int) -> str:
    return f"death by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def quiet(stage: Stage, step: See) -> None:
    """At most one new line on stderr since the mark; after a signal, once the owner has gone: one that stays is judged elsewhere."""
    if stage.signalled:
        deadline = Deadline(stage.patience(step.within or 2.0))
        stage.running.wait_for(lambda: not stage.observer.alive(stage.owner), deadline)
    text = stage.running.output("stderr")[stage.marks.get("stderr", 0) :]
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        # As in the command: where the suite is installed is nothing that was seen of the server.
        place = stage.running.target.here  # "." for a command of the user's own
        last = lines[-1].replace(place, "{here}") if os.path.isabs(place) else lines[-1]
        raise Unmet("at most one line on stderr", f"{len(lines)} lines, the last: {last!r}")
