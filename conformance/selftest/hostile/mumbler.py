"""Prints bytes that are no text in any encoding that is in use, then serves; or ends, if its port is 0."""

import os
import sys

from honest import listen, serve

for descriptor in (1, 2):
    os.write(descriptor, b"\xff\xfe\x00\xed\xa0\x80 \x1b[2J \xc3\n")
if int(sys.argv[1]) == 0:
    sys.exit(1)
serve(listen(int(sys.argv[1])))
