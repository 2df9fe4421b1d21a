"""Ports for targets: below the ephemeral range, one target each, clean."""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress

from forkecho.conformance.address import family_of

__all__ = ["Port", "reserve"]

#: Clients' own ports come from 32768 up on Linux and from 49152 up elsewhere, so none of these is taken by chance.
RANGE = (15000, 31000)
REST = 60.0  # seconds before a port is used again: what a former target left in TIME_WAIT is gone by then
_used: dict[int, float] = {}
_chance = random.Random()  # by the clock: two runs at a time must not try the same ports in the same order


class Port:
    """A port that is ours until it is released."""

    def __init__(
        self, number: int, lock: socket.socket | None, listener: socket.socket | None = None
    ) -> None:
        self.number = number
        self._held = [one for one in (lock, listener) if one]

    def release(self) -> None:
        """Let others have it."""
        for one in self._held:
            one.close()


def reserve(host: str, *, taken: bool = False) -> Port:
    """A port on which nobody listens and no old connection lingers, locked against other runs on this machine.

    Args:
        taken: we listen on it ourselves until it is released, so that a target cannot; without SO_REUSEPORT, so that one
            which sets it cannot either (socket(7)).

    Raises:
        OSError: none is to be had; the text says so.
    """
    for _ in range(1000):
        number = _chance.randrange(*RANGE)
        if time.monotonic() - _used.get(number, -REST) < REST:
            continue
        lock = None
        with suppress(OSError):
            # An abstract UNIX socket (unix(7)) goes with its process: no file to leave behind. Where there are none,
            # a clash is as rare as two equal draws of sixteen thousand.
            lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lock.bind(f"\0forkecho-port-{number}")
            except OSError:
                lock.close()
                continue
        # Without SO_REUSEADDR even a connection in TIME_WAIT stands in the way, as it would for the target.
        probe = socket.socket(family_of((host, 0)), socket.SOCK_STREAM)
        try:
            probe.bind((host, number))
            if taken:
                probe.listen()
        except OSError:
            probe.close()
            if lock:
                lock.close()
            continue
        if not taken:
            probe.close()
        _used[number] = time.monotonic()
        return Port(number, lock, probe if taken else None)
    raise OSError(f"no free port on {host} between {RANGE[0]} and {RANGE[1]} after 1000 tries")
