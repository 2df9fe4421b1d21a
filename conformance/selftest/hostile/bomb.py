"""Forks, and so do its children, and theirs: until there are as many as it was told, and no process more.

Each fork takes a byte out of one pipe that all of them share, so that the bomb is bounded whatever becomes of it.
"""

import os
import signal
import sys


def explode(most, failed=lambda: None):
    """Fork up to so many times in all; `failed` is called where the kernel refuses. Never returns."""
    tokens, fill = os.pipe()
    os.write(fill, b"x" * most)
    os.set_blocking(tokens, False)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        try:
            os.read(tokens, 1)
        except BlockingIOError:
            break
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            failed()
            break
    signal.pause()


if __name__ == "__main__":
    explode(int(sys.argv[1]))
