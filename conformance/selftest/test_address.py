"""Addresses: what a socket wants of each, what people read, and which end is whose."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forkecho.conformance.address import (
    Address,
    Place,
    family_of,
    for_socket,
    is_unix,
    ours,
    place_of,
    theirs,
    written,
)


@pytest.mark.parametrize(
    ("address", "family", "wanted", "place", "text"),
    [
        (("127.0.0.1", 7), socket.AF_INET, ("127.0.0.1", 7), 7, "127.0.0.1:7"),
        (("::1", 7), socket.AF_INET6, ("::1", 7), 7, "[::1]:7"),
        (("/run/e:cho", 0), socket.AF_UNIX, "/run/e:cho", "/run/e:cho", "/run/e:cho"),
    ],
)
def test_an_address_says_what_it_is(
    address: Address, family: int, wanted: object, place: Place, text: str
) -> None:
    """The family, what bind and connect take, what tells one listener from another, and how it is written."""
    assert family_of(address) == family
    assert for_socket(address) == wanted
    assert place_of(address) == place
    assert written(address) == text
    assert is_unix(address) == (family == socket.AF_UNIX)


def test_the_ends_of_a_unix_connection_are_an_inode_and_a_path(tmp_path: Path) -> None:
    """A client of a UNIX socket has no name, so its inode stands for it."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)

        assert ours(client) == ("", os.fstat(client.fileno()).st_ino)
        assert theirs(client) == (path, 0)
        assert is_unix(ours(client))


def test_the_ends_of_a_tcp_connection_are_host_and_port() -> None:
    """The scope and the flow of an IPv6 address are left out."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            assert theirs(client) == listener.getsockname()
            assert ours(client) == client.getsockname()
