"""Linux: sockets through sock_diag(7), processes through proc(5), signals through pidfds."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache

import msgspec

from forkecho.conformance.address import Place, is_unix
from forkecho.conformance.observe import unix
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
from forkecho.conformance.tcp import TCP_STATES

__all__ = ["LinuxObserver"]

# From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
NLMSG_HEADER = struct.Struct("=IHHII")
SOCKET_ID = struct.Struct("!HH16s16s")  # ports and addresses in network order; the rest is in the host's
SOCKET_ID_REST = struct.Struct("=I8s")
REQUEST = struct.Struct("=BBBBI")
ANSWER = struct.Struct("=BBBB")
ANSWER_REST = struct.Struct("=IIIII")
NO_COOKIE = b"\xff" * 8

#: What a connection waits for, by number (the timer of `struct inet_diag_msg`, as `ss -o` shows it).
TIMERS = ("", "retransmission", "keepalive", "the end of TIME_WAIT", "a window probe")

LISTEN = TCP_STATES.index("LISTEN")

TICKS = os.sysconf("SC_CLK_TCK")  # per second: the unit of a process's start

LOOKS = 8  # at a tree that changes between each two; then the whole machine is read
NEAR = 64  # PIDs that others may be given between two reads of ours


class LinuxObserver(Observer):
    """Asks the kernel for exactly what is wanted, so that other sockets and processes of the machine cost little."""

    name = "linux"

    def __init__(self) -> None:
        self._local = threading.local()  # a netlink socket answers one question at a time

    # Sockets

    def endpoint(self, local: Address, remote: Address) -> Endpoint | None:
        """See `Observer.endpoint`; an exact look-up, whose cost does not depend on other sockets."""
        if is_unix(remote):
            return self._unix_endpoint(local[1] or remote[1], ours=bool(local[1]))
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        for _, remote_port, found, _ in self._diag(family, local, remote):
            # Where there is no such connection the kernel answers with the listener, if there is one.
            if remote_port == remote[1]:
                return found
        return None

    def listeners(self, place: Place) -> list[Listener]:
        """See `Observer.listeners`; the kernel keeps listeners apart, so this does not walk the connections."""
        found = []
        if isinstance(place, str):
            for answer, start, end in self._ask(unix.DUMP_LISTENERS, dump=True):
                row = unix.row(answer, start, end)
                if row.name == place:
                    found.append(Listener(address=(row.name, 0), key=row.key, backlog=row.queues[1]))
            return found
        for family in (socket.AF_INET, socket.AF_INET6):
            for address, _, endpoint, backlog in self._diag(family, ("", place)):
                if place in (0, address[1]):
                    found.append(Listener(address=address, key=endpoint.key, backlog=backlog))
        return found

    def _diag(
        self, family: int, local: Address | None = None, remote: Address | None = None
    ) -> Iterator[tuple[Address, int, Endpoint, int]]:
        """Answers of sock_diag: local address, remote port, what is seen, the send queue as it stands there."""
        exact = local is not None and remote is not None
        identity = SOCKET_ID.pack(
            local[1] if local else 0,
            remote[1] if remote else 0,
            _packed(local[0] if local else ""),
            _packed(remote[0] if remote else ""),
        ) + SOCKET_ID_REST.pack(0, NO_COOKIE)
        states = 0xFFFFFFFF if exact else 1 << LISTEN
        body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, states) + identity
        for answer, start, _ in self._ask(body, dump=not exact):
            yield _row(answer, start)

    def _unix_endpoint(self, inode: int, ours: bool) -> Endpoint | None:
        """One end of a connection over a UNIX socket, by the inode of our end: that one, or the server's."""
        mine = self._unix_row(inode)
        if mine is None:
            return None
        if ours:
            return Endpoint(state=mine.state, key=mine.key, unread=mine.queues[0])
        if not mine.peer:
            return None if mine.deserted or mine.peer is None else Endpoint(state=mine.state, key=0)
        theirs = self._unix_row(mine.peer)
        if theirs is None:
            return None
        # What the server has sent is in our receive queue already, so nothing of it is unsent.
        return Endpoint(state=theirs.state, key=theirs.key, unread=theirs.queues[0])

    def _unix_row(self, inode: int) -> unix.Row | None:
        answers = list(self._ask(unix.request(inode), dump=False)) if inode else []
        return unix.row(*answers[0]) if answers else None

    def _ask(self, body: bytes, dump: bool) -> Iterator[tuple[bytes, int, int]]:
        """The answers to one question: a buffer, and where in it each begins and ends."""
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else 0)
        channel = self._channel()
        channel.send(
            NLMSG_HEADER.pack(NLMSG_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, flags, 1, 0) + body
        )
        while True:
            answer = channel.recv(1 << 20)
            offset = 0
            while offset < len(answer):
                length, kind, _, _, _ = NLMSG_HEADER.unpack_from(answer, offset)
                start = offset + NLMSG_HEADER.size
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", answer, start)
                    if -code in (0, errno.ENOENT):
                        return
                    raise OSError(-code, os.strerror(-code))
                yield answer, start, offset + length
                offset += (length + 3) & ~3
            if not dump:
                return

    def _channel(self) -> socket.socket:
        """This thread's netlink socket."""
        channel: socket.socket | None = getattr(self._local, "channel", None)
        if channel is None:
            channel = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG)
            channel.bind((0, 0))
            self._local.channel = channel
        return channel

    def holders(self, keys: Collection[int], among: Iterable[int] | None = None) -> dict[int, set[Process]]:
        """See `Observer.holders`; `among` saves reading the descriptors of the whole machine."""
        wanted = {f"socket:[{key}]": key for key in keys if key}
        found: dict[int, set[Process]] = {key: set() for key in keys}
        for pid in self._pids() if among is None else among:
            for link in _links(pid):
                if (key := wanted.get(link)) is not None and (process := self._identity(pid)):
                    found[key].add(process)
        return found

    # Processes

    def census(self) -> Census:
        """See `Observer.census`."""
        # The clock first: whoever starts between the two is in the list, and is told by its later start.
        moment = int(_uptime() * TICKS)
        if most := _pids_in_turn():
            return Census(moment=moment, newest=_newest(), most=most)
        return Census(moment=moment, pids=frozenset(self._pids()))

    def facts(self, pid: int) -> Facts | None:
        """See `Observer.facts`."""
        found = self._brief(pid)
        return found and msgspec.structs.replace(found, command=_command(pid) or found.command)

    def descendants(self, pid: int, thorough: bool = False) -> list[Facts]:
        """See `Observer.descendants`; by /proc/PID/task/TID/children, which reads the tree and not the machine.

        A child is missed only where its sibling, which was told, is reaped meanwhile, or where it is adopted: either makes
        the next look another. So what two looks in a row have seen is all.
        """
        if not _CHILDREN:
            return self._all_descendants(pid)
        found = self._tree(pid)
        if not thorough:
            return found
        for _ in range(LOOKS):
            before, found = found, self._tree(pid)
            if _shape(before) == _shape(found):
                return found
        return self._all_descendants(pid)

    def _tree(self, pid: int) -> list[Facts]:
        """One look at those below a process."""
        found = []
        queue = [pid]
        while queue:
            for child in _children(queue.pop()):
                if facts := self._brief(child):
                    found.append(facts)
                    queue.append(child)
        return found

    def _all_descendants(self, pid: int) -> list[Facts]:
        """By the parent of every process there is."""
        children: dict[int, list[Facts]] = {}
        for other in self._pids():
            if found := self._brief(other):
                children.setdefault(found.ppid, []).append(found)
        found_below: list[Facts] = []
        queue = [pid]
        while queue:
            below = children.pop(queue.pop(), [])
            found_below += below
            queue += [one.process.pid for one in below]
        return found_below

    def _brief(self, pid: int) -> Facts | None:
        """Facts without the command line, which takes a read more."""
        stat = _stat(pid)
        if stat is None:
            return None
        name, fields = stat
        state = fields[0]
        if state == "Z" and int(fields[17]) > 1:  # its first thread has ended, and others have not
            other = _stat(pid, _living(pid))
            state = other[1][0] if other else state
        return Facts(process=Process(pid, int(fields[19])), ppid=int(fields[1]), state=state, command=name)

    def stopped(self, process: Process) -> bool:
        """See `Observer.stopped`."""
        for thread in _threads(process.pid):
            stat = _stat(process.pid, thread)
            if stat is not None and stat[1][0] not in "TtZX":
                return self._identity(process.pid) != process
        return True

    def threads(self, process: Process) -> int:
        """See `Observer.threads`."""
        return int(self._field(process, 17))

    def tasks(self, process: Process) -> dict[int, Task]:
        """See `Observer.tasks`; /proc/PID/task/TID/status."""
        found = {}
        with suppress(OSError):
            for name in os.listdir(f"/proc/{process.pid}/task"):
                if task := _task(process.pid, name):
                    found[int(name)] = task
        return found if self._identity(process.pid) == process else {}

    def image(self, process: Process) -> tuple[str, ...]:
        """See `Observer.image`; the program's file, and where the stack begins, which is at random for each exec."""
        try:
            program = os.readlink(f"/proc/{process.pid}/exe")
        except FileNotFoundError:
            return ()  # gone, a zombie, or about to be one: it has given up its memory, and counts as alive for a moment
        except OSError:  # somebody else's
            program = ""
        stack = self._field(process, 25)
        return (program, stack) if self._identity(process.pid) == process else ()

    def memory(self, process: Process) -> int:
        """See `Observer.memory`."""
        return int(self._field(process, 21)) * os.sysconf("SC_PAGESIZE")

    def private(self, process: Process) -> int | None:
        """See `Observer.private`; the sums in /proc/PID/smaps_rollup, which are exact, unlike those of stat."""
        found = None
        with suppress(OSError), open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
            found = sum(int(line.split()[1]) for line in file if line.startswith(b"Private_")) * 1024
        return found if self._identity(process.pid) == process else None

    def effort(self, process: Process) -> Effort:
        """See `Observer.effort`; schedstat of each thread (proc(5), in ns), or where there is none the ticks of stat."""
        found = Effort(0.0)
        for thread in _threads(process.pid):
            try:
                with open(f"/proc/{process.pid}/task/{thread}/schedstat", "rb") as file:
                    ran, waited = map(int, file.read().split()[:2])
            except FileNotFoundError:
                if os.path.exists("/proc/self/schedstat"):
                    continue  # this thread has just ended
                return Effort(sum(int(self._field(process, index)) for index in (11, 12)) / TICKS)
            except OSError:
                continue
            found = Effort(found.ran + ran / 1e9, found.waited + waited / 1e9)
        return found if self._identity(process.pid) == process else Effort(0.0)

    def descriptors(self, process: Process) -> int:
        """See `Observer.descriptors`."""
        with suppress(OSError):
            count = len(os.listdir(f"/proc/{process.pid}/fd") or os.listdir(_folder(process.pid, "fd")))
            return count if self._identity(process.pid) == process else 0
        return 0

    def files(self, process: Process) -> dict[int, str]:
        """See `Observer.files`; the links of /proc/PID/fd."""
        found = {}
        folder = f"/proc/{process.pid}/fd"
        with suppress(OSError):
            for name in os.listdir(folder):
                with suppress(OSError):
                    found[int(name)] = os.readlink(f"{folder}/{name}")
        return found if self._identity(process.pid) == process else {}

    def masks(self, process: Process) -> Masks | None:
        """See `Observer.masks`; SigBlk and SigIgn in /proc/PID/status."""
        found = {}
        with suppress(OSError), open(f"/proc/{process.pid}/status", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name in ("SigBlk", "SigIgn"):
                    bits = int(value, 16)
                    found[name] = frozenset(number for number in range(1, 65) if bits >> (number - 1) & 1)
        if len(found) < 2 or self._identity(process.pid) != process:
            return None
        return Masks(found["SigBlk"], found["SigIgn"])

    def exit_status(self, process: Process) -> int | None:
        """See `Observer.exit_status`; field 52 of /proc/PID/stat, which reads as 0 for those who may not know."""
        stat = _stat(process.pid)
        if stat is None or stat[1][0] != "Z" or int(stat[1][19]) != process.start:
            return None
        with suppress(OSError):
            if os.geteuid() in (0, os.stat(f"/proc/{process.pid}").st_uid):
                return int(stat[1][49])
        return None

    def local_pids(self, process: Process) -> tuple[int, ...]:
        """See `Observer.local_pids`; the NSpid line of /proc/PID/status."""
        with suppress(OSError), open(f"/proc/{process.pid}/status", errors="replace") as file:
            for line in file:
                if line.startswith("NSpid:"):
                    return tuple(map(int, line.split()[1:]))
        return (process.pid,)

    def send(self, process: Process, number: int) -> bool:
        """See `Observer.send`; pidfd_open(2) first, then a look whether it is the right one, then the signal."""
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return False
        try:
            if self._identity(process.pid) != process:
                return False
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _pids(self) -> Iterator[int]:
        return (int(name) for name in os.listdir("/proc") if name.isdigit())

    def _identity(self, pid: int) -> Process | None:
        stat = _stat(pid)
        return None if stat is None else Process(pid, int(stat[1][19]))

    def _field(self, process: Process, index: int) -> str:
        """A field of /proc/PID/stat, counted from the state as 0; `0` when the process has gone."""
        stat = _stat(process.pid)
        return stat[1][index] if stat is not None and int(stat[1][19]) == process.start else "0"


@cache
def _packed(host: str) -> bytes:
    """An address as `struct inet_diag_sockid` has it; zeros for none."""
    return ipaddress.ip_address(host).packed.ljust(16, b"\0") if host else bytes(16)


@cache
def _host(family: int, octets: bytes) -> str:
    """The address that `_packed` packs; an IPv4 address on an IPv6 socket, as Java binds, is told as what it is."""
    if family == socket.AF_INET:
        return str(ipaddress.IPv4Address(octets[:4]))
    return str(ipaddress.IPv6Address(octets).ipv4_mapped or ipaddress.IPv6Address(octets))


def _row(answer: bytes, start: int) -> tuple[Address, int, Endpoint, int]:
    """One `struct inet_diag_msg`."""
    family, state, timer, _ = ANSWER.unpack_from(answer, start)
    port, remote_port, source, _ = SOCKET_ID.unpack_from(answer, start + ANSWER.size)
    rest = start + ANSWER.size + SOCKET_ID.size + SOCKET_ID_REST.size
    _, unread, unsent, _, inode = ANSWER_REST.unpack_from(answer, rest)
    waits_for = TIMERS[timer] if timer < len(TIMERS) else str(timer)
    seen = Endpoint(state=TCP_STATES[state], key=inode, unread=unread, unsent=unsent, timer=waits_for)
    return (_host(family, source), port), remote_port, seen, unsent


def _newest() -> int:
    """The PID that was given last; the fifth field of /proc/loadavg (proc(5))."""
    with suppress(OSError, ValueError, IndexError), open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[4])
    return 0


@cache
def _pids_in_turn() -> int:
    """Up to which PIDs are given, if that field is true here: 0 where a container shows another one, or none."""
    with suppress(OSError, ValueError), open("/proc/sys/kernel/pid_max", "rb") as file:
        most = int(file.read())
        for _ in range(3):  # on a busy machine others may be in between
            mark = threading.Thread(target=lambda: None)  # a thread has a number from the same row
            mark.start()
            newest = _newest()
            mark.join()
            if newest and mark.native_id and (newest - mark.native_id) % most < NEAR:
                return most
    return 0


def _shape(tree: list[Facts]) -> set[tuple[Process, int, bool]]:
    """A tree as it is compared: who, below whom, alive or not."""
    return {(facts.process, facts.ppid, facts.alive) for facts in tree}


#: The kernel was built with CONFIG_PROC_CHILDREN.
_CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def _threads(pid: int) -> list[str]:
    """The names of a process's threads, none when it has gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _children(pid: int) -> Iterator[int]:
    """The children of a process, those of all its threads."""
    for thread in _threads(pid):
        with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
            yield from map(int, file.read().split())


def _living(pid: int) -> str:
    """A thread of a process that has not ended, empty where there is none; the first ends like any other (pthread_exit(3))."""
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            stat = _stat(pid, thread)
            if stat is not None and stat[1][0] not in "ZX":
                return thread
    return ""


def _folder(pid: int, name: str) -> str:
    """Where a process tells of itself when its first thread, which has let go of everything, has ended."""
    thread = _living(pid)
    return f"/proc/{pid}/task/{thread}/{name}" if thread else f"/proc/{pid}/{name}"


def _links(pid: int) -> Iterator[str]:
    """What the descriptors of a process are links to."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
        if not names:
            folder = _folder(pid, "fd")
            names = os.listdir(folder)
    except OSError:  # gone, or somebody else's
        return
    for name in names:
        with suppress(OSError):
            yield os.readlink(f"{folder}/{name}")


def _stat(pid: int, thread: str = "") -> tuple[str, list[str]] | None:
    """The name and the fields of /proc/PID/stat from the state on; None when the process has gone."""
    path = f"/proc/{pid}/task/{thread}/stat" if thread else f"/proc/{pid}/stat"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    # The name may hold blanks and brackets; what follows its last bracket cannot.
    head, _, tail = text.rpartition(b") ")
    return head.partition(b"(")[2].decode(errors="replace"), tail.decode().split()


def _task(pid: int, thread: str) -> Task | None:
    """The state of a thread and its voluntary context switches; None when it has gone."""
    state, sleeps = "", -1
    with suppress(OSError), open(f"/proc/{pid}/task/{thread}/status", errors="replace") as file:
        for line in file:
            if line.startswith("State:"):
                state = line.split()[1]
            elif line.startswith("voluntary_ctxt_switches:"):
                sleeps = int(line.split()[1])
    return Task(state, sleeps) if state and sleeps >= 0 else None


def _command(pid: int) -> str:
    """The command line of a process, its words apart by blanks; at most 200 characters."""
    with suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read(400).rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")[:200]
    return ""


def _uptime() -> float:
    """Seconds since boot, by the clock that starts of processes are given in."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
