"""What a target says of itself: the keys of a manifest, and the form of its replies."""

from __future__ import annotations

import datetime
import math
import re
from fnmatch import fnmatchcase
from itertools import chain
from typing import ClassVar, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet

__all__ = ["DEFAULT_DEMAND", "Claim", "Family", "Known", "Manifest", "Needs", "Reply", "concerns"]

DEFAULT_DEMAND = 64  # connections at once that are demanded of a server that declares no limit (CONC-02)

Family = Literal["ipv4", "ipv6", "dual", "unix"]


class Claim(msgspec.Struct, frozen=True):
    """What the prefix of a reply says: the PIDs it names, and the very bytes it is made of."""

    octets: bytes
    pid: int | None = None
    ppid: int | None = None


class Reply:
    """The form of a reply, such as `{pid}:{ppid}:{data}`, as a parser of its prefix.

    Raises:
        ValueError: the form is not one that can be split again; says which rule it breaks.
    """

    #: Lenient on purpose: how the numbers are written is judged by ECHO-11 alone.
    NUMBER = rb"[0-9]{1,20}"

    def __init__(self, form: str) -> None:
        self.form = form
        names = re.findall(r"\{(\w*)\}", form)
        if not form.endswith("{data}") or names.count("data") != 1:
            raise ValueError(f"reply {form!r}: {{data}} must stand at the end, once")
        if unknown := sorted(set(names) - {"pid", "ppid", "data"}):
            raise ValueError(
                f"reply {form!r}: {{{unknown[0]}}} is unknown (there are {{pid}}, {{ppid}}, {{data}})"
            )
        if names.count("pid") > 1 or names.count("ppid") > 1:
            raise ValueError(f"reply {form!r}: {{pid}} and {{ppid}} may stand once each")
        if re.search(r"\{p?pid\}(?:[0-9{]|$)", form):
            raise ValueError(f"reply {form!r}: a number must be followed by something that is no digit")
        self.names = tuple(name for name in names if name != "data")
        pattern = b""
        for part in re.split(r"(\{\w+\})", form.removesuffix("{data}")):
            if part in ("{pid}", "{ppid}"):
                pattern += b"(?P<" + part[1:-1].encode() + b">" + self.NUMBER + b")"
            else:
                pattern += re.escape(part.encode())
        #: What stands before the data, as a regular expression.
        self.pattern = pattern
        self._pattern = re.compile(pattern)
        #: No prefix is longer than this, in bytes.
        self.longest = len(form) + 20 * len(self.names)

    def __repr__(self) -> str:
        return f"Reply({self.form!r})"

    def split(self, octets: bytes) -> Claim | None:
        """The prefix that `octets` begins with, or None while it is not there (it may still come)."""
        found = self._pattern.match(octets)
        if not found:
            return None
        numbers = {name: int(value) for name, value in found.groupdict().items()}
        return Claim(octets=found.group(), pid=numbers.get("pid"), ppid=numbers.get("ppid"))


class Needs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a target needs of its host.

    Attributes:
        program: that is to be found.
        debian: the package that has it, or several, with blanks between.
        probe: a command that ends with 0 where what the program needs besides, such as a library, is there as well.
    """

    program: str
    debian: str = ""
    probe: list[str] = []

    #: What is not yet there for a probe: it is asked before anything is made.
    LATER: ClassVar[tuple[str, ...]] = (
        "host", "port", "path", "dir", "build", "max-connections", "message",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name in self.LATER:
            if any(f"{{{name}}}" in word or f"@{name.upper()}@" in word for word in self.probe):
                raise ValueError(
                    f"probe: {{{name}}} is not known before the target is started (there are {{python}}, {{here}}, {{suite}})"
                )

    @property
    def packages(self) -> str:
        """The Debian packages for people; empty where none is named."""
        names = self.debian.split()
        return f"Debian package{'s' if len(names) > 1 else ''}: {', '.join(names)}" if names else ""


class Known(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A failure that is known.

    Attributes:
        reason: why it fails.
        sometimes: it comes by chance, so that a pass does not mean that it is mended.
        seen: a pattern that what is seen must fit, so that another failure of the same case is not taken for it; an
            empty one fits all.
        expires: the last day on which it is excused, in UTC; None: until it is mended.
    """

    reason: str
    sometimes: bool = False
    seen: str = ""
    expires: datetime.date | None = None

    def fits(self, seen: str) -> bool:
        """This is the failure that is meant."""
        return re.search(self.seen, seen) is not None

    def over(self, day: datetime.date) -> bool:
        """It is no longer excused on that day."""
        return self.expires is not None and day > self.expires

    def check(self, entry: str) -> None:
        """Complain of what cannot be meant.

        Raises:
            ValueError: the reason is missing, or `seen` is no pattern; names the entry.
        """
        if not self.reason.strip():
            raise ValueError(f"known {entry!r}: each entry of [known] needs a reason")
        try:
            re.compile(self.seen)
        except re.error as error:
            raise ValueError(f"known {entry!r}: seen {self.seen!r} is no pattern: {error}") from None


def concerns(entry: str, case_id: str, requirement_id: str) -> bool:
    """An entry of `[known]` speaks of a case: by its requirement, its id, or a glob that its id fits."""
    return entry == requirement_id or fnmatchcase(case_id, entry)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """Everything that a target declares; the table in the README says what each key means."""

    title: str = ""
    role: Literal["server", "client"] = "server"
    command: list[str] = []
    build: list[list[str]] = []
    files: dict[str, str] = {}
    announce: str = ""
    env: dict[str, str] = {}
    cwd: str = ""
    ready_within: float = 5.0
    needs: Needs | None = None
    python: str = ""
    reply: str = "{data}"
    framing: Literal["stream", "one-shot"] = "stream"
    message_max: int = 1024
    max_connections: int = 0
    lineage: Literal["direct", "indirect"] = "direct"
    drain: Literal["finish", "cut", "orphan", ""] = ""
    drain_within: float = 5.0
    idle_timeout: float = 0.0
    families: list[Family] = msgspec.field(default_factory=lambda: ["ipv4"])
    in_process: bool = False
    prints: str = "{data}"
    stdin: bool = False
    known: dict[str, str | Known] = {}

    def __post_init__(self) -> None:
        Reply(self.reply)
        self._check_client()
        if self.announce:
            try:
                groups = re.compile(self.announce).groups
            except re.error as error:
                raise ValueError(f"announce {self.announce!r} is no pattern: {error}") from None
            if groups < 1:
                raise ValueError(f"announce {self.announce!r} has no group: the port is taken from group 1")
        try:
            SpecifierSet(self.python)
        except InvalidSpecifier:
            raise ValueError(f"python {self.python!r}: what is wanted is versions, such as '>=3.8'") from None
        if not self.families:
            raise ValueError("families must name one at least")
        for key in ("ready_within", "drain_within", "idle_timeout"):
            # TOML has both words for numbers; a record of the run, which is JSON, has neither.
            if not math.isfinite(seconds := getattr(self, key)):
                raise ValueError(f"{key.replace('_', '-')} must be a finite number of seconds, not {seconds}")
        for key in ("message_max", "ready_within", "drain_within"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key.replace('_', '-')} must be above 0")
        if self.max_connections < 0 or self.idle_timeout < 0:
            raise ValueError("max-connections and idle-timeout must not be below 0")
        for entry, known in self.failures.items():
            known.check(entry)

    def _check_client(self) -> None:
        """What clients declare of themselves, and servers leave alone."""
        names = re.findall(r"\{(\w+)\}", self.prints)
        if names.count("data") != 1:
            raise ValueError(f"prints {self.prints!r}: {{data}} must stand in it, once")
        if unknown := sorted(set(names) - {*Reply(self.reply).names, "data"}):
            raise ValueError(f"prints {self.prints!r}: {{{unknown[0]}}} is not in the reply {self.reply!r}")
        if self.role == "client" and self.command and not self.stdin and not self.takes("message"):
            raise ValueError("a client's command needs {message}, unless the message is given on stdin")

    @property
    def failures(self) -> dict[str, Known]:
        """The known failures by requirement, case, or glob of cases."""
        return {entry: Known(said) if isinstance(said, str) else said for entry, said in self.known.items()}

    @property
    def demand(self) -> int:
        """How many connections at once the target must serve: what it declares, 64 where it declares nothing."""
        return self.max_connections or DEFAULT_DEMAND

    @property
    def one_shot(self) -> bool:
        """One recv, one reply, close."""
        return self.framing == "one-shot"

    @property
    def fixed_port(self) -> bool:
        """The target listens on the port or the path that it is told."""
        return any(map(self.takes, ("host", "path") if self.families[0] == "unix" else ("port",)))

    @property
    def transport(self) -> Literal["tcp", "unix"]:
        """What clients speak, for all that is not about a further family."""
        return "unix" if self.families[0] == "unix" else "tcp"

    def takes(self, token: str) -> bool:
        """The placeholder stands in the command, in one that builds it, or in a file that is made for it."""
        texts = (*self.command, *chain.from_iterable(self.build), *self.files.values())
        return any(f"{{{token}}}" in text or f"@{token.upper()}@" in text for text in texts)
