"""Which worker plays which case, where one of them dies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from xdist.workermanage import WorkerController

from forkecho.conformance.scheduling import Scheduling

CASES = [f"case-{number}" for number in range(12)]


class Worker:
    """What the scheduler sees of one: it has sent its cases, and maybe it has died."""

    shutting_down = False

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.given: list[int] = []
        self.dead = False

    def send_runtest_some(self, indices: list[int]) -> None:
        self._send()
        self.given += indices

    def send_steal(self, indices: list[int]) -> None:
        self._send()

    def shutdown(self) -> None:
        self.shutting_down = True

    def _send(self) -> None:
        if self.dead:
            raise OSError("cannot send (already closed?)")


def test_a_dead_worker_is_asked_for_nothing_that_would_end_the_run() -> None:
    """Its death is heard of later than the other has played all it had; what the dead one had is the other's then."""
    config: Any = SimpleNamespace(getvalue=lambda name: ["popen", "popen"])
    scheduler = Scheduling(config)
    workers = [Worker("one"), Worker("two")]
    one, two = (cast(WorkerController, worker) for worker in workers)
    for worker in (one, two):
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, CASES)
    scheduler.schedule()
    theirs = list(workers[1].given)
    workers[1].dead = True
    for case in list(workers[0].given):
        scheduler.mark_test_complete(one, case)

    assert scheduler.remove_node(two) == CASES[theirs[0]]
    assert workers[0].given[-len(theirs) + 1 :] == theirs[1:]
