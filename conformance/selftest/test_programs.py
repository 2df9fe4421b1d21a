"""The server, the client and the command line as programs: what they say of wrong usage, and on a terminal."""

from __future__ import annotations

import os
import pty
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from forkecho.server import ForkingEchoServer


def forkecho(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """One command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "forkecho", *arguments],
        input=given,
        capture_output=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["serve", "--port", "many"], 2),
        (["serve", "--port", "99999"], 2),
        (["serve", "--framing", "twice"], 2),
        (["serve", "--reply", "{data}{pid}"], 2),
        (["serve", "--max-connections", "0"], 2),
        (["serve", "--colour", "red"], 2),
        (["serve", "--port"], 2),
        (["serve", "--host", "192.0.2.1"], 1),
        (["serve", "--host", "nowhere.invalid"], 1),
        (["send"], 2),
        (["send", "127.0.0.1", "seven"], 2),
        (["send", "127.0.0.1", "7", "--reply", "{pid}"], 2),
        (["send", "127.0.0.1", "7", "--timeout", "0"], 2),
        (["send", "127.0.0.1", "7", "--timeout", "soon"], 2),
    ],
)
def test_wrong_usage_is_one_line_and_no_traceback(arguments: list[str], code: int) -> None:
    """The line names the program; the exit code tells wrong usage from an address that cannot be had."""
    ended = forkecho(*arguments)

    lines = ended.stderr.decode().strip().splitlines()
    assert (ended.returncode, len(lines)) == (code, 1), ended.stderr
    assert lines[0].startswith("forkecho")


def test_an_occupied_port_is_a_visible_failure() -> None:
    """A server that cannot bind says so and ends with 1."""
    with socket.create_server(("127.0.0.1", 0)) as neighbour:
        ended = forkecho("serve", "--port", str(neighbour.getsockname()[1]))

    assert ended.returncode == 1
    assert b"use" in ended.stderr


def test_a_path_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    """Neither a living server's socket nor a file that is none is taken away for a UNIX socket of ours."""
    file, living = tmp_path / "file", tmp_path / "living"
    file.write_text("precious")
    with socket.socket(socket.AF_UNIX) as neighbour:
        neighbour.bind(str(living))
        neighbour.listen()
        refusals = [forkecho("serve", "--host", str(path)) for path in (file, living)]

    assert [ended.returncode for ended in refusals] == [1, 1]
    assert all(len(ended.stderr.splitlines()) == 1 for ended in refusals), refusals
    assert file.read_text() == "precious"
    assert living.is_socket()


@pytest.mark.parametrize(
    "answer", [b"", b"no prefix at all, however long one looks for it in these bytes", b"1:2:hallo"]
)
def test_the_client_does_not_take_a_wrong_reply_for_a_right_one(answer: bytes) -> None:
    """A reply without the prefix, without an end of it, or with other bytes ends with 1 and one line."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                while connection.recv(65536):
                    pass
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        ended = forkecho("send", "127.0.0.1", str(server.getsockname()[1]), "-", given=b"hello")
        thread.join()

    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended


def test_the_client_gives_up_when_it_is_told_to() -> None:
    """A server that accepts and says nothing costs so many seconds, one line, and exit code 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = forkecho("send", "127.0.0.1", str(server.getsockname()[1]), "--timeout", "0.2")

    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended
    assert b"silence for 0.2 s" in ended.stderr


@pytest.mark.parametrize("reply", ["{data}", "{pid}:{ppid}:{data}"])
def test_the_client_does_not_gather_a_reply_without_end(reply: str) -> None:
    """It closes when more has come than can be meant, so that the server's write fails."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopped: list[OSError] = []

        def flood() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"1:2:" + bytes(65536))
                except OSError as error:
                    stopped.append(error)

        thread = threading.Thread(target=flood)
        thread.start()
        ended = forkecho("send", "127.0.0.1", str(server.getsockname()[1]), "hello", "--reply", reply)
        thread.join()

    assert stopped
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended
    assert b"the reply goes on" in ended.stderr


@pytest.mark.once
@pytest.mark.parametrize(
    "arguments", [["check", "--case", "echo/any-answer", "--jobs", "1"], ["prove", "pads-its-pid"]]
)
def test_on_a_terminal_there_is_a_progress_bar(arguments: list[str]) -> None:
    """It is drawn on standard error and gone at the end; the report is the same."""
    master, slave = pty.openpty()
    drawn = bytearray()

    def read() -> None:
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # EIO: the last one to hold the other end has closed it
                return
            drawn.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    ended = subprocess.run(
        [sys.executable, "-m", "forkecho", *arguments],
        stdout=subprocess.PIPE,
        stderr=slave,
        timeout=300,
        check=False,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(slave)
    reader.join()
    os.close(master)

    assert ended.returncode == 0, ended.stdout
    assert b"judging reference" in drawn or b"proving" in drawn


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open descriptors are counted in /proc")
@pytest.mark.parametrize("framing", ["stream", "one-shot"])
@pytest.mark.parametrize("scarce", [False, True])
def test_a_rehearsal_serves_itself_and_leaves_nothing_open(framing: str, scarce: bool) -> None:
    """What children do is done in the parent before there is any; where no descriptor is to be had, it is left out."""
    replies = []

    class Watched(ForkingEchoServer):
        def echo(self, connection: socket.SocketType, data: bytes) -> None:
            replies.append(data)
            super().echo(connection, data)

    with Watched(("127.0.0.1", 0), framing=framing) as server:
        before = set(os.listdir("/proc/self/fd"))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        if scarce:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            server.rehearse()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        after = set(os.listdir("/proc/self/fd"))

    assert after == before
    assert len(set(replies)) == (0 if scarce else 1)
    assert all(reply.startswith(f"{os.getpid()}:{os.getpid()}:".encode()) for reply in replies)
