"""The verbs of a case: one small typed record each, in one table."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from forkecho.conformance import fixture
from forkecho.conformance.manifest import Family
from forkecho.conformance.payload import Payload
from forkecho.conformance.world import World

__all__ = [
    "VERBS",
    "Bind",
    "Call",
    "Close",
    "Exchange",
    "Expect",
    "Freeze",
    "HalfClose",
    "Idle",
    "Launch",
    "Lift",
    "Limit",
    "Mark",
    "Names",
    "Open",
    "Reach",
    "Repeat",
    "Reset",
    "Scarce",
    "See",
    "Send",
    "Signal",
    "Step",
    "Stuff",
    "Thaw",
    "Vanish",
    "parse",
]

Names = str | list[str]

Scarce = Literal["descriptors", "processes"]

Style = Literal["blocking", "non-blocking", "callback", "coroutine"]

#: A blocking client that sends more than this before it reads may deadlock with any bounded server.
BLOCKING_MAX = 65536  # bytes


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab", kw_only=True):
    """What all steps have: the connections they are about, one (`a` unless told) or several."""

    on: Names = "a"


class Open(Step, frozen=True, kw_only=True):
    """Connect. With `count`, a group: `open = "n", count = 3` opens n1, n2 and n3, and `n` names them all."""

    open: Names
    count: int = 0
    style: Style = "non-blocking"
    receive_buffer: int = 0  # bytes; 0 leaves it to the kernel
    queued: bool = False  # do not wait until a process of the server has accepted each batch
    via: Literal["ipv4", ""] = ""  # over IPv4 to a server that listens on IPv6 as well


class Send(Step, frozen=True, kw_only=True):
    """Send, and read nothing.

    `pieces`: at most so many bytes a write, or the sizes of the first writes, where each is taken by the server
    before the next is sent.
    """

    send: Payload
    urgent: bool = False  # the last byte is urgent data (MSG_OOB)
    pieces: int | list[int] = 0


class Exchange(Step, frozen=True, kw_only=True):
    """Send and read the echo at the same time, to the last byte; on several connections at once."""

    exchange: Payload
    pieces: int | list[int] = 0
    times: int = 1
    fast: float = 0.0  # seconds; the median of the times must be below
    unstalled: float = 0.0  # seconds; of the second half of the times a quarter must be below


class Reach(Step, frozen=True, kw_only=True):
    """Connect, have a message echoed, and close: `times` times, one after the other, all but a twentieth within `fast` s."""

    reach: Payload
    times: int = 20
    fast: float = 0.5


class Stuff(Step, frozen=True, kw_only=True):
    """Write without reading until the connection stalls; at most so many bytes."""

    stuff: Names
    at_most: int = 32 * 1024 * 1024


class HalfClose(Step, frozen=True, kw_only=True):
    """End our sending direction (FIN) and go on reading."""

    half_close: Names | bool


class Close(Step, frozen=True, kw_only=True):
    """Close both directions."""

    close: Names | bool


class Reset(Step, frozen=True, kw_only=True):
    """End the connection with an RST."""

    reset: Names | bool


class Vanish(Step, frozen=True, kw_only=True):
    """End the connection without a word: neither FIN nor RST (needs CAP_NET_ADMIN)."""

    vanish: Names | bool


class Expect(Step, frozen=True, kw_only=True):
    """What must come: by a deadline of `within` seconds, or staying so for `stays` seconds."""

    expect: Literal[
        "echo",
        "prefix",
        "end",
        "reset",
        "closed",
        "refused",
        "served-or-refused",
        "room",
        "accepted",
        "queued",
        "established",
        "unread",
        "unserved",
        "nothing",
    ]
    within: float = 0.0
    stays: float = 0.3


class Freeze(Step, frozen=True, kw_only=True):
    """Stop all processes born for a connection, or the `owner`, or the `baseline`, until every thread is stopped."""

    freeze: Names


class Thaw(Step, frozen=True, kw_only=True):
    """Let go on what was frozen."""

    thaw: Names


class Limit(Step, frozen=True, kw_only=True):
    """Take from the target what is scarce: `descriptors` from whoever accepts, or `processes` from all of it.

    The target keeps what it has and gets no more: the lowest free descriptor number is out of bounds, a fork fails.
    """

    limit: Scarce


class Lift(Step, frozen=True, kw_only=True):
    """Lift a limit again."""

    lift: Scarce


class Signal(Step, frozen=True, kw_only=True):
    """Send a signal to a connection's processes, the listener's `owner`, the `baseline`, or `all` of the target.

    Those that are still there after `again` seconds get it once more, as a fault comes once more where a handler returned
    from it; some runtimes only restore the default action the first time.  0: never.
    KILL reaches what a connection's processes have forked meanwhile as well.
    """

    signal: Literal["TERM", "INT", "KILL", "HUP", "USR1", "CHLD", "SEGV", "ABRT"]
    to: Names = "owner"
    again: float = 0.0


class See(Step, frozen=True, kw_only=True):
    """What the kernel must show, by a deadline of `within` seconds."""

    see: Literal[
        "born",
        "not-owner",
        "descendant",
        "child-of-owner",
        "disjoint",
        "same",
        "same-owner",
        "alone",
        "cannot-accept",
        "claims",
        "parent-claim",
        "serves",
        "gone",
        "none-left",
        "reaped",
        "no-listener",
        "no-listener-left",
        "no-path",
        "no-sibling",
        "single-thread",
        "exit-status",
        "child-status",
        "quiet",
        "signals",
        "descriptors",
        "not-repeated",
        "announced",
        "own-address",
        "gave-up",
        "sole-listener",
        "bounded",
        "unchanged",
        "idle-cpu",
        "keepalive",
        "returned",
    ]
    within: float = 0.0
    of: list[str] = []
    share: float = 0.2  # of one processor, for `idle-cpu`


class Launch(Step, frozen=True, kw_only=True):
    """Start the target, for this case alone.

    `fresh` is the one that the case begins with, `again` its successor on the same port, `another` one more that all further
    steps are about: it must come to listen, with its standard descriptors `closed`, signals ignored, a terminal as standard
    output, or `full_output`, where the stream on which it announces its port is a full pipe that nobody reads. Those in vain are
    started where somebody listens already, and must give up: on the port of the first (`second`), or where no server of ours
    listens (`port-taken`).
    """

    launch: Literal["fresh", "again", "another", "second", "port-taken"]
    max_connections: int = 0
    ignored_signals: list[Literal["CHLD", "PIPE", "HUP", "INT"]] = []
    closed: list[Literal[0, 1, 2]] = []
    full_output: bool = False
    terminal: bool = False
    serving: bool = True  # one that is used in process serves at once
    family: Family | None = None  # what it is to listen on; the first that it declares unless told

    def world(self) -> World:
        """What the target inherits."""
        ignored = tuple(signal.Signals[f"SIG{name}"] for name in self.ignored_signals)
        return World(ignored=ignored, closed=tuple(self.closed), terminal=self.terminal)


class Bind(Step, frozen=True, kw_only=True):
    """Bind the target's own port, with SO_REUSEADDR, as its successor would."""

    bind: Literal["port"]


class Call(Step, frozen=True, kw_only=True):
    """Have the host of a server that is used in process make a call, and go on at once; see `host.py`."""

    call: Literal[
        "serve",
        "serve-in-main",
        "shutdown",
        "shutdown-from-handler",
        "server-close",
        "bear",
        "wait",
        "visit",
        "leave",
    ]


class Idle(Step, frozen=True, kw_only=True):
    """Let time pass, in seconds: the one legal wait, where time itself is what is tested."""

    idle: float


class Mark(Step, frozen=True, kw_only=True):
    """Remember what the target holds now, for a later `see = "unchanged"` or `"same"`."""

    mark: list[Literal["descriptors", "memory", "processes", "holders", "stderr", "words", "output", "files"]]


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps done several times over."""

    times: int
    steps: list[dict[str, Any]]


#: From the key that makes a table a step to the record that it becomes.
VERBS: dict[str, type[Step]] = {
    "open": Open,
    "send": Send,
    "exchange": Exchange,
    "reach": Reach,
    "stuff": Stuff,
    "half-close": HalfClose,
    "close": Close,
    "reset": Reset,
    "vanish": Vanish,
    "expect": Expect,
    "freeze": Freeze,
    "thaw": Thaw,
    "limit": Limit,
    "lift": Lift,
    "signal": Signal,
    "see": See,
    "launch": Launch,
    "bind": Bind,
    "call": Call,
    "idle": Idle,
    "mark": Mark,
}


def parse(raw: dict[str, Any], place: str, table: Mapping[str, type[Step]] = VERBS) -> list[Step]:
    """The steps that one table stands for: itself, or for `{times, steps}` what it repeats.

    Args:
        raw: as it stands in the file.
        place: what a complaint begins with.
        table: the verbs that there are.

    Raises:
        BadFixture: no verb or two, an unknown field, a wrong type; says what would be right.
    """
    if "steps" in raw:
        repeat = fixture.convert(raw, Repeat, place)
        return [step for _ in range(repeat.times) for step in parse_all(repeat.steps, place, table)]
    verbs = [key for key in raw if key in table]
    if len(verbs) != 1:
        said = " and ".join(map(repr, verbs)) or "none of " + ", ".join(raw)
        raise fixture.BadFixture(f"{place}: a step has one verb, here {said} (there are {', '.join(table)})")
    return [fixture.convert(raw, table[verbs[0]], place)]


def parse_all(raw: list[dict[str, Any]], place: str, table: Mapping[str, type[Step]] = VERBS) -> list[Step]:
    """The steps of a list of tables, counted from 1 in complaints."""
    return [
        step for number, one in enumerate(raw, 1) for step in parse(one, f"{place}, step {number}", table)
    ]
