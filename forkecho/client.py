"""A client for echo servers that put the PIDs of the serving process and of its parent before the data.

As a class::

    reply = EchoClient(("127.0.0.1", 7777)).exchange(b"Hello echo server")
    print(reply.pid, reply.ppid, reply.data)

or as a program: ``python client.py HOST PORT [MESSAGE]``. Exit codes: 0 the message came back, 1 it did not,
2 wrong usage. Standard library only, Python 3.8 and later.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import sys
from typing import NamedTuple, NoReturn

__all__ = ["EchoClient", "EchoError", "Reply", "main", "split_reply"]

GREETING = "Hello echo server"
CHUNK = 65536  # bytes per send and recv
PATIENCE = 10.0  # seconds without any progress, to connect as well
NUMBER_MAX = 20  # digits of a PID, generously


class EchoError(Exception):
    """The exchange came to no good end; the message says in one line how."""


class Reply(NamedTuple):
    """What came back, taken apart. A number that the form of the reply does not have is None."""

    pid: int | None
    ppid: int | None
    data: bytes


def split_reply(octets: bytes, form: str = "{pid}:{ppid}:{data}") -> Reply:
    """Take a reply apart at the separators of its form, whatever the width of its numbers.

    Raises:
        ValueError: this is no form of a reply.
        EchoError: the octets are not of this form.
    """
    pattern = pattern_of(form)
    if not octets:
        return Reply(None, None, b"")  # nothing was sent, so there is no prefix either
    found = pattern.fullmatch(octets)
    if not found:
        raise EchoError(f"expected {form}, got {octets[:60]!r}{'...' if len(octets) > 60 else ''}")
    groups = found.groupdict()
    pid, ppid = (int(groups[name]) if name in groups else None for name in ("pid", "ppid"))
    return Reply(pid, ppid, groups["data"])


def pattern_of(form: str) -> re.Pattern[bytes]:
    """The pattern of a whole reply. The first separator ends a number: the data may contain others."""
    names = re.findall(r"\{(\w+)\}", form)
    alone = re.search(r"\{p?pid\}(?:[0-9{]|$)", form)
    if (
        not form.endswith("{data}")
        or len(set(names)) < len(names)
        or set(names) - {"pid", "ppid", "data"}
        or alone
    ):
        rule = "{data} stands last, {pid} and {ppid} at most once and each before something that is no digit"
        raise ValueError(f"reply {form!r}: {rule}")
    pattern = re.escape(form)
    for name, what in (("pid", "[0-9]+"), ("ppid", "[0-9]+"), ("data", "(?s:.*)")):
        pattern = pattern.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{what})")
    return re.compile(pattern.encode())


class EchoClient:
    """One server, a connection for every exchange. ``timeout`` is in seconds without progress."""

    def __init__(
        self, address: tuple[str, int], *, reply: str = "{pid}:{ppid}:{data}", timeout: float = PATIENCE
    ) -> None:
        pattern_of(reply)  # a wrong form shows at once, not after the exchange
        self.address = address
        self.reply = reply
        self.timeout = timeout

    def exchange(self, message: bytes) -> Reply:
        """Send the message, half-close, read to the end of the stream, and take apart what came.

        Raises:
            EchoError: nobody listens, the connection is reset or silent, or the reply is of another form.
        """
        try:
            with socket.create_connection(self.address, self.timeout) as connection:
                return split_reply(self.converse(connection, message), self.reply)
        except OSError as error:
            host, port = self.address
            raise EchoError(f"{host}, port {port}: {error.strerror or error}") from error

    def converse(self, connection: socket.socket, message: bytes) -> bytes:
        """Write and read side by side: the server stops reading while nobody takes its echo."""
        received = bytearray()
        most = len(message) + len(self.reply) + 2 * NUMBER_MAX  # no whole reply is longer
        unsent = memoryview(message)
        connection.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while True:
                ready = selector.select(self.timeout)
                if not ready:
                    raise EchoError(
                        f"silence for {self.timeout:g} s after {len(received)} bytes of the reply"
                    )
                events = ready[0][1]
                if events & selectors.EVENT_WRITE:
                    unsent = unsent[connection.send(unsent[:CHUNK]) :] if unsent else unsent
                    if not unsent:
                        connection.shutdown(socket.SHUT_WR)
                        selector.modify(connection, selectors.EVENT_READ)
                if events & selectors.EVENT_READ:
                    octets = connection.recv(CHUNK)
                    if not octets:
                        return bytes(received)
                    received += octets
                    if len(received) > most:
                        raise EchoError(f"the reply goes on after {most} bytes, more than were sent")


class OneLine(argparse.ArgumentParser):
    """A parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2, as for any wrong usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def port_number(text: str) -> int:
    """A port that a server can have."""
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 1 to 65535")
    return int(text)


def duration(text: str) -> float:
    """Seconds, more than none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def main(arguments: list[str] | None = None) -> int:
    """Send one message and print who served it and what came back; return the exit code."""
    parser = OneLine(
        prog="forkecho send", description="Send a message to an echo server, and see who served it."
    )
    parser.add_argument("host")
    parser.add_argument("port", type=port_number)
    parser.add_argument("message", nargs="?", default=GREETING, help="- for standard input (%(default)s)")
    parser.add_argument(
        "--reply",
        default="{pid}:{ppid}:{data}",
        metavar="FORM",
        help="the form of the server's replies (%(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=PATIENCE,
        metavar="SECONDS",
        help="give up after so long without progress (%(default)g)",
    )
    options = parser.parse_args(arguments)
    try:
        client = EchoClient((options.host, options.port), reply=options.reply, timeout=options.timeout)
    except ValueError as error:
        parser.error(str(error))
    message = (
        sys.stdin.buffer.read()
        if options.message == "-"
        else options.message.encode(errors="surrogateescape")
    )
    try:
        reply = client.exchange(message)
        report(reply)
        if reply.data != message:
            raise EchoError(f"sent {len(message)} bytes, got {len(reply.data)} back, and not the same")
    except EchoError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def report(reply: Reply) -> None:
    """A line for each number and then the data; where there are no numbers the bare data, for pipes."""
    numbers = {"pid": reply.pid, "ppid": reply.ppid}
    lines = b"".join(f"{name}: {number}\n".encode() for name, number in numbers.items() if number is not None)
    sys.stdout.flush()
    sys.stdout.buffer.write(lines + b"data: " + reply.data + b"\n" if lines else reply.data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
