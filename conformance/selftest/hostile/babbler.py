"""Serves, and floods both of its outputs meanwhile."""

import os
import sys

from honest import listen, serve

listener = listen(int(sys.argv[1]))
for descriptor in (1, 2):
    if os.fork() == 0:
        listener.close()
        while True:
            os.write(descriptor, b"all work and no play\n" * 3000)
serve(listener)
