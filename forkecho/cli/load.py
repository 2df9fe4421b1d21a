"""Load by Locust: its master and its workers as processes of their own, and what they have counted."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from forkecho.conformance import port
from forkecho.conformance.bench import Ended

__all__ = ["Load", "NoLocust", "locust_window", "require_locust"]

JOINS_WITHIN = 60  # seconds for all workers to have joined, those on other machines among them
ENDS_WITHIN = 30.0  # seconds from the end of the window to the result
STOPS_WITHIN = 5  # seconds for connections that are open then
LOOPBACK = "127.0.0.1"


class NoLocust(RuntimeError):
    """Locust is not installed; says what to install."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted.

    Attributes:
        latencies: whole connections, by their latency in microseconds, of three digits.
        errors: the others, by what was wrong.
        seconds: how long that was.
        busy: seconds on a processor, of all workers.
    """

    latencies: dict[int, int]
    errors: dict[str, int]
    seconds: float
    busy: float

    @property
    def connections(self) -> int:
        """Whole ones."""
        return sum(self.latencies.values())

    def told(self, workers: int) -> dict[str, Any]:
        """The same as the program `forkecho.conformance.bench.generator` tells it, of so many workers.

        How many connections there were from first to last is not known, so that they are told as none: what one has cost the
        server cannot be said.
        """
        return {
            "connections": self.connections,
            "seconds": self.seconds,
            "latencies": sorted(Counter(self.latencies).elements()),
            "errors": self.errors,
            "all": 0,
            "busy": self.busy / (workers * self.seconds) if self.seconds else 0.0,
        }


def require_locust() -> None:
    """Complain if it is not there.

    Raises:
        NoLocust: see there.
    """
    if importlib.util.find_spec("locust") is None:
        raise NoLocust("Locust is not installed: pip install 'forkecho[load]'")


def locust_window(
    host: str,
    number: int,
    reply: str,
    *,
    clients: int,
    seconds: float,
    warm_up: float = 0.0,
    workers: int = 1,
    others: int = 0,
    bind: tuple[str, int] | None = None,
) -> Load:
    """The load of so many clients on a server, through workers of Locust, each a process.

    Args:
        host, number: of the server.
        reply: how it replies.
        clients: in all workers together.
        seconds: of the window, after `warm_up`.
        workers: that are started here.
        others: that will join from elsewhere.
        bind: where the master listens for workers; a free port of loopback, where none but ours are to join.

    Raises:
        NoLocust: see there.
        Ended: it has left no result.
    """
    require_locust()
    with ExitStack() as stack:
        held = None if bind else port.reserve(LOOPBACK)
        if held:
            stack.callback(held.release)
        master = bind or (LOOPBACK, held.number if held else 0)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forkecho-")))
        target = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        words = [
            *("--master", "--headless", "--host", target, "--reply", reply),
            *("--master-bind-host", master[0], "--master-bind-port", str(master[1])),
            *("--expect-workers", str(workers + others), "--expect-workers-max-wait", str(JOINS_WITHIN)),
            *("--users", str(clients), "--spawn-rate", str(clients)),
            *("--run-time", f"{math.ceil(warm_up + seconds) + 2}s", "--stop-timeout", str(STOPS_WITHIN)),
            *("--warm-up", str(warm_up), "--window", str(seconds), "--result", str(folder / "result")),
        ]
        reached = LOOPBACK if master[0] in ("0.0.0.0", "*", "::") else master[0]
        joining = ("--worker", "--master-host", reached, "--master-port", str(master[1]))
        leading = stack.enter_context(_locust(words, folder, "master"))
        for at in range(workers):
            stack.enter_context(_locust(joining, folder, f"worker-{at}"))
        try:
            leading.wait(JOINS_WITHIN + warm_up + seconds + ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            raise Ended(f"Locust did not end in time: {_last(folder)}") from None
        try:
            found = msgspec.json.decode((folder / "result").read_bytes(), type=Load)
        except (OSError, msgspec.DecodeError):
            raise Ended(f"Locust has left no result: {_last(folder)}") from None
        if found.seconds <= 0:
            raise Ended("Locust's clients were not all there in time")
        return found


@contextmanager
def _locust(words: Sequence[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of Locust in a session of its own; it has ended afterwards, and all that it started."""
    file = str(files("forkecho") / "locustfile.py")
    # What is set for others' runs of Locust is not for ours.
    env = {key: value for key, value in os.environ.items() if not key.startswith("LOCUST_")}
    with (folder / name).open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "locust",
                "-f",
                file,
                *words,
                "--loglevel",
                "WARNING",
                "--only-summary",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            cwd=folder,  # whatever locust.conf is in the current one is not ours
            env=env,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(folder: Path) -> str:
    """The last words of a process that had any."""
    for path in sorted(folder.glob("[mw]*")):
        if lines := path.read_text(errors="replace").strip().splitlines():
            return lines[-1]
    return "and said nothing"
