"""The steps of a classification, in their order; each takes what the one before has seen."""

from __future__ import annotations

import time

from forkecho.conformance.classify import forked, older
from forkecho.conformance.classify.found import Found
from forkecho.conformance.classify.scene import PATIENCE, Answer, Client, Scene, Undecided
from forkecho.conformance.model import Classification, Model
from forkecho.conformance.target import Running

__all__ = ["classify"]

#: Connections that are tried beside the first one, one at a time, where several sockets listen on the port: the kernel
#: chooses one for each connection (SO_REUSEPORT), and may choose that of a busy process many times in a row.
TRIES = 12
BUDGET = 60.0  # seconds; what can be told at all is told in a few


def classify(running: Running, *, scale: float = 1.0, budget: float = BUDGET) -> Classification:
    """Which model a running target is seen to use, with the evidence; it must have no other clients meanwhile.

    Args:
        scale: what deadlines are multiplied with, if it is above 1.
        budget: seconds after which it is given up, to be multiplied likewise.
    """
    started = time.monotonic()
    scene = Scene(running, scale, budget)
    found, reason = Found(model=None), ""
    try:
        found = _examine(scene)
    except Undecided as error:
        reason = str(error)
    finally:
        scene.clear()
    return Classification(
        model=found.model,
        lineage=found.lineage,
        flags=found.flags,
        evidence=tuple(scene.evidence),
        reason=reason,
        seconds=round(time.monotonic() - started, 3),
    )


def _examine(scene: Scene) -> Found:
    """The whole procedure.

    Raises:
        Undecided: nothing can be named.
    """
    owner = scene.running.owner if scene.observer else None
    if owner is None:
        raise Undecided("the owner of the listening socket is not known")
    scene.rest()
    scene.note("listener", f"held by {scene.describe(scene.listening())}")
    a = scene.meet("a")
    b, served = _second(scene, a)
    if b is None or not served:
        return _one_at_a_time(scene, a, b)
    scene.look(b)
    if a.born and b.born:
        return forked.examine(scene, a, b)
    if a.born or b.born:
        # A server may start its one helper with the first connection, or another worker: what it does from then on counts.
        c, d = scene.meet("c"), scene.meet("d")
        if c.born or d.born:
            return Found(model=Model.MIXED)
        a, b = c, d
    return older.examine(scene, a, b)


def _second(scene: Scene, a: Client) -> tuple[Client | None, bool]:
    """A second connection, and whether it is served while the first one is held; none where the queue has no room for it.

    Raises:
        Undecided: it is ended instead.
    """
    here = (scene.running.address[0], "0.0.0.0", "::")
    sockets = [one for one in scene.running.listeners() if one.address[0] in here]
    left = TRIES if len(sockets) > 1 else 1
    while True:
        left -= 1
        b = scene.open("b")
        answer = scene.greet(b) if b else Answer.QUEUED
        if answer is Answer.CAME:
            scene.note("connection b", "served while a is held")
            return b, True
        scene.note("connection b", f"not served while a is held: {scene.fate(b, answer)}")
        if answer is Answer.ENDED:
            raise Undecided("it ends a second connection while the first one is held")
        if not left:
            return b, False
        if b:
            scene.close(b)  # not more than one waits at a time: queues may be short


def _one_at_a_time(scene: Scene, a: Client, b: Client | None) -> Found:
    """Nobody else is served while one is: serial, if the next one is once that has ended.

    Raises:
        Undecided: it is not.
    """
    lineage = forked.lineage(scene, a) if a.born else ""
    scene.close(a)
    if b is None:
        b = scene.open("b", PATIENCE)
    answer = scene.greet(b) if b else Answer.QUEUED
    if answer is not Answer.CAME:
        raise Undecided(
            "it has stalled: no connection is served beside the first one,"
            f" nor when that has ended ({scene.fate(b, answer)})"
        )
    scene.note("close a", "b is served")
    return Found(model=Model.SERIAL_FORK if a.born else Model.ITERATIVE, lineage=lineage)
