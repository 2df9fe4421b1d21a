"""The steps of a case as lines of a script: what is done and seen on the wire, and what cannot be."""

from __future__ import annotations

import ast
import keyword
import re
from collections.abc import Callable
from typing import Any, cast

import msgspec

from forkecho.conformance.case import Case, names, verb
from forkecho.conformance.inline import inline
from forkecho.conformance.manifest import Manifest, Reply
from forkecho.conformance.payload import Payload
from forkecho.conformance.repro.literal import WIDTH, call, literal, quoted
from forkecho.conformance.step import (
    Bind,
    Call,
    Close,
    Exchange,
    Expect,
    Freeze,
    HalfClose,
    Idle,
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
)

__all__ = ["WRITE", "Acts", "Looks", "Play", "Played", "told", "written"]

INDENT = "    "
LONGEST_ROUND = 40  # steps that are looked through for a repetition


class Looks(Exception):
    """A step looks at processes: without it the case is the same on the wire, but sees less."""


class Acts(Exception):
    """A step does to processes what a script cannot: without it the case is another one."""


class Line(msgspec.Struct, frozen=True):
    """What becomes of one step, or of several that are the same."""

    lines: tuple[str, ...]
    numbers: tuple[int, ...]


class Play:
    """The state of a case as its steps are written down: which connections there are, and what is known of each.

    Args:
        taken: names that a connection's variable must not have.
        scale: what deadlines are multiplied with.
    """

    def __init__(self, case: Case, manifest: Manifest, taken: set[str], scale: float) -> None:
        self.case = case
        self.manifest = manifest
        self.scale = scale
        self.words: set[str] = set()  # what the script needs besides; see `cut`
        self.variables: dict[str, str] = {}  # from a connection's name to the expression that it is
        self.groups: dict[str, list[str]] = {}
        self.queued: set[str] = set()  # begun, and not waited for
        self.answered: set[str] = set()  # on which something has come back
        self.open: set[str] = set()
        self.unix = "unix" in (case.family, manifest.transport)
        self._taken = taken
        self._pids = "pid" in Reply(manifest.reply).names

    def seconds(self, value: float) -> str:
        """A time of the case as the script is to have it."""
        return repr(round(value * self.scale, 3))

    def patience(self, within: float) -> list[str]:
        """The argument that says how long to wait; none where it is the usual time."""
        return [f"patience={self.seconds(within)}"] if within else []

    def variable(self, name: str) -> str:
        """A name that Python lets a connection, or a group of them, have."""
        fits = name.isidentifier() and not keyword.iskeyword(name) and name not in self._taken
        return name if fits else "c_" + "".join(one if one.isalnum() else "_" for one in name)

    def members(self, value: Any, default: Any = "a") -> list[str]:
        """The names of connections that are meant, groups resolved."""
        return [member for name in names(value, default) for member in self.groups.get(name, [name])]

    def ready(self, value: Any, default: Any = "a") -> list[str]:
        """The lines after which all connections that are meant are made."""
        lines = []
        for name in self.members(value, default):
            if name not in self.variables:
                lines += self.made(name)
            elif name in self.queued:
                lines.append(f"{self.variables[name]}.finish()")
                self.queued.discard(name)
        return lines

    def made(self, name: str, verb: str = "connect", *options: str) -> list[str]:
        """The line that makes a connection, or begins to."""
        self.known(name, self.variable(name))
        return [f"{self.variables[name]} = server.{verb}({', '.join([quoted(name), *options])})"]

    def known(self, name: str, variable: str) -> None:
        """There is a new connection of that name."""
        self.variables[name] = variable
        self.open.add(name)
        self.queued.discard(name)
        self.answered.discard(name)

    def spread(self, value: Any, default: Any = "a") -> list[str]:
        """The connections as arguments: `a`, `*n`."""
        return [
            f"*{self.variable(name)}" if name in self.groups else self.variables[name]
            for name in names(value, default)
        ]

    def each(self, value: Any, what: str, default: Any = "a") -> list[str]:
        """The same done with each connection in turn; `what` follows the dot."""
        lines = []
        for name in names(value, default):
            if name in self.groups:
                lines += [f"for one in {self.variable(name)}:", f"{INDENT}one.{what}"]
            else:
                lines.append(f"{self.variables[name]}.{what}")
        return lines

    def messages(self, on: Any, data: str) -> str:
        """A dictionary from each connection to what is sent on it."""
        told = self.spread(on)
        if len(told) == 1 and not told[0].startswith("*"):
            return f"{{{told[0]}: {data}}}"
        among = told[0][1:] if len(told) == 1 else f"[{', '.join(told)}]"
        return f"{{one: {data} for one in {among}}}"

    def pid(self, name: str) -> str:
        """The PID of whoever serves a connection: what the reply says.

        Raises:
            Acts: it does not say, or none has come.
        """
        if not self._pids or name not in self.answered:
            raise Acts
        self.words.add("prefix")
        return f"{self.variables[name]}.pid"


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """A case as source.

    Attributes:
        lines: the body of `play`.
        left_out: the steps that are not in it.
        words: what the script needs; `own` where it must have started the server.
    """

    lines: list[str]
    left_out: list[str]
    words: set[str]


def told(step: Step) -> str:
    """A step as it stands in the case's file, without what goes without saying."""
    found = {}
    for field in msgspec.structs.fields(type(step)):
        value = getattr(step, field.name)
        if value == field.default or (
            field.default_factory is not msgspec.NODEFAULT and value == cast(Any, field.default_factory)()
        ):
            continue
        if isinstance(value, Payload):
            value = {
                one.encode_name: getattr(value, one.name)
                for one in msgspec.structs.fields(Payload)
                if getattr(value, one.name) is not None
            }
        found[field.encode_name] = value
    first = verb(step).replace("_", "-")
    return inline({first: found[first], **found})


def data(payload: Payload) -> str:
    """The expression that makes a payload."""
    if payload.text is not None:
        return quoted(payload.text.encode())
    if payload.hex is not None:
        return quoted(bytes.fromhex(payload.hex))
    if payload.every_byte is not None:
        return "bytes(range(256))" + (f" * {payload.every_byte}" if payload.every_byte != 1 else "")
    if payload.counter is not None:
        return f"counter({payload.counter})"
    return f"random_bytes({payload.random})"


def options(given: dict[str, Any]) -> list[str]:
    """Arguments by name, those left out that are nothing."""
    return [f"{name}={literal(value)}" for name, value in given.items() if value]


def open_(play: Play, step: Open) -> list[str]:
    """See `step.Open`."""
    more = options({"receive_buffer": step.receive_buffer, "host": "127.0.0.1" if step.via else ""})
    begun = "begin" if step.queued else "connect"
    if not step.count:
        lines = [line for name in names(step.open) for line in play.made(name, begun, *more)]
        opened = names(step.open)
    else:
        assert isinstance(step.open, str)
        group = play.variable(step.open)
        opened = [f"{step.open}{number}" for number in range(1, step.count + 1)]
        play.groups[step.open] = opened
        for at, name in enumerate(opened):
            play.known(name, f"{group}[{at}]")
        label = f'f"{step.open}{{number}}"'
        labels = f"{label} for number in range(1, {step.count + 1})"
        if step.queued:
            made = ", ".join([label, *more])
            lines = [f"{group} = [server.begin({made}) for number in range(1, {step.count + 1})]"]
        else:
            lines = call(f"{group} = server.connect_all", [f"[{labels}]", *more], WIDTH - 8)
    if step.queued:
        play.queued |= set(opened)
    return lines


def send(play: Play, step: Send) -> list[str]:
    """See `step.Send`."""
    ready = play.ready(step.on)
    what = call(
        "send_urgent" if step.urgent else "send",
        [data(step.send), *options({"pieces": step.pieces})],
        1 << 20,
    )
    return ready + play.each(step.on, what[0])


def exchange(play: Play, step: Exchange) -> list[str]:
    """See `step.Exchange`."""
    ready = play.ready(step.on)
    play.answered |= set(play.members(step.on))
    sent, first = data(step.exchange), []
    if len(sent) > WIDTH // 2 and not sent.startswith("random"):
        first, sent = [f"message = {sent}"], "message"
    messages = play.messages(step.on, sent)
    if step.fast or step.unstalled:
        limits = [
            f"{name}={play.seconds(value)}"
            for name, value in (("fast", step.fast), ("unstalled", step.unstalled))
            if value
        ]
        among = f"[{', '.join(play.spread(step.on))}]"
        arguments = [among, f"lambda: {sent}", f"times={step.times}", *limits]
        return ready + first + call("exchange_often", arguments, WIDTH - 8)
    line = call("exchange", [messages, *options({"pieces": step.pieces})], WIDTH - 8)
    if step.times == 1:
        return ready + first + line
    return ready + first + [f"for _ in range({step.times}):", *(INDENT + one for one in line)]


def reach(play: Play, step: Reach) -> list[str]:
    """See `step.Reach`."""
    (name,) = play.members(step.on)
    arguments = ["server", quoted(name), f"lambda: {data(step.reach)}", f"times={step.times}"]
    return call("reach", [*arguments, f"fast={play.seconds(step.fast)}"], WIDTH - 8)


def stuff(play: Play, step: Stuff) -> list[str]:
    """See `step.Stuff`."""
    return play.ready(step.stuff) + call("stuff", [*play.spread(step.stuff), f"at_most={step.at_most}"])


def ending(what: str) -> Callable[[Play, Any], list[str]]:
    """What half-closes, closes or resets connections."""

    def write(play: Play, step: HalfClose | Close | Reset | Vanish) -> list[str]:
        told = getattr(step, verb(step))
        lines = play.ready(told, step.on) + play.each(told, f"{what}()", step.on)
        if what != "half_close":
            play.open -= set(play.members(told, step.on))
        return lines

    return write


def expect(play: Play, step: Expect) -> list[str]:
    """See `step.Expect`."""
    seconds = play.seconds(step.stays)
    match step.expect:
        case "queued" | "unread":
            raise Looks
        case "accepted":
            if play.unix:
                raise Looks
            return [*play.ready(step.on), f"server.await_accepted({', '.join(play.spread(step.on))})"]
        case "refused":
            return [f"server.expect_refused({', '.join(play.patience(step.within))})"]
        case "room":
            lines = []
            for name in play.members(step.on):
                play.known(name, play.variable(name))
                play.answered.add(name)
                arguments = ["server", quoted(name), *play.patience(step.within)]
                lines += call(f"{play.variables[name]} = expect_room", arguments)
            return lines
        case "unserved":
            wanted = [quoted(name) for name in play.members(step.on)]
            return call("expect_unserved", ["server", *wanted, f"seconds={seconds}"], WIDTH - 4)
        case "established":
            return [
                f"expect_established({', '.join([*play.spread(step.on), *(play.patience(step.within or 5.0))])})"
            ]
        case "served-or-refused":
            if any(name not in play.variables for name in play.members(step.on)):
                raise Acts
            play.queued -= set(play.members(step.on))
            return [
                f"expect_served_or_refused({', '.join([*play.spread(step.on), *play.patience(step.within)])})"
            ]
    lines = play.ready(step.on)
    arguments = play.spread(step.on)
    if step.expect == "nothing":
        arguments.append(f"seconds={seconds}")
    elif step.expect != "prefix":
        arguments += play.patience(step.within)
    if step.expect == "echo":
        play.answered |= set(play.members(step.on))
    return [*lines, f"expect_{step.expect}({', '.join(arguments)})"]


def whose(play: Play, value: Any) -> list[str]:
    """The arguments that name processes, none for the one that was started."""
    play.words.add("own")
    wanted = names(value)
    if wanted == ["owner"]:
        return []
    if wanted in (["all"], ["baseline"]):
        return ["*server.alive()"]
    return [play.pid(name) for name in play.members(value)]


def send_signal(play: Play, step: Signal) -> list[str]:
    """See `step.Signal`."""
    if "baseline" in names(step.to):
        raise Acts
    arguments = ", ".join([f"signal.SIG{step.signal}", *whose(play, step.to)])
    return [f"server.signal({arguments})", *([f"server.signal_again({arguments})"] if step.again else [])]


def freeze(play: Play, step: Freeze) -> list[str]:
    """See `step.Freeze`; what has been accepted and not yet been handed on would be frozen as well."""
    mine = {"owner"} & set(names(step.freeze))
    if (mine and play.open - play.answered) or ("baseline" in names(step.freeze) and play.open):
        raise Acts
    return [f"server.freeze({', '.join(whose(play, step.freeze))})"]


def thaw(play: Play, step: Thaw) -> list[str]:
    """See `step.Thaw`."""
    return [f"server.signal({', '.join(['signal.SIGCONT', *whose(play, step.thaw)])})"]


def see(play: Play, step: See) -> list[str]:
    """See `step.See`: whether the server that the script has started ends, and whether somebody listens still."""
    if step.see == "gone" and step.on == "owner":
        play.words.add("own")
        return [f"server.expect_exit({', '.join(play.patience(step.within))})"]
    raise Looks


def waited(play: Play, step: Step) -> list[str]:
    """What is waited for in place of a look: that nobody listens there."""
    if (
        isinstance(step, See)
        and step.see.startswith("no-listener")
        and (step.on == "owner" or step.see.endswith("left"))
    ):
        play.words.add("own")
        return [f"server.await_no_listener({', '.join(play.patience(step.within))})"]
    return []


def launch(play: Play, step: Launch) -> list[str]:
    """See `step.Launch`."""
    if step.max_connections or step.launch != "fresh":
        play.words.add("own")
    if step.launch == "fresh":
        return []
    if step.launch in ("second", "port-taken") or step.full_output or step.terminal or step.family:
        raise Acts
    if step.launch == "again" and play.unix:
        raise Acts
    if step.launch == "again":
        return ["server = launch_another(port=server.address[1])"]
    ignored = [f"signal.SIG{name}" for name in step.ignored_signals]
    arguments = options({"limit": step.max_connections, "closed": list(step.closed)})
    if ignored or step.closed:
        play.words.add("world")
    arguments += [f"ignored=[{', '.join(ignored)}]"] if ignored else []
    return [f"server = launch_another({', '.join(arguments)})"]


def bind(play: Play, step: Bind) -> list[str]:
    """See `step.Bind`."""
    play.words.add("own")
    return ["server.expect_free_port()"]


def idle(play: Play, step: Idle) -> list[str]:
    """See `step.Idle`; the time of a server is not stretched."""
    return [f"time.sleep({step.idle!r})"]


def looks(play: Play, step: Step) -> list[str]:
    """It looks at processes."""
    raise Looks


def acts(play: Play, step: Step) -> list[str]:
    """It does something to processes."""
    raise Acts


#: How each verb is written.
WRITE: dict[type[Step], Callable[[Play, Any], list[str]]] = {
    Open: open_,
    Send: send,
    Exchange: exchange,
    Reach: reach,
    Stuff: stuff,
    HalfClose: ending("half_close"),
    Close: ending("close"),
    Reset: ending("reset"),
    Vanish: ending("vanish"),
    Expect: expect,
    Freeze: freeze,
    Thaw: thaw,
    Limit: acts,
    Lift: acts,
    Signal: send_signal,
    See: see,
    Launch: launch,
    Bind: bind,
    Call: acts,
    Idle: idle,
    Mark: looks,
}


def written(play: Play, failed: int) -> Played:
    """The steps of a case, the last that can be played at the latest.

    Args:
        failed: the number of the step that failed, 0 if none did.

    Raises:
        Looks, Acts: the failed step, or what it needs, is not to be had on the wire; the text is the step's.
    """
    found: list[Line] = []
    left_out: list[str] = []
    for number, step in enumerate(play.case.steps, 1):
        try:
            lines = WRITE[type(step)](play, step)
        except Looks:
            if number == failed:
                raise Looks(told(step)) from None
            lines = waited(play, step)
            if not lines:
                left_out.append(told(step))
        except Acts:
            if number <= failed or not failed:
                raise Acts(told(step)) from None
            left_out.append(f"all from {told(step)} on")
            break
        if lines:
            found.append(Line(tuple(lines), (number,)))
    body: list[str] = []
    for round_, times in rounds(found):
        inner = [line for one in round_ for line in _marked(one, failed, times)]
        body += inner if times == 1 else [f"for _ in range({times}):", *(INDENT + line for line in inner)]
    return Played(lines=_unassigned(body), left_out=list(dict.fromkeys(left_out)), words=play.words)


def _marked(line: Line, failed: int, times: int) -> list[str]:
    if failed not in line.numbers or not failed:
        return list(line.lines)
    which = f" (round {line.numbers.index(failed) + 1})" if times > 1 else ""
    return [f"# Here it failed{which}:", *line.lines]


def _unassigned(body: list[str]) -> list[str]:
    """The lines without variables that are set and never used; the server keeps its connections."""
    tree = ast.parse("\n".join(body))
    used = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    found: list[str] = []
    for line in body:
        made = re.fullmatch(r"(\s*)(\w+) = ((?:server\.connect|server\.begin|expect_room).*)", line)
        begun = re.fullmatch(r"(\s*)(\w+) = \[(server\.begin.*) for number in (.*)\]", line)
        if made and made.group(2) not in used:
            found.append(made.group(1) + made.group(3))
        elif begun and begun.group(2) not in used:
            found += [
                f"{begun.group(1)}for number in {begun.group(4)}:",
                f"{begun.group(1)}{INDENT}{begun.group(3)}",
            ]
        else:
            found.append(line)
    return found


def rounds(lines: list[Line]) -> list[tuple[list[Line], int]]:
    """The lines with what is done several times over told once, and how often."""
    found: list[tuple[list[Line], int]] = []
    at = 0
    while at < len(lines):
        length, times = 1, 1
        for size in range(1, min(LONGEST_ROUND, (len(lines) - at) // 2) + 1):
            count = _repeats(lines, at, size)
            if count > 1 and count * size > max(length * times, 2):
                length, times = size, count
        chunk = [
            Line(
                lines[at + offset].lines,
                tuple(n for turn in range(times) for n in lines[at + offset + turn * length].numbers),
            )
            for offset in range(length)
        ]
        found.append((chunk, times))
        at += length * times
    return found


def _repeats(lines: list[Line], at: int, size: int) -> int:
    """How often the `size` lines from `at` on stand there one after the other."""
    first = [one.lines for one in lines[at : at + size]]
    count = 1
    while [one.lines for one in lines[at + count * size : at + (count + 1) * size]] == first:
        count += 1
    return count
