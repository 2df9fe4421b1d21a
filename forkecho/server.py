"""A TCP echo server that serves every connection in a process of its own: the reference.

The parent accepts and forks, nothing else; each child holds one connection until it ends, and then exits.
As a class::

    with ForkingEchoServer(("127.0.0.1", 0)) as server:
        server.serve_forever()          # until shutdown(), from another thread or a signal handler

or as a program: ``python -I -S server.py --port 7777``. Exit codes: 0 shut down by SIGTERM or SIGINT, 1 the
address could not be had, 2 wrong usage.

Never import ``threading`` here, nor anything that does (socketserver, logging, argparse on 3.8): its at-fork
hook alone halves the rate of connections.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import signal
import socket
import stat
import sys
import time

TYPE_CHECKING = False  # typing costs every child pages to copy
if TYPE_CHECKING:
    from typing import Any

__all__ = ["ForkingEchoServer", "main"]

BUFFER = 65536  # bytes a child holds at most for a client that does not read
ONE_SHOT = 1024  # bytes, the largest request where the framing is one-shot
LINGER = 2.0  # seconds a child waits for its client's end of stream after its own
REHEARSALS = 20  # of a connection; after 8 calls or 16 the interpreter has made up its mind
TICK = 0.05  # seconds between two looks at the children, and before the next try when descriptors ran out

# What a child closes without asking which are open. A cap, as the limit may be a thousand million, or none.
DESCRIPTORS = min(os.sysconf("SC_OPEN_MAX") % 2**64, 65536)

# What accept() returns is not of the class that socket.py derives, see there.
CONNECTION, STREAM = socket.SocketType, int(socket.SOCK_STREAM)

# The client has gone again; nothing is wrong with the server. What else accept() says (EMFILE, ENFILE,
# ENOBUFS, ENOMEM) needs time to pass, and the listener stays readable meanwhile.
NOBODY_THERE = {errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EPERM}


class ForkingEchoServer:
    """Listens from the start, serves in ``serve_forever()``, touches no signal without ``catch_signals()``.

    ``address`` is a host and a port (0: any free one, then see ``server_address``); the host ``::`` takes
    IPv4 clients as well, and one with a slash is the path of a UNIX socket. ``reply`` is what a client gets: ``{pid}`` and ``{ppid}`` at most once each, then ``{data}``; what stands before it comes
    once, with the first byte. ``framing`` is ``stream`` or ``one-shot`` (one recv, one reply, close).
    ``grace`` is how many seconds ``server_close()`` lets open connections finish, ``idle_timeout`` after how
    many a connection ends on which nothing comes or goes (0: never).
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        reply: str = "{pid}:{ppid}:{data}",
        framing: str = "stream",
        max_connections: int = 512,
        backlog: int = 1024,
        grace: float = 4.0,
        idle_timeout: float = 0.0,
    ) -> None:
        if framing not in ("stream", "one-shot"):
            raise ValueError(f"framing {framing!r} is neither 'stream' nor 'one-shot'")
        if max_connections < 1:
            raise ValueError(f"max_connections {max_connections} is less than 1: nobody would be served")
        self.before_data = text_before_data(reply)
        self.framing = framing
        self.max_connections = max_connections
        self.backlog = backlog
        self.grace = grace
        self.idle_timeout = idle_timeout
        self.pid = os.getpid()
        self.children: set[int] = set()
        self.stopping = self.hurried = self.own_process = False
        self.serving_thread = 0
        self.serving = _thread.allocate_lock()

        self.listener = self.make_listener(address)
        self.family = int(self.listener.family)  # no enum, see accept()
        name = self.listener.getsockname()
        self.server_address = (name, 0) if isinstance(name, str) else name[:2]
        self.path_taken = self.path_identity()  # what is there later may be our successor's
        self.wakened, self.waker = socket.socketpair()
        self.wakened.setblocking(False)
        self.waker.setblocking(False)

        # Two sets to wait for: at the limit only the second is used, so that clients wait in the backlog.
        self.clients_and_signals, self.signals = select.poll(), select.poll()
        self.clients_and_signals.register(self.listener, select.POLLIN)
        self.clients_and_signals.register(self.wakened, select.POLLIN)
        self.signals.register(self.wakened, select.POLLIN)
        self.waking = self.wakened.fileno()

    def make_listener(self, address: tuple[str, int]) -> socket.socket:
        """Bind and listen. Connections inherit the options: that costs nothing, and cannot come too late."""
        if "/" in address[0]:
            return self.make_unix_listener(address[0])
        listener = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            if address[0] == "::":  # with IPv4, whatever the system's default is
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # notice who has vanished
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent data is data
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind(address)
            listener.listen(self.backlog)
            listener.setblocking(False)  # the client may have gone between poll() and accept()
        except BaseException:
            listener.close()
            raise
        return listener

    def make_unix_listener(self, path: str) -> socket.socket:
        """The same on a path. One that a dead server has left behind is taken over; a living one is left alone."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                refused = probe.connect_ex(path) == errno.ECONNREFUSED  # as a file that is no socket does too
                if refused and stat.S_ISSOCK(os.stat(path).st_mode):
                    os.unlink(path)
            listener.bind(path)
            listener.listen(self.backlog)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def path_identity(self) -> tuple[int, int] | None:
        """Which file the path of a UNIX socket is."""
        if self.listener.family == socket.AF_UNIX:
            try:
                found = os.stat(self.server_address[0])
            except OSError:
                return None
            return found.st_dev, found.st_ino
        return None

    # The parent.

    def serve_forever(self) -> None:
        """Accept and fork until ``shutdown()``; then stop listening, which resets the clients that wait."""
        with self.serving:
            self.pid = os.getpid()
            self.serving_thread = _thread.get_ident()
            reap_at = 0.0
            try:
                while not self.stopping:
                    now = time.monotonic()
                    if now >= reap_at or self.at_limit():  # one look per tick, not per connection, is enough
                        self.reap()
                        reap_at = now + TICK
                    if self.wait(self.signals if self.at_limit() else self.clients_and_signals):
                        self.accept()
            finally:
                self.serving_thread = 0
                self.stop_listening()

    def wait(self, sources: select.poll) -> bool:
        """Sleep until there is something to do, a tick if there are children; say whether a client waits."""
        waits = False
        for descriptor, _ in sources.poll(TICK * 1000 if self.children else None):
            if descriptor == self.waking:
                try:
                    self.wakened.recv(BUFFER)  # only a reason to look: children share the other end
                except BlockingIOError:
                    pass
            else:
                waits = True
        return waits and not self.stopping

    def at_limit(self) -> bool:
        """Whether no further child may be had. A child that has ended counts until it is reaped."""
        return len(self.children) >= self.max_connections

    def accept(self) -> None:
        """Take one connection from the backlog and have it served.

        What socket.accept() does besides (a class in Python, enums) would write to forty pages of memory that parent and
        child share until then: a third of all that a connection costs.
        """
        try:
            descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno not in NOBODY_THERE:
                self.signals.poll(TICK * 1000)
            return
        connection = CONNECTION(self.family, STREAM, 0, descriptor)
        try:
            self.spawn(connection)
        finally:
            connection.close()

    def spawn(self, connection: socket.SocketType) -> None:
        """Fork the process that serves this connection. Where none can be had, only this client loses."""
        try:
            pid = os.fork()
        except OSError:
            return
        if pid == 0:
            self.in_child(connection)
        self.children.add(pid)

    def reap(self) -> bool:
        """Collect the children that have ended, only ours; say whether any is left."""
        for pid in tuple(self.children):
            try:
                ended = os.waitpid(pid, os.WNOHANG)[0]
            except ChildProcessError:  # SIGCHLD is ignored, so the kernel has collected it
                ended = pid
            if ended:
                self.children.discard(pid)
        return bool(self.children)

    # A child.

    def in_child(self, connection: socket.SocketType) -> None:
        """Serve one connection and end the process: nothing may return from here into the parent's code."""
        status = 1
        try:
            self.let_go(connection)
            self.serve(connection)
            status = 0
        except (OSError, KeyboardInterrupt):  # the client's doing, or the user's: no news
            pass
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)  # not exit(): what the parent has buffered or registered is not ours to run

    def let_go(self, connection: socket.SocketType) -> None:
        """Close the listener; in a host process all that is open, the client's end perhaps among it."""
        if self.own_process:
            os.close(self.listener.fileno())
            return
        signal.set_wakeup_fd(-1)  # or the next signal would write to a closed descriptor
        os.closerange(3, connection.fileno())
        os.closerange(connection.fileno() + 1, DESCRIPTORS)

    def serve(self, connection: socket.SocketType) -> None:
        """The whole of one connection."""
        # In any case: BSD's accept() copies the listener's mode.
        connection.settimeout(self.idle_timeout or None)
        try:
            if self.framing == "one-shot":
                self.converse_one_shot(connection)
                self.finish(connection)
            else:
                self.converse_stream(connection)
        except socket.timeout:  # the end of the process ends the connection
            pass

    def converse_stream(self, connection: socket.SocketType) -> None:
        """Send back whatever comes until the client ends; the prefix goes out with the first bytes."""
        prefix = self.prefix()
        while True:
            data = connection.recv(BUFFER)
            if not data:
                return
            self.echo(connection, prefix + data)
            prefix = b""

    def converse_one_shot(self, connection: socket.SocketType) -> None:
        """One recv, one reply."""
        data = connection.recv(ONE_SHOT)
        if data:
            self.echo(connection, self.prefix() + data)

    def prefix(self) -> bytes:
        """What comes before the data. The parent's PID is from before the fork: it may have gone since."""
        return self.before_data.replace("{pid}", str(os.getpid())).replace("{ppid}", str(self.pid)).encode()

    def echo(self, connection: socket.SocketType, data: bytes) -> None:
        """Write it all, however often the kernel takes only a part."""
        connection.sendall(data)

    def finish(self, connection: socket.SocketType) -> None:
        """End our stream, then read the client's to its end: closing on unread input resets (RFC 2525)."""
        connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + LINGER
        connection.settimeout(LINGER)
        try:
            while time.monotonic() < deadline and connection.recv(BUFFER):
                pass
        except socket.timeout:
            pass

    # Before the first child.

    def rehearse(self) -> None:
        """Serve ourselves, so that children find done what is done at first use: each would copy pages for it.

        That is what the interpreter makes of the code that it runs, and the symbols that the loader binds: a tenth
        of what a connection costs, and of a child's own memory.
        """
        try:
            for _ in range(REHEARSALS):
                client, connection = socket.socketpair()
                with client:
                    client.sendall(b"rehearsal")
                    client.shutdown(socket.SHUT_WR)
                    # Of the class that accept() makes: the code is specialised for that (PEP 659).
                    served = CONNECTION(self.family, STREAM, 0, connection.detach())
                    try:
                        self.serve(served)
                    finally:
                        served.close()
        except OSError:  # descriptors are scarce: children are dearer then
            pass

    # The end.

    def shutdown(self) -> None:
        """End ``serve_forever()``, or keep it from starting; from any thread, within a second."""
        self.stopping = True
        try:
            self.waker.send(b"\0")
        except OSError:  # full: it will wake up anyhow; closed: there is nobody to wake
            pass
        # Who serves must not wait for himself.
        if self.serving_thread != _thread.get_ident() and self.serving.acquire(timeout=1):
            self.serving.release()

    def server_close(self) -> None:
        """Stop listening, and leave no child behind: takes ``grace`` seconds at most, and a little."""
        self.shutdown()
        self.stop_listening()
        self.drain()
        if self.own_process:
            signal.set_wakeup_fd(-1)
        self.wakened.close()
        self.waker.close()

    def stop_listening(self) -> None:
        """Close the listener; the path of a UNIX socket goes first, so that no client finds it and is refused."""
        if self.path_taken and self.path_taken == self.path_identity():
            os.unlink(self.server_address[0])
        self.path_taken = None
        self.listener.close()

    def drain(self) -> None:
        """Let open connections finish, for ``grace`` seconds or until a second signal; then end them."""
        deadline = time.monotonic() + self.grace
        while self.reap() and not self.hurried and time.monotonic() < deadline:
            self.wait(self.signals)
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)  # a stopped process heeds nothing else
        deadline = time.monotonic() + 1
        while self.reap() and time.monotonic() < deadline:
            self.wait(self.signals)

    def __enter__(self) -> ForkingEchoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.server_close()

    # What a process of its own does besides.

    def catch_signals(self) -> None:
        """SIGTERM and SIGINT shut down, however the launcher has left them. SIGCHLD would only cost speed."""
        self.own_process = True
        signal.set_wakeup_fd(self.waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.on_signal)
        signal.signal(signal.SIGINT, self.on_signal)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})

    def on_signal(self, number: int, _: object) -> None:
        """One handler for parent and children, since setting another in each child is dear.

        A child heeds no SIGINT: Ctrl-C reaches all processes, and the parent lets open connections finish.
        """
        if os.getpid() != self.pid:
            if number == signal.SIGTERM:
                os._exit(128 + number)
        else:
            self.hurried = self.stopping
            self.stopping = True

    def announce(self) -> None:
        """Print the address. A full pipe gets no line: waiting for its reader, we would serve nobody."""
        host, port = self.server_address
        where = host if "/" in host else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        line = f"listening on {where}\n"
        output = select.poll()
        output.register(1, select.POLLOUT)
        try:
            if output.poll(0):
                os.write(1, line.encode())
        except OSError:
            pass


def text_before_data(reply: str) -> str:
    """The part of a reply before ``{data}``; ValueError if a client could not tell where each number ends."""
    before, data, after = reply.partition("{data}")
    followers = before.replace("{ppid}", "{pid}").split("{pid}")[1:]
    once = before.count("{pid}") <= 1 and before.count("{ppid}") <= 1
    if not data or after or not once or any(not text or text[0].isdigit() for text in followers):
        rule = "{data} stands last, {pid} and {ppid} at most once and each before something that is no digit"
        raise ValueError(f"reply {reply!r}: {rule}")
    return before


# The program.

OPTIONS = {"host": "127.0.0.1", "port": 0, **(ForkingEchoServer.__init__.__kwdefaults__ or {})}
HELP = """\
usage: {program} [--host ADDRESS] [--port PORT] [OPTION VALUE ...]

  --host ADDRESS          where to listen: :: takes IPv4 as well, a path is a UNIX socket's (127.0.0.1)
  --port PORT             0 takes any free one; the line "listening on ADDRESS:PORT" says which (0)
  --reply REPLY           what a client gets, its bytes in place of {data} ({pid}:{ppid}:{data})
  --framing FRAMING       stream: echo until the client ends; one-shot: one recv, one reply, close (stream)
  --max-connections N     serve so many at once; further ones wait in the backlog (512)
  --backlog N             so many may wait (1024)
  --idle-timeout SECONDS  end a connection on which nothing comes or goes for so long; 0 is never (0)
  --grace SECONDS         for open connections to finish after SIGTERM or SIGINT; a second signal ends it (4)
"""


def main(arguments: list[str] | None = None, server_class: type = ForkingEchoServer) -> int:
    """Serve until SIGTERM or SIGINT, as the options say, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        print(HELP.replace("{program}", os.path.basename(sys.argv[0])), end="")
        return 0
    reopen_standard_descriptors()
    try:
        options = parse(arguments)
        address = options.pop("host"), options.pop("port")
        server = server_class(address, **options)
    except (ValueError, OverflowError) as error:
        return complain(2, str(error))
    except OSError as error:
        where = address[0] if "/" in address[0] else f"{address[0]}, port {address[1]}"
        return complain(1, f"cannot listen on {where}: {error.strerror or error}")
    with server:
        server.catch_signals()
        if server_class is ForkingEchoServer:  # another may do what only a child can afford
            server.rehearse()
        server.announce()
        server.serve_forever()
    return 0


def parse(arguments: list[str]) -> dict[str, Any]:
    """Options, ``--name value`` or ``--name=value``, to keyword arguments of the type of their defaults."""
    options: dict[str, Any] = dict(OPTIONS)
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        key = name[2:].replace("-", "_")
        if not name.startswith("--") or key not in OPTIONS:
            raise ValueError(f"no option {name} (see --help)")
        value = value if equals else next(words, "")
        if not value:
            raise ValueError(f"{name} needs a value")
        try:
            options[key] = type(OPTIONS[key])(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} is not a number") from None
    return options


def reopen_standard_descriptors() -> None:
    """Fill the gaps that a launcher left: no client's connection may become our standard error."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def complain(status: int, message: str) -> int:
    """One line on standard error."""
    try:
        os.write(2, f"forkecho serve: {message}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
    return status


if __name__ == "__main__":
    sys.exit(main())
