"""Ignores every request to end."""

import signal
import sys

from honest import listen, serve

for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
serve(listen(int(sys.argv[1])))
