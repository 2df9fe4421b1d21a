"""`forkecho demo`: the reference server and two clients in one go, with the processes that take part."""

from __future__ import annotations

import os
import threading

import click

from forkecho.client import GREETING, EchoClient
from forkecho.server import ForkingEchoServer

__all__ = ["command"]

CLIENTS = 2


@click.command(short_help="Show a server and two clients at work.")
def command() -> int:
    """Start the reference server in the background, have two clients talk to it, and shut it down.

    Exit codes: 0 each client was served by a process of its own, 1 not so.
    """
    with ForkingEchoServer(("127.0.0.1", 0)) as server:
        host, port = server.server_address
        serving = threading.Thread(target=server.serve_forever, name="server", daemon=True)
        serving.start()
        click.echo(
            f"server    process {os.getpid()} listens on {host}, port {port}, and forks for every connection"
        )
        served = [exchange(number, EchoClient((host, port))) for number in range(1, CLIENTS + 1)]
        server.shutdown()
        serving.join()
        click.echo("server    has stopped accepting: a further client would be refused")
    click.echo("server    has ended: its children have exited and are reaped")
    good = all(served) and len(set(served)) == CLIENTS
    click.echo(f"{CLIENTS} clients, {len(set(served))} processes" + ("" if good else ": not one for each"))
    return 0 if good else 1


def exchange(number: int, client: EchoClient) -> int:
    """One client says hello; the PID of the child that served it, 0 if it was not ours or echoed wrongly."""
    said = f"{GREETING}, this is client {number}".encode()
    click.echo(f"client {number}  sends    {said!r}")
    reply = client.exchange(said)
    click.echo(
        f"client {number}  receives {reply.data!r} from process {reply.pid}, a child of process {reply.ppid}"
    )
    return reply.pid or 0 if reply.data == said and reply.ppid == os.getpid() else 0
