"""Sends without end before the client has said a word."""

import sys

from honest import listen, serve


def flood(connection):
    while True:
        connection.sendall(b"0" * (1 << 20))


serve(listen(int(sys.argv[1])), flood)
