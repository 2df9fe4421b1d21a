"""Servers whose connections are held by the same process: which of its threads wake for which of them."""

from __future__ import annotations

from collections import Counter

from forkecho.conformance.classify.found import Found
from forkecho.conformance.classify.scene import DONE_AFTER, Answer, Client, Scene, Undecided
from forkecho.conformance.model import Model
from forkecho.conformance.observe import Process

__all__ = ["examine", "model_of", "wakers"]

PINGS = 5  # on each connection
MOST, NEARLY_ALL = 0.6, 0.8  # of them: a thread that wakes at fewer does so for reasons of its own
EXITS_WITHIN = 2.0  # seconds for a thread to end with its connection

Woken = list[set[int]]  # for each message, the threads that woke


def examine(scene: Scene, a: Client, b: Client) -> Found:
    """Both connections are held by the same process."""
    process = a.held_by | b.held_by
    if not scene.tasks(process):
        raise Undecided("one process holds all connections; its threads cannot be told apart here")
    times = 1 if scene.one_shot else PINGS
    woken_b = wakers(scene, b, process, times)  # while the other, where nothing was sent yet, is still held
    woken_a = wakers(scene, a, process, times)
    model, own = model_of(woken_a, woken_b)
    if model is None:
        raise Undecided(
            "one process holds all connections, and which of its threads serve them cannot be told"
        )
    if model is Model.THREAD and not _exits_with(scene, a, own, process):
        model = Model.THREAD_POOL
    return Found(model=model)


def wakers(scene: Scene, client: Client, processes: set[Process], times: int) -> Woken:
    """For each of some messages, which threads woke: those that went to sleep once more, or were born or gone since.

    Raises:
        Undecided: a message is not answered.
    """
    found = []
    before = scene.settle(processes)
    for _ in range(times):
        if (answer := scene.talk(client)) is not Answer.CAME:
            raise Undecided(f"connection {client.name} is not served any more: {scene.fate(client, answer)}")
        after = scene.settle(processes)
        found.append(
            {
                thread
                for thread in before.keys() | after.keys()
                if thread not in before or thread not in after or after[thread].sleeps > before[thread].sleeps
            }
        )
        before = after
    scene.note(f"messages on {client.name}", f"wake the threads {[sorted(one) for one in found]}")
    return found


def model_of(a: Woken, b: Woken) -> tuple[Model | None, set[int]]:
    """The model that the threads tell which wake for two connections, and those that wake for the first alone.

    `THREAD` stands for a thread of its own for each; whether that was made for it is not to be seen here.
    """
    # Whoever serves a connection wakes at each of its messages and at none of the other's; a timer's thread, say, wakes
    # at some of both.
    own_a, own_b = _always(a) - _ever(b), _always(b) - _ever(a)
    if own_a and own_b:
        return Model.THREAD, own_a
    common = _often(a) & _often(b)
    besides = [[one - common for one in woken] for woken in (a, b)]
    if all(sum(map(bool, rest)) >= NEARLY_ALL * len(rest) for rest in besides):
        return Model.THREAD_POOL, set()  # whoever is free
    return (Model.EVENT_LOOP if common else None), set()


def _always(woken: Woken) -> set[int]:
    """The threads that woke at each message; at most of them, where one was missed."""
    return set.intersection(*woken) or _often(woken)


def _ever(woken: Woken) -> set[int]:
    """The threads that woke at any message."""
    return set().union(*woken)


def _often(woken: Woken) -> set[int]:
    """The threads that woke at most of the messages."""
    counted = Counter(thread for one in woken for thread in one)
    return {thread for thread, count in counted.items() if count >= MOST * len(woken)}


def _exits_with(scene: Scene, a: Client, own: set[int], processes: set[Process]) -> bool:
    """The threads of a connection were made for it and end with it, as those of a pool do not."""
    made = own.difference(*(a.before.get(process, frozenset()) for process in processes))
    if not made:
        scene.note("threads of a", "were there before it")
        return False
    scene.close(a)
    gone = scene.until(lambda: not made & scene.tasks(processes).keys(), EXITS_WITHIN, DONE_AFTER)
    scene.note("close a", f"its threads {sorted(made)} {'end' if gone else 'stay'}")
    return gone
