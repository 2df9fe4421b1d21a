"""Any system that psutil knows: slower, and blind to a few things, which it says by what it answers."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

import psutil

from forkecho.conformance.address import Place, is_unix
from forkecho.conformance.observe.base import (
    Address,
    Census,
    Effort,
    Endpoint,
    Facts,
    Listener,
    Masks,
    Observer,
    Process,
    Task,
)

__all__ = ["PortableObserver"]

LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_SLEEPING: "S",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "T",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "S",
}
STATES = {psutil.CONN_SYN_RECV: "SYN_RECV"}
GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


class PortableObserver(Observer):
    """Asks psutil. Sockets have no inode there: a hash of the address pair stands for it, 0 where nobody holds it."""

    name = "portable"

    def endpoint(self, local: Address, remote: Address) -> Endpoint | None:
        """See `Observer.endpoint`; queues are not to be had and are given as 0, and UNIX sockets are not known."""
        if is_unix(remote):
            return None
        for row in psutil.net_connections("tcp"):
            if row.laddr and row.raddr and _plain(row.laddr) == local and _plain(row.raddr) == remote:
                # Several processes may hold it, each in a row of its own; one without a PID is held by nobody.
                return Endpoint(state=STATES.get(row.status, row.status), key=_key(row) if row.pid else 0)
        return None

    def listeners(self, place: Place) -> list[Listener]:
        """See `Observer.listeners`."""
        found: dict[int, Address] = {}
        for row in psutil.net_connections("tcp"):
            if row.status == psutil.CONN_LISTEN and row.laddr and place in (0, row.laddr.port):
                found[_key(row)] = _plain(row.laddr)
        return [Listener(address=address, key=key) for key, address in found.items()]

    def holders(self, keys: Collection[int], among: Iterable[int] | None = None) -> dict[int, set[Process]]:
        """See `Observer.holders`."""
        found: dict[int, set[Process]] = {key: set() for key in keys}
        pids = None if among is None else set(among)
        for pid in psutil.pids() if pids is None else pids:
            with suppress(*GONE, psutil.AccessDenied):
                for row in psutil.Process(pid).net_connections("tcp"):
                    if (key := _key(row)) in found and (facts := self.facts(pid)):
                        found[key].add(facts.process)
        return found

    def census(self) -> Census:
        """See `Observer.census`."""
        moment = int(time.time() * 100)
        return Census(pids=frozenset(psutil.pids()), moment=moment)

    def facts(self, pid: int) -> Facts | None:
        """See `Observer.facts`."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            state = LETTERS.get(process.status(), "S")
            if state == "Z" and process.num_threads() > 1:
                state = "S"  # its first thread has ended, and others have not
            start = int(process.create_time() * 100)
            command = ""
            with suppress(psutil.Error):
                command = " ".join(process.cmdline())[:200] or process.name()
            return Facts(process=Process(pid, start), ppid=process.ppid(), state=state, command=command)
        return None

    def descendants(self, pid: int, thorough: bool = False) -> list[Facts]:
        """See `Observer.descendants`."""
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(pid).children(recursive=True)
            return [facts for one in below if (facts := self.facts(one.pid))]
        return []

    def stopped(self, process: Process) -> bool:
        """See `Observer.stopped`; psutil tells the state of a process, not of its threads."""
        facts = self.facts(process.pid)
        return facts is None or facts.process != process or facts.state in "TZX"

    def threads(self, process: Process) -> int:
        """See `Observer.threads`."""
        with suppress(*GONE):
            return psutil.Process(process.pid).num_threads()
        return 0

    def tasks(self, process: Process) -> dict[int, Task]:
        """See `Observer.tasks`; psutil does not tell them apart."""
        return {}

    def image(self, process: Process) -> tuple[str, ...]:
        """See `Observer.image`; psutil tells the program's file and the command line."""
        with suppress(psutil.Error):
            one = psutil.Process(process.pid)
            return (one.exe(), *one.cmdline())
        return ()

    def memory(self, process: Process) -> int:
        """See `Observer.memory`."""
        with suppress(*GONE):
            return int(psutil.Process(process.pid).memory_info().rss)
        return 0

    def private(self, process: Process) -> int | None:
        """See `Observer.private`; psutil's unique set size."""
        with suppress(*GONE, psutil.AccessDenied, AttributeError):
            return int(psutil.Process(process.pid).memory_full_info().uss)
        return None

    def effort(self, process: Process) -> Effort:
        """See `Observer.effort`; how long it waited is not to be had."""
        with suppress(*GONE, psutil.AccessDenied):
            times = psutil.Process(process.pid).cpu_times()
            return Effort(times.user + times.system)
        return Effort(0.0)

    def descriptors(self, process: Process) -> int:
        """See `Observer.descriptors`."""
        with suppress(*GONE, psutil.AccessDenied):
            return psutil.Process(process.pid).num_fds()
        return 0

    def files(self, process: Process) -> dict[int, str]:
        """See `Observer.files`; psutil knows of files alone, which would not be all."""
        return {}

    def masks(self, process: Process) -> Masks | None:
        """See `Observer.masks`; psutil does not tell."""
        return None

    def exit_status(self, process: Process) -> int | None:
        """See `Observer.exit_status`; psutil does not tell."""
        return None

    def local_pids(self, process: Process) -> tuple[int, ...]:
        """See `Observer.local_pids`; without PID namespaces there is one."""
        return (process.pid,)

    def send(self, process: Process, number: int) -> bool:
        """See `Observer.send`; psutil itself compares the start before it signals."""
        facts = self.facts(process.pid)
        if facts is None or facts.process != process:
            return False
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            return False
        return True


def _plain(address: tuple[str, int]) -> Address:
    """An address without the IPv6 dress that an IPv4 client of a dual-stack listener wears."""
    return address[0].removeprefix("::ffff:"), address[1]


def _key(row: object) -> int:
    """What stands for a socket's inode: never 0, the same for each process that holds it."""
    local, remote = row.laddr, row.raddr or ("", 0)  # type: ignore[attr-defined]
    text = f"{_plain(local)} {_plain(remote) if remote[1] else ''} {socket.AF_INET}"
    return (hash(text) & 0x7FFFFFFFFFFF) | 1
