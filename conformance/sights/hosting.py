"""How calls of a server that is used in process return."""

from __future__ import annotations

from forkecho.conformance.acts import WORDS, hosted_by
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.hosted import Return
from forkecho.conformance.observe import Process
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.verdict import Unmet

__all__ = ["returned"]


def returned(stage: Stage, step: See) -> None:
    """Calls have returned, without an error; those that are named, or the last."""
    hosted = hosted_by(stage)
    for name in step.of or list(stage.calls)[-1:]:
        number = stage.calls.get(name, 1)  # the first call is that which has it serve
        patience = stage.patience(step.within)
        expected = f"{WORDS[name]} to return within {patience:g} s"
        told: Return | None = None

        def look(number: int = number) -> bool:
            nonlocal told
            told = hosted.returned(number)
            return told is not None

        stage.comes(look, step.within)
        if told is None:
            raise Unmet(expected, "it has not")
        stage.transcript.note("", f"returned: {WORDS[name]}, after {told.seconds:g} s")
        if told.error:
            raise Unmet(expected, f"it raised {told.error}")
        if name == "bear" and told.result:
            _await_end(stage, told.result)


def _await_end(stage: Stage, pid: int) -> None:
    """The host's own child has ended: a zombie that is not the server's, unless somebody has waited for it."""

    def ended() -> bool:
        facts = stage.observer.facts(pid)
        if facts is not None:
            stage.not_the_servers.add(Process(pid, facts.process.start))
        return facts is None or not facts.alive

    wait_for(ended, Deadline(stage.patience()))
