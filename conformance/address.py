"""Where a server is reached: a host and a port, or the path of a UNIX socket."""

from __future__ import annotations

import os
import socket

__all__ = ["Address", "Place", "family_of", "for_socket", "is_unix", "ours", "place_of", "theirs", "written"]

#: A numeric host and a port. Of a UNIX socket the path and 0, and of our end of a connection to one, which has no name,
#: an empty host and the socket's inode.
Address = tuple[str, int]

#: What tells one listener from another on this host: a port, or a path.
Place = int | str


def is_unix(address: Address) -> bool:
    """It is that of a UNIX socket."""
    return not address[0] or "/" in address[0]


def family_of(address: Address) -> socket.AddressFamily:
    """The address family of the socket that it takes."""
    if is_unix(address):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def for_socket(address: Address) -> Address | str:
    """It as bind and connect want it."""
    return address[0] if is_unix(address) else address


def place_of(address: Address) -> Place:
    """Its port, or its path."""
    return address[0] if is_unix(address) else address[1]


def ours(channel: socket.socket) -> Address:
    """Our end of a connection."""
    if channel.family == socket.AF_UNIX:
        return "", os.fstat(channel.fileno()).st_ino
    host, port = channel.getsockname()[:2]
    return host, port


def theirs(channel: socket.socket) -> Address:
    """The server's end of a connection."""
    if channel.family == socket.AF_UNIX:
        return channel.getpeername(), 0
    host, port = channel.getpeername()[:2]
    return host, port


def written(address: Address) -> str:
    """It as people write it."""
    host, port = address
    if is_unix(address):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
