"""Starting a target, and waiting until it listens: as the kernel shows it, without a connection."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import sys
import time

from forkecho.conformance import limits, observe, port
from forkecho.conformance.address import Address, family_of, written
from forkecho.conformance.deadline import Deadline
from forkecho.conformance.guard import Guard
from forkecho.conformance.hosted import HOST, Hosted, HostLost
from forkecho.conformance.manifest import Family
from forkecho.conformance.observe import Process
from forkecho.conformance.target.builds import TAIL, Builds, fill
from forkecho.conformance.target.installed import require
from forkecho.conformance.target.named import NotInstalled, NotReady, NotSupported, Target
from forkecho.conformance.target.running import HOSTS, LOOPBACK_6, Running, root_of
from forkecho.conformance.world import USUAL, World

__all__ = ["begin", "launch", "local"]

SOCKET = "socket"  # the name of a UNIX socket in the target's folder
SETTLED = 0.003  # seconds in which a target that listens must start no further process to be called ready
#: The same, of one that wants to run all the time: it may be about to start one, and not be let.
RESTLESS = 1.0


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
        NotInstalled: what it needs is missing.
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
        NotInstalled: what it needs is missing.
        NotReady: it cannot be executed, or a build command failed.
        NotSupported: this host has no IPv6.
    """
    manifest = target.manifest
    require(target, python)
    family = family or manifest.families[0]
    if family in ("ipv6", "dual") and not local(LOOPBACK_6):
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
            running.launched = running.guard.launch(
                argv, env, cwd, folder, world, limits.allowed(running.limit), running.limit
            )
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
            same_for = time.monotonic() - before[0]
            # One that never rests, and has begun to listen late, is as ready as it will be.
            settled = same_for >= SETTLED and (same_for >= RESTLESS or deadline.passed or not running.busy())
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


def local(host: str) -> bool:
    """The address is one of this host: only then can it be bound."""
    with socket.socket(family_of((host, 0)), socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True
