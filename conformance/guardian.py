"""Guardians: each starts one target, is the parent of all its orphans, and ends them all when the suite has gone.

Run as a program of its own (`python -I -S guardian.py`), with the standard library alone, so that it outlives a suite that is
killed. Standard input is a UNIX socket; for every socket that comes through it as ancillary data a guardian is forked, which
takes a millisecond where a new interpreter takes fifty. A guardian reads one JSON object a line from its socket and answers
each with one; the end of its input means that the suite has ended, in whatever way.

    {"op": "who"}                 -> {"pid"}: the guardian's own
    {"op": "launch", "argv", "env", "cwd", "folder", "world", "descriptors", "connections"} -> {"pid"} or {"error"}; how many
                                     descriptors it may have (0: as many as we), how many connections it is to serve at once;
                                     the world is which signals to "ignore",
                                     which standard descriptors to "close", "full": a stream to be a full pipe, whether
                                     standard output is a "terminal", and "stdin": the file to read from
    {"op": "status", "pid"}       -> {"status"}: what waitpid said of that orphan or child, null while it runs
    {"op": "sync"}                -> {}: what the target has printed so far is in its files
    {"op": "folder", "above", "prefix"} -> {"folder"}: a new one, which goes with the guardian
    {"op": "frozen", "pids"}      -> {}: what to thaw, should the suite be killed now; pairs of PID and start
    {"op": "limit", "what", "pids"} -> {} or {"error"}: take `descriptors` from these processes, or `processes` from the target
    {"op": "lift", "what"}        -> {}: give back what was taken
    {"op": "end"}                 -> {"left"}: everything below is killed; the PIDs that could not be
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time

TYPE_CHECKING = False  # typing takes longer to import than all the rest
if TYPE_CHECKING:
    from typing import Any, NoReturn

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
OUTPUT_MAX = 1 << 20  # bytes of a target's output that are kept, of each stream; the rest is read and dropped
PROCESSES_MAX = 8192  # of one target, where the kernel lets us say so: a fork bomb must not take the machine
PROCESSES_EACH = 4  # of one that declares so many connections that their processes would be more than that
END_WITHIN = 10.0  # seconds to kill everything below
PIDS_CGROUPS = ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")
CHILDREN = os.path.exists(f"/proc/self/task/{os.getpid()}/children")  # the kernel has CONFIG_PROC_CHILDREN
LIMITS = {"descriptors": resource.RLIMIT_NOFILE, "processes": resource.RLIMIT_NPROC}


class Guardian:
    """One target, everything below it, and the suite's end of the line."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.statuses: dict[int, int] = {}
        # Descriptor to read from -> [file to write to, bytes that may still be written].
        self.streams: dict[int, list[int]] = {}
        self.unread: list[int] = []  # the reading ends of pipes that are full and stay so
        self.frozen: list[list[int]] = []
        self.folder: str | None = None
        self.target: int | None = None
        self.cgroup: str | None = None
        self.processes_max = PROCESSES_MAX
        # What was taken: from PID, start and resource to the limit as it was, and the one that was set.
        self.limits: dict[tuple[int, int, int], tuple[int, int]] = {}

    def make_folder(self, above: str, prefix: str) -> str:
        """Made here and not by the suite, which may be killed before it could have told of it."""
        self.folder = os.path.join(above, prefix + os.urandom(6).hex())
        os.mkdir(self.folder)
        os.chmod(self.folder, 0o755)  # a target may run as somebody else
        return self.folder

    def launch(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        folder: str,
        world: dict[str, Any],
        descriptors: int = 0,
        connections: int = 0,
    ) -> dict[str, Any]:
        """Start the target in a session of its own, with default dispositions, its output bounded."""
        self.folder = folder
        self.processes_max = max(PROCESSES_MAX, PROCESSES_EACH * connections)
        self.enter_cgroup()
        outputs = []
        for name in ("stdout", "stderr"):
            terminal = world["terminal"] and name == "stdout"
            reading, writing = os.openpty() if terminal else os.pipe()
            os.set_blocking(reading, False)
            outputs.append(writing)
            if name == world["full"]:
                fill(writing)
                self.unread.append(reading)
                continue
            file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self.streams[reading] = [file, OUTPUT_MAX]
        failed, failure = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.become_target(argv, env, cwd, world, outputs, failure, descriptors)
        for descriptor in (*outputs, failure):
            os.close(descriptor)
        with open(failed, "rb") as reason:
            error = reason.read()
        if error:
            return {"error": error.decode(errors="replace")}
        self.target = pid
        return {"pid": pid}

    def become_target(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        world: dict[str, Any],
        outputs: list[int],
        failure: int,
        descriptors: int,
    ) -> NoReturn:
        """In the child: the target's surroundings, then the target. Never returns."""
        try:
            os.setsid()
            if self.cgroup:
                with open(os.path.join(self.cgroup, "cgroup.procs"), "w") as file:
                    file.write(str(os.getpid()))
            # No dump when it is made to crash: 0 would keep files away, 1 also keeps whoever collects them away (core(5)).
            core = resource.getrlimit(resource.RLIMIT_CORE)[1]
            resource.setrlimit(resource.RLIMIT_CORE, (min(1, core) if core >= 0 else 1, core))
            if descriptors:
                limit_descriptors(descriptors)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for number in range(1, signal.NSIG):
                with contextlib.suppress(OSError, ValueError):
                    signal.signal(number, signal.SIG_IGN if number in world["ignore"] else signal.SIG_DFL)
            given = os.open(world["stdin"] or os.devnull, os.O_RDONLY)
            os.dup2(given, 0)
            os.dup2(outputs[0], 1)
            os.dup2(outputs[1], 2)
            for descriptor in world["close"]:
                os.close(descriptor)
            if cwd:
                os.chdir(cwd)
            os.execvpe(argv[0], argv, env)
        except BaseException as error:
            os.write(failure, str(getattr(error, "strerror", None) or error).encode(errors="replace"))
        finally:
            os._exit(127)

    def enter_cgroup(self) -> None:
        """A pids cgroup for the target where that is permitted, so that it cannot fork without end."""
        for group in cgroups(os.getpid()):
            # One that bears our PID is that of a guardian that was killed with everything else, and that had it before us.
            with contextlib.suppress(OSError):
                os.rmdir(group)
            try:
                os.mkdir(group)
            except OSError:
                continue
            self.cgroup = group
            try:
                self.let_have_processes(self.processes_max)
            except OSError:
                self.cgroup = None
                os.rmdir(group)
                continue
            return

    def limit(self, what: str, pids: list[list[int]]) -> dict[str, Any]:
        """Let the target have no more descriptors, or no more processes.

        Only we may do it: a PID of a child of ours cannot be anybody else's until we have waited for it.
        """
        try:
            if what == "processes" and self.cgroup:
                # One is less than there is, so that no fork succeeds, whoever ends meanwhile.
                self.let_have_processes(1)
            elif what == "processes" and os.geteuid() == 0:
                return {
                    "error": "takes a pids cgroup of its own, since no other limit on processes binds root"
                }
            elif hasattr(resource, "prlimit"):
                for pid, start in pids:
                    self.take(pid, start, what)
            else:
                return {"error": "takes prlimit(2), which this system has not"}
        except OSError as error:
            return {"error": f"is not permitted here: {error.strerror or error}"}
        return {}

    def take(self, pid: int, start: int, what: str) -> None:
        """A soft limit on one process: on the number of the next descriptor, or on the processes that its user has."""
        fields = stat(pid)
        if not fields or int(fields[19]) != start:
            return
        # Linux counts all processes of the user, and 1 is reached by any; nobody else is bound by it.
        kind = LIMITS[what]
        low = lowest_free(pid) if what == "descriptors" else 1
        soft, hard = resource.prlimit(pid, kind)
        if soft == resource.RLIM_INFINITY or soft > low:
            resource.prlimit(pid, kind, (low, hard))
            self.limits[pid, start, kind] = (soft, low)

    def lift(self, what: str) -> None:
        """Give back what was taken, also to those that have inherited the limit."""
        if what == "processes" and self.cgroup:
            with contextlib.suppress(OSError):
                self.let_have_processes(self.processes_max)
        kind = LIMITS[what]
        for before, low in {limits for (_, _, taken), limits in self.limits.items() if taken == kind}:
            for pid in self.below():
                with contextlib.suppress(OSError):
                    soft, hard = resource.prlimit(pid, kind)
                    if soft == low:
                        resource.prlimit(pid, kind, (before, hard))

    def let_have_processes(self, most: int) -> None:
        """So many processes in the target's cgroup, at the most; those that it has are not ended by that.

        Raises:
            OSError: that may not be said, or the folder is none of a cgroup of this kind: it has no such file.
        """
        assert self.cgroup
        with open(os.path.join(self.cgroup, "pids.max"), "r+") as file:
            file.write(str(most))

    def reap(self) -> bool:
        """Take every child that has ended, ours or inherited; remember how it ended. False when none is left at all."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                self.statuses[pid] = status
                if len(self.statuses) > 10000:  # orphans of a long run; only the latest are ever asked for
                    del self.statuses[next(iter(self.statuses))]
        except ChildProcessError:
            return False

    def drain(self) -> None:
        """Copy what the target has printed into its files, up to the bound."""
        for reading in list(self.streams):
            with contextlib.suppress(BlockingIOError):
                # Bounded a round, so that a flood does not keep the guardian from its commands.
                for _ in range(16):
                    chunk = read(reading)
                    if not chunk:
                        os.close(reading)
                        os.close(self.streams.pop(reading)[0])
                        break
                    file, room = self.streams[reading]
                    with contextlib.suppress(OSError):
                        os.write(file, chunk[:room])
                    self.streams[reading][1] = max(0, room - len(chunk))

    def below(self) -> dict[int, int]:
        """Every process that descends from this one or is in its cgroup, and has not ended: from PID to start."""
        found = tree() if CHILDREN else scan()
        if self.cgroup:
            with contextlib.suppress(OSError), open(os.path.join(self.cgroup, "cgroup.procs")) as file:
                for pid in {int(line) for line in file} - found.keys():
                    if fields := alive(pid):
                        found[pid] = int(fields[19])
        return found

    def end(self) -> list[int]:
        """Kill everything below until nothing is left.

        A subreaper has a child for as long as it has a descendant, so that waitpid's word is proof; a scan is not.
        """
        deadline = time.monotonic() + END_WITHIN
        pause = 0.0005
        while self.reap() and time.monotonic() < deadline:
            left = self.below()
            # Stopped first, or processes that fork faster than we kill would never be caught up with.
            for number in (signal.SIGSTOP, signal.SIGKILL) if len(left) > 1 else (signal.SIGKILL,):
                for pid, start in left.items():
                    kill(pid, start, number)
            if not left and self.target:
                # Where there is no /proc, its session is all that can be named.
                with contextlib.suppress(OSError):
                    os.killpg(self.target, signal.SIGKILL)
            time.sleep(pause)  # the step of a poll
            pause = min(pause * 2, 0.02)
        self.drain()
        return sorted(self.below())

    def clear_away(self) -> None:
        """Thaw what was frozen, and leave no file behind."""
        for pid, start in self.frozen:
            kill(pid, start, signal.SIGCONT)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.cgroup:
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline:
                try:
                    os.rmdir(self.cgroup)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        return
                    # The step of a poll: the kernel lets go of a killed process a moment later.
                    time.sleep(0.002)
                else:
                    return

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what one message asks for."""
        operation = message.pop("op")
        if operation == "who":
            return {"pid": os.getpid()}
        if operation == "launch":
            return self.launch(**message)
        if operation == "status":
            self.reap()
            return {"status": self.statuses.get(message["pid"])}
        if operation == "sync":
            self.drain()
            return {}
        if operation == "folder":
            return {"folder": self.make_folder(**message)}
        if operation == "frozen":
            self.frozen = message["pids"]
            return {}
        if operation == "limit":
            return self.limit(**message)
        if operation == "lift":
            self.lift(**message)
            return {}
        return {"left": self.end()}

    def run(self) -> None:
        """Serve the suite until its end of the line closes, then end everything."""
        # With wake-ups written here, the end of a child ends the wait below at once.
        waking, wake = os.pipe()
        for descriptor in (waking, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        pending = b""
        try:
            while True:
                sources: list[Any] = [self.channel, waking, *self.streams]
                ready, _, _ = select.select(sources, [], [])
                if waking in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(waking, 4096)
                self.reap()
                if set(ready) & set(self.streams):
                    self.drain()
                if self.channel in ready:
                    chunk = self.channel.recv(65536)
                    if not chunk:
                        return
                    pending += chunk
                    *lines, pending = pending.split(b"\n")
                    for line in lines:
                        self.channel.sendall(json.dumps(self.answer(json.loads(line))).encode() + b"\n")
        except ConnectionError:
            pass  # the suite was killed
        finally:
            for what in LIMITS:
                self.lift(what)
            self.end()
            self.clear_away()


def cgroups(pid: int) -> list[str]:
    """Where the cgroup of that guardian's target may be, in a hierarchy of version 1 or 2; in one of them at most it is."""
    return [os.path.join(root, f"forkecho-{pid}") for root in PIDS_CGROUPS]


def limit_descriptors(soft: int) -> None:
    """The soft limit that the target is to have, whatever ours is; above the hard one only where we may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    bounded = hard != resource.RLIM_INFINITY
    if bounded and (soft > hard or soft == resource.RLIM_INFINITY):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
            return
        soft = hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fill(pipe: int) -> None:
    """Write until there is no room; whoever writes next waits, as the pipe is blocking again."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n" * 4096)
    # What is written in one piece of at most PIPE_BUF is written whole or not at all: take the rest byte by byte.
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"\n")
    os.set_blocking(pipe, True)


def read(descriptor: int) -> bytes:
    """What there is to read, empty at the end; a terminal ends with EIO when nobody has it open any more.

    Raises:
        BlockingIOError: there is nothing now.
    """
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def stat(pid: int | str) -> list[bytes] | None:
    """The fields of /proc/PID/stat from the state on (proc(5)), None when the process has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].split()
    except OSError:
        return None


def alive(pid: int | str) -> list[bytes] | None:
    """The same of one that has not ended. One whose first thread has looks like a zombie while others run."""
    fields = stat(pid)
    return fields if fields and (fields[0] not in (b"Z", b"X") or int(fields[17]) > 1) else None


def threads(pid: int) -> list[str]:
    """The names of its threads, none when it has gone."""
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def tree() -> dict[int, int]:
    """Those below us, from PID to start: what their parents are told to have for children, whoever else there is."""
    found: dict[int, int] = {}
    queue = [os.getpid()]
    while queue:
        parent = queue.pop()
        for thread in threads(parent):
            with contextlib.suppress(OSError), open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                for pid in map(int, file.read().split()):
                    if pid not in found and (fields := alive(pid)):
                        found[pid] = int(fields[19])
                        queue.append(pid)
    return found


def scan() -> dict[int, int]:
    """The same where the kernel does not tell of children: by the parent of every process there is."""
    parents: dict[int, int] = {}
    starts: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit() and (fields := alive(name)):
            parents[int(name)], starts[int(name)] = int(fields[1]), int(fields[19])
    found: set[int] = set()
    grown = True
    while grown:
        new = {pid for pid, parent in parents.items() if parent == os.getpid() or parent in found} - found
        grown = bool(new)
        found |= new
    return {pid: starts[pid] for pid in found}


def lowest_free(pid: int) -> int:
    """The lowest number that no descriptor of the process has: the next one that it opens gets it."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def kill(pid: int, start: int, number: signal.Signals) -> None:
    """Signal the process that has this PID and started then, never its successor; pidfd_open(2)."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        fields = stat(pid)
        if fields and int(fields[19]) == start:
            signal.pidfd_send_signal(process, number)
    except OSError:
        pass  # it has gone meanwhile
    finally:
        os.close(process)


def nursery(requests: socket.socket) -> None:
    """Fork a guardian for every socket that arrives, until the suite's end closes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guardians need no reaping: nobody asks how they ended
    while True:
        _, descriptors, _, _ = socket.recv_fds(requests, 1, 1)
        if not descriptors:
            return
        # Unlike others, one that was received would go to the target.
        os.set_inheritable(descriptors[0], False)
        if os.fork() == 0:
            requests.close()
            os.setsid()
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            try:
                Guardian(socket.socket(fileno=descriptors[0])).run()
            finally:
                os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    # Ctrl-C at the terminal is the suite's business; it closes our input when it has cleared up.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    nursery(socket.socket(fileno=0))
