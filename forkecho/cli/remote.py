"""The far end of a gateway: says what is there, keeps what is sent, and plays a run at a time.

What is imported here is what both ends must have alike, which `PROTOCOL` stands for.
"""

from __future__ import annotations

import os
import platform
import queue
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from forkecho.cli.followed import CLOSES_WITHIN
from forkecho.cli.judging import CHECK, NOT_FOR_IT, POLL, TAIL
from forkecho.conformance import session, target
from forkecho.conformance.guard import Guard
from forkecho.conformance.plan import spec_digest

if TYPE_CHECKING:
    from execnet import Channel

__all__ = ["BEAT", "DEAF_AFTER", "HEARD", "PROTOCOL", "hello", "keep", "lacking", "play"]

PROTOCOL = 2  # of what is said through a gateway
BEAT = 5.0  # seconds between two signs of life from the near end
#: Seconds without one: a connection that was cut is not always told to us, and what runs here must not run on for nobody.
DEAF_AFTER = 30.0

#: From a word of the near end to what it means for the run.
END, KILL, ALIVE, HEARD = "end", "kill", "alive", "heard"

_kept: list[Guard] = []  # they take the folders away when this process has gone, however it went


def hello() -> dict[str, Any]:
    """Which forkecho this is, and where."""
    return {
        "protocol": PROTOCOL,
        "spec": spec_digest(),
        "host": {**session.host(), "name": platform.node()},
    }


def keep(channel: Channel) -> None:
    """Take a few small files, make a folder for them and for what is sent later, and say where; it goes when we do."""
    files: Mapping[str, bytes] = channel.receive()
    guard = Guard()
    _kept.append(guard)
    place = guard.folder("forkecho-gateway-")
    for name, octets in files.items():
        (place / name).write_bytes(octets)
    channel.send(str(place))


def lacking(channel: Channel) -> None:
    """Say of each target that is named what it needs and this host has not."""
    words: list[str] = channel.receive()
    channel.send([target.lacking(target.load(word), sys.executable) for word in words])


def play(channel: Channel) -> None:
    """Play a run in a process and a session of its own, and pass on what it tells.

    In come the words for `forkecho check`, the folder it is to be played in (empty: where this process is), and how many
    seconds without a word from the near end end it; then END, KILL and ALIVE. Out go `("told", bytes)`, lines of the record,
    and at the end `("ended", exit code, last words)`, to which the answer is HEARD, or `("failed", reason)`.
    """
    words, folder, deaf_after = channel.receive()
    try:
        run = _Run(words, folder)
    except OSError as error:
        channel.send(("failed", error.strerror or str(error)))
        return
    orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    channel.setcallback(orders.put, endmarker=None)
    heard = time.monotonic()
    try:
        while not run.over:
            for octets in run.listen():
                channel.send(("told", octets))
            with suppress(queue.Empty):
                while True:
                    order = orders.get_nowait()
                    heard = time.monotonic()
                    if order == KILL:
                        run.kill()
                    elif order != ALIVE:  # END, or that nobody is there any more
                        run.end()
            if time.monotonic() - heard > deaf_after:
                raise TimeoutError
        channel.send(("ended", run.process.returncode, run.errors))
        # A run may be over before anybody can be missed; then it is missed that nobody takes the end.
        _await_heard(orders, deaf_after)
    except OSError:  # nobody listens any more
        run.close()
        os._exit(1)  # nor is there anybody who would let this process go
    finally:
        run.close()


def _await_heard(orders: queue.SimpleQueue[str | None], seconds: float) -> None:
    try:
        while orders.get(timeout=seconds) not in (HEARD, None):
            pass
    except queue.Empty:
        raise TimeoutError from None


class _Run:
    """A process of `forkecho check` with our ends of its descriptors."""

    def __init__(self, words: list[str], folder: str) -> None:
        self.errors = b""
        lifeline, self._lifeline = os.pipe()
        self._told, telling = os.pipe()
        try:
            self.process = subprocess.Popen(
                [*CHECK, *words, "--stream", str(telling), "--lifeline", str(lifeline)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[telling, lifeline],
                start_new_session=True,
                cwd=folder or None,
                env={name: value for name, value in os.environ.items() if name not in NOT_FOR_IT},
            )
        except OSError:
            os.close(self._lifeline)
            os.close(self._told)
            raise
        finally:
            os.close(lifeline)
            os.close(telling)
        self._ending = 0.0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._told, selectors.EVENT_READ)
        assert self.process.stderr
        self._stderr = self.process.stderr.fileno()
        os.set_blocking(self._stderr, False)

    @property
    def over(self) -> bool:
        """It has ended, and all that it told was heard."""
        return self._told < 0 and self.process.poll() is not None

    def listen(self) -> list[bytes]:
        """What it has told since, after a moment of waiting."""
        if self._ending and time.monotonic() - self._ending > CLOSES_WITHIN:
            self.kill()
        found = []
        for _ in self._selector.select(POLL):
            if octets := os.read(self._told, 1 << 16):
                found.append(octets)
            else:
                self._selector.unregister(self._told)
                os.close(self._told)
                self._told = -1
        with suppress(BlockingIOError):
            while octets := os.read(self._stderr, 1 << 16):
                self.errors = (self.errors + octets)[-TAIL:]
        return found

    def end(self) -> None:
        """Let it end, and close its record."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
            self._ending = time.monotonic()
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)  # one that is stopped would not notice

    def kill(self) -> None:
        """End it and its workers; a guardian ends the rest."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Nothing of it is left; a run that still goes on may close first what it has opened."""
        self.end()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(CLOSES_WITHIN)
        self.kill()
        self.process.wait()
        if self._told >= 0:
            os.close(self._told)
        self._selector.close()
        assert self.process.stderr
        self.process.stderr.close()
