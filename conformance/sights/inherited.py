"""What the processes of a connection have from the server: signal masks, descriptors, and what it had still to print."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from forkecho.conformance.deadline import Deadline
from forkecho.conformance.observe import Process
from forkecho.conformance.sights.look import each
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import See
from forkecho.conformance.target import Running
from forkecho.conformance.verdict import Inapplicable, Unmet, Unobservable

__all__ = ["another_program", "descriptors", "files", "length", "not_repeated", "rest", "signals", "words"]

SLEEPS_WITHIN = 0.5  # seconds for a server, or a process of it, that has started to come to rest
OUTPUTS = ("stdout", "stderr")


def _executed(stage: Stage, name: str) -> set[Process]:
    """The processes of a connection that run another program than the listener's owner.

    Raises:
        Inapplicable: there are none.
        Unobservable: whether there are cannot be seen.
    """
    ours = stage.observer.image(stage.owner)
    images = {process: stage.observer.image(process) for process in stage.family(name)}
    hidden = [process for process, image in images.items() if image and not image[0]]
    if not ours or not ours[0] or any(stage.observer.alive(process) for process in hidden):
        raise Unobservable("which programs the server's processes run may not be looked at")
    found = {process for process, image in images.items() if image and image[0] and image != ours}
    if not found:
        raise Inapplicable("the server executes no other program for a connection")
    return found


def another_program(stage: Stage, name: str) -> bool | None:
    """All processes that were born for a connection run another program than the listener's owner; None: there are none."""
    ours = stage.observer.image(stage.owner)
    images = [
        image
        for process in stage.family(name)
        if stage.observer.alive(process) and (image := stage.observer.image(process))
    ]
    return all(image[0] and image != ours for image in images) if images else None


def _names(numbers: Iterable[int]) -> str:
    known = {int(one): one.name for one in signal.Signals}
    return ", ".join(known.get(number, str(number)) for number in sorted(numbers))


def signals(stage: Stage, step: See) -> None:
    """The programs that are executed for a connection have no signal blocked, and SIGPIPE not ignored."""

    def look(name: str) -> str:
        for process in sorted(_executed(stage, name)):
            masks = stage.observer.masks(process)
            if masks is None:
                raise Unobservable(f"the signals of process {process.pid} may not be looked at")
            if masks.blocked:
                return f"{stage.describe([process])} has {_names(masks.blocked)} blocked"
            if signal.SIGPIPE in masks.ignored:
                # A Python interpreter ignores it by itself, whatever it was given.
                if "python" in stage.observer.image(process)[0].rpartition("/")[2]:
                    raise Unobservable(f"process {process.pid} runs Python, which ignores SIGPIPE by itself")
                return f"{stage.describe([process])} ignores {_names(masks.ignored)}"
        return ""

    each(stage, step, "the program of connection {name} to start with its signals as usual", look)


def descriptors(stage: Stage, step: See) -> None:
    """The programs that are executed for a connection have no descriptor above 2 from the server.

    What they have opened themselves is theirs: only what other processes of the server hold as well, or the connection, counts.
    """

    def look(name: str) -> str:
        end = stage.endpoint(stage.connection(name))
        executed = _executed(stage, name)
        for process in sorted(executed):
            held = stage.observer.files(process)
            if not held:
                raise Unobservable(f"the descriptors of process {process.pid} may not be looked at")
            others = (stage.family(name) | stage.running.baseline) - {process}
            handed = {link for other in others for link in stage.observer.files(other).values()}
            handed |= {f"socket:[{end.key}]"} if end else set()
            extra = [
                f"{number} ({link})"
                for number, link in sorted(held.items())
                if number > 2 and _handed(link, handed)
            ]
            if extra:
                return f"{stage.describe([process])} has descriptor {', '.join(extra)}"
        return ""

    each(stage, step, "the program of connection {name} to get descriptors 0, 1 and 2 alone", look)


def _handed(link: str, handed: set[str]) -> bool:
    """It is one of those, and not by chance: devices, and what has no name of its own, look the same to everybody."""
    return link in handed and (
        link.startswith(("socket:", "pipe:")) or (link[:1] == "/" and link[:5] != "/dev/")
    )


def length(running: Running) -> dict[str, int]:
    """How much it has printed so far, by stream, in characters."""
    return {stream: len(running.output(stream)) for stream in OUTPUTS}


def files(running: Running) -> set[str]:
    """What there is in the folder that is the target's own."""
    assert running.folder
    return {str(path.relative_to(running.folder)) for path in running.folder.rglob("*")}


def rest(stage: Stage) -> None:
    """Wait for what was started to have begun, until nobody of the target wants to run; not for ever, since some always do."""
    stage.running.wait_for(lambda: not stage.running.busy(), Deadline(SLEEPS_WITHIN))


def words(stage: Stage) -> set[str]:
    """The lines that it has printed before any client came, numbers apart."""
    # Whether it still has something to say cannot be known: one that is missed is a fault missed, not a false one.
    rest(stage)
    return {line for stream in OUTPUTS for line in _lines(stage.running.output(stream))}


def _lines(text: str) -> list[str]:
    """Its lines as they would be for any port and process."""
    return [re.sub(r"[0-9]+", "#", line.strip()) for line in text.splitlines() if line.strip()]


def not_repeated(stage: Stage, step: See) -> None:
    """What was printed since the mark, by the processes of a connection, is nothing that the server had printed before it.

    The owner is stopped meanwhile, so that whatever has come, and whatever has gone from its folder, is their doing.
    """
    running = stage.running
    for stream in OUTPUTS:
        new = _lines(running.output(stream)[stage.marks["output"][stream] :])
        if again := [line for line in new if line in stage.marks["words"]]:
            raise Unmet(
                "a connection's process to print nothing that the server had to print before it",
                f"once more: {again[0]!r}",
            )
    if gone := stage.marks["files"] - files(running):
        raise Unmet("a connection's process to leave the server's files alone", f"{min(gone)} has gone")
