"""What the kernel must show of the target's processes: one function for each thing that `see` can name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from forkecho.conformance import acts
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Facts, Process
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Expect, Mark, Open, Payload, See, Send
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["SEE", "mark", "see"]

KEPT_MAX = 16 * 1024 * 1024  # bytes of one client's data inside the server (BUF-06)
HIDDEN = "held by a process whose descriptors we may not look at"
MEMORY_SLACK = 2 * 1024 * 1024  # bytes that a process may grow by without leaking


def see(stage: Stage, step: See) -> None:
    """See `step.See`."""
    SEE[step.see](stage, step)


def _each(stage: Stage, step: See, expected: str, look: Callable[[str], str]) -> None:
    """`look` must have no objection to any of the connections, each given its own time.

    Raises:
        Unmet: it objects.
        Unobservable: a process holds the connection, but which one cannot be seen.
    """
    for name in stage.members(step.on):
        stage.connection(name)

        def one(name: str = name) -> str:
            return look(name)

        try:
            stage.require(expected.format(name=name), one, step.within)
        except Unmet as error:
            if error.seen == HIDDEN:
                raise Unobservable(f"connection {name} is {HIDDEN}") from None
            raise


def _held(stage: Stage, name: str) -> str:
    """Who holds the server's end of a connection, in words."""
    one = stage.connection(name)
    if held := stage.holders(one):
        return f"held by {stage.describe(held)}"
    seen = stage.endpoint(one)
    if seen is None:
        return "gone from the kernel's table"
    return HIDDEN if seen.key else "not accepted by anybody"


def born(stage: Stage, step: See) -> None:
    """A process that was not alive before the connection holds it."""

    def look(name: str) -> str:
        if stage.family(name):
            return ""
        held = _held(stage, name)
        return f"{held}, alive before the connection" if held.startswith("held by process ") else held

    _each(stage, step, "connection {name} to be held by a process born for it", look)


def not_owner(stage: Stage, step: See) -> None:
    """Some process other than the listener's owner holds the connection."""

    def look(name: str) -> str:
        held = stage.holders(stage.connection(name))
        stage.family(name)
        return "" if held - {stage.owner} else f"{_held(stage, name)}, alone"

    _each(stage, step, "connection {name} to be held by another process than the listener's owner", look)


def _roots(stage: Stage, processes: set[Process]) -> list[Facts]:
    """Those whose parents are not among them."""
    pids = {process.pid for process in processes}
    found = [facts for process in processes if (facts := stage.observer.facts(process.pid))]
    return [facts for facts in found if facts.ppid not in pids]


def _serving(stage: Stage, name: str) -> set[Process]:
    """The processes born for a connection, or where there are none those that hold it."""
    return stage.family(name) or stage.holders(stage.connection(name))


def descendant(stage: Stage, step: See) -> None:
    """The processes of a connection descend from the listener's owner, or were orphaned after they were born for it."""

    def look(name: str) -> str:
        serving = _serving(stage, name)
        roots = _roots(stage, serving)
        if not roots:
            return _held(stage, name)
        below = {facts.process for facts in stage.observer.descendants(stage.owner.pid)}
        for facts in roots:
            adopted = facts.ppid in (stage.running.guard.pid, 1) and facts.process in stage.born.get(name, ())
            if facts.process not in below and not adopted:
                return f"{stage.describe([facts.process])} with parent {facts.ppid}"
            if adopted and not stage.running.ours:
                raise Unobservable(
                    "the process was orphaned, and by whom it was forked cannot be seen any more"
                )
        return ""

    _each(stage, step, "the processes of connection {name} to descend from the listener's owner", look)


def child_of_owner(stage: Stage, step: See) -> None:
    """The root of the processes born for a connection is a child of the listener's owner."""

    def look(name: str) -> str:
        roots = _roots(stage, _serving(stage, name))
        strangers = [facts for facts in roots if facts.ppid != stage.owner.pid]
        if not roots:
            return _held(stage, name)
        return ", ".join(f"process {facts.process.pid} with parent {facts.ppid}" for facts in strangers)

    expected = f"the process of connection {{name}} to be a child of the listener's owner, {stage.owner.pid},"
    _each(stage, step, expected, look)


def disjoint(stage: Stage, step: See) -> None:
    """Connections that are held have processes of their own."""
    members = stage.members(step.on)

    def look() -> str:
        owners: dict[Process, str] = {}
        for name in members:
            family = stage.family(name)
            if not family:
                return f"no process was born for {name}; {_held(stage, name)}"
            for process in family:
                if other := owners.get(process):
                    return f"process {process.pid} was born for {other} and holds {name} as well"
                owners[process] = name
        return ""

    stage.require(f"{len(members)} connections to have processes of their own", look, step.within)


def same(stage: Stage, step: See) -> None:
    """The same processes as at the mark hold the connection."""

    def look(name: str) -> str:
        before, now = stage.marks[f"holders {name}"], stage.holders(stage.connection(name))
        return "" if now == before else f"{stage.describe(now)} instead of {stage.describe(before)}"

    _each(stage, step, "connection {name} to be served by the same process throughout", look)


def same_owner(stage: Stage, step: See) -> None:
    """The owner of the listener is what it was at the start."""

    def look() -> str:
        listening = stage.listening()
        return (
            "" if stage.owner in listening else f"{stage.describe(listening)} listens, not {stage.owner.pid}"
        )

    stage.require("the listener's owner to stay the same", look, step.within)


def alone(stage: Stage, step: See) -> None:
    """No process that was alive before the connection holds it any more."""

    def look(name: str) -> str:
        held = stage.holders(stage.connection(name))
        stage.family(name)
        old = held & (stage.running.baseline | {stage.owner})
        if not held:
            return _held(stage, name)
        return f"{stage.describe(old)} holds it too" if old else ""

    _each(stage, step, "connection {name} to be held only by processes born for it", look)


def cannot_accept(stage: Stage, step: See) -> None:
    """A process that serves a connection takes no other: it holds no listener, or leaves it alone."""
    for name in stage.members(step.on):
        family = stage.named(name)
        if not family & stage.listening():
            continue
        stage.freeze("baseline")
        stage.open(Open(open=["newcomer"], queued=True))
        stage.connection("newcomer")
        acts.expect_queued(stage, Expect(expect="queued", on="newcomer", stays=step.within or 0.3))
        stage.thaw("baseline")


def claims(stage: Stage, step: See) -> None:
    """Every PID in the reply is true: of a process that was seen with the connection, and of its parent."""
    for name in stage.members(step.on):
        claim = stage.connection(name).claim
        if claim is None:
            raise Unmet(f"a reply of the form {stage.running.manifest.reply}", str(stage.connection(name)))
        if not stage.connections[name].closed:
            stage.family(name)
        # A server that does not fork may still tell the truth: that it does not fork is judged elsewhere.
        sightings = [*stage.born.get(name, {}).values(), *stage.older.get(name, {}).values()]
        if not sightings:
            raise Unobservable("no process of this connection was seen")
        fitting = sightings
        if claim.pid is not None:
            fitting = [one for one in sightings if claim.pid in one.local]
            if not fitting:
                seen = ", ".join(str(one.facts.process.pid) for one in sightings)
                raise Unmet(f"the PID of the process that serves {name} ({seen})", str(claim.pid))
        if claim.ppid is not None and not any(claim.ppid in one.parent for one in fitting):
            parents = ", ".join(str(one.facts.ppid) for one in fitting)
            raise Unmet(
                f"the PID of the parent of the process that serves {name} ({parents})", str(claim.ppid)
            )


def parent_claim(stage: Stage, step: See) -> None:
    """The parent's PID in the reply is that of the process that forked, even when that one has gone since."""
    for name in stage.members(step.on):
        one = stage.connection(name)
        if one.claim is None:
            raise Unobservable(f"the connection did not outlive its parent: {one}")
        if not any(one.claim.ppid in sighting.parent for sighting in stage.born.get(name, {}).values()):
            parents = ", ".join(str(sighting.facts.ppid) for sighting in stage.born.get(name, {}).values())
            raise Unmet(f"the PID of the process that forked ({parents})", str(one.claim.ppid))


def serves(stage: Stage, step: See) -> None:
    """Freezing a connection's processes stalls it, thawing them lets it go on."""
    for name in stage.members(step.on):
        stage.freeze(name)
        acts.send(stage, Send(send=Payload(text="x"), on=name))
        acts.expect_unread(stage, Expect(expect="unread", on=name))
        stage.thaw(name)
        acts.expect_echo(stage, Expect(expect="echo", on=name))


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
            lambda: f"{stage.describe([owner])} is alive" if stage.observer.alive(owner) else "",
            step.within,
        )
    concerned = [name for name in members if name != "owner"]
    if not concerned:
        return
    seen = {process for name in concerned for process in stage.born.get(name, ())}
    others = [name for name, one in stage.connections.items() if name not in concerned and not one.closed]

    def look() -> str:
        left = {process for process in seen if stage.observer.alive(process)} | stage.strangers(others)
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
    """Children of the listener's owner that have exited and were not waited for."""
    below = stage.observer.descendants(stage.owner.pid, thorough=True)
    return [facts.process for facts in below if not facts.alive and facts.ppid == stage.owner.pid]


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


def no_listener(stage: Stage, step: See) -> None:
    """No process born for the connection holds the listener; for `owner`, the owner itself has let go of it."""
    if step.on == "owner":
        owner = stage.owner
        stage.require(
            "the listener's owner to let go of the listening socket",
            lambda: f"{stage.describe([owner])} listens" if owner in stage.listening() else "",
            step.within,
        )
        return

    def look(name: str) -> str:
        family = stage.family(name)
        if not family:
            return f"no process was born for it; {_held(stage, name)}"
        both = family & stage.listening()
        return f"{stage.describe(both)} holds it" if both else ""

    _each(stage, step, "no process of connection {name} to hold the listening socket", look)


def no_listener_left(stage: Stage, step: See) -> None:
    """Nobody listens on the port."""
    port = stage.running.address[1]

    def look() -> str:
        held = stage.observer.listeners(port)
        return f"{stage.describe(stage.listening())} holds a listener" if held else ""

    stage.require(f"nobody to listen on port {port}", look, step.within)


def no_sibling(stage: Stage, step: See) -> None:
    """No process born for one connection holds another."""
    members = stage.members(step.on)
    for name in members:
        stage.connection(name)

    def look() -> str:
        holders = stage.holders_of_all()
        for name in members:
            family = stage.family(name)
            for other, held_by in holders.items():
                if other != name and (both := family & held_by):
                    return f"{stage.describe(both)}, born for {name}, holds {other} too"
        return ""

    stage.require("the process of a connection to hold no other connection", look, step.within)


def single_thread(stage: Stage, step: See) -> None:
    """The listener's owner has one thread."""
    if count := stage.observer.threads(stage.owner):
        if count > 1:
            raise Unmet("the process that forks to have one thread", f"process {stage.owner.pid} has {count}")
        return
    raise Unobservable("the listener's owner has gone")


def exit_status(stage: Stage, step: See) -> None:
    """The server ended well: with 0, or by the signal that it was sent, or with 128 + that signal."""
    sent = stage.signalled or signal.SIGTERM
    status: list[int] = []

    def look() -> str:
        if stage.observer.alive(stage.owner):
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


def _exit(code: int) -> str:
    return f"death by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def quiet(stage: Stage, step: See) -> None:
    """At most one new line on stderr since the mark, once the owner has gone; one that stays is judged elsewhere."""
    wait_for(lambda: not stage.observer.alive(stage.owner), Deadline(stage.patience(step.within or 2.0)))
    text = stage.running.output("stderr")[stage.marks.get("stderr", 0) :]
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        raise Unmet("at most one line on stderr", f"{len(lines)} lines, the last: {lines[-1]!r}")


def bounded(stage: Stage, step: See) -> None:
    """The server keeps little of what a client stuffs into it and does not take back."""
    for one in stage.all(step.on):
        seen = stage.endpoint(one)
        if seen is None:
            raise Unmet(f"connection {one.name} to be held while its client does not read", str(one))
        kept = len(one.sent) - one.unsent - seen.unread - seen.unsent - one.unread - one.echoed
        stage.transcript.note(one.name, f"{kept} bytes are kept inside the server")
        if kept >= KEPT_MAX:
            raise Unmet(
                f"less than {KEPT_MAX} bytes kept inside the server", f"{kept} of {len(one.sent)} sent"
            )


def _measure(stage: Stage, what: str) -> Any:
    match what:
        case "descriptors":
            return stage.observer.descriptors(stage.owner)
        case "memory":
            return stage.observer.memory(stage.owner)
        case _:
            return {facts.process for facts in stage.running.alive()}


def mark(stage: Stage, step: Mark) -> None:
    """See `step.Mark`."""
    for what in step.mark:
        if what == "holders":
            # The parent may still hold what it has just handed on; that it must let go in time is HYG-01's business.
            stage.await_handover([one.name for one in stage.all(step.on)])
            for name in stage.members(step.on):
                stage.marks[f"holders {name}"] = stage.holders(stage.connection(name))
        elif what == "stderr":
            stage.marks["stderr"] = len(stage.running.output("stderr"))
        else:
            stage.marks[what] = _measure(stage, what)


def unchanged(stage: Stage, step: See) -> None:
    """What the server holds is what it held at the mark."""

    def look() -> str:
        for what in step.of:
            before, now = stage.marks[what], _measure(stage, what)
            if what == "processes":
                if more := now - before:
                    return f"{len(more)} more processes: {stage.describe(more)}"
            elif now > before + (MEMORY_SLACK if what == "memory" else 0):
                return f"{now} {'bytes of memory' if what == 'memory' else what}, before {before}"
        return ""

    stage.require(f"{' and '.join(step.of)} to be what they were before", look, step.within)


SEE: dict[str, Callable[[Stage, See], None]] = {
    "born": born,
    "not-owner": not_owner,
    "descendant": descendant,
    "child-of-owner": child_of_owner,
    "disjoint": disjoint,
    "same": same,
    "same-owner": same_owner,
    "alone": alone,
    "cannot-accept": cannot_accept,
    "claims": claims,
    "parent-claim": parent_claim,
    "serves": serves,
    "gone": gone,
    "none-left": none_left,
    "reaped": reaped,
    "no-listener": no_listener,
    "no-listener-left": no_listener_left,
    "no-sibling": no_sibling,
    "single-thread": single_thread,
    "exit-status": exit_status,
    "quiet": quiet,
    "bounded": bounded,
    "unchanged": unchanged,
}
