"""A client that behaves as its third argument says."""

import os
import signal
import socket
import struct
import sys
import time


def say(message, connection):
    """All is well: the message, half-closed, and what comes back up to the end."""
    connection.sendall(message)
    connection.shutdown(socket.SHUT_WR)
    received = b""
    while data := connection.recv(65536):
        received += data
    sys.stdout.buffer.write(received)
    return 0 if received == message else 1


def half(message, connection):
    """Sends half of it."""
    return say(message[: len(message) // 2], connection)


def other(message, connection):
    """Sends something else."""
    return say(message[::-1], connection)


def more(message, connection):
    """Sends more than it was told."""
    return say(message + b"\r\n", connection)


def resets(message, connection):
    """Ends the connection with an RST."""
    connection.sendall(message[:1])
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return 1


def crashes(message, connection):
    """Is killed by a signal once it is answered."""
    connection.sendall(message)
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def rambles(message, connection):
    """Complains at length."""
    connection.sendall(message)
    connection.recv(1)
    sys.stderr.write("no\n" * 40)
    return 1


def leaves(message, connection):
    """Leaves a process behind that holds the connection and all else."""
    if os.fork() == 0:
        signal.pause()
    return say(message, connection)


def stays(message, connection):
    """Does not end."""
    say(message, connection)
    signal.pause()


def hasty(message, connection):
    """Does not wait for an answer."""
    connection.sendall(message)
    return 1


def clings(message, connection):
    """Sends it, and never ends its direction."""
    connection.sendall(message)
    signal.pause()


def hesitates(message, connection):
    """Sends it when whoever waits for it has begun to, and clings."""
    time.sleep(0.2)
    clings(message, connection)


if __name__ == "__main__":
    host, port, mood, *argument = sys.argv[1:]
    if mood == "absent":
        raise SystemExit("not today")
    told = os.fsencode(argument[0]) if argument else sys.stdin.buffer.read()
    with socket.create_connection((host, int(port))) as made:
        raise SystemExit(globals()[mood](told, made))
