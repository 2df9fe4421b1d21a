"""Targets: a manifest from TOML, and the running server that it becomes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import msgspec

from forkecho.conformance import fixture, observe, port
from forkecho.conformance.address import Address, Place, family_of, is_unix, place_of, written
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guard import Guard
from forkecho.conformance.hosted import HOST, Hosted, HostLost
from forkecho.conformance.manifest import Family, Manifest
from forkecho.conformance.observe import Facts, Listener, Observer, Process
from forkecho.conformance.world import USUAL, Stream, World

__all__ = [
    "Builds",
    "NotInstalled",
    "NotReady",
    "NotSupported",
    "Running",
    "Target",
    "UnknownTarget",
    "attach",
    "begin",
    "known",
    "launch",
    "load",
    "start",
]

#: Where a server is told to listen, by the family that it is to serve; a dual one takes IPv4 clients on its IPv6 socket.
HOSTS: dict[Family, str] = {"ipv4": "127.0.0.1", "ipv6": "::1", "dual": "::"}
LOOPBACK_6 = "::1"
SOCKET = "socket"  # the name of a UNIX socket in the target's folder
Role = Literal["server", "client"]

#: The folders of bundled targets.
FOLDERS = {"server": "targets", "client": "clients"}

SETTLED = 0.003  # seconds in which a target that listens must start no further process to be called ready
STOP_WITHIN = 3.0  # seconds for an orderly end between cases; whoever takes longer is killed
Value = TypeVar("Value")

EXTENSIONS = (
    4  # of the time that a target on a loaded machine is given to start; one that spins has an end, too
)
WORTH_WAITING = 0.1  # of that time: who was kept from running for less has had its chance
TAIL = 400  # characters of a target's output that are shown


class UnknownTarget(LookupError):
    """There is no target of that name."""


class NotInstalled(RuntimeError):
    """The program that a target needs is missing; the text names the Debian package."""


class NotReady(RuntimeError):
    """The target did not listen in time; the text says what it did instead."""


class NotSupported(RuntimeError):
    """This host lacks what the launch needs; says what."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest with its name and the folder that `{here}` means."""

    name: str
    manifest: Manifest
    here: str = "."
    path: str = ""  # of a manifest that is the user's own
    connect: Address | None = None  # it runs already, there
    pid: int = 0  # of the owner of its listener, where that was said

    def describe(self) -> dict[str, Any]:
        """The manifest as used, for the record."""
        told: dict[str, Any] = {"name": self.name, **msgspec.to_builtins(self.manifest)}
        if self.path:
            told["manifest"] = self.path
        if self.connect:
            told["connect"] = written(self.connect)
        return told


def known(role: Role = "server") -> dict[str, Path]:
    """The bundled targets by name: servers, or clients."""
    return {path.stem: path for path in sorted(fixture.folder(FOLDERS[role]).glob("*.toml"))}


def load(name: str, role: Role = "server") -> Target:
    """The target of that name and role, or of that file, if it ends in `.toml`.

    Raises:
        UnknownTarget: there is no such name; lists those that there are.
        BadFixture: the file is malformed, or declares another role.
    """
    path = Path(name) if name.endswith(".toml") else known(role).get(name)
    if path is None:
        what = "client" if role == "client" else "target"
        raise UnknownTarget(
            f"there is no {what} {name!r} (there are {', '.join(known(role))}; or a file that ends in .toml)"
        )
    manifest = fixture.convert(fixture.read(path), Manifest, str(path))
    if not manifest.command:
        raise fixture.BadFixture(f"{path}: a target needs a command")
    if manifest.role != role:
        verb = "check" if manifest.role == "server" else "check-client"
        raise fixture.BadFixture(f"{path}: it declares a {manifest.role}: use `forkecho {verb}`")
    own = name if name.endswith(".toml") else ""
    return Target(name=path.stem, manifest=manifest, here=str(path.resolve().parent), path=own)


def fill(words: Iterable[str], tokens: Mapping[str, str]) -> list[str]:
    """`words` with each `{token}` and `@TOKEN@` replaced; other braces are left alone."""
    pattern = re.compile(
        "|".join(re.escape(f"{{{name}}}") + "|" + re.escape(f"@{name.upper()}@") for name in tokens)
    )
    return [pattern.sub(lambda found: tokens[found.group().strip("{}@").lower()], word) for word in words]


class Builds:
    """What the build commands of targets made: once a run, whoever asks first.

    Args:
        folder: where another process of the same run has built already.
    """

    def __init__(self, folder: str = "") -> None:
        self._lock = threading.Lock()
        self._ours = not folder
        self._folder = Path(folder) if folder else None
        self._done: dict[str, str] = {}
        self._guard: Guard | None = None

    @property
    def place(self) -> str:
        """The folder of all builds, empty while nothing was built."""
        return str(self._folder or "")

    def folder(self, target: Target, tokens: Mapping[str, str]) -> Path:
        """The `{build}` folder of a target, filled.

        Raises:
            NotReady: a build command failed; shows what it printed.
        """
        with self._lock:
            if self._folder is None:
                self._guard = Guard()
                self._folder = self._guard.folder("forkecho-build-")
            place = self._folder / target.name
            if target.name not in self._done and not self._ours:
                return place  # whoever made the folder has filled it
            if target.name not in self._done:
                place.mkdir(exist_ok=True)
                self._done[target.name] = self._build(target, {**tokens, "build": str(place)})
            if self._done[target.name]:
                raise NotReady(self._done[target.name])
            return place

    @staticmethod
    def _build(target: Target, tokens: Mapping[str, str]) -> str:
        for words in target.manifest.build:
            argv = fill(words, tokens)
            try:
                done = subprocess.run(
                    argv,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=300,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"build command {shlex.join(argv)}: {error}"
            if done.returncode:
                return f"build command {shlex.join(argv)} ended with {done.returncode}: {done.stderr.strip()[-TAIL:]}"
        return ""

    def close(self) -> None:
        """Take away what was built."""
        if self._folder and self._ours:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._done = None, {}
        if self._guard:
            self._guard.close()
            self._guard = None


class Running:
    """A target that listens.

    Attributes:
        address: where clients reach it.
        owner: the root of the processes that hold the listening socket; None where it cannot be observed.
        baseline: all processes of the target as they were before the first connection.
        observer: whom to ask about processes; None where there is nobody to ask.
    """

    def __init__(self, target: Target, address: Address, observer: Observer | None, guard: Guard) -> None:
        self.target = target
        self.manifest = target.manifest
        self.address = address
        self.observer = observer
        self.guard = guard
        self.owner: Process | None = None
        self.baseline: frozenset[Process] = frozenset()
        self.ours = False  # we started it, so we may end it
        self.launched = 0  # the PID of what the command became
        self.folder: Path | None = None
        self.world = USUAL
        #: Seconds that the owner is given to hand an accepted connection to a process of its own.
        self.handover = 3.0
        self.family: Family = target.manifest.families[0]  # what it listens on
        self.blind = ""  # why it cannot be observed
        self.limit = target.manifest.max_connections
        self.hosted: Hosted | None = None  # who uses it in process, and calls it as we say
        self._port: port.Port | None = None
        self._builds: Builds | None = None  # what was built is needed for as long as this runs

    @property
    def place(self) -> Place:
        """The port or the path that it listens on."""
        return place_of(self.address)

    @property
    def listens_on(self) -> str:
        """That in words."""
        return self.address[0] if is_unix(self.address) else f"port {self.address[1]}"

    def reached(self, via: str) -> Address:
        """Where clients of one family reach it; any family unless told."""
        return (HOSTS["ipv4"], self.address[1]) if via == "ipv4" else self.address

    def listeners(self) -> list[Listener]:
        """The sockets that listen there, whoever holds them; none where it cannot be observed."""
        return self.observer.listeners(self.place) if self.observer else []

    def alive(self, thorough: bool = False) -> list[Facts]:
        """The processes of the target that have not exited (of one that we did not start: those below its owner)."""
        if self.observer is None:
            return []
        root = self.guard.pid if self.ours else self.owner.pid if self.owner else 0
        found = [facts for facts in self.observer.descendants(root, thorough) if facts.alive] if root else []
        if not self.ours and self.owner and (facts := self.observer.facts(self.owner.pid)):
            found.insert(0, facts)
        return found

    def left(self, apart_from: Collection[Process] = frozenset()) -> set[Process]:
        """Who of the target is alive, apart from some. That nobody is takes the look that misses nobody."""
        quick = {facts.process for facts in self.alive()}.difference(apart_from)
        return quick or {facts.process for facts in self.alive(thorough=True)}.difference(apart_from)

    def settled(self) -> bool:
        """No process has come to the baseline; zombies do not count, whoever leaves them is judged for it elsewhere."""
        return {facts.process for facts in self.alive()} <= self.baseline

    def output(self, stream: str) -> str:
        """What it has printed so far, up to the bound."""
        if self.folder is None:
            return ""
        self.guard.sync()
        with suppress(OSError):
            return (self.folder / stream).read_text(errors="replace")
        return ""

    def wait_for(self, look: Callable[[], Value], deadline: Deadline) -> Value:
        """As `deadline.wait_for`, for what a target that starts must do, however loaded the machine is.

        The time in which its processes wanted to run and were not let is given to it once more, a few times at most.
        """
        seconds, waited = deadline.seconds, 0.0
        for _ in range(EXTENSIONS):
            if seen := wait_for(look, deadline):
                return seen
            before, waited = waited, self._waited()
            if waited - before < seconds * WORTH_WAITING:
                return seen
            deadline = Deadline(min(seconds, waited - before))
        return wait_for(look, deadline)

    def _waited(self) -> float:
        """Seconds for which its live processes have wanted to run and were not let; see `observe.Effort`."""
        if self.observer is None:
            return 0.0
        return sum(self.observer.effort(facts.process).waited for facts in self.alive())

    def announced(self) -> tuple[Stream, int] | None:
        """On which stream it has announced its port, and which; None while it has not, or need not."""
        if not self.manifest.announce:
            return None
        for stream in get_args(Stream):
            found = re.search(self.manifest.announce, self.output(stream))
            if found and found.group(1).isdecimal():
                return stream, int(found.group(1))
        return None

    def exit_status(self, process: Process) -> int | None:
        """How a process that we launched or inherited ended, as waitpid said."""
        return self.guard.status(process.pid)

    def stop(self, politely: bool = True) -> None:
        """End it if it is ours, and everything that came of it; nothing of it is alive afterwards."""
        try:
            if self.ours and politely and self.observer and self.owner and self.observer.alive(self.owner):
                owner, observer = self.owner, self.observer
                observer.send(owner, signal.SIGTERM)
                wait_for(lambda: not observer.alive(owner), Deadline(STOP_WITHIN))
            if self.ours:
                self.guard.end()
            else:
                self.guard.close()
        finally:
            self.ours = False
            # The guardian would a moment later; whoever asks now is to find nothing.
            if self.folder:
                shutil.rmtree(self.folder, ignore_errors=True)
            if self._port:
                self._port.release()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def root_of(processes: Iterable[Process], observer: Observer) -> Process | None:
    """The one that the others descend from; the oldest where they are not of one family."""
    members = {process.pid: process for process in processes}
    for process in sorted(members.values(), key=lambda process: (process.start, process.pid)):
        facts = observer.facts(process.pid)
        if facts is not None and facts.ppid not in members:
            return process
    return None


def require_program(target: Target) -> None:
    """The program that the target needs must be there.

    Raises:
        NotInstalled: it is not; names the Debian package.
    """
    needs = target.manifest.needs
    if needs and not shutil.which(needs.program):
        package = f" (Debian package: {needs.debian})" if needs.debian else ""
        raise NotInstalled(f"target {target.name} needs the program {needs.program!r}{package}")


def launch(
    target: Target,
    builds: Builds,
    *,
    scale: float = 1.0,
    python: str = sys.executable,
    max_connections: int = 0,
    family: Family | None = None,
    on: Address | None = None,
    world: World = USUAL,
    serving: bool = True,
) -> Running:
    """Start a target and wait until it listens, as the kernel shows it: no connection is made.

    Args:
        scale: what the deadline is multiplied with, if it is above 1.
        python: what `{python}` stands for.
        max_connections: what `{max-connections}` stands for, where it is not what the manifest says.
        family: what it is to listen on, where it is not the first that it declares.
        on: where, if it must be where an earlier launch was.
        world: what it inherits, where that is not the usual.
        serving: have one that is used in process serve.

    Raises:
        NotInstalled: its program is missing.
        NotReady: it did not listen in time.
        NotSupported: this host has no IPv6.
    """
    running = begin(
        target,
        builds,
        python=python,
        max_connections=max_connections,
        family=family,
        on=on,
        world=world,
    )
    try:
        # A scale below 1 is for what a target never does: to listen is not of that kind.
        _await_listener(running, Deadline(target.manifest.ready_within * max(1.0, scale)))
        if target.manifest.in_process and running.folder:
            running.hosted = Hosted(running.folder)
            if serving:
                running.hosted.call("serve")
    except HostLost as error:
        running.stop(politely=False)
        raise NotReady(f"target {target.name} is to be used in process: {error}") from None
    except BaseException:
        running.stop(politely=False)
        raise
    return running


def begin(
    target: Target,
    builds: Builds,
    *,
    python: str = sys.executable,
    max_connections: int = 0,
    family: Family | None = None,
    on: Address | None = None,
    taken: bool = False,
    world: World = USUAL,
) -> Running:
    """Start a target as `launch` does, and wait for nothing.

    Args:
        taken: its port is one that somebody else listens on.

    Raises:
        NotInstalled: its program is missing.
        NotReady: it cannot be executed, or a build command failed.
        NotSupported: this host has no IPv6.
    """
    manifest = target.manifest
    require_program(target)
    family = family or manifest.families[0]
    if family in ("ipv6", "dual") and not _local(LOOPBACK_6):
        raise NotSupported(f"this host has no IPv6, on which target {target.name} is to listen")
    guard = Guard()
    folder = guard.folder("forkecho-")
    reserved = None
    if family == "unix":
        address = on or (str(folder / SOCKET), 0)
        host = address[0]
    else:
        host = HOSTS[family]
        reserved = None if on or (manifest.announce and not taken) else port.reserve(host, taken=taken)
        number = on[1] if on else reserved.number if reserved else 0
        address = (LOOPBACK_6 if family == "dual" else host, number)
    tokens = {
        "host": host,
        "port": str(address[1]),
        "path": host if family == "unix" else "",
        "python": python,
        "here": target.here,
        "suite": str(HOST.parent),
        "dir": str(folder),
        "build": "",
        "max-connections": str(max_connections or manifest.demand),
    }
    running = Running(target, address, observe.here(), guard)
    running.folder, running._port, running._builds = folder, reserved, builds
    running.limit = max_connections or manifest.max_connections
    running.world, running.family = world, family
    try:
        if manifest.build:
            tokens["build"] = str(builds.folder(target, tokens))
        for name, text in manifest.files.items():
            (folder / name).write_text(fill([text], tokens)[0])
        argv = fill(manifest.command, tokens)
        names = tuple(manifest.env)
        env = {**os.environ, **dict(zip(names, fill(manifest.env.values(), tokens), strict=True))}
        env |= {"FORKECHO_HOST": host, "FORKECHO_PORT": str(address[1])}
        cwd = fill([manifest.cwd], tokens)[0]
        if not shutil.which(os.path.join(cwd, argv[0]) if "/" in argv[0] else argv[0], path=env.get("PATH")):
            raise NotInstalled(f"target {target.name}: there is no program {argv[0]!r} that can be executed")
        running.ours = True
        try:
            running.launched = running.guard.launch(argv, env, cwd, folder, world)
        except OSError as error:
            raise NotReady(f"{shlex.join(argv)}: {error}") from None
    except BaseException:
        running.stop(politely=False)
        raise
    return running


def _await_listener(running: Running, deadline: Deadline) -> None:
    """Wait until a descendant of what was launched holds a listener on the port; find the owner."""
    observer = running.observer
    assert observer is not None
    before: tuple[float, frozenset[Process]] = (0.0, frozenset())

    def look() -> str:
        nonlocal before
        family = {facts.process for facts in running.alive()}
        if running.place == 0:
            waited = deadline.left < deadline.seconds / 2
            running.address = (running.address[0], _picked_port(running, family, waited))
            if running.place == 0:
                return "" if family or running.left() else "ended"
        listeners = {one.key for one in running.listeners()}
        held = (
            observer.holders(listeners, [process.pid for process in family]) if listeners and family else {}
        )
        if owners := set().union(*held.values()) & family if held else set():
            running.owner = root_of(owners, observer)
            running.baseline = frozenset(facts.process for facts in running.alive())
            # A server that starts workers goes on doing so after it listens: the same family twice, a little apart.
            if running.baseline != before[1]:
                before = (time.monotonic(), running.baseline)
            settled = time.monotonic() - before[0] >= SETTLED
            return "ready" if running.owner and settled else ""
        # Of one that forks away a quick look may see nobody at the moment when the child between ends.
        return "" if family or running.left() else "ended"

    seen = running.wait_for(look, deadline)
    if seen != "ready":
        raise NotReady(_why_not(running, seen, deadline.seconds))


def _picked_port(running: Running, family: set[Process], waited: bool) -> int:
    """The port that a target has picked: what it announces, if it listens there; 0 while that is not known.

    That it must announce it, and truly, is judged (ADDR-01), not needed: if it has announced another, or cannot, or has been
    waited for in vain, it is the one port that it listens on, should there be but one.
    """
    assert running.observer is not None
    ports = {one.key: one.address[1] for one in running.observer.listeners(0)}
    held = running.observer.holders(ports, [process.pid for process in family])
    mine = {ports[key] for key, by in held.items() if by}
    announced = running.announced()
    if announced and announced[1] in mine:
        return announced[1]
    return mine.pop() if len(mine) == 1 and (announced or waited or running.world.mute) else 0


def _why_not(running: Running, seen: str, seconds: float) -> str:
    """What a target did instead of listening."""
    text = running.output("stderr").strip() or running.output("stdout").strip()
    last = text.splitlines()[-1].strip()[-TAIL:] if text else ""
    said = f"; the last it printed: {last!r}" if last else "; it printed nothing"
    if seen == "ended":
        status = running.guard.status(running.launched)
        how = "ended" if status is None else _ending(status)
        return f"the target {how} before it listened{said}"
    where = f"on {running.listens_on}" if running.place else "or announced a port"
    others = _other_listeners(running)
    instead = f"; it listens on {', '.join(others)} instead" if others else ""
    return f"the target has not listened {where} after {seconds:g} s{instead}{said}"


def _ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _other_listeners(running: Running) -> list[str]:
    """Where processes of the target listen that should have listened elsewhere."""
    observer = running.observer
    if observer is None:
        return []
    listeners = {one.key: one for one in observer.listeners(0)}
    held = observer.holders(listeners, [facts.process.pid for facts in running.alive()])
    return sorted(written(listeners[key].address) for key, by in held.items() if by)


def start(target: Target, builds: Builds, *, scale: float = 1.0, python: str = sys.executable) -> Running:
    """A target that listens: launched, or found where it runs already; see `launch` and `attach`."""
    return attach(target) if target.connect else launch(target, builds, scale=scale, python=python)


def attach(target: Target) -> Running:
    """A target that runs already: its owner is found in the kernel if it is on this host; it is never ended.

    Raises:
        NotReady: nobody listens there, or `--pid` names a process that does not hold the listener.
    """
    assert target.connect is not None
    observer = observe.here()
    running = Running(target, target.connect, observer, Guard())
    try:
        _find_owner(running, observer, target.pid)
    except BaseException:
        running.stop()
        raise
    return running


def _find_owner(running: Running, observer: Observer, pid: int) -> None:
    """Set owner and baseline, or say in `blind` why they cannot be known."""
    host, number = running.address
    if not _local(host):
        running.observer, running.blind = None, f"the target is on another host ({host})"
        if pid:
            raise NotReady(f"--pid {pid}: {host} is not an address of this host")
        return
    listeners = {one.key for one in observer.listeners(number) if one.address[0] in (host, "0.0.0.0", "::")}
    if not listeners:
        raise NotReady(f"nobody listens on {written(running.address)}")
    owners: set[Process] = set().union(*observer.holders(listeners).values())
    if pid:
        named = {process for process in owners if process.pid == pid}
        if not named:
            held = ", ".join(str(process.pid) for process in sorted(owners)) or "none that we may look at"
            raise NotReady(f"--pid {pid} does not hold the listener of port {number} (those that do: {held})")
        owners = named
    owner = root_of(owners, observer)
    if owner is None:
        running.observer, running.blind = None, "the listener belongs to a process that we may not look at"
        return
    running.owner = owner
    running.baseline = frozenset(
        {owner} | {facts.process for facts in observer.descendants(owner.pid) if facts.alive}
    )


def _local(host: str) -> bool:
    """The address is one of this host: only then can it be bound."""
    with socket.socket(family_of((host, 0)), socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
