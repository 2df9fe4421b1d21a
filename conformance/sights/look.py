"""How a sight asks about one connection after another, and says who holds one."""

from __future__ import annotations

from collections.abc import Callable

from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["each", "held_by"]

HIDDEN = "held by a process whose descriptors we may not look at"


def each(stage: Stage, step: See, expected: str, look: Callable[[str], str]) -> None:
    """`look` must have no objection to any of the connections; those to which it has one are looked at again, all together.

    Raises:
        Unmet: it objects to one.
        Unobservable: a process holds the connection, but which one cannot be seen.
    """
    left = stage.members(step.on)
    objections: dict[str, str] = {}
    for name in left:
        stage.connection(name)

    def good() -> bool:
        nonlocal left
        with stage.glance(left):
            objections.clear()
            objections.update((name, said) for name in left if (said := look(name)))
        left = list(objections)
        return not left

    many = len(left)
    if stage.comes(good, step.within, many):
        return
    if objections[left[0]] == HIDDEN:
        raise Unobservable(f"connection {left[0]} is {HIDDEN}")
    patience = stage.patience(step.within, many)
    raise Unmet(f"{expected.format(name=left[0])} within {patience:g} s", objections[left[0]])


def held_by(stage: Stage, name: str) -> str:
    """Who holds the server's end of a connection, in words."""
    one = stage.connection(name)
    if held := stage.holders(one):
        return f"held by {stage.describe(held)}"
    seen = stage.endpoint(one)
    if seen is None:
        return "gone from the kernel's table"
    return HIDDEN if seen.key else "not accepted by anybody"
