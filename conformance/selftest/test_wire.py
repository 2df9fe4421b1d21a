"""Connections: what is made of every split of what comes, of every ending, and of servers that never stop."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from forkecho.conformance import wire
from forkecho.conformance.acts import coming
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.manifest import Reply
from forkecho.conformance.observe import Address
from forkecho.conformance.styles import STYLES
from forkecho.conformance.tcp import TCP_STATES
from forkecho.conformance.wire import EVENTS_MAX, CannotConnect, Connection, Transcript, converse

FORMS = {
    "{data}": b"",
    "{ppid}:{data}": b"4711:",
    "{pid}: {data}": b"4712: ",
    "{pid}:{ppid}:{data}": b"4712:4711:",
}
SHORT = 0.3  # seconds of patience with a server that will not answer
PATIENT = 30.0  # seconds for what takes a moment, unless the machine is loaded
PATIENCE = 10.0  # seconds with one that will
LINGER_0 = struct.pack("ii", 1, 0)


@pytest.fixture
def connection() -> Iterator[Callable[..., Connection]]:
    """A connection to nobody in particular: only `feed` is of interest. The other end is kept open."""
    kept: list[socket.socket] = []

    def make(form: str = "{data}", sent: bytes = b"", style: str = "non-blocking") -> Connection:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            channel = socket.create_connection(listener.getsockname())
            kept.extend((channel, listener.accept()[0]))
        made = Connection("a", channel, Reply(form), Transcript(), style)
        made.remember(sent)
        return made

    yield make
    for one in kept:
        one.close()


@pytest.fixture
def server() -> Iterator[Callable[..., Address]]:
    """Serve each connection by a function in a thread of its own."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(handle: Callable[[socket.socket], object]) -> Address:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def one(accepted: socket.socket) -> None:
            with accepted:
                try:
                    handle(accepted)
                except OSError:
                    return  # the client has had enough

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=one, args=(accepted,), daemon=True))
                threads[-1].start()

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        host, port = listener.getsockname()
        return host, port

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)  # wakes whoever waits in accept
        listener.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def client() -> Iterator[Callable[..., Connection]]:
    """Connect to an address; closed at the end."""
    made: list[Connection] = []

    def make(
        address: Address, form: str = "{data}", style: str = "non-blocking", name: str = "a"
    ) -> Connection:
        made.append(
            Connection(name, wire.connect(address, Deadline(PATIENT)), Reply(form), Transcript(), style)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def echo(accepted: socket.socket) -> None:
    """Everything back, until the client has ended."""
    while data := accepted.recv(65536):
        accepted.sendall(data)


# Feeding


@pytest.mark.parametrize(("form", "prefix"), FORMS.items())
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_reply_is_split_the_same_in_whatever_pieces_it_comes(
    connection: Callable[..., Connection], form: str, prefix: bytes, size: int
) -> None:
    """Byte by byte, in small pieces and whole, prefix and echo come to the same."""
    message = b"12:34: a message that looks like a prefix"
    one = connection(form, message)
    stream = prefix + message
    for start in range(0, len(stream), size):
        assert not one.over
        one.feed(stream[start : start + size])

    assert one.whole
    assert one.fault is None
    assert one.echoed == len(message)
    assert (one.claim.octets if one.claim else b"") == prefix


@pytest.mark.parametrize(("form", "prefix"), FORMS.items())
def test_a_reply_is_split_the_same_at_every_boundary(
    connection: Callable[..., Connection], form: str, prefix: bytes
) -> None:
    """Two pieces, cut anywhere."""
    message = b"5:6"
    stream = prefix + message
    for cut in range(1, len(stream)):
        one = connection(form, message)
        one.feed(stream[:cut])
        one.feed(stream[cut:])

        assert (one.whole, one.fault) == (True, None), cut


@pytest.mark.parametrize(("form", "prefix"), FORMS.items())
@pytest.mark.parametrize("bytewise", [False, True])
def test_trailing_data_is_surplus(
    connection: Callable[..., Connection], form: str, prefix: bytes, bytewise: bool
) -> None:
    """What comes after the echo is shown as what was not sent, with the place."""
    one = connection(form, b"ping")
    stream = prefix + b"ping!"
    for piece in [bytes([octet]) for octet in stream] if bytewise else [stream]:
        one.feed(piece)

    assert one.fault == ("nothing that was not sent", "b'!' after all 4 bytes of the echo")
    assert one.over
    assert not one.whole


def test_the_first_difference_is_named(connection: Callable[..., Connection]) -> None:
    """A wrong byte is told by its offset in the echo and the bytes around it, whatever came before it."""
    message = bytes(range(256))
    one = connection(sent=message)
    one.feed(message[:100])
    one.feed(message[100:150] + b"?" + message[151:])

    assert one.fault is not None
    expected, seen = one.fault
    assert "around byte 150 of the echo" in expected
    assert repr(message[146:162]) in expected
    assert repr(message[146:150] + b"?" + message[151:162]) in seen


def test_a_lost_byte_is_a_difference(connection: Callable[..., Connection]) -> None:
    """What follows a byte that was lost stands in its place."""
    one = connection(sent=b"abcdef")
    one.feed(b"abdef")

    assert one.fault == ("b'abcde' around byte 2 of the echo", "b'abdef' there")


def test_bytes_that_nobody_sent_are_surplus(connection: Callable[..., Connection]) -> None:
    """A greeting is no echo."""
    one = connection()
    one.feed(b"welcome")

    assert one.fault == ("nothing that was not sent", "b'welcome' after all 0 bytes of the echo")


def test_a_prefix_that_never_is_one_is_given_up(connection: Callable[..., Connection]) -> None:
    """More bytes than any prefix has, and no prefix: a fault, however many follow."""
    one = connection("{pid}:{data}", b"ping")
    longest = Reply("{pid}:{data}").longest
    one.feed(b"x" * longest)
    assert one.fault is None
    one.feed(b"x")

    assert one.fault is not None
    assert one.fault[0] == "a reply of the form {pid}:{data}"


def test_an_end_within_the_prefix_is_a_fault(connection: Callable[..., Connection]) -> None:
    """A reply that is cut in its prefix is no reply."""
    one = connection("{pid}:{ppid}:{data}", b"ping")
    one.feed(b"4712:47")
    one.feed(b"")

    assert one.ending == "end of stream"
    assert one.fault == ("a reply of the form {pid}:{ppid}:{data}", "b'4712:47', then the end")


@pytest.mark.parametrize("form", FORMS)
def test_an_end_without_a_byte_is_no_fault(connection: Callable[..., Connection], form: str) -> None:
    """On a connection that sent nothing there is no prefix to miss."""
    one = connection(form)
    one.feed(b"")

    assert (one.ending, one.fault, one.whole, one.over) == ("end of stream", None, True, True)


def test_endings_are_told_in_words(
    connection: Callable[..., Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much came and how it ended: end, reset, silence."""
    ended, reset, silent = (connection(sent=b"ping") for _ in range(3))
    for one in (ended, reset, silent):
        one.feed(b"pi")
    ended.feed(b"")
    reset.fail(ConnectionResetError(104, "Connection reset by peer"))
    monkeypatch.setattr(wire, "time", SimpleNamespace(monotonic=lambda: silent.touched + 0.5))

    assert str(ended) == "2 of 4 bytes, then the end of stream"
    assert str(reset) == "2 of 4 bytes, then reset"
    assert str(silent) == "2 of 4 bytes, then silence for 0.5 s"
    assert str(connection()).startswith("nothing, then silence")


def test_a_broken_pipe_is_a_reset_and_other_errors_have_their_names(
    connection: Callable[..., Connection],
) -> None:
    """EPIPE is what a reset is called by whoever writes."""
    broken, other = connection(), connection()
    broken.fail(BrokenPipeError(32, "Broken pipe"))
    other.fail(OSError(110, "Connection timed out"))

    assert (broken.ending, other.ending) == ("reset", "ETIMEDOUT")


def test_bytes_are_shown_short() -> None:
    """Few bytes as they are, many with head, tail and length."""
    assert wire.show(b"\xff\x00") == "b'\\xff\\x00'"
    long = wire.show(bytes(100_000))
    assert long.endswith("(100000 bytes)")
    assert len(long) < 300


# The transcript


def test_a_transcript_is_bounded_in_events() -> None:
    """What is dropped is counted, and the rest is kept."""
    transcript = Transcript()
    for number in range(EVENTS_MAX + 50):
        transcript.note("a", f"event {number}")

    assert len(transcript.events) == EVENTS_MAX
    assert transcript.events[EVENTS_MAX - 2]["event"] == f"event {EVENTS_MAX - 2}"
    # The note itself took the place of one more.
    assert transcript.events[-1]["event"] == "51 further events are not shown"


def test_reads_that_follow_each_other_are_one_event() -> None:
    """However a stream is cut, it is told as one event with its length, head and tail."""
    transcript = Transcript()
    data = bytes(range(256)) * 40
    for octet in data:
        transcript.note("a", "received", bytes([octet]))
    transcript.note("b", "received", b"x")
    transcript.note("a", "received", b"y")

    first, second, third = transcript.events
    assert (first["on"], first["length"]) == ("a", len(data))
    assert first["head"] == data[:1].hex() or data.hex().startswith(first["head"])
    assert first["tail"] == data[-16:].hex()
    assert (second["on"], third["on"], third["length"]) == ("b", "a", 1)


def test_times_of_a_transcript_never_go_back() -> None:
    """Each event has its time from the beginning."""
    transcript = Transcript()
    for number in range(20):
        transcript.note("a", f"event {number}")
    times = [event["t"] for event in transcript.events]

    assert times == sorted(times)
    assert times[0] >= 0


# Connecting


def test_a_refused_connect_has_a_name() -> None:
    """ECONNREFUSED is an answer, with its number and name."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with pytest.raises(CannotConnect) as raised:
        wire.connect(address, Deadline(PATIENT))

    assert raised.value.strerror == "ECONNREFUSED"


def test_a_connect_that_nobody_answers_is_given_up() -> None:
    """A full backlog drops the SYN: the deadline ends the wait."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as kept:

        def fill() -> None:
            for _ in range(10):
                kept.enter_context(wire.connect(listener.getsockname(), Deadline(0.2)))

        with pytest.raises(CannotConnect, match="no answer to the connect for 0.2 s"):
            fill()


# Conversing


@pytest.mark.parametrize("style", ["non-blocking", *STYLES])
@pytest.mark.parametrize("size", [1, 1024, 65536])
def test_every_style_gets_the_whole_echo(
    server: Callable[..., Address], client: Callable[..., Connection], style: str, size: int
) -> None:
    """Blocking, non-blocking, callbacks and coroutines come to the same."""
    message = bytes(index % 251 for index in range(size))
    address = server(echo)
    connections = [client(address, style=style, name=name) for name in "ab"]
    outgoing = {one.name: [piece for piece in (message[:10], message[10:]) if piece] for one in connections}
    if style in STYLES:
        STYLES[style](connections, outgoing, PATIENCE)
    else:
        converse(connections, outgoing, PATIENCE, lambda one: one.whole)

    assert [(bytes(one.sent), one.whole, one.over) for one in connections] == [(message, True, False)] * 2


@pytest.mark.parametrize("style", ["non-blocking", "callback", "coroutine"])
def test_styles_that_read_while_they_write_are_not_stalled_by_a_long_stream(
    server: Callable[..., Address], client: Callable[..., Connection], style: str
) -> None:
    """Sixteen megabytes, more than kernel buffers hold, through a server that reads nothing it cannot echo."""
    message = bytes(range(256)) * (1 << 16)
    one = client(server(echo), style=style)
    if style in STYLES:
        STYLES[style]([one], {"a": [message]}, PATIENCE)
    else:
        converse([one], {"a": [message]}, PATIENCE, lambda one: one.whole)

    assert one.whole
    assert len(one.sent) == len(message)


@pytest.mark.parametrize("style", ["non-blocking", *STYLES])
def test_every_style_gives_a_silent_server_up(
    server: Callable[..., Address], client: Callable[..., Connection], style: str
) -> None:
    """Silence ends the wait after the patience, and is told as such."""
    released = threading.Event()
    one = client(server(lambda accepted: released.wait(20)), style=style)
    deadline = Deadline(PATIENT)
    try:
        if style in STYLES:
            STYLES[style]([one], {"a": [b"ping"]}, SHORT)
        else:
            converse([one], {"a": [b"ping"]}, SHORT, lambda one: one.whole)
    finally:
        released.set()

    assert not deadline.passed
    assert (one.whole, one.ending, one.fault) == (False, "", None)
    assert "silence for" in str(one)


def cut_off(accepted: socket.socket) -> None:
    """Read a little, then RST."""
    accepted.recv(1)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)


@pytest.mark.parametrize("style", ["non-blocking", *STYLES])
def test_every_style_sees_a_reset(
    server: Callable[..., Address], client: Callable[..., Connection], style: str
) -> None:
    """A reset is an ending, not an error of the suite."""
    one = client(server(cut_off), style=style)
    if style in STYLES:
        STYLES[style]([one], {"a": [b"ping"]}, PATIENCE)
    else:
        converse([one], {"a": [b"ping"]}, PATIENCE, lambda one: one.whole)

    assert one.ending == "reset"


def test_a_reset_stays_a_reset_while_there_is_more_to_send(
    server: Callable[..., Address], client: Callable[..., Connection]
) -> None:
    """A write that fails by the reset does not turn it into an end of stream (the error is told once, then recv gives 0)."""
    one = client(server(cut_off))
    one.write(b"p")
    assert wait_for(lambda: one.state == "CLOSE", Deadline(PATIENT))
    converse([one], {"a": [b"ing"]}, PATIENCE, lambda one: one.whole)

    assert one.ending == "reset"


@pytest.mark.parametrize("style", ["non-blocking", *STYLES])
def test_every_style_sees_the_end(
    server: Callable[..., Address], client: Callable[..., Connection], style: str
) -> None:
    """A server that ends before the echo is whole has ended, with what came before."""

    def half(accepted: socket.socket) -> None:
        accepted.sendall(accepted.recv(10)[:2])

    one = client(server(half), style=style)
    if style in STYLES:
        STYLES[style]([one], {"a": [b"ping"]}, PATIENCE)
    else:
        converse([one], {"a": [b"ping"]}, PATIENCE, lambda one: one.whole)

    assert (one.ending, one.echoed) == ("end of stream", 2)


@pytest.mark.parametrize("style", ["non-blocking", *STYLES])
@pytest.mark.parametrize("form", ["{data}", "{pid}:{ppid}:{data}"])
def test_no_style_reads_a_flood(
    server: Callable[..., Address], client: Callable[..., Connection], style: str, form: str
) -> None:
    """A server that never stops is a fault at once, and little of the flood is taken."""

    def flood(accepted: socket.socket) -> None:
        while True:
            accepted.sendall(b"!" * 65536)

    one = client(server(flood), form=form, style=style)
    if style in STYLES:
        STYLES[style]([one], {"a": [b"ping"]}, PATIENCE)
    else:
        converse([one], {"a": [b"ping"]}, PATIENCE, lambda one: one.whole)

    assert one.fault is not None
    # Whoever is slow to stop reads a few buffers more.
    assert sum(event.get("length", 0) for event in one._transcript.events) < 4 << 20
    one.close()


def test_pieces_are_written_one_by_one_and_all(
    server: Callable[..., Address], client: Callable[..., Connection]
) -> None:
    """Many pieces on several connections at once, each with its own bytes."""
    address = server(echo)
    connections = [client(address, name=f"n{number}") for number in range(5)]
    outgoing = {one.name: [one.name.encode()] * 100 for one in connections}
    converse(connections, outgoing, PATIENCE, lambda one: one.whole)

    assert all(one.whole and bytes(one.sent) == one.name.encode() * 100 for one in connections)


def test_one_silent_connection_does_not_keep_the_others_from_being_served(
    server: Callable[..., Address], client: Callable[..., Connection]
) -> None:
    """Of two connections the one that is answered is whole, when the other is given up."""
    released = threading.Event()
    silent = client(server(lambda accepted: released.wait(20)), name="a")
    served = client(server(echo), name="b")
    try:
        # The answer is there, since the haste is for the other.
        served.write(b"y")
        assert wait_for(lambda: served.unread, Deadline(PATIENT))
        converse([silent, served], {"a": [b"x"]}, SHORT, lambda one: one.whole)
    finally:
        released.set()

    assert served.whole
    assert not silent.whole


def test_a_server_that_drips_is_given_up(
    server: Callable[..., Address], client: Callable[..., Connection]
) -> None:
    """A byte now and then does not keep the suite for ever: twelve patiences are the end of it."""
    released = threading.Event()

    def drip(accepted: socket.socket) -> None:
        accepted.recv(65536)
        while not released.wait(0.02):
            accepted.sendall(b"x")

    one = client(server(drip))
    deadline = Deadline(PATIENT)
    try:
        # It has begun to drip, since the haste is for what does not come.
        assert one.write(b"x" * 60000) == 60000
        assert wait_for(lambda: one.unread, Deadline(PATIENT))
        converse([one], {}, 0.25, lambda one: one.whole)
    finally:
        released.set()

    assert not deadline.passed
    assert 0 < one.echoed < 60000


def test_half_close_reset_and_close_are_what_they_say(
    server: Callable[..., Address], client: Callable[..., Connection]
) -> None:
    """FIN in one direction, RST, and both directions; each noted."""
    seen: list[str] = []

    def watch(accepted: socket.socket) -> None:
        try:
            while accepted.recv(100):
                pass
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    address = server(watch)
    halved, reset, closed = (client(address, name=name) for name in ("halved", "reset", "closed"))
    halved.half_close()
    assert wait_for(lambda: seen == ["end"], Deadline(PATIENT))
    converse([halved], {}, PATIENCE, lambda one: one.over)
    assert halved.ending == "end of stream"
    reset.reset()
    assert wait_for(lambda: seen == ["end", "reset"], Deadline(PATIENT))
    closed.close()
    closed.close()
    assert wait_for(lambda: seen == ["end", "reset", "end"], Deadline(PATIENT))
    assert [event["event"] for event in reset._transcript.events] == ["reset by the client"]


def test_every_state_of_a_clean_end_has_its_number() -> None:
    """A state that is named otherwise than the kernel numbers it would never be recognised, and a clean end failed."""
    assert set().union(*coming.CLEAN.values()) <= set(TCP_STATES)
