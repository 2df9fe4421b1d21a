"""Treats its clients as its second argument says; a child for each, unless that is the mood."""

import contextlib
import os
import resource
import signal
import socket
import struct
import sys
import time

from honest import echo, listen, listen_on_path, serve

RESET = struct.pack("ii", 1, 0)


def once(connection):
    """One echo, then a FIN."""
    connection.sendall(connection.recv(65536))


def resets(connection):
    """One echo, then an RST."""
    once(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def resets_late(connection):
    """One echo, a FIN, and an RST in its wake."""
    # What is left unread has the kernel reset the connection when the last who holds it lets go of it, whoever that is;
    # and until then it shows that this is still to come.
    connection.sendall(connection.recv(65536, socket.MSG_PEEK))
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def changes(connection):
    """Another byte than the one it was sent."""
    while data := connection.recv(65536):
        connection.sendall(b"X" * len(data))


def prattles(connection):
    """Speaks unasked."""
    connection.sendall(b"welcome")
    echo(connection)


def clings(connection):
    """Never ends of its own accord."""
    echo(connection)
    signal.pause()


def lies(connection):
    """Other PIDs than its own."""
    connection.sendall(b"1:1:")
    echo(connection)


def lies_of_its_parent(connection):
    """Its own PID, and not its parent's."""
    connection.sendall(b"%d:%d:" % (os.getpid(), os.getpid()))
    echo(connection)


def pads(connection):
    """A leading zero."""
    connection.sendall(b"0%d:%d:" % (os.getpid(), os.getppid()))
    echo(connection)


def discards(connection):
    """Reads all, says nothing."""
    while connection.recv(65536):
        pass


def dawdles(connection):
    """Thinks about every message."""
    while data := connection.recv(65536):
        time.sleep(0.1)
        connection.sendall(data)


def ponders(connection):
    """Thinks about every message for long."""
    while data := connection.recv(65536):
        time.sleep(2)
        connection.sendall(data)


def spins(connection):
    """Never sleeps."""
    connection.setblocking(False)
    while True:
        with contextlib.suppress(BlockingIOError):
            connection.sendall(connection.recv(65536))


def crashes_late(connection):
    """Catches a fault and lets it come again, as Rust's runtime does: only the second is the end."""
    signal.signal(signal.SIGSEGV, lambda *_: signal.signal(signal.SIGSEGV, signal.SIG_DFL))
    echo(connection)


def outlives_faults(connection):
    """Catches every fault and goes on."""
    signal.signal(signal.SIGSEGV, lambda *_: None)
    echo(connection)


def takes_its_time(connection):
    """Ends by a fault as it does by its client, a while later."""

    def end(*_):
        time.sleep(0.3)
        os._exit(1)

    signal.signal(signal.SIGSEGV, end)
    echo(connection)


def has_an_heir(connection):
    """Forks, when it is told to, a process that goes on for it."""
    signal.signal(signal.SIGUSR1, lambda *_: os.fork())
    echo(connection)


def waits(listener):
    """Expects that accept() fails now and then."""
    while True:
        with contextlib.suppress(OSError):
            serve(listener, echo)
        time.sleep(0.01)


def helps_itself(listener):
    """Takes back what it is denied."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    while True:
        try:
            serve(listener, echo)
        except OSError:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def steps_in(listener):
    """Where no child can be had it goes on as one itself, and nobody listens any more."""
    while True:
        connection, _ = listener.accept()
        try:
            child = os.fork() == 0
        except OSError:
            child = True
        if child:
            listener.close()
            echo(connection)
            os._exit(0)
        connection.close()


def alone(listener, handle):
    """No child for anybody."""
    while True:
        connection, _ = listener.accept()
        handle(connection)
        connection.close()


place, mood = sys.argv[1:]
listener = listen_on_path(place) if "/" in place else listen(int(place))
if mood == "accepts-nobody":
    signal.pause()
if mood == "alone":
    alone(listener, echo)
if mood in ("waits", "helps_itself", "steps_in"):
    globals()[mood](listener)
serve(listener, globals()[mood.replace("-", "_")])
