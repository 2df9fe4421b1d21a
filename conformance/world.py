"""The world that a target is launched into, where it is not the usual one."""

from __future__ import annotations

import signal
from typing import Literal

import msgspec

__all__ = ["USUAL", "Stream", "World"]

Stream = Literal["stdout", "stderr"]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What a launcher may leave to the server that it starts; by default what a careful one does.

    Attributes:
        ignored: signals whose disposition is SIG_IGN; all others have their default (execve(2) keeps both).
        closed: standard descriptors that are not open.
        full: the stream that is a full pipe which nobody reads (pipe(7)), or none.
        terminal: standard output is a terminal, so that stdio writes line by line (setvbuf(3)).
        stdin: the file that is its standard input; /dev/null where it is empty.
    """

    ignored: tuple[signal.Signals, ...] = ()
    closed: tuple[int, ...] = ()
    full: Stream | Literal[""] = ""
    terminal: bool = False
    stdin: str = ""

    @property
    def mute(self) -> bool:
        """What it prints may not come to be read."""
        return bool(self.full or {1, 2} & set(self.closed))

    def __str__(self) -> str:
        """In words, for a sentence; nothing of the usual one."""
        told = [f"with {one.name} ignored" for one in self.ignored]
        if self.closed:
            told.append(f"with descriptor {', '.join(map(str, self.closed))} closed")
        if self.full:
            told.append(f"with {self.full} a full pipe that nobody reads")
        if self.terminal:
            told.append("with a terminal as stdout")
        return " and ".join(told)


#: What a careful launcher leaves to a server.
USUAL = World()
