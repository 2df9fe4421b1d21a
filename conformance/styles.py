"""The ways people write a client: blocking, callback-driven, coroutine; each sends and reads until the echo is whole.

The fourth, non-blocking, is the interpreter's own loop, `wire.converse`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from forkecho.conformance.wire import Connection

__all__ = ["STYLES"]

READ = 65536  # bytes at a time, as most clients do


def blocking(connections: list[Connection], outgoing: dict[str, list[bytes]], patience: float) -> None:
    """One client after the other: `sendall`, then `recv` until it is whole."""
    for one in connections:
        one.channel.settimeout(patience)
        try:
            for piece in outgoing[one.name]:
                one.channel.sendall(piece)
                one.remember(piece)
            while not (one.whole or one.over):
                one.feed(one.channel.recv(READ))
        except TimeoutError:
            pass  # silence: the caller sees that it is not whole
        except OSError as error:
            one.fail(error)
        finally:
            one.channel.setblocking(False)


class _Protocol(asyncio.Protocol):
    """A client as callbacks: what to do when connected, when bytes come, when it ends."""

    def __init__(self, one: Connection, pieces: list[bytes], done: asyncio.Future[None]) -> None:
        self._one, self._pieces, self._done = one, pieces, done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        for piece in self._pieces:
            self._one.remember(piece)
            transport.write(piece)

    def data_received(self, data: bytes) -> None:
        self._one.feed(data)
        self._settle()

    def eof_received(self) -> bool:
        self._one.feed(b"")
        self._settle()
        return True  # keep our direction open: closing is the case's business

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, OSError) and not self._one.over:
            self._one.fail(exc)
        self._settle(ended=True)

    def _settle(self, ended: bool = False) -> None:
        if (ended or self._one.whole or self._one.over) and not self._done.done():
            self._done.set_result(None)


async def _by_callbacks(one: Connection, pieces: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    # A duplicate, since closing the transport must not end the connection.
    transport, _ = await loop.create_connection(lambda: _Protocol(one, pieces, done), sock=_duplicate(one))
    try:
        await done
    finally:
        transport.close()


async def _by_coroutine(one: Connection, pieces: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection(sock=_duplicate(one))

    async def send() -> None:
        for piece in pieces:
            one.remember(piece)
            writer.write(piece)
            await writer.drain()

    sending = asyncio.ensure_future(send())
    try:
        while not (sending.done() and one.whole) and not one.over:
            one.feed(await reader.read(READ))
        await sending
    except OSError as error:
        one.fail(error)
    finally:
        sending.cancel()
        writer.close()


def _duplicate(one: Connection) -> socket.socket:
    return one.channel.dup()


def _together(client: Callable[..., object]) -> Callable[..., None]:
    """All connections at once in one event loop, until each is whole or the patience is over."""

    def play(connections: list[Connection], outgoing: dict[str, list[bytes]], patience: float) -> None:
        async def everybody() -> None:
            clients = [asyncio.ensure_future(client(one, outgoing[one.name])) for one in connections]  # type: ignore[call-overload]
            _, late = await asyncio.wait(clients, timeout=patience)
            for one in late:
                one.cancel()
            for ended in await asyncio.gather(*clients, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended

        asyncio.run(everybody())

    return play


Player = Callable[[list[Connection], dict[str, list[bytes]], float], None]

STYLES: dict[str, Player] = {
    "blocking": blocking,
    "callback": _together(_by_callbacks),
    "coroutine": _together(_by_coroutine),
}
