"""The verbs of a client's case: what the suite does as its server, and what the client must have done then."""

from __future__ import annotations

from typing import Literal

from forkecho.conformance.payload import Message
from forkecho.conformance.step import Step

__all__ = [
    "ARGUMENT_MAX",
    "CLIENT_VERBS",
    "Answer",
    "Demand",
    "Finish",
    "Flood",
    "Pause",
    "Relay",
    "Run",
    "Take",
]

#: What Linux takes as one argument of a program, in bytes, the NUL at its end among them (execve(2)).
ARGUMENT_MAX = 131072

Pieces = Literal["whole", "prefix", "halves", "bytes", "numbers"]


class Run(Step, frozen=True, kw_only=True):
    """Listen, and start the client with a message; once more in the same case, when the one before has been judged.

    The prefix of the answer will name `pid` and `ppid`. `refused`: nobody listens. `small`: the server has small buffers.
    """

    run: Message
    pid: int = 4711
    ppid: int = 4242
    refused: bool = False
    small: bool = False


class Take(Step, frozen=True, kw_only=True):
    """Read from the client: its whole `message`, or up to the `end` of its direction; `nothing-more` may come until then."""

    take: Literal["message", "end", "nothing-more"]


class Answer(Step, frozen=True, kw_only=True):
    """Send a reply, or what stands in for one.

    `pieces`: how it is cut. The client has read each piece before the next is sent, where that can be seen. `prefix` cuts
    after the prefix, `numbers` within and after each of its numbers.
    """

    answer: Literal["echo", "prefix", "half", "altered", "swapped", "shortened"]
    pieces: Pieces = "whole"


class Relay(Step, frozen=True, kw_only=True):
    """Echo as it comes: read so many bytes at the most, send them, and read on only when the client has read them.

    This is how a server and a path behave that keep next to nothing: whoever does not read cannot write on.
    """

    relay: int


class Flood(Step, frozen=True, kw_only=True):
    """Repeat the message for ever; a client that takes so many bytes will never have enough."""

    flood: int


class Finish(Step, frozen=True, kw_only=True):
    """End the connection: an `end` of our direction (FIN), or a `reset` (RST)."""

    finish: Literal["end", "reset"]


class Pause(Step, frozen=True, kw_only=True):
    """Be silent for a part of the time after which the client gives up; until then it must not."""

    pause: float


class Demand(Step, frozen=True, kw_only=True):
    """What the client must have done, and that it has ended; by a deadline of `within` seconds."""

    expect: Literal["end", "printed", "success", "error", "explained", "given-up", "nobody-left"]
    within: float = 0.0


#: From the key that makes a table a step to the record that it becomes.
CLIENT_VERBS: dict[str, type[Step]] = {
    "run": Run,
    "take": Take,
    "answer": Answer,
    "relay": Relay,
    "flood": Flood,
    "finish": Finish,
    "pause": Pause,
    "expect": Demand,
}
