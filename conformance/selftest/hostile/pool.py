"""Listens, and only then starts its workers, with something to compute before each."""

import os
import socket
import sys
import time

from honest import echo

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
for _ in range(int(sys.argv[2])):
    until = time.process_time() + 0.03
    while time.process_time() < until:
        pass
    if os.fork() == 0:
        while True:
            echo(listener.accept()[0])
os.wait()
