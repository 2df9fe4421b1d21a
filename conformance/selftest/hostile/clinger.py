"""Echoes, and never closes a connection."""

import signal
import sys

from honest import echo, listen, serve


def cling(connection):
    echo(connection)
    signal.pause()


serve(listen(int(sys.argv[1])), cling)
