"""Starts, and has its children end, as its second argument says."""

import os
import signal
import socket
import sys
import threading
import time

from honest import echo


def become_cat(connection, mood):
    """Everything back by another program, with what it needs, or with more."""
    if mood == "cat-with-all":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        connection.set_inheritable(True)
    if mood != "cat-without-sigpipe":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.dup2(connection.fileno(), 0)
    os.dup2(0, 1)
    os.execv("/bin/cat", ["cat"])


def handle(connection, mood):
    """One connection, and how its process ends."""
    if mood.startswith("late"):
        time.sleep(0.3)
    if "cat" in mood:
        become_cat(connection, mood)
    try:
        echo(connection)
    except ConnectionError:
        if mood == "complains":
            os.write(2, os.fsencode(f"a client\nwas reset, says {__file__}\n"))
        os._exit(1)
    if mood == "clears":
        os.unlink("mine")
    if mood == "repeats":
        sys.exit()
    os._exit(3 if mood == "children-fail" else 0)


port, mood = int(sys.argv[1]), sys.argv[2]
if mood == "wants-stderr":
    os.fstat(2)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if mood == "shares":
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
try:
    listener.bind(("0.0.0.0" if mood == "everywhere" else "127.0.0.1", port))
    if mood == "speaks-first":
        os.write(1, b"listening on port %d\n" % listener.getsockname()[1])
    # Whoever sees it listen may look at once.
    if mood == "repeats":
        print("a server, at your service")
    if mood == "clears":
        open("mine", "w").close()
    listener.listen(128)
except OSError:
    if mood == "waits":
        signal.pause()
    sys.exit(0 if mood == "ends-well" else 1)
if mood == "announces-zero":
    os.write(1, b"listening on port 0\n")
if mood.endswith("beside-a-thread"):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
if mood == "honest":
    os.write(1, b"listening on port %d\n" % listener.getsockname()[1])
children = set()
listener.settimeout(0.05)
while True:
    children = {pid for pid in children if not os.waitpid(pid, os.WNOHANG)[0]}
    try:
        connection, _ = listener.accept()
    except (TimeoutError, BlockingIOError):
        time.sleep(0)
        continue
    child = os.fork()
    if child == 0:
        listener.close()
        handle(connection, mood)
    children.add(child)
    connection.close()
