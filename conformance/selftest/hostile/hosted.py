"""A class for a host: what is called of it does not return, or not well."""

import os
import threading

from honest import echo, listen, serve


class Patient:
    """Serves for ever, and is done with nothing that should end it."""

    def __init__(self, address, note=""):
        self.listener = listen(address[1], address[0])
        self.server_address = self.listener.getsockname()
        self.note = note

    def serve_forever(self):
        serve(self.listener, echo_alone)

    def shutdown(self):
        threading.Event().wait()

    def server_close(self):
        raise ValueError(self.note)


def echo_alone(connection):
    """With the connection open and nothing else, or a client of the host's own would never end it."""
    os.closerange(3, connection.fileno())
    os.closerange(connection.fileno() + 1, 256)
    echo(connection)
