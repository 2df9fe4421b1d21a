"""The verbs of a client's case: what the suite does as its server, and what the client must have done then."""

from __future__ import annotations

from typing import Literal

import msgspec

from forkecho.conformance.step import Step

__all__ = [
    "ARGUMENT_MAX",
    "CLIENT_VERBS",
    "Answer",
    "Demand",
    "Finish",
    "Flood",
    "Message",
    "Pause",
    "Relay",
    "Run",
    "Take",
]

#: What Linux takes as one argument of a program, in bytes, the NUL at its end among them (execve(2)).
ARGUMENT_MAX = 131072

Pieces = Literal["whole", "prefix", "halves", "bytes", "numbers"]


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """A message to be made: exactly one of the fields.

    `text` is UTF-8, `letters` so many letters and digits by chance, `hex` octets in hexadecimal, `every-byte` how often 0
    to 255 is run through; without the 0 where the message is an argument, which cannot hold it.
    """

    text: str | None = None
    letters: int | None = None
    hex: str | None = None
    every_byte: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a message is exactly one of text, letters, hex, every-byte")
        if self.hex is not None:
            bytes.fromhex(self.hex)

    @property
    def length(self) -> int:
        """How many bytes it will be at most."""
        if self.text is not None:
            return len(self.text.encode())
        if self.hex is not None:
            return len(bytes.fromhex(self.hex))
        return 256 * self.every_byte if self.every_byte is not None else self.letters or 0


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
