"""Cases: what is done and what must be seen, made from data and expanded over sizes and other parameters."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from forkecho.conformance import fixture, requirement
from forkecho.conformance.clients.step import CLIENT_VERBS, Relay, Run, Take
from forkecho.conformance.manifest import Family, Manifest
from forkecho.conformance.requirement import Applies, Requirement
from forkecho.conformance.step import (
    BLOCKING_MAX,
    VERBS,
    Bind,
    Call,
    Close,
    Exchange,
    Expect,
    Freeze,
    Launch,
    Lift,
    Limit,
    Mark,
    Open,
    Reach,
    Reset,
    See,
    Send,
    Signal,
    Step,
    Stuff,
    Thaw,
    Vanish,
    parse_all,
)

__all__ = ["Case", "expand", "matching", "templates"]

#: Sizes of buffers that servers are known to have, in bytes; `B` runs over them. 100 and 256 are those of the tutorials, 512 to 2048 of
#: textbooks, 4096 a page, 8192 stdio and Java, 16384 and 32768 libraries that copy (splice, io.Copy), 65536 a pipe.
BUFFERS = (1, 100, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)

#: What a UNIX socket takes at once while nobody reads, in bytes; net.core.wmem_default, 212992, less what the kernel adds.
UNIX_AT_ONCE = 204800

#: Connections of a case that may be beside those of others.
TOGETHER = 4

#: What `see` looks at of the whole server.
OF_ALL = (
    "cannot-accept", "child-status", "gone", "idle-cpu", "no-listener-left", "none-left", "not-repeated", "quiet", "reaped",
    "unchanged",
)  # fmt: skip

#: What `expect` wants of clients that come when the server has no room, or none for them.
OF_NEWCOMERS = ("queued", "established", "unserved", "room", "served-or-refused", "refused")

LATE = 3.0  # seconds that what a server does by a clock may be late

Value = int | float | str


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """A table of a case file, before expansion."""

    requirement: str
    title: str
    steps: list[dict[str, Any]]
    size: list[int | str] = []
    each: dict[str, list[Value]] = {}
    applies: Applies = Applies()
    own: bool = False  # a target of its own, which it may end
    beyond_limit: bool = (
        False  # on purpose it opens more connections, or sends more, than the target declares
    )


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to try: its id is the path of its table and its expansion (`buffer/one-over@4097`)."""

    id: str
    title: str
    requirement: Requirement
    steps: tuple[Step, ...]
    applies: Applies = Applies()
    own: bool = False
    beyond_limit: bool = False

    @property
    def longest(self) -> int:
        """The longest message it sends on one connection before it reads, in bytes."""
        return max((payload.length for payload in self._payloads()), default=0)

    @property
    def held(self) -> int:
        """How many connections it has open at the most."""
        groups: dict[str, list[str]] = {}
        opened: set[str] = set()
        most = 1
        for step in self.steps:
            if isinstance(step, Open):
                if step.count and isinstance(step.open, str):
                    groups[step.open] = [f"{step.open}{member}" for member in range(1, step.count + 1)]
                opened |= {one for name in names(step.open) for one in groups.get(name, [name])}
            elif isinstance(step, (Close, Reset, Vanish)):
                ended = names(getattr(step, verb(step)), step.on)
                opened -= {one for name in ended for one in groups.get(name, [name])}
            elif isinstance(step, (Exchange, Send, Stuff)):
                told = step.stuff if isinstance(step, Stuff) else step.on
                opened |= {one for name in names(told) for one in groups.get(name, [name])}
            most = max(most, len(opened))
        return most

    @property
    def family(self) -> Family | None:
        """What the target must listen on for it, where that is not the first that it declares."""
        return self.launch.family

    @property
    def lowered(self) -> bool:
        """It launches the target with a limit of its own."""
        return any(isinstance(step, Launch) and step.max_connections for step in self.steps)

    @property
    def observes(self) -> bool:
        """It looks at processes, so that those alive before a connection must be remembered."""
        return any(
            isinstance(step, (See, Freeze, Thaw, Signal, Limit))
            or (isinstance(step, Expect) and step.expect in ("accepted", "queued", "unread"))
            for step in self.steps
        )

    @property
    def launch(self) -> Launch:
        """How the target is launched that it begins with, if it has one of its own."""
        launches = [step for step in self.steps if isinstance(step, Launch)]
        return next((step for step in launches if step.launch == "fresh"), Launch(launch="fresh"))

    @property
    def controls(self) -> bool:
        """It launches, signals or ends the target, or needs a launch of its own."""
        return self.spoils or any(isinstance(step, Launch) for step in self.steps)

    @property
    def spoils(self) -> bool:
        """The target that it begins with must be its own: others could not go on with it, or had used it before."""
        # What comes after another one was started is about that one.
        about_it = itertools.takewhile(
            lambda step: not (isinstance(step, Launch) and step.launch == "another"), self.steps
        )
        return self.own or any(
            isinstance(step, (Bind, Call, Signal, Limit, Lift))
            or (isinstance(step, Launch) and step.launch not in ("another", "port-taken"))
            or (
                isinstance(step, (Freeze, Thaw))
                and {"owner", "baseline"} & set(names(getattr(step, verb(step))))
            )
            for step in about_it
        )

    @property
    def solitary(self) -> bool:
        """It looks at the server as a whole, strains it, or measures time: nobody else may use the server meanwhile."""
        return self.controls or self.held > TOGETHER or any(map(alone, self.steps))

    def unfit(self, manifest: Manifest) -> str:
        """Why a target with this manifest is not to be tried, or an empty text."""
        if reason := self.requirement.applies.unmet(manifest) or self.applies.unmet(manifest):
            return reason
        if self.lowered and not manifest.takes("max-connections"):
            return "the target's command takes no {max-connections}, so its limit cannot be lowered"
        if self.family and self.family not in manifest.families:
            return f"the target does not declare {self.family} (families)"
        if "unix" in (self.family, manifest.transport):
            if any(
                isinstance(step, Bind) or (isinstance(step, Launch) and step.launch == "port-taken")
                for step in self.steps
            ):
                return "a path that is there cannot be bound, whoever has left it"
            sent = [step.send.length for step in self.steps if isinstance(step, Send)]
            if max(sent, default=0) > UNIX_AT_ONCE:
                return f"a UNIX socket does not take {max(sent)} bytes before they are read"
        if self.beyond_limit:
            return ""
        if manifest.one_shot and self.longest > manifest.message_max:
            return (
                f"a one-shot target takes {manifest.message_max} bytes as one request, this is {self.longest}"
            )
        if 0 < manifest.max_connections < self.held:
            return f"the target declares max-connections = {manifest.max_connections}, this needs {self.held}"
        return ""

    def _payloads(self) -> Iterable[Any]:
        for step in self.steps:
            if isinstance(step, Send):
                yield step.send
            elif isinstance(step, Reach):
                yield step.reach
            elif isinstance(step, Exchange):
                yield step.exchange
            elif isinstance(step, Run):
                yield step.run


def alone(step: Step) -> bool:
    """It is about more than the case's own connections and the processes that were born for them."""
    match step:
        case See():
            return step.see in OF_ALL
        case Mark():
            return step.mark != ["holders"]
        case Expect():
            return step.expect in OF_NEWCOMERS
        case Exchange():
            return bool(step.fast or step.unstalled)
    return isinstance(step, (Stuff, Reach))


def verb(step: Step) -> str:
    """The name of a step's verb as a field (`half_close`)."""
    return _field(type(step))


@cache  # there are hundreds of steps, of a dozen kinds
def _field(kind: type[Step]) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).lower()


def names(value: str | list[str] | bool, default: str | list[str] = "a") -> list[str]:
    """The names that a step is about; `true` stands for the step's `on`."""
    if isinstance(value, bool):
        value = default
    return [value] if isinstance(value, str) else value


def number(text: str, base: int, manifest: Manifest) -> int | None:
    """What `B+1`, `2B`, `M-1`, `limit+1` come to, or None where it is no such sum.

    `B` is `base`, `M` the target's message-max, `limit` what it is to serve at once; all in bytes or connections.
    """
    found = re.fullmatch(r"(\d*)(B|M|limit)([+-]\d+)?", text)
    if not found:
        return None
    times, symbol, plus = found.groups()
    unit = {"B": base, "M": manifest.message_max, "limit": manifest.demand}[symbol]
    return int(times or 1) * unit + int(plus or 0)


def values(given: list[Value], manifest: Manifest) -> list[Value]:
    """A parameter's values with sums worked out, each once, in order; sizes below 1 are dropped."""
    buffers = (*BUFFERS, manifest.message_max) if manifest.one_shot else BUFFERS
    found: list[Value] = []
    for value in given:
        if isinstance(value, str) and number(value, 1, manifest) is not None:
            bases = buffers if "B" in value else (0,)
            sums = (number(value, base, manifest) for base in bases)
            found += sorted({one for one in sums if one is not None and one > 0})
        else:
            found.append(value)
    return list(dict.fromkeys(found))


def declared(manifest: Manifest) -> dict[str, Value]:
    """What steps may name instead of a number: times that the manifest declares, in seconds."""
    return {
        "drain-within": manifest.drain_within,
        "half-idle-timeout": manifest.idle_timeout / 2,
        "after-idle-timeout": manifest.idle_timeout + LATE,
    }


def fill(raw: Any, parameters: Mapping[str, Value], key: str = "") -> Any:
    """`raw` with each text that names a parameter replaced by its value; `text` is left alone, it is data."""
    if isinstance(raw, dict):
        return {name: fill(value, parameters, name) for name, value in raw.items()}
    if isinstance(raw, list):
        return [fill(value, parameters, key) for value in raw]
    if isinstance(raw, str) and key != "text":
        return parameters.get(raw, raw)
    return raw


@cache
def templates() -> dict[str, tuple[Template, str]]:
    """Every table of every case file by the case's id without its expansion, with its place for complaints."""
    found: dict[str, tuple[Template, str]] = {}
    known = requirement.load()
    for path, content in fixture.tables("cases"):
        for name, table in content.items():
            place = f"{path.name}, [{name}]"
            template = fixture.convert(table, Template, place)
            if template.requirement not in known:
                raise fixture.BadFixture(f"{place}: there is no requirement {template.requirement!r}")
            if not re.fullmatch(r"[a-z0-9-]+", name):
                raise fixture.BadFixture(f"{place}: a name has small letters, digits and dashes only")
            found[f"{path.stem}/{name}"] = (template, place)
    return found


def expand(manifest: Manifest) -> dict[str, Case]:
    """All cases by id, as they are for a target with this manifest; each is parsed, whether it applies or not.

    A client has the cases of clients alone, a server those of servers.

    Raises:
        BadFixture: a case is malformed; says the file, the table, the step and what would be right.
    """
    return dict(_expanded(msgspec.json.encode(manifest), templates))


@lru_cache(maxsize=16)  # it takes a tenth of a second, and many ask, most of them for the same manifest
def _expanded(encoded: bytes, written: Callable[[], dict[str, tuple[Template, str]]]) -> dict[str, Case]:
    """As `expand`, of a manifest in JSON and of cases as they are written: what a cache can know again."""
    manifest = msgspec.json.decode(encoded, type=Manifest)
    found: dict[str, Case] = {}
    for stem, (template, place) in written().items():
        judged = requirement.load()[template.requirement]
        if judged.role != manifest.role:
            continue
        verbs = CLIENT_VERBS if manifest.role == "client" else VERBS
        axes = {"size": values(list(template.size), manifest)} if template.size else {}
        axes |= {name: values(given, manifest) for name, given in template.each.items()}
        for combination in itertools.product(*axes.values()):
            parameters = {**declared(manifest), **dict(zip(axes, combination, strict=True))}
            suffix = "-".join(str(value) for value in combination)
            case = Case(
                id=f"{stem}@{suffix}" if suffix else stem,
                title=template.title,
                requirement=judged,
                steps=tuple(parse_all(fill(template.steps, parameters), place, verbs)),
                applies=template.applies,
                own=template.own,
                beyond_limit=template.beyond_limit,
            )
            check(case, place)
            found[case.id] = case
    return found


def check(case: Case, place: str) -> None:
    """Refuse what can be parsed but not be meant."""
    if not re.fullmatch(r"[A-Za-z0-9@/._+-]+", case.id):
        raise fixture.BadFixture(f"{place}: the id {case.id!r} has characters that shells eat")
    if case.requirement.role == "client":
        if not any(isinstance(step, (Take, Relay)) for step in case.steps):
            raise fixture.BadFixture(
                f"{place}: no message is taken in it, so a client that does nothing might pass"
            )
        return
    opened: set[str] = set()
    blocking: set[str] = set()
    for step in case.steps:
        if isinstance(step, Open):
            opened |= set(names(step.open))
            blocking |= set(names(step.open)) if step.style == "blocking" else set()
            opened |= {f"{step.open}{member}" for member in range(1, step.count + 1)}
        elif isinstance(step, Expect) and step.expect in ("room", "unserved"):
            opened |= set(names(step.on))
        elif isinstance(step, (Exchange, Send, Expect, See)):
            mentioned = set(names(step.on))
            if opened and (missing := sorted(mentioned - opened - {"a", "owner", "baseline", "all"})):
                raise fixture.BadFixture(f"{place}: no step has opened {missing[0]!r}")
            if isinstance(step, Exchange) and mentioned & blocking and step.exchange.length > BLOCKING_MAX:
                raise fixture.BadFixture(
                    f"{place}: a blocking client sends at most {BLOCKING_MAX} bytes at once"
                )
    if not any(
        isinstance(step, (Exchange, Reach)) or (isinstance(step, Expect) and step.expect in ("echo", "room"))
        for step in case.steps
    ):
        raise fixture.BadFixture(
            f"{place}: nothing is ever echoed in it, so a server that does nothing would pass"
        )


def matching(cases: Iterable[Case], globs: Iterable[str]) -> list[Case]:
    """The cases whose id fits one of the patterns; a pattern without its expansion fits all of them."""
    wanted = list(globs)
    return [
        case
        for case in cases
        if any(fnmatchcase(case.id, glob) or fnmatchcase(case.id.partition("@")[0], glob) for glob in wanted)
    ]


def source_of(case_id: str) -> Path:
    """The file that a case stands in."""
    return fixture.folder("cases") / f"{case_id.partition('/')[0]}.toml"
