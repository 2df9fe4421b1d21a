"""Keeps every requirement, but the parent holds each connection for a moment after it has forked."""

import sys
import time

from forkecho.server import ForkingEchoServer, main


class ClosesLate(ForkingEchoServer):
    def spawn(self, connection):
        super().spawn(connection)
        time.sleep(0.03)


if __name__ == "__main__":
    sys.exit(main(server_class=ClosesLate))
