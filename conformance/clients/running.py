"""A client that was started: what it prints, how it ends, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress

from forkecho.conformance import observe
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.observe import Facts
from forkecho.conformance.target import Builds, NotReady, Target, fill, require
from forkecho.conformance.world import World

__all__ = ["LOOPBACK", "Client", "prepare", "start"]

LOOPBACK = "127.0.0.1"  # where a client finds its server


class Client:
    """A client under a guardian of its own, which ends it, and all that came of it, whatever happens.

    Attributes:
        pid: of what the command became.
        ending: how it ended, in words; empty while it runs.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.guard = Guard()
        self.folder = self.guard.folder("forkecho-")
        self.observer = observe.here()
        self.pid = 0
        self.ending = ""
        self._status: int | None = None

    @property
    def ended(self) -> bool:
        """It has ended; what it left behind may live on."""
        if self._status is None:
            self._status = self.guard.status(self.pid)
            if self._status is not None:
                self.ending = in_words(self._status)
        return self._status is not None

    @property
    def code(self) -> int | None:
        """Its exit status, negative for the signal that killed it; None while it runs."""
        return os.waitstatus_to_exitcode(self._status) if self.ended and self._status is not None else None

    def await_end(self, deadline: Deadline) -> bool:
        """It has ended by the deadline."""
        return wait_for(lambda: self.ended, deadline)

    def output(self, stream: str) -> bytes:
        """What it has printed so far, up to the bound."""
        self.guard.sync()
        with suppress(OSError):
            return (self.folder / stream).read_bytes()
        return b""

    def left(self) -> list[Facts]:
        """The processes of it that live, itself among them."""
        return [facts for facts in self.observer.descendants(self.guard.pid, thorough=True) if facts.alive]

    def stop(self) -> None:
        """End it, and everything that came of it."""
        try:
            self.guard.end()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def in_words(status: int) -> str:
    """A wait status for people."""
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _argv(target: Target, builds: Builds, words: Iterable[str], tokens: dict[str, str]) -> list[str]:
    """The client's command line; what it is built from is built at the first need."""
    if target.manifest.build:
        tokens["build"] = str(builds.folder(target, tokens))
    return fill(words, tokens)


def _tokens(target: Target, python: str) -> dict[str, str]:
    return {"python": python, "here": target.here, "build": ""}


def prepare(target: Target, builds: Builds, *, python: str = sys.executable) -> None:
    """Build the client, and see that its program exists: it is not started, since there is nobody to talk to yet.

    Raises:
        NotInstalled: what its manifest says that it needs is missing.
        NotReady: it cannot be built, or the command names no program.
    """
    require(target, python)
    argv = _argv(target, builds, target.manifest.command[:1], _tokens(target, python))
    place = os.path.join(target.manifest.cwd, argv[0]) if "/" in argv[0] else argv[0]
    if not shutil.which(place):
        raise NotReady(f"the command {argv[0]!r} is not found, or may not be executed")


def start(
    target: Target, builds: Builds, port: int, message: bytes, *, python: str = sys.executable
) -> Client:
    """Start a client with a message for the server on a port of loopback.

    Raises:
        NotInstalled: see `prepare`.
        NotReady: it cannot be started.
    """
    require(target, python)
    manifest = target.manifest
    client = Client(target)
    try:
        tokens = {
            **_tokens(target, python),
            "host": LOOPBACK,
            "port": str(port),
            "dir": str(client.folder),
            # As it would come from a shell: the bytes, in whatever encoding.
            "message": os.fsdecode(message),
        }
        given = client.folder / "stdin"
        given.write_bytes(message if manifest.stdin else b"")
        argv = _argv(target, builds, manifest.command, tokens)
        for name, text in manifest.files.items():
            (client.folder / name).write_text(fill([text], tokens)[0])
        names = tuple(manifest.env)
        env = {**os.environ, **dict(zip(names, fill(manifest.env.values(), tokens), strict=True))}
        env |= {"FORKECHO_HOST": LOOPBACK, "FORKECHO_PORT": str(port)}
        cwd = fill([manifest.cwd], tokens)[0]
        try:
            client.pid = client.guard.launch(argv, env, cwd, client.folder, World(stdin=str(given)))
        except OSError as error:
            raise NotReady(f"the client cannot be started: {error}") from None
    except BaseException:
        client.stop()
        raise
    return client
