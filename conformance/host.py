"""A host for a server that is used in process: makes one from a class, and calls it as it is told.

Run as a program of its own, by its path, with the standard library alone, by whichever Python the target wants (2.7 to the
latest):

    python host.py FILE:CLASS HOST PORT FOLDER [NAME=VALUE ...]

The class is made with the address and the further arguments by name (literals of Python, or else text), and must listen when it
has been made, as those of `socketserver` do. Then each line that comes through the pipe FOLDER/calls names a call; as each
returns, one JSON object on a line of FOLDER/returns says so: its number, counted from 1, its name, the seconds that it took,
and either the `result` or the `error`. A call that does not return says nothing.

    serve                   serve_forever(), in a thread of its own
    serve-in-main           serve_forever(), in the main thread
    shutdown                shutdown(), in a thread of its own
    shutdown-from-handler   shutdown(), in a signal handler, which Python runs in the main thread
    server-close            server_close(), in a thread of its own
    bear                    start a child process that is not the server's, and see it end, without waiting for it
    wait                    wait for that child: the result is its exit status
    visit                   connect to the server as a client of its own, and have one byte echoed
    leave                   close that connection
"""

import ast
import json
import os
import signal
import socket
import sys
import threading
import time

TYPE_CHECKING = False  # typing is not there in Python 2, to which what needs it here is a comment
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional  # noqa: F401, UP035

BORN_WITH = 7  # the exit status of the child that is not the server's


class Host:
    """The server, who calls it, and where is written what came of it."""

    def __init__(self, folder):
        # type: (str) -> None
        self.server = None  # type: Any  # made later, so that whoever sees it listen can call
        self.child = 0
        self.client = None  # type: Any
        self.count = 0
        self.in_handler = 0
        self.in_main = 0
        self.main_wanted = threading.Event()
        path = os.path.join(folder, "calls")
        os.mkfifo(path)
        # Open for writing too, or the pipe would end with each line.
        self.calls = os.fdopen(os.open(path, os.O_RDWR), "r")
        self.returns = os.open(os.path.join(folder, "returns"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def listen_to_calls(self):
        # type: () -> None
        """Take one call after the other; runs in a thread of its own, so that the main thread can serve."""
        while True:
            name = self.calls.readline().strip()
            self.count += 1
            if name == "serve-in-main":
                self.in_main = self.count
                self.main_wanted.set()
            elif name == "shutdown-from-handler":
                self.in_handler = self.count
                os.kill(os.getpid(), signal.SIGUSR1)  # the kernel prefers the main thread
            else:
                thread = threading.Thread(target=self.call, args=(self.count, name))
                thread.daemon = True
                thread.start()

    def on_signal(self, number, frame):
        # type: (int, object) -> None
        """The handler of SIGUSR1: in the main thread, whatever that is doing."""
        self.call(self.in_handler, "shutdown-from-handler")

    def stay(self):
        # type: () -> None
        """What the main thread does: wait, and serve when it is told to."""
        while True:
            # With a bound, since Python 2 runs no handler during a wait without one.
            if self.main_wanted.wait(3600):
                self.main_wanted.clear()
                self.call(self.in_main, "serve-in-main")

    def call(self, number, name):
        # type: (int, str) -> None
        """Make one call, and say what came of it."""
        started = time.time()
        told = {"call": number, "name": name}  # type: Dict[str, object]
        try:
            told["result"] = CALLS[name](self)
        except BaseException as error:
            told["error"] = "%s: %s" % (type(error).__name__, error)  # noqa: UP031, for Python 2
        told["seconds"] = round(time.time() - started, 4)
        os.write(self.returns, (json.dumps(told) + "\n").encode())

    def serve(self):
        # type: () -> None
        """Accept and serve until somebody calls shutdown()."""
        self.server.serve_forever()

    def shutdown(self):
        # type: () -> None
        """End that."""
        self.server.shutdown()

    def server_close(self):
        # type: () -> None
        """Give the address back."""
        self.server.server_close()

    def bear(self):
        # type: () -> int
        """The PID of a child that has ended. That it has is known by its end of a pipe, which takes nothing from anybody."""
        reading, writing = os.pipe()
        self.child = os.fork()
        if self.child == 0:
            os._exit(BORN_WITH)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        return self.child

    def wait(self):
        # type: () -> int
        """How the child ended, as waitpid says: its exit status."""
        _, status = os.waitpid(self.child, 0)
        return os.WEXITSTATUS(status)

    def visit(self):
        # type: () -> None
        """Be a client of the server, in the same process."""
        self.client = socket.create_connection(self.server.server_address)
        self.client.sendall(b"x")
        self.client.recv(1)

    def leave(self):
        # type: () -> None
        """Be one no longer; the server sees the end of the stream if nobody else holds this end."""
        self.client.close()


CALLS = {  # type: Dict[str, Callable[[Host], Optional[int]]]
    "serve": Host.serve,
    "serve-in-main": Host.serve,
    "shutdown": Host.shutdown,
    "shutdown-from-handler": Host.shutdown,
    "server-close": Host.server_close,
    "bear": Host.bear,
    "wait": Host.wait,
    "visit": Host.visit,
    "leave": Host.leave,
}


def value(text):
    # type: (str) -> object
    """A literal of Python, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def main(arguments):
    # type: (List[str]) -> None
    """Make the server and do what is told, until somebody ends the process."""
    place, address, port, folder = arguments[:4]
    words = [word.partition("=") for word in arguments[4:]]
    options = {name: value(text) for name, _, text in words}
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is no traceback
    path, _, name = place.rpartition(":")
    sys.dont_write_bytecode = True  # the folder is somebody else's
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    module = __import__(os.path.splitext(os.path.basename(path))[0])
    host = Host(folder)
    signal.signal(signal.SIGUSR1, host.on_signal)
    host.server = getattr(module, name)((address, int(port)), **options)
    thread = threading.Thread(target=host.listen_to_calls)
    thread.daemon = True
    thread.start()
    host.stay()


if __name__ == "__main__":
    main(sys.argv[1:])
