"""The whole script: what it tells of the record, its constants, the functions that it needs, and the case."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from forkecho.conformance import fixture, interpreter, target
from forkecho.conformance.case import Case, expand
from forkecho.conformance.hosted import HOST
from forkecho.conformance.manifest import Manifest, Reply
from forkecho.conformance.nearest import nearest
from forkecho.conformance.plan import spec_digest
from forkecho.conformance.report import console
from forkecho.conformance.report.again import command_line
from forkecho.conformance.report.printable import printable
from forkecho.conformance.repro import cut
from forkecho.conformance.repro.literal import WIDTH, call, literal, quoted
from forkecho.conformance.repro.play import Acts, Looks, Play, Played, written
from forkecho.conformance.result import CaseLine, Header, Run, Verdict
from forkecho.conformance.step import Launch, Open
from forkecho.conformance.target import HOSTS, LOOPBACK_6

__all__ = ["NoScript", "Script", "script", "text_of"]

PATIENCE = 5.0  # seconds; as the suite's own
LOCAL = {"server", "message", "number", "one"}  # names that `play` uses itself
TOKENS = ("host", "port", "path", "python", "here", "suite", "dir", "build", "max-connections")
FAILED = (Verdict.FAIL, Verdict.WARN, Verdict.KNOWN, Verdict.UNSTABLE)
BESIDE = ("name", "manifest", "connect", "given", "listed")  # told of a target beside what its manifest says


class NoScript(ValueError):
    """Of this case no script can be made; the text says why, and what to do instead."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """A script, and what whoever asked for it should know besides."""

    text: str
    notes: list[str]


def script(run: Run, case_id: str) -> Script:
    """The script that does on the wire what a case of a record did.

    Raises:
        NoScript: the record has no such case, or what failed in it does not show on the wire.
    """
    lines = {line.id: line for line in run.cases}
    if case_id not in lines:
        raise NoScript(f"the record has no case {case_id!r}{nearest(case_id, lines)}")
    line = lines[case_id]
    manifest = _manifest(run.header)
    case = expand(manifest).get(case_id)
    if case is None:
        raise NoScript(
            f"this forkecho has no case {case_id!r}: the record is one of forkecho {run.header.forkecho}, whose cases"
            " were others"
        )
    notes = []
    if run.header.spec != spec_digest():
        notes.append(
            f"the record was made with other requirements and cases (spec {run.header.spec}) than this forkecho has"
            f" ({spec_digest()}): the case may have changed since"
        )
    return Script(text=text_of(run.header, line, case, manifest, notes), notes=notes)


def text_of(header: Header, line: CaseLine, case: Case, manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """The script of a case and its result.

    Raises:
        NoScript: see `script`.
    """
    source = (fixture.folder("repro") / "script.py").read_text(encoding="utf-8")
    return _Writer(header, line, case, manifest, source, list(notes)).text()


def _manifest(header: Header) -> Manifest:
    """What the target declared."""
    told = {key: value for key, value in header.target.items() if key not in BESIDE}
    try:
        manifest = msgspec.convert(told, Manifest)
    except msgspec.ValidationError as error:
        raise NoScript(f"the record's target is none that this forkecho knows: {error}") from None
    if manifest.role == "client":
        raise NoScript("the record judges a client: there is no script that is a server")
    if manifest.in_process:
        raise NoScript("the record judges a server that is used in process: a script has no host for it")
    return manifest


class _Writer:
    """Writes one script."""

    def __init__(
        self, header: Header, line: CaseLine, case: Case, manifest: Manifest, source: str, notes: list[str]
    ) -> None:
        self.header = header
        self.line = line
        self.case = case
        self.manifest = manifest
        self.source = source
        self.notes = notes
        self.connect = str(header.target.get("connect", ""))
        self.scale = float(header.selection.get("scale", 1.0))
        self.family = case.family or manifest.families[0]
        self.played = self._play()
        self.words = self._words()

    def _play(self) -> Played:
        """The steps; see `play.written`."""
        line, again = self.line, command_line(self.header, self.line.id)
        if line.verdict is Verdict.NOT_APPLICABLE:
            raise NoScript(f"{line.id} does not apply to this target: {line.reason}")
        failed = line.step if line.verdict in FAILED else 0
        taken = set(re.findall(r"^(?:def|class|import) (\w+)", self.source, re.MULTILINE))
        play = Play(self.case, self.manifest, taken | LOCAL, self.scale)
        try:
            played = written(play, failed)
        except Looks as step:
            why = f"step {failed} of {line.id} looks at processes ({step})"
            raise NoScript(
                f"{why}: a script on the wire cannot show it; play it again with: {again}"
            ) from None
        except Acts as step:
            why = f"{line.id} does something to processes ({step})"
            raise NoScript(f"{why}: a script on the wire cannot do it; play it again with: {again}") from None
        if line.verdict in FAILED and not failed and played.left_out:
            raise NoScript(
                f"the record does not say which step of {line.id} failed, and it looks at processes as well;"
                f" play it again with: {again}"
            )
        return played

    def _words(self) -> set[str]:
        """What the source is asked for by its `# if WORD`."""
        manifest, tokens = self.manifest, self._tokens()
        unix, steps = self.family == "unix", self.case.steps
        opens = [step for step in steps if isinstance(step, Open)]
        wanted = {
            "prefix": Reply(manifest.reply).names,
            "one-shot": manifest.one_shot,
            "pieces": any(getattr(step, "pieces", 0) for step in steps),
            "plain": not unix and not any(one.queued or one.receive_buffer or one.via for one in opens),
            "unix": unix,
            "announce": manifest.announce and not unix,
            "unix-or-announce": unix or manifest.announce,
            "another": any(isinstance(step, Launch) and step.launch != "fresh" for step in steps),
            "another-tcp": not unix
            and any(isinstance(step, Launch) and step.launch == "again" for step in steps),
            "files": manifest.files,
            "build": manifest.build,
            "environment": manifest.env,
            "cwd": manifest.cwd,
            "launched": not self.connect,
        }
        words = self.played.words | {word for word, needed in wanted.items() if needed}
        words |= {f"token-{token}" for token in tokens}
        if unix:
            words.add("own")  # HOST PORT names none
        if "own" in words and self.connect:
            raise NoScript(f"{self.line.id} needs a server that the script starts: the record has no command")
        return words

    def _tokens(self) -> set[str]:
        """The placeholders that stand in what the manifest says."""
        texts = [*self.manifest.command, *self.manifest.files.values(), *self.manifest.env.values()]
        texts += [self.manifest.cwd, *(word for words in self.manifest.build for word in words)]
        return {token for token in TOKENS for text in texts if f"{{{token}}}" in _braced(text)}

    def text(self) -> str:
        """The source of the script."""
        body = "\n".join(
            [
                "def play(server):",
                f"    {_docstring(self.case.title)}",
                *(f"    {one}" for one in self.played.lines),
            ]
        )
        # What is called from the two ends of the file is what is needed.
        functions, used = cut.cut(self.source, self.words, f"main, interrupted\n{body}")
        functions.pop("play", None)
        ending = [functions.pop(name) for name in ("interrupted", "main")]
        given = self._constants()
        constants = "\n".join(
            given[name] for name in cut.constants(self.source) if name in used and name in given
        )
        rest = [body, *functions.values(), "INTERRUPTS = []  # signals that have come", *ending]
        whole = "\n\n\n".join([constants, *rest, 'if __name__ == "__main__":\n    sys.exit(main())'])
        imports = "\n".join(f"import {name}" for name in cut.modules(self.source) if f"{name}." in whole)
        return f"{self._about()}\n\n{imports}\n\n{whole}\n"

    def _about(self) -> str:
        """The docstring of the script."""
        line, requirement, header = self.line, self.case.requirement, self.header
        left = "; ".join(self.played.left_out)
        command = " ".join(map(str, self.manifest.command)) if not self.connect else f"at {self.connect}"
        said = f"expected {line.expected}; seen: {line.seen}" if line.expected else line.reason
        place = "" if "own" in self.words else " [HOST PORT]"
        there = (
            f"Without arguments it asks the server at {self.connect}."
            if self.connect
            else "Without arguments it starts the server, and ends it."
        )
        paragraphs = [
            f"{line.id}: {self.case.title}",
            f"{requirement.id} ({requirement.level.upper()}): {requirement.statement}",
            f"The server: {command}",
            f"The record, of {header.started}: {line.verdict.value}{': ' if said else ''}{said}",
            *self._of_python(),
            *([f"Left out, as it does not show on the wire: {left}"] if left else []),
            *(f"Note that {note}." for note in self.notes),
            f"Usage: python3 SCRIPT{place}",
            f"{there} Needs Python 3.8 or later and nothing else.",
            "Exit codes: 0 the fault is not there, 1 it is, 2 wrong usage, 3 it could not be tried.",
            f"Made by forkecho {header.forkecho}, `forkecho repro`.",
        ]
        wrapped = [
            "\n".join(textwrap.wrap(_plain(one), WIDTH, break_long_words=False, break_on_hyphens=False))
            for one in paragraphs
        ]
        return '"""' + "\n\n".join(wrapped) + '\n"""'

    def _of_python(self) -> list[str]:
        """By which Python the server is to be run, where the record tells."""
        pythons = self._pythons()
        if "token-python" not in self.words or not pythons:
            return []
        first = ", ".join([*pythons, "the Python that runs this"])
        ran = console.interpreter(self.header) or "a Python"
        return [f"Run by {ran}; the script has it run by the first of these that is there: {first}."]

    def _pythons(self) -> list[str]:
        """Programs that are the Python of the record: the same, or what another machine calls one of its version."""
        told = self.header.python
        return [one for one in (str(told.get("path", "")), interpreter.program(told)) if one]

    def _constants(self) -> dict[str, str]:
        """The source of each constant by its name."""
        manifest = self.manifest
        reply = Reply(manifest.reply)
        pattern = reply.pattern
        values: dict[str, Any] = {
            "PATIENCE": round(PATIENCE * self.scale, 3),
            "REPLY": manifest.reply,
            "PREFIX_LONGEST": reply.longest,
            "MESSAGE_MAX": manifest.message_max,
            "HOST": "" if self.family == "unix" else HOSTS[self.family],
            "CLIENTS_HOST": LOOPBACK_6 if self.family == "dual" else HOSTS.get(self.family, ""),
            "COMMAND": [_braced(word) for word in manifest.command],
            "FILES": {name: _braced(text) for name, text in manifest.files.items()},
            "BUILD": [[_braced(word) for word in words] for words in manifest.build],
            "ENVIRONMENT": {name: _braced(text) for name, text in manifest.env.items()},
            "FOLDER": _braced(manifest.cwd),
            "READY_WITHIN": manifest.ready_within * max(1.0, self.scale),
            "MAX_CONNECTIONS": self.case.launch.max_connections or manifest.demand,
            "HERE": self._here(),
            "SUITE": str(HOST.parent),
            "PYTHON": self._pythons(),
        }
        if self.connect:
            host, _, port = self.connect.rpartition(":")
            values["ADDRESS"] = (host.strip("[]"), int(port))
        comments = {
            "PATIENCE": "  # seconds without a byte, after which no more is waited for",
            "MESSAGE_MAX": "  # bytes that the server takes as one request",
        }
        found = {
            name: f"{name} = {literal(value, WIDTH - len(name) - 3)}{comments.get(name, '')}"
            for name, value in values.items()
        }
        found["PREFIX"] = "\n".join(call("PREFIX = re.compile", [quoted(pattern)]))
        found["ANNOUNCE"] = "\n".join(call("ANNOUNCE = re.compile", [quoted(manifest.announce)]))
        found["CHANCE"] = "\n".join(
            call("CHANCE = random.Random", [quoted(f"{self.header.seed} {self.line.id}")])
        )
        return found

    def _here(self) -> str:
        """The folder that `{here}` means, as far as the record tells."""
        told = self.header.target
        if path := told.get("manifest"):
            return str(Path(str(path)).resolve().parent)
        if told.get("name") in target.known():
            return target.load(str(told["name"])).here
        return "."


def _braced(text: str) -> str:
    """A text with `{port}` where it has `@PORT@`, which means the same."""
    for token in TOKENS:
        text = text.replace(f"@{token.upper()}@", f"{{{token}}}")
    return text


def _docstring(text: str) -> str:
    return f'"""{_plain(text)}"""'


def _plain(text: str) -> str:
    """Text of any kind as it may stand in a docstring."""
    shown = printable(text).encode("ascii", "backslashreplace").decode()
    return shown.replace("\\", "\\\\").replace('"""', '\\"\\"\\"').strip()
