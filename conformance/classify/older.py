"""Servers whose connections are held by processes that were there before: pools of processes, threads, event loops."""

from __future__ import annotations

from forkecho.conformance.classify import threads
from forkecho.conformance.classify.found import Found
from forkecho.conformance.classify.scene import DONE_AFTER, Answer, Client, Scene
from forkecho.conformance.model import Model

__all__ = ["examine"]

#: Further connections that are held at once, to see whether another process takes one, where there are others.
MORE = 6
EXITS_WITHIN = 1.0  # seconds for a process that serves one connection only to exit after it


def examine(scene: Scene, a: Client, b: Client) -> Found:
    """Neither connection has a process that was born for it: do they share one?"""
    if not _apart(a, b):
        c = _elsewhere(scene, a)
        if c is None:
            return threads.examine(scene, a, b)
        b = c
    owner = scene.running.owner
    newcomers = {process for process in b.held_by if not a.census.knew(process)} & b.older
    if owner in a.held_by and newcomers and owner not in b.held_by:
        scene.note(
            "listener",
            f"its owner serves a, and who has taken b was born with a: {scene.describe(newcomers)}",
        )
        return Found(model=Model.ROLE_SWAP)
    return Found(model=Model.ONE_SHOT_POOL if _exits(scene, a) else Model.PREFORK)


def _apart(a: Client, b: Client) -> bool:
    """Each has a process that has not the other; that others have both is how pools are forked at times."""
    return bool(a.held_by - b.held_by and b.held_by - a.held_by)


def _elsewhere(scene: Scene, a: Client) -> Client | None:
    """A connection that is held by another process than the first, where there are processes that might."""
    if len(scene.everybody()) < 2:
        return None
    if scene.running.ours and (client := _served_without(scene, a)):
        return client
    held: list[Client] = []
    while len(held) < MORE:
        client = scene.open(f"more-{len(held) + 1}")
        if client is None:
            break
        held.append(client)
        if scene.greet(client) is not Answer.CAME:
            scene.note(f"connection {client.name}", "not served while the others are held")
            break
        scene.look(client)
        if _apart(a, client):
            return client
    for client in held:
        scene.close(client)
    return None


def _served_without(scene: Scene, a: Client) -> Client | None:
    """A connection that another process takes while those that hold the first are frozen.

    Who is woken first may take all, so that many connections with the same process prove little.
    """
    client = None
    with scene.frozen(lambda: a.held_by):
        scene.note("freeze who holds a", scene.describe(a.held_by))
        client = scene.open("elsewhere")
        served = client is not None and scene.greet(client) is Answer.CAME
        if client and served:
            scene.look(client)
            if _apart(a, client):
                return client
        scene.note("connection elsewhere", "not served by another process")
    if client:
        scene.close(client)
    return None


def _exits(scene: Scene, a: Client) -> bool:
    """The process that served a connection exits with it: gone, or nobody wants to run any more."""
    served = set(a.held_by) - {scene.running.owner}
    scene.close(a)

    def gone() -> bool:
        return any(not scene.observer.alive(process) for process in served)

    exits = bool(served) and scene.until(gone, EXITS_WITHIN, DONE_AFTER)
    scene.note("close a", f"{scene.describe(served)} {'exits' if exits else 'stays'}")
    return exits
