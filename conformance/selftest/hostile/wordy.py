"""Says more, or something else, or nothing, as its second argument tells: what a load generator must not take for an echo."""

import sys

from honest import listen, serve


def handle(connection):
    """What the second argument says."""
    data = connection.recv(65536)
    if sys.argv[2] == "other":
        connection.sendall(data[::-1])
        connection.recv(1)
    elif sys.argv[2] == "more":
        connection.sendall(data)
        connection.recv(1)
        connection.sendall(b"and more")
    elif sys.argv[2] == "flood":
        while True:
            connection.sendall(bytes(65536))
    elif sys.argv[2] == "part":
        connection.sendall(data[:5])
    elif sys.argv[2] == "silence":
        connection.recv(1)
        connection.recv(1)


serve(listen(int(sys.argv[1])), handle)
