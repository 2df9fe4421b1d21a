"""The command line: a verb to a module, an exception to one line and an exit code.

What is imported here is paid for by every verb, so it is next to nothing. `forkecho serve` in particular must
not import `threading` (forks would take twice as long), which click does.
"""

from __future__ import annotations

import errno
import importlib
import os
import select
import sys
from collections.abc import Sequence

__all__ = ["ERRORS", "PROGRAMS", "VERBS", "main"]

USAGE, FAULT, INTERRUPTED = 2, 3, 130  # exit codes, see the design
BROKEN_PIPE = 141  # 128 + SIGPIPE, as for a program that knows no better: the reader of our output went away

#: There is no room for what is written; that is not our fault, nor the target's.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: From a verb to the module with its `command`, and what `forkecho --help` says of it.
VERBS = {
    "check": ("forkecho.cli.check", "Judge a server."),
    "check-client": ("forkecho.cli.check_client", "Judge a client."),
    "matrix": ("forkecho.cli.matrix", "Judge many servers, and show where they differ."),
    "soak": ("forkecho.cli.soak", "Hold a load on a server, and watch that it stays as it is."),
    "classify": ("forkecho.cli.classify", "Name the concurrency model of a server."),
    "list": ("forkecho.cli.list_", "List requirements, cases, targets ... what is missing."),
    "explain": ("forkecho.cli.explain", "Explain a requirement or a case."),
    "report": ("forkecho.cli.report", "Show the record of a run in another format."),
    "diff": ("forkecho.cli.diff", "Say what got worse and better between two runs."),
    "known": ("forkecho.cli.known", "Show or update the list of a server's known failures."),
    "repro": ("forkecho.cli.repro", "Make of a case of a record a script that stands alone."),
    "schema": ("forkecho.cli.schema", "Print the JSON Schema of the record of a run."),
    "spec": ("forkecho.cli.spec", "Print the specification as Markdown."),
    "bench": ("forkecho.cli.bench", "Measure how fast a server is, beside others."),
    "prove": ("forkecho.cli.prove", "Run the suite against servers broken on purpose."),
    "serve": ("forkecho.cli.serve", "Run the reference server."),
    "send": ("forkecho.cli.send", "Send a message to an echo server, and see who served it."),
    "demo": ("forkecho.cli.demo", "Show a server and two clients at work."),
}

#: Verbs that are programs of their own: a `main` gets all that follows the verb, `--help` and `--` among it.
PROGRAMS = {"serve": "forkecho.server", "send": "forkecho.client"}

#: From an exception of ours to the exit code; by name, so that nothing is imported before something is wrong.
ERRORS = {
    "forkecho.conformance.fixture.BadFixture": USAGE,
    "forkecho.conformance.target.named.UnknownTarget": USAGE,
    "forkecho.conformance.target.named.NotInstalled": USAGE,
    "forkecho.conformance.plan.UnknownId": USAGE,
    "forkecho.conformance.interpreter.NoInterpreter": USAGE,
    "forkecho.conformance.result.BadRecord": USAGE,
    "forkecho.conformance.repro.script.NoScript": USAGE,
    "forkecho.conformance.plan.EmptySelection": 5,
    "forkecho.cli.load.NoLocust": USAGE,
    "forkecho.conformance.bench.rounds.Ended": FAULT,
    "forkecho.conformance.target.named.NotReady": 4,
    "forkecho.conformance.target.named.NotSupported": 3,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code; what is wrong with it is one line on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_output()
    try:
        status = run(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and unread():
            silence()
            return BROKEN_PIPE
        if isinstance(error, OSError) and error.errno in FULL:
            complain(str(error.strerror))
            silence()
            return FAULT
        if (code := code_of(error)) is not None:
            complain(str(error))
            return code
        # A fault of ours. Python's own exit code for it, 1, would say that the target is not conformant.
        sys.excepthook(type(error), error, error.__traceback__)
        complain("this is a fault of forkecho itself")
        return FAULT


def prepare_output() -> None:
    """Whatever a terminal's encoding is, it is shown something; what is closed takes and forgets all."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, it stays open to the end
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def run(words: list[str]) -> int:
    """Do what the words say."""
    if words and words[0] in PROGRAMS:
        return run_program(words[0], words[1:])
    if strange := [word for word in words if not text(word)]:
        complain(
            f"{strange[0]!a} is not UTF-8, which each word must be; a target may be a script that has other bytes in it"
        )
        return USAGE
    return importlib.import_module("forkecho.cli.group").run(words)  # type: ignore[no-any-return]


def text(word: str) -> bool:
    """A word that can be written into a record; of bytes that are no text Python makes lone surrogates."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def run_program(verb: str, words: list[str]) -> int:
    """Run a verb that is a program of its own."""
    sys.argv[0] = f"forkecho {verb}"  # what it calls itself in its help
    try:
        return importlib.import_module(PROGRAMS[verb]).main(words)  # type: ignore[no-any-return]
    except SystemExit as end:  # argparse's way
        return end.code if isinstance(end.code, int) else USAGE if end.code else 0


def code_of(error: BaseException) -> int | None:
    """The exit code of an exception that is not a fault of ours."""
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)
    return next((ERRORS[name] for name in names if name in ERRORS), None)


def complain(message: str) -> None:
    """One line on standard error, whatever the message has in it."""
    print(f"forkecho: {' '.join(message.split())}", file=sys.stderr)


def unread() -> bool:
    """Nobody reads our standard output any more; else a broken pipe is another one, and a fault of ours."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))


def silence() -> None:
    """Standard output goes nowhere, or Python would complain at the end of what is unwritten."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
