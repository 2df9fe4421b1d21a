"""Serves, and hides a process behind every connection: forked twice, in a session of its own, holding nothing."""

import os
import signal
import sys

from honest import echo, listen, serve


def hide(connection):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            os.closerange(0, 100)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.pause()
        os._exit(0)
    echo(connection)


serve(listen(int(sys.argv[1])), hide)
