"""Serves, until it is told a number: then it forks up to that many processes, and answers when the kernel refuses."""

import sys

from bomb import explode
from honest import listen, serve


def handle(connection):
    explode(int(connection.recv(100)), lambda: connection.sendall(b"!"))


serve(listen(int(sys.argv[1])), handle)
