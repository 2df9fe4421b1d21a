"""Whole echo connections as the load of Locust: `locust -f PATH --host 127.0.0.1:9000`, with as many workers on as many machines as wanted.

It stands alone, so that a worker on a machine without forkecho can have it from the master (`locust -f - --worker`).
"""

from __future__ import annotations

import json
import math
import re
import socket
import time
from collections import Counter
from typing import Any

from locust import User, constant, events, task

__all__ = ["EchoUser", "exchange"]

MESSAGE = b"seventeen octets!"
GOES_WITHIN = 10.0  # seconds for each step of a connection
#: What a number in a reply is; at most so long is a prefix.
NUMBER, LONGEST = rb"[0-9]{1,20}", 256


class Unlike(Exception):
    """The server did something else; says what, in the same words each time, so that they can be counted."""


def exchange(address: Any, reply: str) -> int:
    """One whole connection: connect, 17 bytes, their echo, half-close, the end of the stream; how many bytes came.

    Args:
        address: as `getaddrinfo` tells it.
        reply: how the server replies, as in a manifest.

    Raises:
        Unlike: the server did not what `reply` says, or a step took too long.
    """
    literal = re.split(r"\{p?pid\}", reply.removesuffix("{data}"))
    wanted = re.compile(NUMBER.join(re.escape(one.encode()) for one in literal) + re.escape(MESSAGE))
    try:
        with socket.socket(*address[:3]) as connection:
            connection.settimeout(GOES_WITHIN)
            connection.connect(address[4])
            connection.sendall(MESSAGE)
            came = b""
            while not wanted.fullmatch(came):
                if len(came) >= len(MESSAGE) + LONGEST:
                    raise Unlike("something else than the echo came")
                if not (more := connection.recv(4096)):
                    raise Unlike("the end came before the echo")
                came += more
            connection.shutdown(socket.SHUT_WR)
            if connection.recv(1):
                raise Unlike("more than the echo came")
            return len(came)
    except TimeoutError:
        raise Unlike(f"nothing for {GOES_WITHIN:.0f} s") from None
    except OSError as error:
        raise Unlike(error.strerror or type(error).__name__) from None


class Counted:
    """What a process has seen within its window since it last told."""

    def __init__(self) -> None:
        self.latencies: Counter[int] = Counter()  # from microseconds, of three digits, to how many
        self.errors: Counter[str] = Counter()
        self.begun, self.until = math.inf, math.inf  # the window
        self.seconds = self.busy = 0.0  # of it, and on a processor within it
        self.first: float | None = None  # seconds on a processor when the window began, or when we last told
        self.last: float | None = None  # when it ended

    def begin(self, warm_up: float, seconds: float) -> None:
        """The window, from now on."""
        self.latencies.clear()
        self.errors.clear()
        self.begun = time.monotonic() + warm_up
        self.until = self.begun + seconds if seconds else math.inf
        self.first = self.last = None

    def see(self, latency: float, error: Unlike | None) -> None:
        """A connection has ended just now; latency in seconds."""
        now = time.monotonic()
        if now >= self.begun and self.first is None:
            self.first = time.process_time()
        if now > self.until and self.last is None:
            self.last = time.process_time()
        if not self.begun <= now <= self.until:
            return
        if error:
            self.errors[str(error)] += 1
            return
        octets = max(1, round(latency * 1e6))
        self.latencies[round(octets, 3 - len(str(octets)))] += 1

    def tell(self) -> dict[str, Any]:
        """All of it, once."""
        now = time.process_time() if self.last is None else self.last
        told = {
            "latencies": dict(self.latencies),
            "errors": dict(self.errors),
            "seconds": max(0.0, min(time.monotonic(), self.until) - self.begun),
            "busy": 0.0 if self.first is None else now - self.first,
        }
        self.latencies.clear()
        self.errors.clear()
        self.first = None if self.first is None else now
        return told

    def add(self, told: dict[str, Any]) -> None:
        """What another process has seen."""
        self.latencies.update({int(latency): count for latency, count in told["latencies"].items()})
        self.errors.update(told["errors"])
        self.seconds = max(self.seconds, told["seconds"])
        self.busy += told["busy"]


counted = Counted()


class EchoUser(User):
    """A client that opens one connection after the other."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Find the server, once."""
        host, _, port = str(self.host).removeprefix("tcp://").rpartition(":")
        self.address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]

    @task
    def connection(self) -> None:
        """One, told to Locust as a request."""
        error, length, wall, begun = None, 0, time.time(), time.perf_counter()
        try:
            length = exchange(self.address, self.environment.parsed_options.reply)
        except Unlike as unlike:
            error = unlike
        latency = time.perf_counter() - begun
        counted.see(latency, error)
        self.environment.events.request.fire(
            request_type="tcp",
            name="echo",
            response_time=latency * 1000,
            response_length=length,
            exception=error,
            context={},
            start_time=wall,
            url=self.host,
        )


@events.init_command_line_parser.add_listener
def options(parser: Any, **_: object) -> None:
    """What a master tells its workers."""
    parser.add_argument("--reply", default="{data}", help="How the server replies, as in a manifest.")
    parser.add_argument(
        "--warm-up", type=float, default=0.0, help="Seconds that are not counted for --result."
    )
    parser.add_argument("--window", type=float, default=0.0, help="Seconds that are (0: to the end).")
    parser.add_argument("--result", default="", help="A file for what was counted, as JSON (on the master).")


@events.report_to_master.add_listener
def tell(client_id: str, data: dict[str, Any], **_: object) -> None:
    """From a worker."""
    data["forkecho"] = counted.tell()


@events.worker_report.add_listener
def add(client_id: str, data: dict[str, Any], **_: object) -> None:
    """At the master."""
    if "forkecho" in data:
        total.add(data["forkecho"])


total = Counted()


@events.init.add_listener
def prepare(environment: Any, **_: object) -> None:
    """The window begins with all clients there; at the end, when all workers have told, the master writes what they did."""

    @environment.events.spawning_complete.add_listener
    def begin(user_count: int, **_: object) -> None:
        told = environment.parsed_options
        counted.begin(told.warm_up, told.window)

    @environment.events.quit.add_listener
    def write(exit_code: int, **_: object) -> None:
        if path := getattr(environment.parsed_options, "result", ""):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(
                    {name: getattr(total, name) for name in ("latencies", "errors", "seconds", "busy")}, file
                )
