"""The load of one window: so many clients, each of them one whole connection after the other, as fast as they are served.

A program of its own with the standard library alone, so that neither our threads nor our memory are in the way:

    python -I -S generator.py HOST PORT CLIENTS WARM-UP SECONDS PREFIX

HOST with a slash is the path of a UNIX socket; PREFIX is a regular expression of what comes before the echo. A connection is: connect,
send 17 bytes, read the reply to its end, half-close, read the end of the stream. On standard output comes one JSON object: `connections`
that ended within the window and `seconds`, their number per second is the rate; `latencies` in microseconds of all that ended from the
beginning of the window on, sorted; `errors` by what they were; `all`, the connections from first to last; `busy`, which part of the window this process
had a processor.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import socket
import sys
import time

__all__ = ["PAYLOAD", "load"]

PAYLOAD = b"Hello echo server"
CHUNK = 4096  # bytes read at once, more than any reply
DRAIN = 5.0  # seconds in which the connections that are open at the end of a window may end
ERRORS_MAX = 1000  # of a window, after which no connection is begun any more: nobody is there
STEP = 0.05  # seconds before the next try where a connection was refused, as the server may be full
MARGIN = 10.0  # seconds beyond all that, when this process ends whatever it does

#: How far a connection is.
CONNECTING, SENT, HALF_CLOSED = range(3)


class Client:
    """One connection: how far it is, since when, and what has come."""

    __slots__ = ("begun", "got", "socket", "state")

    def __init__(self, connection: socket.socket, begun: float, state: int) -> None:
        self.socket = connection
        self.begun = begun
        self.state = state
        self.got = b""


class Load:
    """All clients of a window, in one thread."""

    def __init__(
        self, address: tuple[str, int], clients: int, warm_up: float, seconds: float, prefix: bytes
    ) -> None:
        self.unix = "/" in address[0]
        self.address: object = address[0] if self.unix else address
        self.family = (
            socket.AF_UNIX if self.unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        )
        self.clients = clients
        self.reply = re.compile(prefix + re.escape(PAYLOAD), re.DOTALL).fullmatch
        self.poll = select.epoll()
        self.open: dict[int, Client] = {}
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}
        self.failed = self.within = self.all = 0
        self.from_ = time.perf_counter() + warm_up
        self.until = self.from_ + seconds
        self.busy_from = self.busy_until = 0.0
        self.later = 0.0  # when those that were refused try again

    def run(self) -> dict[str, object]:
        """The whole window; what is told of it."""
        seconds = self.until - self.from_
        while (now := time.perf_counter()) < self.until:
            if not self.busy_from and now >= self.from_:
                self.busy_from = time.process_time()
            if len(self.open) < self.clients and now >= self.later:
                if self.failed >= ERRORS_MAX:
                    break
                self.begin()
                if len(self.open) < self.clients:
                    continue
            self.step(min(self.until - now, STEP if len(self.open) < self.clients else 1.0))
        self.busy_until = time.process_time()
        end = self.until + DRAIN
        while self.open and (now := time.perf_counter()) < end:
            self.step(end - now)
        for client in list(self.open.values()):
            late = f"not served {DRAIN:g} s after the window" if client.state == SENT else "not ended"
            self.fail(client, late)
        self.latencies.sort()
        return {
            "connections": self.within,
            "seconds": seconds,
            "latencies": [round(one * 1e6) for one in self.latencies],
            "errors": self.errors,
            "all": self.all,
            "busy": (self.busy_until - self.busy_from) / seconds,
        }

    def begin(self) -> None:
        """One more connection; over loopback it mostly is established at once, so that the bytes go out at once as well."""
        begun = time.perf_counter()
        connection = socket.socket(self.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        failed = connection.connect_ex(self.address)  # type: ignore[arg-type]
        client = Client(connection, begun, CONNECTING)
        if failed and failed != errno.EINPROGRESS:
            self.later = begun + STEP
            connection.close()
            # A UNIX socket's queue is full: nothing has failed, it is tried again.
            if failed != errno.EAGAIN:
                self.count(begun, os.strerror(failed))
            return
        self.open[connection.fileno()] = client
        wanted = select.EPOLLOUT
        if not failed or not self.unix:
            try:
                connection.send(PAYLOAD)
                client.state = SENT
                wanted = select.EPOLLIN
            except BlockingIOError:
                pass
            except OSError as error:
                self.fail(client, error.strerror or str(error))
                return
        self.poll.register(connection.fileno(), wanted)

    def step(self, seconds: float) -> None:
        """What has come for whom within so many seconds."""
        for number, _ in self.poll.poll(max(0.0, seconds)):
            client = self.open[number]
            try:
                self.go_on(client)
            except OSError as error:
                self.fail(client, error.strerror or str(error))

    def go_on(self, client: Client) -> None:
        """The next step of a connection; at its end, the next connection."""
        if client.state == CONNECTING:
            client.socket.send(PAYLOAD)
            client.state = SENT
            self.poll.modify(client.socket.fileno(), select.EPOLLIN)
            return
        data = client.socket.recv(CHUNK)
        if client.state == SENT:
            client.got += data
            if client.got.endswith(PAYLOAD) and self.reply(client.got):
                client.socket.shutdown(socket.SHUT_WR)
                client.state = HALF_CLOSED
            elif not data:
                self.fail(client, "the end of the stream in place of the echo")
            elif len(client.got) >= CHUNK:
                self.fail(client, "another reply than the echo")
            return
        now = time.perf_counter()
        if data:
            self.fail(client, "more than the echo")
            return
        self.forget(client)
        self.all += 1
        if now >= self.from_:
            self.latencies.append(now - client.begun)
            self.within += now < self.until
        if now < self.until and self.failed < ERRORS_MAX:
            self.begin()

    def fail(self, client: Client, why: str) -> None:
        """A connection that did not end as it should; the next one is begun a little later."""
        self.forget(client)
        self.later = time.perf_counter() + STEP
        self.count(client.begun, why)

    def forget(self, client: Client) -> None:
        """It is closed, and nothing is waited for."""
        del self.open[client.socket.fileno()]
        client.socket.close()

    def count(self, begun: float, why: str) -> None:
        """An error; those of the warm-up count as well, since a server must get through it too."""
        self.failed += 1
        self.errors[why] = self.errors.get(why, 0) + 1


def load(arguments: list[str]) -> dict[str, object]:
    """What the arguments say, see above."""
    host, port, clients, warm_up, seconds, prefix = arguments
    signal.alarm(int(float(warm_up) + float(seconds) + DRAIN + MARGIN))
    address = (host, int(port))
    return Load(address, int(clients), float(warm_up), float(seconds), prefix.encode("latin-1")).run()


if __name__ == "__main__":
    json.dump(load(sys.argv[1:]), sys.stdout)
