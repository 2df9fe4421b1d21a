"""The specification as records: what a server owes, how much it owes it, and to whom that applies."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

import msgspec

from forkecho.conformance import fixture
from forkecho.conformance.manifest import Family, Manifest, Reply

__all__ = ["GROUPS", "LEVELS", "Applies", "Level", "Requirement", "load"]

Level = Literal["must", "should", "may"]
LEVELS: tuple[Level, ...] = ("must", "should", "may")

#: The groups in the order in which reports show them.
GROUPS = {
    "ECHO": "Echo correctness",
    "BUF": "Buffer boundaries",
    "FORK": "A process per connection",
    "CONC": "Concurrent clients",
    "SHUT": "Shutdown",
    "HYG": "Hygiene of descriptors and children",
    "RES": "Scarce resources",
    "ROB": "Hostile and failing clients",
    "ADDR": "Addresses",
    "TIME": "Time",
    "CLIENT": "Clients",
}


class Applies(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """Predicates over a manifest; all that are given must hold."""

    role: Literal["server", "client"] | None = None
    framing: Literal["stream", "one-shot"] | None = None
    reply: list[Literal["pid", "ppid"]] = []
    reply_any: list[Literal["pid", "ppid"]] = []
    lineage: Literal["direct", "indirect"] | None = None
    drain: list[Literal["finish", "cut", "orphan"]] = []
    in_process: bool | None = None
    max_connections: bool | None = None
    min_connections: int = 0
    fixed_port: bool | None = None
    transport: Literal["tcp", "unix"] | None = None
    families: list[Family] = []
    stdin: bool | None = None
    idle_timeout: bool | None = None
    announce: bool | None = None
    told_host: bool | None = None

    def unmet(self, manifest: Manifest) -> str:
        """Why a target with this manifest is outside, or an empty text when it is inside."""
        names = Reply(manifest.reply).names
        if self.role and manifest.role != self.role:
            return f"judges {self.role}s; the target is a {manifest.role}"
        if self.framing and manifest.framing != self.framing:
            return f"applies to {self.framing} framing; the target declares {manifest.framing}"
        if missing := [name for name in self.reply if name not in names]:
            return f"the target's reply has no {{{missing[0]}}}"
        if self.reply_any and not set(self.reply_any) & set(names):
            return "the target's reply names no process"
        if self.lineage and manifest.lineage != self.lineage:
            return f"applies to {self.lineage} lineage; the target declares {manifest.lineage}"
        if self.drain and not manifest.drain:
            return "the target does not declare what SIGTERM does to open connections (drain)"
        if self.drain and manifest.drain not in self.drain:
            return f"applies to drain = {' or '.join(self.drain)}; the target declares {manifest.drain}"
        if self.in_process is not None and manifest.in_process != self.in_process:
            return (
                "applies to servers used in process" if self.in_process else "the server is used in process"
            )
        if self.max_connections is not None and bool(manifest.max_connections) != self.max_connections:
            return (
                "the target declares no max-connections"
                if self.max_connections
                else "the target declares a limit"
            )
        if self.min_connections and 0 < manifest.max_connections < self.min_connections:
            return f"the target declares max-connections = {manifest.max_connections}, below {self.min_connections}"
        if self.fixed_port is not None and manifest.fixed_port != self.fixed_port:
            return "the target picks its port itself" if self.fixed_port else "the target is told its port"
        if self.transport and manifest.transport != self.transport:
            return (
                "the target listens on a UNIX socket" if self.transport == "tcp" else "the target speaks TCP"
            )
        if self.families and not set(self.families) & set(manifest.families):
            return f"the target does not declare {' or '.join(self.families)} (families)"
        if self.stdin is not None and manifest.stdin != self.stdin:
            return (
                "the client takes its message as an argument"
                if self.stdin
                else "the client takes its message on standard input"
            )
        if self.idle_timeout is not None and bool(manifest.idle_timeout) != self.idle_timeout:
            return (
                "the target declares no idle-timeout"
                if self.idle_timeout
                else "the target declares an idle-timeout"
            )
        if self.announce is not None and bool(manifest.announce) != self.announce:
            return "the target announces no port" if self.announce else "the target announces its port"
        if self.told_host is not None and manifest.takes("host") != self.told_host:
            return (
                "the target is not told where to listen"
                if self.told_host
                else "the target is told where to listen"
            )
        return ""


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """One thing that a server owes; the id is never reused."""

    id: str
    title: str
    level: Level
    statement: str
    source: str
    rationale: str
    remedy: str
    applies: Applies = Applies()
    excluded: str = ""

    @property
    def group(self) -> str:
        """The part of the id before the dash."""
        return self.id.partition("-")[0]

    @property
    def role(self) -> Literal["server", "client"]:
        """Whom it judges; a server, unless it says otherwise."""
        return self.applies.role or "server"


@cache
def load() -> dict[str, Requirement]:
    """All requirements by id, in the order of groups and numbers.

    Raises:
        BadFixture: a file is malformed, an id is not of the form GROUP-NN, or stands twice.
    """
    found: dict[str, Requirement] = {}
    for path, content in fixture.tables("requirements"):
        for id_, table in content.items():
            place = f"{path.name}, [{id_}]"
            if not re.fullmatch(r"[A-Z]+-[0-9]{2}", id_) or id_.partition("-")[0] not in GROUPS:
                raise fixture.BadFixture(f"{place}: an id is GROUP-NN, GROUP one of {', '.join(GROUPS)}")
            if id_ in found:
                raise fixture.BadFixture(f"{place}: this id exists already")
            found[id_] = fixture.convert({"id": id_, **table}, Requirement, place)
    order = list(GROUPS)
    return {
        key: found[key] for key in sorted(found, key=lambda key: (order.index(key.partition("-")[0]), key))
    }
