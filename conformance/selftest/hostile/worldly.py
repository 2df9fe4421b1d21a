"""Writes into a folder what it was launched into, listens, and announces its port as its third argument says."""

import json
import os
import signal
import socket
import sys

from honest import echo, serve


def is_open(descriptor):
    """It can be asked about."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


port, folder, mood = int(sys.argv[1]), sys.argv[2], sys.argv[3]
found = {
    "open": [descriptor for descriptor in range(3) if is_open(descriptor)],
    "ignored": [name for name in ("SIGCHLD", "SIGHUP") if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN],
    "terminal": is_open(1) and os.isatty(1),
}  # fmt: skip
# Before it listens: whoever sees that it does may look at once.
with open(os.path.join(folder, "world"), "w") as file:
    json.dump(found, file)
listener = socket.socket()
listener.bind(("127.0.0.1", port))
port = listener.getsockname()[1]
if mood == "speaks-first":
    os.write(1, b"listening on port %d\n" % port)
listener.listen(128)
if mood == "honest":
    os.write(1, b"listening on port %d\n" % port)
if mood == "says-zero":
    os.write(1, b"listening on port 0\n")
serve(listener, echo)
