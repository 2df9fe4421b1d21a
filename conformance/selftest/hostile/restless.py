"""A process of it never rests; for a minute at the most."""

import os
import sys
import time

from honest import listen, serve

if os.fork() == 0:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pass
    os._exit(0)
serve(listen(int(sys.argv[1])))
