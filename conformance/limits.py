"""What may run out when there are thousands of connections: descriptors, ports and processes, asked before it does.

Our own limit of descriptors is raised as far as it goes. What cannot be raised is named, and then nothing is judged: that
a machine has no room is no fault of the server.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["WORTH_ASKING", "allowed", "lack"]

WORTH_ASKING = 32  # connections: there is room for fewer, or nothing would run at all
SPARE = 64  # descriptors and processes besides those of connections
SOURCES = 8  # addresses of loopback that clients may come from, once the ports of the first are taken
CGROUPS = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")  # version 1, version 2

#: What we were started with, soft and hard: before anything is raised, as this is imported first.
STARTED_WITH = resource.getrlimit(resource.RLIMIT_NOFILE)


def allowed(declared: int) -> int:
    """How many descriptors a target may have, that declares so many connections.

    As many as it would have had without us, since nobody else will raise its limit either. But a server that declares a
    thousand has not said that by the limit of the shell that we were started from: it gets room for them.
    """
    soft = STARTED_WITH[0]
    return soft if soft == resource.RLIM_INFINITY else max(soft, declared + SPARE if declared else 0)


def lack(connections: int, *, tcp: bool = True, here: bool = True) -> str:
    """Why so many connections cannot be held at once, or an empty text.

    Args:
        tcp: each takes a port.
        here: the server is on this machine, and each takes a process.
    """
    if why := _descriptors(connections + SPARE):
        return f"{connections} connections at once take {connections + SPARE} descriptors, and {why}"
    if tcp and (why := _ports(connections)):
        return f"{connections} connections to one server take as many ports, and {why}"
    if here and (why := _processes(connections + SPARE)):
        return f"{connections} connections at once take as many processes, and {why}"
    return ""


def _descriptors(wanted: int) -> str:
    """Raise our limit to so many, at least; why that is not possible."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return ""
    # Above the hard limit only who is privileged comes.
    limits = (wanted, hard if hard == resource.RLIM_INFINITY else max(hard, wanted))
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return ""
    return f"this process may have {hard} (RLIMIT_NOFILE, ulimit -Hn)"


def _ports(wanted: int) -> str:
    """Why there are not so many ports; there are as many again for each address that clients come from."""
    words = _read("/proc/sys/net/ipv4/ip_local_port_range").split()
    if len(words) != 2:
        return ""
    low, high = map(int, words)
    most = (high - low + 1) * SOURCES
    return (
        "" if wanted <= most else f"there are {most} (net.ipv4.ip_local_port_range, from {SOURCES} addresses)"
    )


def _processes(wanted: int) -> str:
    """Why there cannot be so many further processes, as far as is known."""
    for name, most, taken in _rooms():
        if taken + wanted > most:
            return f"there may be {most} ({name}), of which {taken} are taken"
    return ""


def _rooms() -> Iterator[tuple[str, int, int]]:
    """What bounds processes: its name, the bound, and how many there are."""
    words = _read("/proc/loadavg").split()
    tasks = int(words[3].partition("/")[2]) if len(words) == 5 and words[3].partition("/")[2].isdigit() else 0
    for name in ("pid_max", "threads-max"):
        if (text := _read(f"/proc/sys/kernel/{name}").strip()).isdigit():
            yield f"kernel.{name}", int(text), tasks
    for group in _groups():
        most, taken = _read(f"{group}/pids.max").strip(), _read(f"{group}/pids.current").strip()
        if most.isdigit() and taken.isdigit():
            yield f"{group}/pids.max", int(most), int(taken)
    soft = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if soft != resource.RLIM_INFINITY and os.geteuid() != 0:  # root is not bound by it
        yield "RLIMIT_NPROC, ulimit -u", soft, _of_user(os.geteuid())


def _groups() -> Iterator[str]:
    """The folders of the cgroups whose limit on processes binds a target: ours and those above, unless it gets one of its own."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "pids"):
            continue
        root = CGROUPS[0] if controllers else CGROUPS[1]
        above = Path(path)
        # Whoever may make a group gives it to the target, below the root (see `guardian`).
        while not os.access(root, os.W_OK) and above != above.parent:
            yield f"{root}{above}"
            above = above.parent
        yield root


def _of_user(user: int) -> int:
    """How many threads a user has."""
    found = 0
    for name in os.listdir("/proc"):
        with suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                found += len(os.listdir(f"/proc/{name}/task"))
    return found


def _read(path: str) -> str:
    """A small file, empty where there is none."""
    with suppress(OSError), open(path, errors="replace") as file:
        return file.read()
    return ""
