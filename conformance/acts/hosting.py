"""What is called of a server that is used in process."""

from __future__ import annotations

from forkecho.conformance.hosted import Hosted, HostLost
from forkecho.conformance.stage import Stage
from forkecho.conformance.step import Call
from forkecho.conformance.verdict import Unmet, Unobservable

__all__ = ["WORDS", "call", "hosted_by"]

#: What is called, in words.
WORDS = {
    "serve": "serve_forever() in a thread",
    "serve-in-main": "serve_forever() in the main thread",
    "shutdown": "shutdown() in another thread",
    "shutdown-from-handler": "shutdown() in a signal handler, in the main thread",
    "server-close": "server_close()",
    "bear": "a child process of the host's own to end",
    "visit": "a client in the host's own process to be served",
    "leave": "that client to leave",
    "wait": "waitpid() for a child process of the host's own",
}


def hosted_by(stage: Stage) -> Hosted:
    """Who uses the server.

    Raises:
        Unobservable: it is not used in process, or by somebody else.
    """
    if stage.running.hosted is None:
        raise Unobservable("the server is not used in process by a host of the suite's")
    return stage.running.hosted


def call(stage: Stage, step: Call) -> None:
    """See `step.Call`."""
    try:
        stage.calls[step.call] = hosted_by(stage).call(step.call)
    except HostLost as error:
        raise Unmet(f"{WORDS[step.call]} to be called", str(error)) from None
    stage.transcript.note("", f"called: {WORDS[step.call]}")
