"""A child for every connection, and once, after one of them has ended, nobody is accepted for 1.2 s."""

import os
import signal
import sys
import time

from honest import echo, listen


def rest(number, frame):
    """Sleep at the first SIGCHLD, and have children reaped from then on."""
    os.waitpid(-1, os.WNOHANG)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    time.sleep(1.2)


signal.signal(signal.SIGCHLD, rest)
listener = listen(int(sys.argv[1]))
while True:
    connection, _ = listener.accept()
    if not os.fork():
        listener.close()
        echo(connection)
        os._exit(0)
    connection.close()
