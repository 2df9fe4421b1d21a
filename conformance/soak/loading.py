"""Our end of the load: starts the program, tells it when to go and when to rest, and hears what became of its connections."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

import msgspec

from forkecho.conformance.soak.load import PATIENCE, Order, Told

__all__ = ["LoadLost", "Loading"]

#: Seconds for all clients to have gone: the longest of them may wait for its echo twice, and for the end.
RESTS_WITHIN = 4 * PATIENCE
ENDS_WITHIN = 5.0  # seconds


class LoadLost(RuntimeError):
    """The load does not answer: the suite's own fault."""


class Loading:
    """A load that runs; it ends with us, however that happens, since it reads from us.

    Args:
        order: what it is to be.
    """

    def __init__(self, order: Order) -> None:
        self.told = Told()
        self._news = threading.Condition()
        self._gone = False
        # -P: the folder where we are called may have another forkecho in it. A session of its own: Ctrl-C is for us.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "forkecho.conformance.soak.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._say(msgspec.json.encode(order))

    @property
    def served(self) -> int:
        """Connections that were served so far."""
        return self.told.counts.get("served", 0)

    def go(self) -> None:
        """Begin, or go on."""
        with self._news:
            self.told = msgspec.structs.replace(self.told, resting=False)
        self._say(b"go")

    def rest(self) -> None:
        """Have all clients go, and return when they have.

        Raises:
            LoadLost: they have not after a long time.
        """
        self._say(b"rest")
        with self._news:
            done = self._news.wait_for(lambda: self.told.resting or self._gone, RESTS_WITHIN)
        if not done or self._gone:
            raise LoadLost(f"the load does not answer{': ' + self.told.error if self.told.error else ''}")

    def wait_for(self, opened: int, seconds: float) -> None:
        """Return when so many connections were opened, or after so many seconds."""
        with self._news:
            self._news.wait_for(lambda: self._gone or self.told.counts.get("opened", 0) >= opened, seconds)

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(ENDS_WITHIN)
        if self._process.stdout:
            self._process.stdout.close()

    def _say(self, word: bytes) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(word + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise LoadLost(f"the load has gone: {self.told.error or error}") from None

    def _listen(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._news:
                self.told = msgspec.json.decode(line, type=Told)
                self._news.notify_all()
        with self._news:
            self._gone = True
            self._news.notify_all()
