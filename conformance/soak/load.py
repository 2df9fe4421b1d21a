"""The load of a soak: clients of many kinds, one after the other and side by side, in a process of their own.

A program: it reads an `Order` as its first line, then `go` and `rest`, each on a line, and ends with its standard input. It
says on standard output, a line of JSON each time, what became of its connections. It is bounded: no more than `room`
connections at once, and no more than `rate` new ones a second.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from forkecho.conformance import wire
from forkecho.conformance.address import Address
from forkecho.conformance.deadline import Deadline
from forkecho.conformance.manifest import Reply

__all__ = ["KINDS", "RATE", "ROOM", "Order", "Told", "main", "room_for"]

ROOM = 12  # connections at once: on two cores the suite beside them still has one and a half
RATE = 20.0  # new connections a second: a fork of a Python server takes some 3 ms, so that is 6 % of a core
SUITE = 4  # connections that are left to the suite's own cases where a server declares a maximum
PATIENCE = 10.0  # seconds for an echo; the suite may have frozen somebody meanwhile
HOLD = 4.0  # seconds that a connection is held on which nothing happens
SLOW = 0.05  # seconds between the reads of a slow reader
SLOW_BYTES = 32 * 1024  # that it sends; more than its own buffer takes
SLOW_BUFFER = 4096  # bytes of that buffer
TOLD_EVERY = 0.5  # seconds between two lines on what became of the connections


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the load is to be."""

    address: Address
    reply: str = "{data}"
    one_shot: bool = False
    message_max: int = 1024
    room: int = ROOM
    rate: float = RATE
    seed: int = 0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the connections so far; `wrong` says of the first few what came instead of the echo."""

    resting: bool = False
    counts: dict[str, int] = {}
    wrong: list[str] = []
    error: str = ""  # the load itself failed


def room_for(max_connections: int) -> tuple[int, bool]:
    """How many connections the load may have of those that a server declares (0: none), and whether cases may go beside it."""
    if not max_connections:
        return ROOM, True
    beside = max_connections > SUITE + 1
    return max(1, min(ROOM, max_connections - (SUITE if beside else 0))), beside


class Load:
    """The clients.

    Args:
        order: what they are to be.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._resting = asyncio.Event()
        self._going = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()
        self._chance = random.Random(order.seed)
        self._cycle = itertools.cycle(KINDS)

    async def play(self) -> None:
        """Start one client after the other, as long as there is room, until told to rest."""
        while True:
            await self._going.wait()
            if len(self._clients) < self.order.room:
                kind = next(self._cycle)
                # Together they are a burst: the next ones come without a pause, as far as there is room.
                together = min(BURST, self.order.room - len(self._clients)) if kind == "burst" else 1
                for _ in range(together):
                    self._start(kind)
                await self._pause(together / self.order.rate)
            else:
                await self._pause(1 / self.order.rate)

    def _start(self, kind: str) -> None:
        client = asyncio.create_task(self._one(kind))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until told to rest."""
        try:
            await asyncio.wait_for(self._resting.wait(), seconds)
        except TimeoutError:
            return

    def go(self) -> None:
        """Begin, or go on."""
        self._resting.clear()
        self._going.set()

    async def rest(self) -> None:
        """Start nobody more, and wait until all have gone."""
        self._going.clear()
        self._resting.set()
        while self._clients:
            await asyncio.wait(self._clients)

    def told(self, resting: bool = False) -> str:
        """A line on what became of the connections."""
        line = Told(resting=resting, counts=dict(self.counts), wrong=self.wrong)
        return msgspec.json.encode(line).decode()

    async def _one(self, kind: str) -> None:
        """One client from its connect to its end; whatever becomes of it is counted."""
        self.counts["opened"] += 1
        self.counts[kind] += 1
        try:
            channel = wire.begin(self.order.address, SLOW_BUFFER if kind == "slow" else 0)
            await self._ready(channel, writing=True, seconds=PATIENCE)
            wire.finish(channel, Deadline(0.0))
        except OSError:
            self.counts["refused"] += 1
            return
        one = wire.Connection("a", channel, Reply(self.order.reply), wire.Transcript(), "")
        try:
            await DO[kind](self, one)
        except OSError:  # what it was about to do cannot be done to a connection that has ended
            pass
        finally:
            if one.fault and len(self.wrong) < 3:
                self.wrong.append(f"expected {one.fault[0]}; seen: {one.fault[1]} ({kind})")
            outcome = "wrong" if one.fault else "served" if one.whole else "unserved"
            if kind not in ("reset", "silent") or one.fault:
                self.counts[outcome] += 1
            one.close()

    async def _ready(self, channel: Any, *, writing: bool = False, seconds: float) -> bool:
        """Wait until a socket can be read, or written; False if it cannot be within so many seconds."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        add, remove = (
            (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
        )
        add(channel, ready.set)
        try:
            await asyncio.wait_for(ready.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            remove(channel)
        return True

    async def _read(self, one: wire.Connection, done: Callable[[wire.Connection], bool]) -> None:
        """Read until it is done or over, or too late."""
        deadline = Deadline(PATIENCE)
        while not (one.over or done(one) or deadline.passed):
            await self._ready(one.channel, seconds=deadline.left)
            one.read()

    def _message(self, most: int) -> bytes:
        return self._chance.randbytes(min(most, self.order.message_max) if self.order.one_shot else most)

    async def _exchange(self, one: wire.Connection, size: int = 17) -> None:
        one.write(self._message(size))
        await self._read(one, lambda one: one.whole)

    async def _to_the_end(self, one: wire.Connection) -> None:
        one.half_close()
        await self._read(one, lambda one: False)

    async def short(self, one: wire.Connection) -> None:
        """A message, its echo, the end."""
        await self._exchange(one)
        await self._to_the_end(one)

    async def half_close(self, one: wire.Connection) -> None:
        """Half-closed before anything has come."""
        one.write(self._message(700))
        await self._to_the_end(one)

    async def reset(self, one: wire.Connection) -> None:
        """A message, its echo or not, and a reset."""
        one.write(self._message(64))
        if self.counts["reset"] % 2:
            await self._read(one, lambda one: one.whole)
        if not one.closed:
            one.reset()

    async def silent(self, one: wire.Connection) -> None:
        """Says nothing, and leaves without a word."""
        await self._pause(HOLD / 2)

    async def idle(self, one: wire.Connection) -> None:
        """Is there for a long time, and says something at both ends of it."""
        if not self.order.one_shot:
            await self._exchange(one)
        await self._pause(HOLD)
        await self._exchange(one)
        await self._to_the_end(one)

    async def slow(self, one: wire.Connection) -> None:
        """Sends more than it takes back at once, and takes that back a little at a time."""
        left = memoryview(self._message(SLOW_BYTES))
        deadline = Deadline(PATIENCE)
        while not (one.over or deadline.passed or (one.whole and not left)):
            left = left[one.write(left[:4096]) :]
            await self._pause(SLOW)
            one.read()
        await self._to_the_end(one)


#: What each kind of client does.
DO: dict[str, Callable[[Load, wire.Connection], Awaitable[None]]] = {
    "short": Load.short,
    "half-close": Load.half_close,
    "reset": Load.reset,
    "silent": Load.silent,
    "idle": Load.idle,
    "slow": Load.slow,
    "burst": Load.short,
}

BURST = 6  # clients that come at once

#: In which order they come, again and again.
KINDS = (
    "short", "short", "half-close", "idle", "short", "reset", "short", "slow",
    "short", "half-close", "short", "silent", "short", "reset", "short", "burst",
)  # fmt: skip


async def serve(stream: Any) -> None:
    """Take an order and do as is told, until nobody tells any more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
    load = Load(msgspec.json.decode(await reader.readline(), type=Order))
    background = [asyncio.create_task(load.play()), asyncio.create_task(_tell(load))]
    try:
        while word := (await reader.readline()).decode().strip():
            if word == "go":
                load.go()
            elif word == "rest":
                await load.rest()
                print(load.told(resting=True), flush=True)
    finally:
        for one in background:
            one.cancel()


async def _tell(load: Load) -> None:
    while True:
        await load._pause(TOLD_EVERY)
        await load._going.wait()
        print(load.told(), flush=True)


def main() -> int:
    """The program."""
    try:
        asyncio.run(serve(sys.stdin))
    except (KeyboardInterrupt, BrokenPipeError):
        return 1
    except Exception as error:
        print(msgspec.json.encode(Told(error=f"{type(error).__name__}: {error}")).decode(), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
