"""A class for a host: what is called of it does not return, or not well."""

import threading

from honest import listen, serve


class Patient:
    """Serves for ever, and is done with nothing that should end it."""

    def __init__(self, address, note=""):
        self.listener = listen(address[1], address[0])
        self.note = note

    def serve_forever(self):
        serve(self.listener)

    def shutdown(self):
        threading.Event().wait()

    def server_close(self):
        raise ValueError(self.note)
