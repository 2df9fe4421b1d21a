"""Listens, and at once starts a program in the way of vfork(2): it sleeps until the child has come to that, which a FIFO holds up."""

import os
import socket
import sys

from honest import serve

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
os.mkfifo(sys.argv[2])
os.posix_spawn(
    "/bin/sleep",
    ["sleep", "600"],
    os.environ,
    file_actions=[(os.POSIX_SPAWN_OPEN, 0, sys.argv[2], os.O_RDONLY, 0)],
)
serve(listener)
