"""One contract for every way of asking the operating system; both ways run on Linux."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forkecho.conformance import guardian, observe
from forkecho.conformance.address import ours, theirs
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.observe import Address, Census, Facts, Observer, Process, Task, linux
from forkecho.conformance.observe.linux import LinuxObserver
from forkecho.conformance.observe.portable import PortableObserver

WITHIN = 30.0  # seconds for what the kernel does at once, unless the machine is loaded
ME = [os.getpid()]  # searched alone, since psutil reads all sockets of the machine for each process of it

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="both observers run on Linux only")


@pytest.fixture(params=[LinuxObserver, PortableObserver], ids=lambda kind: kind.name)
def observer(request: pytest.FixtureRequest) -> Observer:
    """Each observer in turn."""
    made: Observer = request.param()
    return made


@pytest.fixture
def script() -> Iterator[Callable[..., tuple[int, list[int]]]]:
    """Run a Python script that prints numbers on one line and waits for its input to end: its PID and the numbers."""
    started: list[subprocess.Popen[str]] = []

    def run(text: str, pass_fds: tuple[int, ...] = ()) -> tuple[int, list[int]]:
        waiting = f"import os, sys\n{text}\nsys.stdin.read()\n"
        one = subprocess.Popen(
            [sys.executable, "-c", waiting],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        started.append(one)
        assert one.stdout is not None
        return one.pid, [int(word) for word in one.stdout.readline().split()]

    yield run
    for one in started:
        one.send_signal(signal.SIGCONT)
        one.communicate(timeout=WITHIN)


IDLE = "print(flush=True)"
SPIN = "\nimport select\nwhile not select.select([0], [], [], 0)[0]: pass"

#: A child that has ended and is not waited for: known to be a zombie without reaping it (waitid(2), WNOWAIT).
ZOMBIE = """
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
print(pid, flush=True)
"""

#: A child and a grandchild; the grandchild's PID comes through a pipe.
FAMILY = """
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    grandchild = os.fork()
    if grandchild:
        os.write(writing, str(grandchild).encode())
    sys.stdin.read()
    os._exit(0)
print(child, int(os.read(reading, 20)), flush=True)
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener of this process."""
    with socket.create_server(("127.0.0.1", 0), backlog=7) as made:
        yield made


def facts_of(observer: Observer, pid: int) -> Facts:
    """Facts of a process that exists."""
    found = observer.facts(pid)
    assert found is not None
    return found


def address(made: socket.socket) -> Address:
    """Where a socket is bound."""
    host, port = made.getsockname()[:2]
    return host, port


# Processes


def test_facts_name_the_process_its_parent_and_its_command(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """Facts are those of the kernel: PID, parent, state, command line."""
    pid, _ = script(IDLE)
    facts = facts_of(observer, pid)

    assert facts.process.pid == pid
    assert facts.ppid == os.getpid()
    assert facts.state in "RSD"
    assert facts.alive
    assert facts.command.startswith(sys.executable)


def test_the_start_of_a_process_does_not_change(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """Asked twice, a process is the same."""
    pid, _ = script(IDLE)

    assert facts_of(observer, pid).process == facts_of(observer, pid).process


def test_a_process_that_has_gone_is_no_error(observer: Observer) -> None:
    """Questions about a process that has gone have answers: none, 0, stopped, False."""
    with subprocess.Popen([sys.executable, "-c", ""]) as one:
        facts = facts_of(observer, one.pid)
    gone = facts.process

    assert observer.facts(gone.pid) is None
    assert not observer.alive(gone)
    assert observer.stopped(gone)
    assert observer.threads(gone) == 0
    assert observer.descriptors(gone) == 0
    assert observer.memory(gone) == 0
    assert observer.tasks(gone) == {}
    assert observer.image(gone) == ()
    assert observer.descendants(gone.pid) == []
    assert observer.holders({1}, among=[gone.pid]) == {1: set()}
    assert observer.send(gone, signal.SIGTERM) is False


def test_a_zombie_is_not_alive_but_known(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A zombie has facts and a state of its own, is a descendant, and is not alive."""
    parent, (zombie,) = script(ZOMBIE)
    facts = facts_of(observer, zombie)

    assert (facts.state, facts.ppid, facts.alive) == ("Z", parent, False)
    assert not observer.alive(facts.process)
    assert observer.stopped(facts.process)
    assert observer.image(facts.process) == ()
    assert [one.process for one in observer.descendants(parent)] == [facts.process]
    assert [one.process for one in observer.descendants(parent, thorough=True)] == [facts.process]


@pytest.mark.parametrize("thorough", [False, True])
def test_descendants_are_all_generations_parents_first(
    observer: Observer, script: Callable[..., tuple[int, list[int]]], thorough: bool
) -> None:
    """Descendants are children and theirs, in an order in which nobody stands before their parent."""
    pid, (child, grandchild) = script(FAMILY)
    found = observer.descendants(pid, thorough)

    assert [(one.process.pid, one.ppid) for one in found] == [(child, pid), (grandchild, child)]


def test_another_process_with_the_same_pid_is_not_taken_for_the_first(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A PID with another start is another process: not alive, without threads, and never signalled."""
    pid, _ = script(IDLE)
    real = facts_of(observer, pid).process
    other = Process(pid, real.start - 1)

    assert observer.alive(real)
    assert not observer.alive(other)
    assert observer.send(other, signal.SIGKILL) is False
    assert observer.send(real, 0) is True
    assert observer.alive(real)


def test_a_census_knows_who_was_alive_and_not_who_came_later(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A census knows the processes of its moment, and none that was started after it."""
    before, _ = script(IDLE)
    census = observer.census()
    after, _ = script(IDLE)

    assert census.knew(facts_of(observer, before).process)
    assert census.knew(facts_of(observer, os.getpid()).process)
    assert not census.knew(facts_of(observer, after).process)


def test_a_census_does_not_know_a_later_process_with_a_pid_that_is_used_again() -> None:
    """A PID that was in use does not make a process known that started after the census."""
    census = Census(pids=frozenset({100}), moment=5000)

    assert census.knew(Process(100, 4999))
    assert census.knew(Process(100, 5000))
    assert not census.knew(Process(100, 5001))
    assert not census.knew(Process(101, 4999))


def test_a_census_by_the_newest_pid_tells_who_came_later_in_the_same_moment() -> None:
    """PIDs are given in turn and begin anew, so the few after the newest are later, wherever the row begins again."""
    census = Census(moment=5000, newest=32760, most=32768)

    assert census.knew(Process(32760, 5000))
    assert census.knew(Process(32000, 5000))
    assert not census.knew(Process(32761, 5000))
    assert not census.knew(Process(310, 5000))
    assert census.knew(Process(310, 4999))
    assert census.knew(Process(32761, 4999))
    assert not census.knew(Process(32000, 5001))


def test_of_processes_that_start_one_by_one_each_census_knows_those_before_it() -> None:
    """They are told apart within the tick that starts are given in, without a list of all processes."""
    observer = LinuxObserver()
    censuses, children = [observer.census()], []
    try:
        for _ in range(20):
            children.append(subprocess.Popen(["sleep", "60"]))
            censuses.append(observer.census())
        processes = [facts_of(observer, child.pid).process for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()

    known = [[census.knew(process) for process in processes].count(True) for census in censuses]
    assert known == list(range(21))


def test_a_census_is_no_longer_where_there_are_more_processes() -> None:
    """Where /proc/loadavg tells the newest PID, as Linux does, nothing is listed; where it does not, all are."""
    if not linux._pids_in_turn():
        pytest.skip("the newest PID is not told here")

    assert LinuxObserver().census().pids == frozenset()


def test_a_census_lists_all_where_the_newest_pid_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some containers show a file of their own in its place."""
    monkeypatch.setattr(linux, "_newest", lambda: 1)
    linux._pids_in_turn.cache_clear()
    try:
        assert os.getpid() in LinuxObserver().census().pids
    finally:
        linux._pids_in_turn.cache_clear()


def test_a_tree_that_never_stays_the_same_is_read_by_parents(
    script: Callable[..., tuple[int, list[int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thorough look believes two looks that agree; where none do, it reads every process there is."""
    pid, (child, grandchild) = script(FAMILY)
    observer = LinuxObserver()
    looks = iter(range(100))
    real = observer._tree
    monkeypatch.setattr(observer, "_tree", lambda pid: real(pid)[: next(looks) % 2])

    assert [one.process.pid for one in observer.descendants(pid)] == []
    assert [one.process.pid for one in observer.descendants(pid, thorough=True)] == [child, grandchild]


def test_a_guardian_finds_the_same_by_children_as_by_parents(
    script: Callable[..., tuple[int, list[int]]],
) -> None:
    """What is below us is in both, with its start; what has ended and was not waited for in neither."""
    _, (child, grandchild) = script(FAMILY)
    script(ZOMBIE)
    by_children, by_parents = guardian.tree(), guardian.scan()

    assert by_children == by_parents
    assert {child, grandchild} <= by_children.keys()


def test_the_moment_of_a_census_is_in_the_clock_of_starts(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A process that starts after a census starts at its moment or later, by the observer's clock.

    psutil takes the time of boot in whole seconds, so a start may be told up to a second too early by the portable one:
    it may take a PID that is used again within a second for the old process.
    """
    census = observer.census()
    pid, _ = script(IDLE)
    slack = 100 if isinstance(observer, PortableObserver) else 0

    start = facts_of(observer, pid).process.start

    assert census.moment - slack <= start <= observer.census().moment + slack


def test_stopped_is_told_from_running(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A process is stopped after SIGSTOP, until SIGCONT; it is alive all the time."""
    pid, _ = script(IDLE)
    process = facts_of(observer, pid).process

    assert not observer.stopped(process)
    assert observer.send(process, signal.SIGSTOP)
    assert wait_for(lambda: observer.stopped(process), Deadline(WITHIN))
    assert observer.alive(process)
    assert facts_of(observer, pid).state == "T"
    assert observer.send(process, signal.SIGCONT)
    assert wait_for(lambda: not observer.stopped(process), Deadline(WITHIN))


def test_threads_are_counted(observer: Observer, script: Callable[..., tuple[int, list[int]]]) -> None:
    """The first thread and those that were started."""
    text = "import threading\nfor _ in range(3): threading.Thread(target=sys.stdin.read).start()\n" + IDLE
    pid, _ = script(text)

    assert observer.threads(facts_of(observer, pid).process) == 4


def test_each_thread_is_known_by_how_often_it_has_slept(
    script: Callable[..., tuple[int, list[int]]],
) -> None:
    """A thread that is woken and sleeps again has slept once more; one that is left alone has not."""
    text = """
import threading
import signal
signal.signal(signal.SIGUSR1, lambda *_: None)
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()
print(thread.native_id, flush=True)
"""
    observer = LinuxObserver()
    pid, (other,) = script(text)
    process = facts_of(observer, pid).process

    before: dict[int, Task] = {}

    def asleep() -> bool:
        # Who waits for the interpreter's lock sleeps as well, but not for as long as the other sleeps.
        nonlocal before
        now = observer.tasks(process)
        same, before = now == before, now
        return same and all(task.state == "S" for task in now.values())

    assert wait_for(asleep, Deadline(WITHIN))
    assert observer.send(process, signal.SIGUSR1)
    assert wait_for(lambda: observer.tasks(process)[pid].sleeps > before[pid].sleeps, Deadline(WITHIN))
    after = observer.tasks(process)

    assert before.keys() == after.keys() == {pid, other}
    assert after[other].sleeps == before[other].sleeps


def test_a_fork_has_the_image_of_its_parent_until_it_becomes_another_program(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A child is known to be a copy; one that has executed even the same program is not."""
    text = """
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    sys.stdin.read()
    os._exit(0)
other = os.posix_spawn(sys.executable, [sys.executable, "-c", "import sys; sys.stdin.read()"], os.environ)
print(child, other, flush=True)
"""
    pid, (child, other) = script(text)
    images = [observer.image(facts_of(observer, one).process) for one in (pid, child, other)]

    assert images[0] == images[1]
    assert images[2]
    assert images[2] != images[0]


def test_descriptors_are_counted(observer: Observer, script: Callable[..., tuple[int, list[int]]]) -> None:
    """Ten more open files are ten more descriptors."""
    few, _ = script(IDLE)
    many, _ = script("kept = [open(os.devnull) for _ in range(10)]\n" + IDLE)
    counts = [observer.descriptors(facts_of(observer, pid).process) for pid in (few, many)]

    assert counts[1] - counts[0] == 10


def test_the_effort_of_one_that_spins_grows_and_that_of_one_that_sleeps_does_not(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """Of a sleeper it stays below what the spinner had in the same time."""
    sleeper, _ = script(IDLE)
    spinner, _ = script(IDLE + SPIN)
    processes = [facts_of(observer, pid).process for pid in (sleeper, spinner)]
    before = [observer.effort(process) for process in processes]

    def ran() -> list[float]:
        now = [observer.effort(process) for process in processes]
        return [after.ran - earlier.ran for after, earlier in zip(now, before, strict=True)]

    assert wait_for(lambda: ran()[1] > 0.1, Deadline(WITHIN))
    assert ran()[0] < 0.1
    assert all(one.waited >= 0 for one in before)


def test_the_effort_of_one_that_has_gone_is_nothing(observer: Observer) -> None:
    """It is no error."""
    assert observer.effort(Process(pid=2**22 + 1, start=0)) == (0, 0)


def test_the_timer_of_a_connection_is_told_where_it_can_be(
    observer: Observer, listener: socket.socket
) -> None:
    """Which the connection inherits from its listener; the other end waits for nothing."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    with socket.create_connection(listener.getsockname()) as client, listener.accept()[0] as server:
        ends = client.getsockname()[:2], server.getsockname()[:2]

        def timers() -> list[str | None]:
            found = observer.endpoint(ends[1], ends[0]), observer.endpoint(ends[0], ends[1])
            return [one.timer if one else "gone" for one in found]

        wanted = ["keepalive", ""] if observer.name == "linux" else [None, None]
        wait_for(lambda: timers() == wanted, Deadline(WITHIN))

        assert timers() == wanted


def test_memory_is_told_in_bytes(observer: Observer, script: Callable[..., tuple[int, list[int]]]) -> None:
    """Forty megabytes that were written are seen."""
    small, _ = script(IDLE)
    large, _ = script("kept = bytearray(b'x') * (40 << 20)\n" + IDLE)
    sizes = [observer.memory(facts_of(observer, pid).process) for pid in (small, large)]

    assert 39 << 20 < sizes[1] - sizes[0] < 60 << 20


def test_local_pids_begin_with_the_pid(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A process is called by its PID in the outermost namespace that is seen."""
    pid, _ = script(IDLE)

    assert observer.local_pids(facts_of(observer, pid).process)[0] == pid


# Sockets


def test_an_unaccepted_connection_has_no_holder_and_an_accepted_one_has(
    observer: Observer, listener: socket.socket
) -> None:
    """A connection in the backlog has key 0; once accepted it has a key, and its process holds it."""
    with socket.create_connection(address(listener)) as client:
        queued = observer.endpoint(address(listener), address(client))
        connection, _ = listener.accept()
        with connection:
            accepted = observer.endpoint(address(listener), address(client))
            assert queued is not None
            assert accepted is not None
            holders = observer.holders({accepted.key}, ME)

    assert (queued.state, queued.key) == ("ESTABLISHED", 0)
    assert accepted.state == "ESTABLISHED"
    assert accepted.key != 0
    assert {process.pid for process in holders[accepted.key]} == {os.getpid()}


def test_the_two_ends_of_a_connection_are_told_apart(observer: Observer, listener: socket.socket) -> None:
    """Both ends are in the same kernel here: each is found from its own side, with a key of its own."""
    with socket.create_connection(address(listener)) as client, listener.accept()[0]:
        ours = observer.endpoint(address(client), address(listener))
        theirs = observer.endpoint(address(listener), address(client))

    assert ours is not None
    assert theirs is not None
    assert ours.key != theirs.key


def test_the_state_of_a_half_closed_connection(observer: Observer, listener: socket.socket) -> None:
    """After the client's FIN the server's end is in CLOSE_WAIT, and the client's in FIN_WAIT2."""
    with socket.create_connection(address(listener)) as client, listener.accept()[0]:
        client.shutdown(socket.SHUT_WR)

        def seen() -> tuple[str, str]:
            theirs = observer.endpoint(address(listener), address(client))
            ours = observer.endpoint(address(client), address(listener))
            return theirs.state if theirs else "", ours.state if ours else ""

        assert wait_for(lambda: seen() == ("CLOSE_WAIT", "FIN_WAIT2"), Deadline(WITHIN)), seen()


def test_a_connection_that_does_not_exist_is_not_found_although_a_listener_is(
    observer: Observer, listener: socket.socket
) -> None:
    """An exact look-up for which the kernel answers with the listener finds nothing."""
    nobody = ("127.0.0.1", 1)

    assert observer.endpoint(address(listener), nobody) is None
    assert observer.endpoint(nobody, address(listener)) is None
    with socket.create_connection(address(listener)) as client:
        assert observer.endpoint(address(listener), nobody) is None
        assert observer.endpoint(address(listener), (address(client)[0], address(client)[1] ^ 1)) is None


def test_a_listener_is_found_by_its_port_with_its_holder(observer: Observer, listener: socket.socket) -> None:
    """A listener has an address, and is held by its process."""
    (found,) = observer.listeners(address(listener)[1])

    assert found.address == address(listener)
    assert {process.pid for process in observer.holders({found.key}, ME)[found.key]} == {os.getpid()}


def test_port_0_stands_for_any_port(observer: Observer, listener: socket.socket) -> None:
    """All listeners of the machine, ours among them."""
    assert address(listener) in [one.address for one in observer.listeners(0)]


def test_a_bound_socket_is_no_listener(observer: Observer) -> None:
    """Only who listens counts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        assert observer.listeners(address(bound)[1]) == []


def test_a_closed_listener_is_not_found(observer: Observer, listener: socket.socket) -> None:
    """Once closed it is gone, although a connection that came through it is open."""
    where = address(listener)
    with socket.create_connection(where) as client, listener.accept()[0]:
        listener.close()

        assert observer.listeners(where[1]) == []
        assert observer.endpoint(where, address(client)) is not None


def test_an_ipv4_client_of_an_ipv6_listener(observer: Observer) -> None:
    """An IPv4 client of a dual-stack listener is found by the addresses that it uses itself.

    Bound to the IPv6 dress of 127.0.0.1, so that nobody else can reach it; the kernel keeps both kinds in one table.
    """
    with socket.socket(socket.AF_INET6) as listener:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind(("::ffff:127.0.0.1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, listener.accept()[0]:
            found = observer.endpoint(("127.0.0.1", port), address(client))

            assert found is not None
            assert {process.pid for process in observer.holders({found.key}, ME)[found.key]} == {os.getpid()}
            assert [one.address for one in observer.listeners(port)] == [("127.0.0.1", port)]


def test_an_ipv6_connection(observer: Observer) -> None:
    """IPv6 is asked in the same way."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener, socket.create_connection(address(listener)) as client, listener.accept()[0]:
        found = observer.endpoint(address(listener), address(client))

        assert found is not None
        assert found.key != 0
        assert observer.endpoint(address(listener), ("::1", 1)) is None
        assert [one.address for one in observer.listeners(address(listener)[1])] == [address(listener)]


def test_all_holders_of_a_socket_are_found(
    observer: Observer, listener: socket.socket, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """A socket that was inherited is held by both processes; a search among some finds those."""
    heir, _ = script(IDLE, pass_fds=(listener.fileno(),))
    (key,) = (one.key for one in observer.listeners(address(listener)[1]))

    assert {one.pid for one in observer.holders({key})[key]} == {os.getpid(), heir}
    assert {one.pid for one in observer.holders({key}, among=[heir])[key]} == {heir}
    assert observer.holders({key}, among=[])[key] == set()


def test_queues_are_seen_where_they_can_be(observer: Observer, listener: socket.socket) -> None:
    """Bytes that nobody has read are counted; the portable observer cannot know, and says 0."""
    with socket.create_connection(address(listener)) as client, listener.accept()[0]:
        client.sendall(b"x" * 100)

        def unread() -> int:
            found = observer.endpoint(address(listener), address(client))
            assert found is not None
            assert found.unsent == 0
            return found.unread

        if isinstance(observer, PortableObserver):
            assert unread() == 0
        else:
            assert wait_for(lambda: unread() == 100, Deadline(WITHIN))


def test_the_backlog_is_seen_where_it_can_be(observer: Observer, listener: socket.socket) -> None:
    """Linux tells the backlog of a listener; the portable observer cannot know, and says 0."""
    (found,) = observer.listeners(address(listener)[1])

    assert found.backlog == (0 if isinstance(observer, PortableObserver) else 7)


# Both


def test_both_tell_the_same_of_the_same_processes(script: Callable[..., tuple[int, list[int]]]) -> None:
    """PID, parent, state and command are the same whoever is asked; the clocks of starts differ."""
    pid, (zombie,) = script(ZOMBIE)
    # It has told us of its child before it waits for its input.
    assert wait_for(lambda: facts_of(LinuxObserver(), pid).state == "S", Deadline(WITHIN))

    def told(observer: Observer) -> list[tuple[int, int, str, str]]:
        found = [facts_of(observer, one) for one in (pid, zombie)]
        return [
            (one.process.pid, one.ppid, one.state, "" if one.state == "Z" else one.command) for one in found
        ]

    assert told(LinuxObserver()) == told(PortableObserver())


def test_the_best_observer_of_linux() -> None:
    """On Linux the kernel is asked directly."""
    assert isinstance(observe.here(), LinuxObserver)


#: A process whose first thread has ended, while another holds a listener; it waits for its input to end.
HEADLESS = """
import ctypes, socket, threading
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=sys.stdin.read).start()
print(listener.getsockname()[1], flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_whose_first_thread_has_ended_is_alive(
    observer: Observer, script: Callable[..., tuple[int, list[int]]]
) -> None:
    """It is no zombie while another thread runs, and what it holds is seen."""
    pid, (port,) = script(HEADLESS)
    first = Path(f"/proc/{pid}/task/{pid}/stat")
    assert wait_for(lambda: first.read_text().rpartition(") ")[2].startswith("Z"), Deadline(WITHIN))
    process = facts_of(observer, pid).process

    assert observer.alive(process)
    assert process in {facts.process for facts in observer.descendants(os.getpid()) if facts.alive}
    if isinstance(observer, LinuxObserver):  # psutil looks at the first thread alone
        (found,) = observer.listeners(port)
        assert observer.holders([found.key], [pid])[found.key] == {process}
        assert observer.descriptors(process) >= 4


# UNIX sockets


@pytest.fixture
def unix_listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A listener of this process on a path."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        made.listen(7)
        yield made


@pytest.fixture
def unix_client(unix_listener: socket.socket) -> Iterator[socket.socket]:
    """A client of it, not accepted yet."""
    with socket.socket(socket.AF_UNIX) as made:
        made.connect(unix_listener.getsockname())
        yield made


def test_a_unix_connection_is_held_by_nobody_until_it_is_accepted(
    unix_listener: socket.socket, unix_client: socket.socket
) -> None:
    """As over TCP: no inode, then that of the accepted socket, and none at all once it was closed."""
    observer = LinuxObserver()
    queued = observer.endpoint(theirs(unix_client), ours(unix_client))
    server, _ = unix_listener.accept()
    with server:
        accepted = observer.endpoint(theirs(unix_client), ours(unix_client))
        key = ours(server)[1]

    assert queued
    assert queued.key == 0
    assert accepted
    assert accepted.key == key
    assert observer.endpoint(theirs(unix_client), ours(unix_client)) is None


def test_the_queues_and_ends_of_a_unix_connection_are_seen(
    unix_listener: socket.socket, unix_client: socket.socket
) -> None:
    """What was sent is unread at the server's end at once; ended directions are told as states of TCP."""
    observer = LinuxObserver()
    with unix_listener.accept()[0] as server:
        here, there = ours(unix_client), theirs(unix_client)
        unix_client.sendall(b"four")
        server.sendall(b"three")
        seen, mine = observer.endpoint(there, here), observer.endpoint(here, there)
        unix_client.shutdown(socket.SHUT_WR)
        halved = observer.endpoint(there, here)
        server.shutdown(socket.SHUT_WR)
        ended = observer.endpoint(there, here)

    assert seen
    assert (seen.state, seen.unread, seen.unsent) == ("ESTABLISHED", 4, 0)
    assert mine
    assert (mine.key, mine.unread) == (here[1], 5)
    assert halved
    assert halved.state == "CLOSE_WAIT"
    assert ended
    assert ended.state == "CLOSING"


def test_a_unix_listener_is_found_by_its_path(unix_listener: socket.socket) -> None:
    """With its backlog and whoever holds it; not once it was closed, though the path is still there."""
    observer = LinuxObserver()
    path = unix_listener.getsockname()
    (found,) = observer.listeners(path)

    assert found.address == (path, 0)
    assert found.backlog == 7
    assert {process.pid for process in observer.holders([found.key], ME)[found.key]} == {os.getpid()}
    unix_listener.close()
    assert observer.listeners(path) == []


def test_the_portable_observer_knows_no_unix_sockets(unix_client: socket.socket) -> None:
    """It says so by what it answers: nothing."""
    observer = PortableObserver()

    assert observer.endpoint(theirs(unix_client), ours(unix_client)) is None
    assert observer.listeners(theirs(unix_client)[0]) == []


def test_how_a_zombie_has_ended_is_told_where_it_can_be(observer: Observer) -> None:
    """The kernel keeps it until the parent asks; of one that runs, or has gone, there is nothing to tell."""
    # No fork here: other tests have left threads in this process.
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"])
    found = wait_for(
        lambda: (facts := observer.facts(child.pid)) and not facts.alive and facts.process, Deadline(WITHIN)
    )
    assert found
    told = observer.exit_status(found)
    child.wait()

    assert told == (3 << 8 if observer.name == "linux" else None)
    assert observer.exit_status(found) is None
    assert observer.exit_status(facts_of(observer, os.getpid()).process) is None


def test_files_and_signals_are_told_where_they_can_be(observer: Observer) -> None:
    """What a descriptor is, in the kernel's words; which signals a process has blocked and ignores."""
    me = facts_of(observer, os.getpid()).process
    stranger = Process(me.pid, me.start + 1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    reading, writing = os.pipe()
    try:
        files, masks = observer.files(me), observer.masks(me)
    finally:
        os.close(reading)
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    if observer.name == "linux":
        assert files[reading].startswith("pipe:[")
        assert files[reading] == files[writing]
        assert masks
        assert signal.SIGUSR1 in masks.blocked
        assert signal.SIGPIPE in masks.ignored
    else:
        assert (files, masks) == ({}, None)
    assert (observer.files(stranger), observer.masks(stranger)) == ({}, None)
