"""What the kernel must show of the target's processes: one function for each thing that `see` can name."""

from __future__ import annotations

from collections.abc import Callable

from forkecho.conformance.sights import ending, holding, hosting, inherited, serving, starting
from forkecho.conformance.sights.holding import mark as mark
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See

__all__ = ["SEE", "mark", "see"]


def see(stage: Stage, step: See) -> None:
    """See `step.See`.

    Raises:
        Unobservable: there is nobody to ask; that nothing was seen of a fault is no pass then, whatever was looked for.
    """
    if stage.observer:
        SEE[step.see](stage, step)


#: The function for each thing that `see` can name; those of one theme stand in one module.
SEE: dict[str, Callable[[Stage, See], None]] = {
    "born": serving.born,
    "not-owner": serving.not_owner,
    "descendant": serving.descendant,
    "child-of-owner": serving.child_of_owner,
    "disjoint": serving.disjoint,
    "same": serving.same,
    "same-owner": serving.same_owner,
    "alone": serving.alone,
    "cannot-accept": serving.cannot_accept,
    "claims": serving.claims,
    "parent-claim": serving.parent_claim,
    "serves": serving.serves,
    "gone": ending.gone,
    "none-left": ending.none_left,
    "reaped": ending.reaped,
    "no-listener": holding.no_listener,
    "no-listener-left": ending.no_listener_left,
    "no-path": ending.no_path,
    "no-sibling": holding.no_sibling,
    "single-thread": holding.single_thread,
    "exit-status": ending.exit_status,
    "child-status": ending.child_status,
    "quiet": ending.quiet,
    "signals": inherited.signals,
    "descriptors": inherited.descriptors,
    "not-repeated": inherited.not_repeated,
    "announced": starting.announced,
    "own-address": starting.own_address,
    "gave-up": starting.gave_up,
    "sole-listener": starting.sole_listener,
    "bounded": holding.bounded,
    "unchanged": holding.unchanged,
    "idle-cpu": holding.idle_cpu,
    "keepalive": holding.keepalive,
    "returned": hosting.returned,
}
