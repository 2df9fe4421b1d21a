"""A forking server that is worn out by its clients as its second argument says."""

import mmap
import os
import select
import signal
import socket
import sys

KEPT = []  # what it does not let go of
CHILDREN = []  # that it will wait for
SHARED = mmap.mmap(-1, 1)  # that all its children see


def flat(child, count):
    """Nothing is kept."""
    CHILDREN.append(child)


def descriptors(child, count):
    """A descriptor of every fifth."""
    CHILDREN.append(child)
    if count % 5 == 0:
        KEPT.append(os.open(os.devnull, os.O_RDONLY))


def zombies(child, count):
    """Nobody waits for every fourth child."""
    if count % 4:
        CHILDREN.append(child)


def memory(child, count):
    """A hundred thousand bytes of everybody."""
    CHILDREN.append(child)
    KEPT.append(os.urandom(100_000))


def stays(child, count):
    """Every fifth child has come to stay."""
    CHILDREN.append(child)


def fickle(child, count):
    """Every second greeting is not answered."""
    CHILDREN.append(child)


def liar(child, count):
    """What comes back is something else."""
    CHILDREN.append(child)


def mortal(child, count):
    """It ends in the middle of it."""
    CHILDREN.append(child)
    if count > 20:
        for one in CHILDREN:
            os.kill(one, signal.SIGKILL)
        os._exit(0)


def serve(connection, mood, count):
    """The child."""
    while data := connection.recv(65536):
        if mood == "fickle" and data == b"Hello echo server\n":
            SHARED[0] = (SHARED[0] + 1) % 2
            if SHARED[0]:
                break
        connection.sendall(data[::-1] if mood == "liar" and len(data) == 700 else data)
    connection.close()
    if mood == "stays" and count % 5 == 0:
        signal.pause()
    os._exit(0)


def main(port, mood):
    """The parent."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    count = 0
    while True:
        ready, _, _ = select.select([listener], [], [], 0.02)
        for child in tuple(CHILDREN):
            if os.waitpid(child, os.WNOHANG)[0]:
                CHILDREN.remove(child)
        if not ready:
            continue
        connection, _ = listener.accept()
        count += 1
        child = os.fork()
        if child == 0:
            listener.close()
            serve(connection, mood, count)
        connection.close()
        globals()[mood](child, count)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
