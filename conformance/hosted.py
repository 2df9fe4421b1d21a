"""Our end of a host: a process that uses a server in process, and does with it what it is told (see `host.py`)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

__all__ = ["HOST", "HostLost", "Hosted", "Return"]

#: The program; `{suite}` stands for its folder.
HOST = Path(__file__).with_name("host.py")


class HostLost(RuntimeError):
    """The host takes no calls any more; says why."""


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """How a call has returned: after how many seconds, with which result, or with which error."""

    call: int
    name: str
    seconds: float
    result: int | None = None
    error: str = ""


class Hosted:
    """What is said to a host, and what it says.

    Args:
        folder: where it has made its pipe.
    """

    def __init__(self, folder: Path) -> None:
        self._calls = folder / "calls"
        self._returns = folder / "returns"
        self._count = 0

    def call(self, name: str) -> int:
        """Have a call made; its number.

        Raises:
            HostLost: nobody reads the pipe.
        """
        try:
            pipe = os.open(self._calls, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            raise HostLost(f"the host takes no calls: {error.strerror}") from None
        try:
            os.write(pipe, f"{name}\n".encode())
        finally:
            os.close(pipe)
        self._count += 1
        return self._count

    def returned(self, number: int) -> Return | None:
        """How the call of that number has returned; None while it has not."""
        with suppress(OSError):
            for line in self._returns.read_bytes().splitlines(keepends=True):
                if line.endswith(b"\n") and (told := msgspec.json.decode(line, type=Return)).call == number:
                    return told
        return None
