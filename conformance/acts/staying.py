"""What must stay as it is for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from forkecho.conformance.deadline import Deadline
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Expect
from forkecho.conformance.verdict import Unmet

__all__ = ["stays"]


def stays(stage: Stage, step: Expect, look: Callable[[], str], expected: str) -> None:
    """`look` has nothing to object to, for `stays` seconds in which the target could have run.

    A server that a loaded machine did not let run has not shown that it leaves something be.

    Raises:
        Unmet: it objects.
    """
    objection = ""

    def broken() -> bool:
        nonlocal objection
        objection = look()
        return bool(objection)

    started = time.monotonic()
    if stage.running.wait_for(broken, Deadline(step.stays * stage.scale)):
        raise Unmet(
            f"{expected} for {step.stays:g} s", f"{objection} after {time.monotonic() - started:.3f} s"
        )
