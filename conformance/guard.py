"""Our end of the guardians: ask for one, and speak to it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forkecho.conformance.observe import Process
from forkecho.conformance.world import World

__all__ = ["Guard", "GuardianLost"]

#: Seconds for one answer; only `end` takes longer than a moment, and has a bound of its own (10 s).
ANSWER_WITHIN = 30.0


class GuardianLost(RuntimeError):
    """A guardian does not answer: the suite's own fault."""


class _Nursery:
    """The one process from which guardians are forked; started at the first need, ends when this process does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._owner = 0

    def guardian(self) -> socket.socket:
        """A channel to a guardian of its own."""
        ours, theirs = socket.socketpair()
        with self._lock, theirs:
            if self._requests is None or self._owner != os.getpid():
                self._requests = self._start()
                self._owner = os.getpid()
            try:
                socket.send_fds(self._requests, [b"g"], [theirs.fileno()])
            except OSError:
                self._requests = self._start()  # it was killed; the next one does as well
                socket.send_fds(self._requests, [b"g"], [theirs.fileno()])
        return ours

    @staticmethod
    def _start() -> socket.socket:
        ours, theirs = socket.socketpair()
        script = Path(__file__).with_name("guardian.py")
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        # It outlives us on purpose, so it is nobody's to wait for; without this, Popen warns when it is collected.
        process.returncode = 0
        return ours


_nursery = _Nursery()


class Guard:
    """One guardian, as seen by the suite."""

    def __init__(self) -> None:
        self._channel = _nursery.guardian()
        self._channel.settimeout(ANSWER_WITHIN)
        self._answers = self._channel.makefile("rb")
        self._lock = threading.Lock()
        self.pid = int(self._ask("who")["pid"])

    def _ask(self, operation: str, **details: object) -> dict[str, Any]:
        with self._lock:
            try:
                self._channel.sendall(json.dumps({"op": operation, **details}).encode() + b"\n")
                line = self._answers.readline()
            except OSError as error:
                raise GuardianLost(f"the guardian does not answer: {error}") from None
        if not line:
            raise GuardianLost("the guardian has gone; was it killed?")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def launch(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        folder: Path,
        world: World,
        descriptors: int = 0,
        connections: int = 0,
    ) -> int:
        """Start the target; its PID. Its output goes to `stdout` and `stderr` in `folder`.

        Args:
            descriptors: its soft limit, 0 for ours.
            connections: how many it is to serve at once, which takes processes.

        Raises:
            OSError: the command cannot be started.
        """
        answer = self._ask(
            "launch",
            argv=argv,
            env=env,
            cwd=cwd,
            folder=str(folder),
            descriptors=descriptors,
            connections=connections,
            world={
                "ignore": [int(one) for one in world.ignored],
                "close": list(world.closed),
                "full": world.full,
                "terminal": world.terminal,
                "stdin": world.stdin,
            },
        )
        if "error" in answer:
            raise OSError(answer["error"])
        return int(answer["pid"])

    def status(self, pid: int) -> int | None:
        """What waitpid said of it: a wait status, None while it runs or was never the guardian's to wait for."""
        status: int | None = self._ask("status", pid=pid)["status"]
        return status

    def sync(self) -> None:
        """Return once what the target has printed so far is in its files."""
        self._ask("sync")

    def folder(self, prefix: str) -> Path:
        """A new folder for temporary files, which is gone when we are, however we end."""
        return Path(self._ask("folder", above=tempfile.gettempdir(), prefix=prefix)["folder"])

    def frozen(self, processes: Iterable[Process]) -> None:
        """Say what is to be thawed if we are killed now."""
        self._ask("frozen", pids=[list(process) for process in processes])

    def limit(self, what: str, processes: Iterable[Process] = ()) -> None:
        """Let these processes have no more `descriptors`, or the target no more `processes`, until `lift` or the end.

        Raises:
            PermissionError: that cannot be done here; the text says what it takes.
        """
        answer = self._ask("limit", what=what, pids=[list(process) for process in processes])
        if "error" in answer:
            raise PermissionError(answer["error"])

    def lift(self, what: str) -> None:
        """Give back what `limit` has taken."""
        self._ask("lift", what=what)

    def end(self) -> list[int]:
        """Kill everything that was launched and everything below it; the PIDs that are left, normally none."""
        try:
            left: list[int] = self._ask("end")["left"]
        finally:
            self.close()
        return left

    def close(self) -> None:
        """Let the guardian go; it clears away behind itself."""
        self._answers.close()
        self._channel.close()
