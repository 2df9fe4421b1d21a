"""Answers every client without end."""

import sys

from honest import listen, serve


def flood(connection):
    connection.recv(1)
    while True:
        connection.sendall(b"!" * (1 << 20))


serve(listen(int(sys.argv[1])), flood)
