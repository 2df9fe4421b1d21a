"""The server that a verb is about: how it is named on the command line, and what is said of it there."""

from __future__ import annotations

import os
import shlex
import socket
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from forkecho.cli.numbers import WholeNumber
from forkecho.conformance import fixture, target
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.target import Target

__all__ = ["ServerCommand", "address", "declared", "named", "same", "server", "with_settings", "writable"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class ServerCommand(click.Command):
    """A command whose words after `--` are the command line that is judged, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows `--` for `named`, and parse the rest."""
        if "--" in args:
            at = args.index("--")
            ctx.meta["server"] = args[at + 1 :]
            args = args[:at]
            if not ctx.meta["server"]:
                raise click.UsageError("after -- comes the command that is to be judged", ctx)
        return super().parse_args(ctx, args)


def server(command: Decorated) -> Decorated:
    """The ways to name a server: see `named`."""
    for option in (
        click.option(
            "--pid",
            type=WholeNumber(1),
            help="With --connect: the process that owns the listening socket.",
        ),
        click.option("--connect", metavar="HOST:PORT", help="A server that runs already; it is never ended."),
        click.argument("name", required=False, metavar="[TARGET | MANIFEST.toml | -- COMMAND ...]"),
    ):
        command = option(command)
    return command


def declared(command: Decorated) -> Decorated:
    """What is said of a server: see `with_settings`."""
    for option in (
        click.option(
            "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Any other key of a manifest."
        ),
        click.option(
            "--max-connections",
            type=WholeNumber(1),
            help="How many connections at once it says it serves.",
        ),
        click.option(
            "--framing", metavar="FRAMING", help="stream, or one-shot: one recv, one reply, close (stream)."
        ),
        click.option("--reply", metavar="FORM", help="How the server replies, e.g. '{pid}:{data}' ({data})."),
    ):
        command = option(command)
    return command


def named(ctx: click.Context, name: str | None, connect: str | None, pid: int | None) -> Target:
    """The target that the arguments name, one way only."""
    server: list[str] = ctx.meta.get("server", [])
    if sum(map(bool, (name, connect, server))) > 1:
        raise click.UsageError("name one server: a TARGET, a MANIFEST.toml, --connect, or -- COMMAND", ctx)
    if pid and not connect:
        raise click.UsageError("--pid goes with --connect", ctx)
    if connect:
        return Target(
            name=connect,
            manifest=Manifest(title=f"the server at {connect}"),
            connect=address(connect),
            pid=pid or 0,
        )
    if server:
        manifest = Manifest(title=shlex.join(server), command=server)
        return Target(name=Path(server[0]).name, manifest=manifest, here=os.getcwd())
    return target.load(name or "reference")


def address(text: str) -> tuple[str, int]:
    """HOST:PORT as numbers; an IPv6 address stands in brackets."""
    host, _, number = text.rpartition(":")
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise click.UsageError(
            f"--connect {text}: what is wanted is HOST:PORT, such as 127.0.0.1:7 or [::1]:7"
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(number), type=socket.SOCK_STREAM)
    except OSError as error:
        raise click.UsageError(f"--connect {text}: {error.strerror}") from None
    # IPv4 first: of the two meanings of `localhost` it is the one that most servers listen on.
    best = min(found, key=lambda one: one[0] != socket.AF_INET)
    return str(best[4][0]), int(number)


def with_settings(judged: Target, options: dict[str, Any], command: Sequence[str] = ()) -> Target:
    """The target with what was said about it on the command line, its command too where that is to come with it."""
    raw = msgspec.to_builtins(judged.manifest)
    if command:
        raw["command"] = list(command)
    for key in ("reply", "framing", "max_connections", "prints", "idle_timeout"):
        if options.get(key) is not None:
            raw[key.replace("_", "-")] = options[key]
    for setting in options["settings"]:
        key, equals, value = setting.partition("=")
        if not equals:
            raise click.UsageError(f"--set {setting}: what is wanted is KEY=VALUE")
        try:
            raw[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            raw[key] = value  # a text without its quotes
    manifest = fixture.convert(raw, Manifest, f"target {judged.name}")
    if manifest.role != judged.manifest.role:
        verb = "check" if manifest.role == "server" else "check-client"
        raise click.UsageError(f"a {manifest.role} is judged by `forkecho {verb}`")
    before = msgspec.to_builtins(judged.manifest)
    given = tuple(key for key, value in msgspec.to_builtins(manifest).items() if value != before[key])
    return msgspec.structs.replace(judged, manifest=manifest, given=given)


def same(one: Path, other: Path) -> bool:
    """Two names of one file; a terminal or a pipe may be written twice, and read as well."""
    place = os.path.realpath(one)
    return one == other or (
        place == os.path.realpath(other) and (os.path.isfile(place) or not os.path.exists(place))
    )


def writable(path: Path | None, *read: Path) -> None:
    """Refuse a place that cannot be written, or that is one of the files that are read, before the run, not after it."""
    if path is None:
        return
    if any(same(path, one) for one in read):
        raise click.UsageError(f"{path}: it is read, and would be overwritten: name another file")
    if not path.parent.is_dir():
        raise click.UsageError(f"{path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.UsageError(f"{path}: cannot be written")
