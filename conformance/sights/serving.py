"""Who serves a connection: born for it or not, whose child, alone, and does it really."""

from __future__ import annotations

from forkecho.conformance import acts, wire
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Facts, Process
from forkecho.conformance.payload import Payload
from forkecho.conformance.sights.look import each, held_by
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Expect, Open, See, Send
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = [
    "alone",
    "born",
    "cannot_accept",
    "child_of_owner",
    "claims",
    "descendant",
    "disjoint",
    "not_owner",
    "parent_claim",
    "same",
    "same_owner",
    "serves",
]

NEWCOMERS_FOR = 0.1  # seconds: between two processes that come and go there are moments without either


def born(stage: Stage, step: See) -> None:
    """A process that was not alive before the connection holds it."""

    def look(name: str) -> str:
        if stage.family(name):
            return ""
        held = held_by(stage, name)
        return f"{held}, alive before the connection" if held.startswith("held by process ") else held

    each(stage, step, "connection {name} to be held by a process born for it", look)


def not_owner(stage: Stage, step: See) -> None:
    """Some process other than the listener's owner holds the connection."""

    def look(name: str) -> str:
        held = stage.holders(stage.connection(name))
        stage.family(name)
        return "" if held - {stage.owner} else f"{held_by(stage, name)}, alone"

    each(stage, step, "connection {name} to be held by another process than the listener's owner", look)


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
            return held_by(stage, name)
        below = stage.below_owner()
        for facts in roots:
            adopted = facts.ppid in (stage.running.guard.pid, 1) and facts.process in stage.born.get(name, ())
            if facts.process not in below and not adopted:
                return f"{stage.describe([facts.process])} with parent {facts.ppid}"
            if adopted and not stage.running.ours:
                raise Unobservable(
                    "the process was orphaned, and by whom it was forked cannot be seen any more"
                )
        return ""

    each(stage, step, "the processes of connection {name} to descend from the listener's owner", look)


def child_of_owner(stage: Stage, step: See) -> None:
    """The root of the processes born for a connection is a child of the listener's owner."""

    def look(name: str) -> str:
        roots = _roots(stage, _serving(stage, name))
        strangers = [facts for facts in roots if facts.ppid != stage.owner.pid]
        if not roots:
            return held_by(stage, name)
        return ", ".join(f"process {facts.process.pid} with parent {facts.ppid}" for facts in strangers)

    expected = f"the process of connection {{name}} to be a child of the listener's owner, {stage.owner.pid},"
    each(stage, step, expected, look)


def disjoint(stage: Stage, step: See) -> None:
    """Connections that are held have processes of their own."""
    members = stage.members(step.on)

    def look() -> str:
        owners: dict[Process, str] = {}
        with stage.glance(members):
            for name in members:
                family = stage.family(name)
                if not family:
                    return f"no process was born for {name}; {held_by(stage, name)}"
                for process in family:
                    if other := owners.get(process):
                        return f"process {process.pid} was born for {other} and holds {name} as well"
                    owners[process] = name
        return ""

    expected = f"{len(members)} connections to have processes of their own"
    stage.require(expected, look, step.within, len(members))


def same(stage: Stage, step: See) -> None:
    """Nobody holds the connection who did not at the mark, and somebody who did still does.

    Who has let go of it since is no fault: a parent may have been late. A newcomer is one at once, even if it goes again:
    a process for a message lives no longer than the message.
    """
    expected = "connection {name} to be served by the same process throughout"
    for name in stage.members(step.on):
        one, before = stage.connection(name), stage.marks[f"holders {name}"]

        def changed(one: wire.Connection = one, before: set[Process] = before) -> set[Process]:
            now = stage.holders(one)
            return now if now - before else set()

        if now := wait_for(changed, Deadline(NEWCOMERS_FOR * stage.scale)):
            raise Unmet(
                expected.format(name=name), f"{stage.describe(now)} instead of {stage.describe(before)}"
            )

    def look(name: str) -> str:
        return "" if stage.holders(stage.connection(name)) else held_by(stage, name)

    each(stage, step, expected, look)


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
            return held_by(stage, name)
        return f"{stage.describe(old)} holds it too" if old else ""

    each(stage, step, "connection {name} to be held only by processes born for it", look)


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
