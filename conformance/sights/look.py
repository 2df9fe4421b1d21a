"""How a sight asks about one connection after another, and says who holds one."""

from __future__ import annotations

from collections.abc import Callable

from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["each", "held_by"]

HIDDEN = "held by a process whose descriptors we may not look at"


def each(stage: Stage, step: See, expected: str, look: Callable[[str], str]) -> None:
    """`look` must have no objection to any of the connections, each given its own time.

    Raises:
        Unmet: it objects.
        Unobservable: a process holds the connection, but which one cannot be seen.
    """
    for name in stage.members(step.on):
        stage.connection(name)

        def one(name: str = name) -> str:
            return look(name)

        try:
            stage.require(expected.format(name=name), one, step.within)
        except Unmet as error:
            if error.seen == HIDDEN:
                raise Unobservable(f"connection {name} is {HIDDEN}") from None
            raise


def held_by(stage: Stage, name: str) -> str:
    """Who holds the server's end of a connection, in words."""
    one = stage.connection(name)
    if held := stage.holders(one):
        return f"held by {stage.describe(held)}"
    seen = stage.endpoint(one)
    if seen is None:
        return "gone from the kernel's table"
    return HIDDEN if seen.key else "not accepted by anybody"
