"""The evidence of a case: who was seen, when, and never more than that."""

from __future__ import annotations

from typing import Any

import pytest

from forkecho.conformance.observe import Facts, Observer, Process
from forkecho.conformance.witness import EVIDENCE_MAX, Witness

OWNER, CHILD, OTHER = Process(100, 1), Process(200, 2), Process(300, 3)


def facts(process: Process, state: str = "S") -> Facts:
    return Facts(process=process, ppid=1, state=state, command="/bin/server")


class World:
    """A clock and processes by hand; counts how often somebody asks for one."""

    def __init__(self, *there: Facts) -> None:
        self.now = 0.0
        self.there = {one.process.pid: one for one in there}
        self.asked = 0
        self.witness = Witness(lambda: self.now)

    def facts(self, pid: int) -> Facts | None:
        self.asked += 1
        return self.there.get(pid)

    @property
    def observer(self) -> Observer:
        return self  # type: ignore[return-value]

    @property
    def told(self) -> list[tuple[Any, ...]]:
        return [(one["t"], one["event"], one["pid"]) for one in self.witness.events]


def test_whoever_was_never_looked_at_costs_nothing() -> None:
    """The end of a case that has not looked at processes asks for none."""
    world = World(facts(OWNER))
    world.witness.look_once_more(world.observer)

    assert (world.asked, world.told) == (0, [])


def test_the_owner_is_told_once_and_again_where_it_is_another_one() -> None:
    """After the target was launched again its owner is another process."""
    world = World(facts(OWNER), facts(OTHER))
    for owner in (OWNER, OWNER, OTHER, None):
        world.witness.introduce(owner, world.observer)

    assert world.told == [(0.0, "owner", 100), (0.0, "owner", 300)]


def test_what_is_held_is_told_with_the_last_time_it_was_seen() -> None:
    """One that lets go and comes back is told of anew."""
    world = World()
    world.witness.born("a", facts(CHILD), holds=True)
    for world.now, by in ((1.0, {CHILD}), (2.0, set()), (3.0, {CHILD}), (4.0, {CHILD, OTHER})):
        world.witness.held("a", by)

    assert [(one["event"], one["t"], one["until"]) for one in world.witness.events] == [
        ("born", 0.0, 1.0),
        ("holds", 3.0, 4.0),
    ]


def test_who_was_born_without_the_connection_holds_nothing() -> None:
    """A process below the one that holds it has no time until which it was seen to."""
    world = World()
    world.witness.born("a", facts(CHILD), holds=False)

    assert "until" not in world.witness.events[0]


@pytest.mark.parametrize(
    ("found", "event"),
    [
        (facts(CHILD), "alive"),
        (facts(CHILD, "Z"), "zombie"),
        (None, "gone"),
        (facts(Process(200, 77)), "gone"),  # another one with its PID
    ],
)
def test_the_last_look_says_what_has_become_of_each(found: Facts | None, event: str) -> None:
    """Still there, exited and not waited for, or gone."""
    world = World(*([found] if found else []))
    world.witness.born("a", facts(CHILD), holds=True)
    world.now = 5.0
    world.witness.look_once_more(world.observer)

    assert world.told[1:] == [(5.0, event, 200)]
    assert world.asked == 1


def test_an_end_is_told_once() -> None:
    """A zombie that is gone later is told as both; what has gone is not told again."""
    world = World()
    world.witness.born("a", facts(CHILD), holds=True)
    for world.now, found in ((1.0, facts(CHILD, "Z")), (2.0, facts(CHILD, "Z")), (3.0, None), (4.0, None)):
        world.witness.ended(CHILD, found)
    world.witness.ended(OTHER, None)  # nobody was told of that one

    assert world.told[1:] == [(1.0, "zombie", 200), (3.0, "gone", 200)]
    assert world.witness.events[1]["until"] == 2.0


def test_there_is_room_for_the_end_of_everybody_who_was_told_of() -> None:
    """However many there are; what there was no room for is counted."""
    world = World()
    for pid in range(1000):
        world.witness.born("a", facts(Process(pid, 1)), holds=True)
    world.witness.look_once_more(world.observer)
    events = world.witness.events
    kinds = [one["event"] for one in events]

    assert len(events) <= EVIDENCE_MAX
    assert kinds.count("born") == kinds.count("gone") == EVIDENCE_MAX // 2
    assert events[-1]["untold"] == 1000 - EVIDENCE_MAX // 2
