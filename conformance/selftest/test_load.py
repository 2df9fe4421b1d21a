"""Load by Locust: what a client does, what is counted, and that two workers share it."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from forkecho.cli import load, main
from forkecho.cli.load import Load, NoLocust, locust_window
from forkecho.conformance import target
from forkecho.conformance.bench import Ended
from forkecho.conformance.bench.rounds import quantile
from forkecho.conformance.measurement import Measurement

LOCUST = importlib.util.find_spec("locust") is not None
needs_locust = pytest.mark.skipif(not LOCUST, reason="Locust is not installed (forkecho[load])")

#: Importing Locust patches the whole process, so that what its file does is seen in another.
ONE_EACH = """
import json, re, socket, sys
from forkecho import locustfile
address = socket.getaddrinfo("127.0.0.1", int(sys.argv[1]), type=socket.SOCK_STREAM)[0]
for reply in sys.argv[2:]:
    reply, locustfile.GOES_WITHIN = reply.lstrip("-"), 0.5 if reply.startswith("-") else 30.0
    try:
        print(locustfile.exchange(address, reply))
    except locustfile.Unlike as error:
        print(error)
"""


def test_latencies_are_those_of_so_great_a_part() -> None:
    """Of none there is none; the last one is that of all."""
    some = Load(latencies={100: 98, 5000: 1, 70: 1}, errors={}, seconds=1.0, busy=0.0)

    assert some.connections == 100
    assert [quantile(some.told(1)["latencies"], part) for part in (0.5, 0.99, 1.0)] == [100, 100, 5000]
    none = Load(latencies={}, errors={"reset": 3}, seconds=1.0, busy=0.0)
    assert quantile(none.told(1)["latencies"], 0.5) is None


def test_without_locust_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(NoLocust, match="pip install 'forkecho\\[load\\]'"):
        locust_window("127.0.0.1", 9, "{data}", clients=1, seconds=1)


def answering(*answers: bytes | None) -> tuple[socket.socket, threading.Thread]:
    """A server that gives each of its clients one of these answers, whatever they say; None: a reset."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                if answer is None:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    continue
                connection.recv(100)
                connection.sendall(answer)
                if answer:
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(100):
                        pass
                else:
                    connection.recv(100)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listener, thread


@needs_locust
@pytest.mark.usefixtures("nothing_left")
def test_a_client_says_what_the_server_did_instead() -> None:
    """In the same words each time; the whole reply is compared, its prefix too."""
    message = b"seventeen octets!"
    answers = (message, b"12:" + message, b"x" + message, message[:5], message + b"?", b"", None)
    listener, thread = answering(*answers)
    with listener:
        number = str(listener.getsockname()[1])
        # Only the one that is given nothing is waited for in vain.
        replies = ["{data}", "{pid}:{data}", "{pid}:{data}", "{data}", "{data}", "-{data}", "{data}"]
        done = subprocess.run(
            [sys.executable, "-c", ONE_EACH, number, *replies], capture_output=True, text=True, check=True
        )
        thread.join()

    said = done.stdout.splitlines()
    assert said[:2] == ["17", "20"]
    assert said[2:] == [
        "the end came before the echo",
        "the end came before the echo",
        "the end came before the echo",
        "nothing for 0 s",
        "Connection reset by peer",
    ]


@needs_locust
@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_two_workers_share_the_load() -> None:
    """What both have counted is one result, and all that was started has ended."""
    builds = target.Builds()
    try:
        with target.start(target.load("reference"), builds) as running:
            host, number = running.address
            found = locust_window(
                host, number, "{pid}:{ppid}:{data}", clients=4, seconds=5, warm_up=1, workers=2
            )
    finally:
        builds.close()

    assert found.connections > 0
    assert found.errors == {}
    half, most = (quantile(found.told(2)["latencies"], part) for part in (0.5, 0.99))
    assert half
    assert most
    assert half <= most
    assert 0 < found.seconds <= 5
    assert found.busy > 0


@needs_locust
@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_server_that_is_not_there_is_counted_as_errors() -> None:
    """By what was wrong."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    found = locust_window("127.0.0.1", number, "{data}", clients=1, seconds=2, warm_up=1)

    assert found.connections == 0
    assert list(found.errors) == ["Connection refused"]


@needs_locust
@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_worker_that_does_not_join_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The master gives up, and its last words say why."""
    monkeypatch.setattr(load, "JOINS_WITHIN", 2)

    with pytest.raises(Ended, match="left no result: "):
        locust_window("127.0.0.1", 9, "{data}", clients=1, seconds=1, workers=0, others=1)


# forkecho bench


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("c", "--workers", "2"), "go with --load locust"),
        (("c", "--load", "locust", "--master-bind", "127.0.0.1:1"), "goes with --expect-workers"),
        (("c", "--load", "locust", "--expect-workers", "1"), "--connect HOST:PORT, without --vs"),
        (("c", "--load", "locust", "--workers", "0"), "who is to open connections"),
        (
            ("--load=locust", "--connect=127.0.0.1:9", "--expect-workers=1", "--master-bind=here"),
            "what is wanted is HOST:PORT",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything is started."""
    assert main(["bench", *words]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_without_locust_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a program that is not installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert main(["bench", "c", "--load", "locust"]) == 2
    assert "pip install 'forkecho[load]'" in capsys.readouterr().err


@needs_locust
@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_a_benchmark_by_locust_is_the_same_table(tmp_path: Path) -> None:
    """Connections a second, latencies and errors; what a connection cost is not seen."""
    words = ["c", "--load", "locust", "--workers", "2", "--clients", "4", "--rounds", "1", "--seconds", "4"]
    assert main(["bench", *words, "--output", str(tmp_path / "out.json")]) == 0

    found = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Measurement)
    assert [one.target for one in found.windows][:1] == ["c"]
    for one in found.windows:
        assert one.connections > 0
        assert one.errors == {}
        assert one.p50
        assert one.faults is None


@needs_locust
@pytest.mark.once
@pytest.mark.usefixtures("nothing_left")
def test_workers_elsewhere_need_locust_alone(tmp_path: Path) -> None:
    """They have its file from the master; as each window has a master of its own, they join again and again."""
    free = load.port.reserve("127.0.0.1")
    locust = (
        f"{sys.executable} -I -m locust -f - --worker --master-host 127.0.0.1 --master-port {free.number}"
    )
    joining = subprocess.Popen(
        ["sh", "-c", f"while sleep 1; do {locust}; done"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    builds = target.Builds()
    out = str(tmp_path / "out.json")
    try:
        with target.start(target.load("reference"), builds) as running:
            server = "{}:{}".format(*running.address)
            words = ["--connect", server, "--reply", "{pid}:{ppid}:{data}", "--clients", "2", "--rounds", "2"]
            words += [
                "--load",
                "locust",
                "--expect-workers",
                "1",
                "--master-bind",
                f"127.0.0.1:{free.number}",
            ]
            assert main(["bench", *words, "--output", out]) == 0
    finally:
        builds.close()
        free.release()
        os.killpg(joining.pid, signal.SIGKILL)
        joining.wait()

    found = msgspec.json.decode(Path(out).read_bytes(), type=Measurement)
    assert [one.round for one in found.windows] == [0, 1]
    for one in found.windows:
        assert one.connections > 0
        assert one.errors == {}
