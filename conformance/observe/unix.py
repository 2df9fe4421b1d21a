"""UNIX sockets through sock_diag(7): what to ask, and what the answers mean."""

from __future__ import annotations

import socket
import struct

import msgspec

__all__ = ["DUMP_LISTENERS", "Row", "request", "row"]

# From linux/unix_diag.h.
REQUEST = struct.Struct("=BBHIII8s")
ANSWER = struct.Struct("=BBBBI8s")
ATTRIBUTE = struct.Struct("=HH")
SHOW_NAME, SHOW_PEER, SHOW_QUEUES = 1, 4, 16
NAME, PEER, QUEUES, SHUTDOWN = 0, 2, 4, 6
RECEIVING, SENDING = 1, 2  # the bits of `Row.shutdown`
LISTEN = 10
NO_COOKIE = b"\xff" * 8


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One UNIX socket as the kernel tells of it.

    Attributes:
        key: its inode.
        name: its path, empty where it has none.
        peer: the inode of the other end: 0 while nobody has accepted it, or when it was closed; None where there is none.
        queues: what waits to be read, in bytes, and its backlog (of a listener: how many wait, and how many may).
        shutdown: what can be done with it no more: 1 receive, 2 send, 3 neither.
    """

    key: int
    name: str = ""
    peer: int | None = None
    queues: tuple[int, int] = (0, 0)
    shutdown: int = 0

    @property
    def deserted(self) -> bool:
        """Its other end was closed; one that nobody has accepted yet has not ended anything."""
        return not self.peer and bool(self.shutdown & RECEIVING)

    @property
    def state(self) -> str:
        """The TCP state that fits what was ended."""
        return ("ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT2", "CLOSING")[self.shutdown]


def request(inode: int) -> bytes:
    """The question for one socket."""
    show = SHOW_PEER | SHOW_QUEUES
    return REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, inode, show, NO_COOKIE)


#: The question for all that listen.
DUMP_LISTENERS = REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << LISTEN, 0, SHOW_NAME | SHOW_QUEUES, NO_COOKIE)


def row(answer: bytes, start: int, end: int) -> Row:
    """One `struct unix_diag_msg` with its attributes."""
    _, _, _, _, inode, _ = ANSWER.unpack_from(answer, start)
    attributes: dict[int, bytes] = {}
    offset = start + ANSWER.size
    while offset + ATTRIBUTE.size <= end:
        length, kind = ATTRIBUTE.unpack_from(answer, offset)
        attributes[kind] = answer[offset + ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    peer = attributes.get(PEER)
    first, second = struct.unpack("=II", attributes.get(QUEUES, bytes(8)))
    return Row(
        key=inode,
        name=attributes.get(NAME, b"").rstrip(b"\0").decode(errors="replace"),
        peer=struct.unpack("=I", peer)[0] if peer else None,
        queues=(first, second),
        shutdown=attributes.get(SHUTDOWN, b"\0")[0],
    )
