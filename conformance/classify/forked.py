"""Servers that make a process for each connection: whether it does the work, alone, whose child it is, and how it ends."""

from __future__ import annotations

from forkecho.conformance.classify.found import Found
from forkecho.conformance.classify.scene import DONE_AFTER, Answer, Client, Scene, Undecided
from forkecho.conformance.model import Flag, Model
from forkecho.conformance.observe import Facts, Process

__all__ = ["examine", "lineage"]

SIBLING_EXCHANGES = 5
#: Seconds that a byte must stay unread while whoever should read it is frozen; longer, when in doubt.
STAYS_UNREAD, STAYS_UNREAD_IN_DOUBT = 0.1, 0.5
GONE_WITHIN = 2.0  # seconds for the processes of a connection to end after it
LETS_GO_WITHIN = 0.5  # seconds for the parent to have closed its copy, when it was seen to hold one


def examine(scene: Scene, a: Client, b: Client) -> Found:
    """Both connections are held by processes that were born for them: is that all there is to it?"""
    if _flows_without(scene, a, b, STAYS_UNREAD):
        return Found(model=Model.DECOY)
    if not _flow_without_others(scene, a, b):
        # Somebody older is needed; it may do all the work, and have been slow to begin.
        a, b = _again(scene, a, "c"), _again(scene, b, "d")
        decoy = _flows_without(scene, a, b, STAYS_UNREAD_IN_DOUBT)
        return Found(model=Model.DECOY if decoy else Model.HYBRID)
    a = _again(scene, a, "e")
    told = lineage(scene, a)
    flags = _flags(scene, a, b)
    if _stays(scene, a):
        flags.append(Flag.STAYS)
    return Found(model=Model.FORK, lineage=told, flags=tuple(flag for flag in Flag if flag in flags))


def _again(scene: Scene, client: Client, name: str) -> Client:
    """The same connection; with one-shot framing, where it is over after one message, another one."""
    return scene.meet(name) if scene.one_shot and client.one.sent else client


def _flows_without(scene: Scene, a: Client, b: Client, stays: float) -> bool:
    """A message on one connection is read while its own processes are frozen, others being served meanwhile.

    Raises:
        Undecided: the others are not, or the message is not answered even afterwards.
    """
    if not scene.family(a):
        raise Undecided(f"the processes of {a.name} have gone, although it is open")
    sent = len(a.one.sent)
    with scene.frozen(lambda: scene.family(a)):
        scene.note(f"freeze the processes of {a.name}", scene.describe(scene.family(a)))
        a.one.write(b"still there?")

        def read() -> bool:
            end = scene.endpoint(a)
            return a.one.read() or end is None or end.unread == 0

        for _ in range(1 if scene.one_shot else SIBLING_EXCHANGES):
            b = _again(scene, b, "sibling")
            if (answer := scene.talk(b)) is not Answer.CAME:
                raise Undecided(
                    f"while the processes of {a.name} are frozen, {b.name} is not served: {scene.fate(b, answer)}"
                )
        flows = scene.until(read, stays)
        seen = "it is read all the same" if flows else f"it stays unread while {b.name} is served"
        scene.note(f"send on {a.name}", seen)
    if (answer := scene.answer(a)) is not Answer.CAME:
        raise Undecided(f"thawed, connection {a.name} is not served any more: {scene.fate(a, answer)}")
    scene.note("thaw them", f"all {len(a.one.sent) - sent} bytes come back on {a.name}")
    return flows


def _flow_without_others(scene: Scene, a: Client, b: Client) -> bool:
    """Both connections are served while everybody else of the target is frozen; not tried with a server that is not ours."""
    if not scene.running.ours:
        scene.note("freeze all others", "not tried, since the server was not started by us")
        return True
    a, b = _again(scene, a, "a2"), _again(scene, b, "b2")
    with scene.frozen(lambda: scene.everybody() - scene.family(a) - scene.family(b)):
        fates = {client: scene.talk(client) for client in (a, b)}
        missed = [client for client, answer in fates.items() if answer is not Answer.CAME]
        seen = "; ".join(f"{client.name} is not: {scene.fate(client, fates[client])}" for client in missed)
        scene.note("freeze all others", seen or f"{a.name} and {b.name} are served")
    for client in missed:
        if (answer := scene.answer(client)) is not Answer.CAME:
            raise Undecided(
                f"thawed, connection {client.name} is not served any more: {scene.fate(client, answer)}"
            )
    return not missed


def _root(scene: Scene, client: Client) -> Facts | None:
    """Of those born for a connection, the one whose parent is none of them: helpers of a relay have it for a parent."""
    family = scene.family(client)
    pids = {process.pid for process in family}
    found = [facts for process in family if (facts := scene.observer.facts(process.pid)) and facts.alive]
    roots = [facts for facts in found if facts.ppid not in pids]
    return min(roots, key=lambda facts: (facts.process.start, facts.process.pid), default=None)


def lineage(scene: Scene, client: Client) -> str:
    """How the root of a connection's processes came to be (see `Classification`)."""
    root, owner = _root(scene, client), scene.running.owner
    if root is None or owner is None:
        return ""
    parent = scene.observer.facts(root.ppid)
    step = f"parent of {root.process.pid}"
    parents = {owner} | {process for process in scene.listening() if client.census.knew(process)}
    if parent is None or parent.process not in parents:
        orphan = root.ppid in (scene.running.guard.pid, 1)
        seen = "nobody: an orphan" if orphan else f"{root.ppid}, which was not seen to listen"
        scene.note(step, seen)
        return "indirect"
    scene.note(step, scene.describe([parent.process]))
    ours, its = scene.observer.image(parent.process), scene.observer.image(root.process)
    if ours and its and ours != its:
        scene.note(f"program of {root.process.pid}", f"another one than its parent's: {root.command}")
        return "exec"
    return "direct"


def _flags(scene: Scene, client: Client, other: Client) -> list[Flag]:
    """What else was seen of the processes of a connection, while it is open."""
    family, found = scene.family(client), []
    for one in (client, other):

        def kept(one: Client = one) -> set[Process]:
            return {process for process in scene.holders(one) if one.census.knew(process)} & one.older

        if one.older and not one.one.over and not scene.until(lambda: not kept(), LETS_GO_WITHIN, DONE_AFTER):
            scene.note(f"connection {one.name}", f"still held by {scene.describe(kept())}")
            found.append(Flag.PARENT_KEEPS)
    if listening := family & scene.listening():
        scene.note("listener", f"held by {scene.describe(listening)} as well, made for {client.name}")
        found.append(Flag.CHILD_LISTENS)
    root = _root(scene, client)
    if below := [process for process in family if root and process != root.process]:
        scene.note(f"descendants of {root.process.pid if root else 0}", scene.describe(below))
        found.append(Flag.DESCENDANTS)
    return found


def _stays(scene: Scene, client: Client) -> bool:
    """A process of a connection outlives it."""
    family = scene.family(client)
    scene.close(client)

    def left() -> set[Process]:
        return {process for process in family if scene.observer.alive(process)}

    scene.until(lambda: not left(), GONE_WITHIN)
    stay = left()
    scene.note(f"close {client.name}", f"{scene.describe(stay)} stays" if stay else "its processes exit")
    return bool(stay)
