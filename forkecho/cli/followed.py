"""A run that is followed from afar: what it tells of itself as it goes on, and that it ends when nobody follows any more."""

from __future__ import annotations

import os
import signal
import threading

import msgspec

from forkecho.conformance import result
from forkecho.conformance.result import CaseLine, Header, Run

__all__ = ["CLOSES_WITHIN", "Stream", "end_with"]

CLOSES_WITHIN = (
    30.0  # seconds from being told to end to a closed record; nine have been seen on a loaded machine
)


class Stream:
    """The lines of a record through a descriptor, each as soon as it is known; then the whole record, which begins anew."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self._encoder = msgspec.json.Encoder()
        self._torn = self._unread = False

    def line(self, line: Header | CaseLine) -> None:
        """A line that is known by now; a result may still be told otherwise by the whole."""
        self._write(self._encoder.encode(line) + b"\n")

    def whole(self, run: Run) -> None:
        """The record."""
        self._write(result.dump(run).encode())

    def _write(self, octets: bytes) -> None:
        if self._unread:
            return
        # A line that an interrupt has cut stays a line of its own, which is none.
        octets = b"\n" + octets if self._torn else octets
        self._torn = True
        try:
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]
            self._torn = False
        except BrokenPipeError:
            self._unread = True  # that nobody follows ends the run by another way


def end_with(descriptor: int) -> None:
    """From now on this process ends, with its record closed, when the other end of a descriptor is closed; its session after it."""
    os.set_inheritable(descriptor, False)
    # Whoever started us may be deaf to Ctrl-C; our workers are ended by it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_watch, args=(descriptor,), daemon=True).start()


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(CLOSES_WITHIN)
    if os.getsid(0) == os.getpid():  # it is ours alone
        os.killpg(0, signal.SIGKILL)
