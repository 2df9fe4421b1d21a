"""`forkecho classify`: name the concurrency model that a server is seen to use."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
import msgspec

from forkecho.cli import options as shared
from forkecho.cli.judged import ServerCommand, declared, named, server, with_settings, writable
from forkecho.cli.numbers import WholeNumber
from forkecho.cli.saved import save
from forkecho.conformance import interpreter, target
from forkecho.conformance.classify import classify
from forkecho.conformance.model import Classification
from forkecho.conformance.target import Builds, Target

__all__ = ["command"]

NAMED, NOT_OBSERVED = 0, 3  # exit codes, see the design


@click.command(cls=ServerCommand, short_help="Name the concurrency model of a server.")
@server
@declared
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the model and the evidence as JSON.",
)
@click.option("--repeat", type=WholeNumber(1), default=1, help="Look so many times; all must agree (1).")
@shared.timeout_scale
@shared.python_of
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str | None,
    connect: str | None,
    pid: int | None,
    output: Path | None,
    repeat: int,
    timeout_scale: float,
    python: str,
    **options: Any,
) -> None:
    """Say how a server serves several clients, as seen from outside: a process for each, a thread, a pool, an event loop ...

    It may be one of `forkecho list targets` (the reference server, when none is named), one that a manifest describes, any
    COMMAND ({port} stands for the port to listen on), or one that runs already, which then should have no other clients.

    Exit codes: 0 a model was named, 2 wrong usage, 3 it could not be observed, 4 the server never became ready.
    """
    looked_at = with_settings(named(ctx, name, connect, pid), options)
    writable(output)
    python = interpreter.place(python)
    target.require_python(looked_at, python)
    seen = looks(looked_at, repeat, timeout_scale, python)
    found, repeats = agreed(seen)
    if output:
        told = {"target": looked_at.describe(), **msgspec.to_builtins(found), "repeats": repeats}
        save(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n", output)
    save(text(looked_at.name, found), None)
    ctx.exit(NOT_OBSERVED if found.model is None else NAMED)


def looks(looked_at: Target, times: int, scale: float, python: str) -> list[Classification]:
    """What was seen each time, of a server that was started anew each time."""
    builds = Builds()
    found = []
    try:
        for _ in range(times):
            with target.start(looked_at, builds, scale=scale, python=python) as running:
                found.append(classify(running, scale=scale))
    finally:
        builds.close()
    return found


def agreed(seen: list[Classification]) -> tuple[Classification, dict[str, int]]:
    """What all looks agree upon, with the evidence of the last, and how often each answer was given."""
    counted = Counter(map(str, seen))
    if len(counted) == 1:
        return seen[-1], dict(counted)
    said = "; ".join(f"{answer} {count} of {len(seen)}" for answer, count in counted.most_common())
    last = msgspec.structs.replace(seen[-1], model=None, lineage="", flags=(), reason=f"it differs: {said}")
    return last, dict(counted)


def text(name: str, found: Classification) -> str:
    """The model, and below it what was done and seen."""
    lines = [f"  +{one.t:.3f}  {one.step}: {one.seen}" for one in found.evidence]
    return "\n".join([f"{name}: {found}", *lines]) + "\n"
