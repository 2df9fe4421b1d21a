"""What processes hold: descriptors that they should not, threads, memory, a client's data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from forkecho.conformance import acts
from forkecho.conformance.observe import Effort, Process
from forkecho.conformance.sights import inherited
from forkecho.conformance.sights.look import each, held_by
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Idle, Mark, See
from forkecho.conformance.target import EXTENSIONS
from forkecho.conformance.verdict import Inapplicable, Unmet, Unobservable

__all__ = [
    "bounded",
    "idle_cpu",
    "keepalive",
    "mark",
    "no_listener",
    "no_sibling",
    "single_thread",
    "unchanged",
]

KEPT_MAX = 16 * 1024 * 1024  # bytes of one client's data inside the server (BUF-06)
WINDOW = 0.5  # seconds over which the use of processors is measured
ENOUGH = 0.5  # of them: whoever could have run for so long has shown whether it leaves the processors alone
#: What is remembered of what it has printed, and of its files.
PRINTED: dict[str, Callable[[Stage], Any]] = {
    "stderr": lambda stage: len(stage.running.output("stderr")),
    "output": lambda stage: inherited.length(stage.running),
    "words": inherited.words,
    "files": lambda stage: inherited.files(stage.running),
}
MEMORY_SLACK = 2 * 1024 * 1024  # bytes that a process may grow by without leaking


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
            return f"no process was born for it; {held_by(stage, name)}"
        both = family & stage.listening()
        return f"{stage.describe(both)} holds it" if both else ""

    each(stage, step, "no process of connection {name} to hold the listening socket", look)


def no_sibling(stage: Stage, step: See) -> None:
    """No process born for one connection holds another."""
    members = stage.members(step.on)
    for name in members:
        stage.connection(name)

    def look() -> str:
        everything = stage.unclosed
        with stage.glance(everything):
            held: dict[Process, list[str]] = {}
            for name in everything:
                for process in stage.holders(stage.connection(name)):
                    held.setdefault(process, []).append(name)
            for name in members:
                for process in sorted(stage.family(name)):
                    if other := next((one for one in held.get(process, ()) if one != name), ""):
                        return f"{stage.describe([process])}, born for {name}, holds {other} too"
        return ""

    expected = "the process of a connection to hold no other connection"
    stage.require(expected, look, step.within, len(members))


def single_thread(stage: Stage, step: See) -> None:
    """The listener's owner has one thread.

    Raises:
        Inapplicable: it has more, but all that it forks for the connections becomes another program, which has no locks of it.
    """
    count = stage.observer.threads(stage.owner)
    if count == 0:
        raise Unobservable("the listener's owner has gone")
    if count == 1:
        return
    threads = f"process {stage.owner.pid} has {count}"
    others: list[bool | None] = []

    def settled() -> bool:
        others[:] = [inherited.another_program(stage, name) for name in stage.members(step.on)]
        return False not in others

    # Between fork() and exec() a child is still what it was forked off.
    stage.comes(settled, step.within)
    if all(others):
        raise Inapplicable(f"{threads} threads, but what it forks executes another program at once")
    raise Unmet("the process that forks to have one thread", threads)


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


def idle_cpu(stage: Stage, step: See) -> None:
    """The target leaves the processors alone for a while: nobody of it runs for more than a small share of the time.

    Of a loaded machine's time only that counts in which a process could have run, had it wanted to. There is to be enough of it,
    so it is looked on for a few times as long, if need be.
    """
    window = WINDOW * max(1.0, stage.scale)
    bound = step.share
    inherited.rest(stage)  # to begin is something to do
    last = {facts.process: stage.observer.effort(facts.process) for facts in stage.running.alive()}
    had = dict.fromkeys(last, Effort(0.0))
    started = time.monotonic()
    for _ in range(1 + EXTENSIONS):
        acts.idle(stage, Idle(idle=window))
        now = {process: stage.observer.effort(process) for process in last if stage.observer.alive(process)}
        passed = time.monotonic() - started
        had = {process: _add(had[process], last[process], effort, passed) for process, effort in now.items()}
        last = now
        # One that has run for more than its share of all the time is not idle, however much of it was its own.
        if sum(effort.ran for effort in had.values()) > bound * passed:
            break
        starved = any(passed - effort.waited < window * ENOUGH for effort in had.values())
        # The kernel counts a wait when it is over: how long one that wants to run has waited for that is not known yet.
        if not starved and not stage.running.busy():
            break
    else:
        if starved:
            raise Unobservable("the target was hardly let run: whether it would have is not known")
    if not had:
        raise Unobservable("no process of the target is alive, so that none can be idle")
    shares = {process: _share(effort, passed) for process, effort in had.items()}
    stage.transcript.note(
        "", f"{sum(shares.values()):.1%} of {passed:.2f} s were spent by {len(shares)} processes"
    )
    if sum(shares.values()) > bound:
        busiest = max(shares, key=lambda process: shares[process])
        raise Unmet(
            f"at most {bound:.0%} of a processor to be used while there is nothing to do",
            f"{sum(shares.values()):.0%} over {passed:.2f} s, {shares[busiest]:.0%} of it by {stage.describe([busiest])}",
        )


def _add(had: Effort, before: Effort, after: Effort, passed: float) -> Effort:
    """What a process has had and missed so far, of so much time: what it had waited before that, and was told since, is none of it."""
    # What a thread has had goes with it.
    waited = had.waited + max(0.0, after.waited - before.waited)
    return Effort(had.ran + max(0.0, after.ran - before.ran), min(waited, passed))


def _share(had: Effort, passed: float) -> float:
    """The part of the time in which a process could run that it did."""
    return had.ran / max(passed - had.waited, had.ran, 0.001)


def keepalive(stage: Stage, step: See) -> None:
    """The server's end of a connection on which nothing happens waits to probe whether its client is there (SO_KEEPALIVE)."""

    def look(name: str) -> str:
        seen = stage.endpoint(stage.connection(name))
        if seen is None:
            return held_by(stage, name)
        if seen.timer is None:
            raise Unobservable("this system does not tell which timers a connection has")
        return "" if seen.timer == "keepalive" else f"its timer is {seen.timer or 'off'}"

    each(stage, step, "the server's end of connection {name} to probe a silent client", look)


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
        elif what in PRINTED and not stage.running.ours:
            raise Unobservable("what a server prints that the suite has not started goes elsewhere")
        elif what in PRINTED:
            if what == "stderr":
                # What a process says when it begins is nothing that comes of what follows.
                inherited.rest(stage)
            stage.marks[what] = PRINTED[what](stage)
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
