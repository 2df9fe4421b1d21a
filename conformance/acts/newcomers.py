"""What becomes of further clients: served, left waiting, turned away."""

from __future__ import annotations

import time

from forkecho.conformance import wire
from forkecho.conformance.acts.doing import demand_whole
from forkecho.conformance.acts.staying import stays
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Effort
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Expect, Open, Reach
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["reach", "room", "served_or_refused", "unserved"]


LATE_SHARE = 0.05  # of clients that may be late, since the machine may be busy
ROUNDS = 3  # of clients, before it is said that too many were late


def _come(stage: Stage, name: str) -> wire.Connection | None:
    """A new client that says `ping`; None where it is refused."""
    if before := stage.connections.pop(name, None):
        before.close()
    try:
        stage.open(Open(open=name, queued=True))
        one = stage.connection(name)
    except Unmet:
        return None
    one.write(b"ping")
    return one


def unserved(stage: Stage, step: Expect) -> None:
    """New clients come, and none is served: they are left in the queue, or turned away.

    Where descriptors are scarce the first may be served, since a server that is blocked in accept() has the one for it already;
    and whoever was to accept the others must have run since, or nothing is shown by that.
    """
    connections = [one for name in stage.members(step.on) if (one := _come(stage, name))]
    judged = connections[1:] if "descriptors" in stage.limits else connections

    def look() -> str:
        for one in judged:
            if one.over or (one.read() and not one.echoed):
                continue
            seen = stage.endpoint(one) if "descriptors" in stage.limits else None
            if seen and seen.key:
                return f"connection {one.name} was accepted by {stage.describe(stage.holders(one))}"
            if one.echoed:
                return f"connection {one.name} was served"
        return ""

    try:
        stays(stage, step, look, "no further client to be served")
    except Unmet as error:
        if stage.limits:
            # Not every server of an older process can be told from one that was left enough; one that is lost by it can.
            if not stage.listening():
                raise Unmet(
                    "the server to go on listening", f"nobody listens any more, and {error.seen}"
                ) from None
            scarce = " and ".join(stage.limits)
            raise Unobservable(f"the target has more {scarce} than it was left: {error.seen}") from None
        raise
    for what, before in stage.limits.items():
        if not wait_for(lambda before=before: _has_run(stage, before), Deadline(stage.patience())):  # type: ignore[misc]
            raise Unobservable(f"the owner of the listener was not let run since it can have no more {what}")


def _has_run(stage: Stage, before: Effort) -> bool:
    """The owner has gone, or has done something since."""
    owner = stage.owner
    return not stage.observer.alive(owner) or stage.observer.effort(owner) != before


def reach(stage: Stage, step: Reach) -> None:
    """See `step.Reach`.

    A server that makes clients wait does so in every round; one that a busy machine did not let run, hardly in all of them.
    """
    for _ in range(ROUNDS):
        late = _late(stage, step)
        if len(late) <= step.times * LATE_SHARE:
            return
    raise Unmet(
        f"the first echo within {step.fast:g} s, for all but {LATE_SHARE:.0%} of {step.times} clients",
        f"{len(late)} had it later, the last after {late[-1]:.2f} s",
    )


def _late(stage: Stage, step: Reach) -> list[float]:
    """Those of so many clients, one after the other, that had their first echo too late: after how many seconds each."""
    (name,) = stage.members(step.on)
    durations = []
    for _ in range(step.times):
        started = time.monotonic()
        stage.open(Open(open=name, queued=True))
        one = stage.connection(name)
        wire.converse([one], {name: [stage.payload(step.reach)]}, stage.patience(), lambda one: one.whole)
        demand_whole([one])
        durations.append(time.monotonic() - started)
        one.close()
    return sorted(took for took in durations if took > step.fast * stage.scale)


def served_or_refused(stage: Stage, step: Expect) -> None:
    """A client beyond the limit: served once there is room, or turned away; not kept waiting for ever."""
    for name in stage.members(step.on):
        if name not in stage.connections and not stage.pending(name):
            continue  # it came and was refused before
        try:
            one = stage.connection(name)
        except Unmet:
            continue  # its connect was refused
        stage.listen([one], lambda one: one.whole, step.within)
        if one.fault:
            raise Unmet(*one.fault)
        if not one.whole and not one.ending:
            raise Unmet(f"connection {name} to be served once there is room, or turned away", str(one))


def room(stage: Stage, step: Expect) -> None:
    """A new client is served within the bound; one that is turned away tries again, as its user would."""
    for name in stage.members(step.on):

        def look(name: str = name) -> str:
            try:
                stage.open(Open(open=name, queued=True))
                one = stage.connection(name)
                one.write(b"ping")
            except Unmet as error:
                return error.seen
            stage.listen([one], lambda one: one.whole, step.within)
            if one.fault:
                raise Unmet(*one.fault)
            if one.whole and one.sent:
                return ""
            one.close()
            return str(one)

        stage.require(f"a new client, {name}, to be served", look, step.within)
