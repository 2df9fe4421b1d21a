"""Forks, and so do its children, and theirs: until there are as many as it was told, and no process more.

Each fork takes a byte out of one pipe that all of them share, so that the bomb is bounded whatever becomes of it.
"""

import os
import signal
import sys

most = int(sys.argv[1])
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
        os.write(1, b"no more\n")  # in one piece, whoever else says so
        break
signal.pause()
