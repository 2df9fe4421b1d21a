"""Concurrency models: what there is, what was seen of one, and which failures it explains."""

from __future__ import annotations

from enum import StrEnum

import msgspec

__all__ = ["Classification", "Evidence", "Flag", "Model", "explainable", "explanation"]


class Model(StrEnum):
    """How a server serves several clients, as far as that can be seen from outside."""

    FORK = "fork-per-connection"
    SERIAL_FORK = "serial-fork"
    DECOY = "decoy"
    HYBRID = "hybrid"
    ONE_SHOT_POOL = "one-shot pool"
    PREFORK = "pre-forked pool"
    ROLE_SWAP = "role swap"
    THREAD = "thread-per-connection"
    THREAD_POOL = "thread pool"
    EVENT_LOOP = "event loop"
    ITERATIVE = "iterative"
    MIXED = "mixed"


class Flag(StrEnum):
    """What was seen of processes made for connections besides."""

    PARENT_KEEPS = "parent keeps the connection"
    CHILD_LISTENS = "child holds the listener"
    STAYS = "does not exit"
    DESCENDANTS = "has further descendants"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and what was seen of it; `t` in seconds since the beginning."""

    t: float
    step: str
    seen: str


class Classification(msgspec.Struct, frozen=True, kw_only=True):
    """What a server was seen to do.

    Attributes:
        model: None where it cannot be told.
        lineage: of processes made for connections: `direct` (children of the listener's owner), `exec` (such children that
            have become another program), `indirect` (orphans of a double fork, or forked by somebody else).
        reason: why no model can be named.
        seconds: how long it took.
    """

    model: Model | None
    lineage: str = ""
    flags: tuple[Flag, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        """The model in a line, for the header of a report."""
        if self.model is None:
            return f"undetermined: {self.reason}"
        lineage = f" ({self.lineage})" if self.lineage else ""
        return f"{self.model.value}{lineage}{''.join(f', {flag.value}' for flag in self.flags)}"


#: How connections are served, where that breaks a promise to serve each in a process of its own.
WAYS = {
    Model.SERIAL_FORK: "it forks a process for a connection and waits for it before it takes the next one",
    Model.DECOY: "the process made for a connection only holds it, and an older one serves",
    Model.HYBRID: "a connection needs an older process besides the one that was made for it",
    Model.ONE_SHOT_POOL: "connections are served by processes forked beforehand, each for one connection",
    Model.PREFORK: "connections are served by a pool of processes forked beforehand (pre-forking)",
    Model.ROLE_SWAP: "whoever accepts a connection serves it, and a new process goes on listening",
    Model.THREAD: "each connection is served by a thread of its own (socketserver's ThreadingMixIn does so)",
    Model.THREAD_POOL: "connections are served by a pool of threads",
    Model.EVENT_LOOP: "one thread serves all connections in turn, in an event loop (asyncio does so)",
    Model.ITERATIVE: "one process serves one connection after the other",
    Model.MIXED: "some connections get a process of their own, and others none",
}

#: What each model cannot keep, by requirement: where no process is made for a connection, none can be looked at; and where
#: one connection is served at a time, what opens several of them fails.
NO_PROCESS = (
    "FORK-01", "FORK-02", "FORK-03", "FORK-04", "FORK-06", "FORK-07", "FORK-09", "FORK-11", "FORK-13", "FORK-14", "FORK-15",
    "CONC-11", "HYG-01", "HYG-02", "HYG-05",
)  # fmt: skip
ONE_AT_A_TIME = (
    "CONC-01", "CONC-02", "CONC-03", "CONC-04", "CONC-05", "CONC-06", "CONC-07", "CONC-08", "CONC-09", "CONC-10",
    "CONC-11", "FORK-04", "FORK-05", "FORK-06", "FORK-10", "FORK-11", "FORK-12",
)  # fmt: skip
UNKEPT: dict[Model, tuple[str, ...]] = {
    Model.SERIAL_FORK: ONE_AT_A_TIME,
    Model.DECOY: (
        "FORK-04",
        "FORK-06",
        "FORK-07",
        "FORK-12",
        "FORK-13",
        "FORK-14",
        "HYG-01",
        "HYG-03",
        "HYG-05",
    ),
    Model.HYBRID: ("FORK-07", "FORK-14", "HYG-05"),
    Model.ONE_SHOT_POOL: (*NO_PROCESS, "CONC-02", "CONC-09"),
    Model.PREFORK: (*NO_PROCESS, "FORK-05", "CONC-02", "CONC-09"),
    Model.ROLE_SWAP: (*NO_PROCESS, "FORK-10"),
    Model.THREAD: (*NO_PROCESS, "FORK-05", "FORK-12"),
    Model.THREAD_POOL: (*NO_PROCESS, "FORK-05", "FORK-12", "CONC-02", "CONC-09"),
    Model.EVENT_LOOP: (*NO_PROCESS, "FORK-05"),
    Model.ITERATIVE: (*NO_PROCESS, *ONE_AT_A_TIME),
    Model.MIXED: NO_PROCESS,
}


def explainable(requirement: str) -> bool:
    """There is a model that cannot keep it."""
    return any(requirement in ids for ids in UNKEPT.values())


def explanation(model: Model | None, requirement: str) -> str:
    """Why a server of that model breaks a requirement, in a sentence; empty where the model does not explain it."""
    if model is None or requirement not in UNKEPT.get(model, ()):
        return ""
    return f"{WAYS[model]}; its model is {model.value}"
