"""`forkecho prove`: the suite against servers broken on purpose."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from forkecho.cli import options as shared
from forkecho.conformance import prove, requirement
from forkecho.conformance.nearest import nearest
from forkecho.conformance.plan import UnknownId
from forkecho.conformance.prove import Mutant, Proof
from forkecho.conformance.report.proof import render
from forkecho.conformance.target import UnknownTarget

__all__ = ["command"]


@click.command(short_help="Run the suite against servers broken on purpose.")
@click.argument("names", nargs=-1, metavar="[MUTANT ...]")
@click.option("--full", is_flag=True, help="All cases of all requirements, not a probe of each.")
@click.option(
    "--requirement",
    "ids",
    multiple=True,
    metavar="ID",
    help="Only cases of this requirement, against all mutants.",
)
@shared.timeout_scale
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the proofs as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    names: tuple[str, ...],
    full: bool,
    ids: tuple[str, ...],
    timeout_scale: float,
    output: Path | None,
) -> None:
    """Run the suite against servers that break one requirement each, and against servers that do nothing.

    It fails unless each MUTANT (all, when none is named) is caught by the requirement that it breaks, breaks no other MUST
    or SHOULD that it does not list, and no server that does nothing passes anything.

    Exit codes: 0 proven, 1 not proven, 2 wrong usage.
    """
    chosen, nothings = selected(names)
    only = frozenset(id_.upper() for id_ in ids)
    if unknown := sorted(only.difference(requirement.load())):
        raise UnknownId(f"there is no requirement {unknown[0]!r}{nearest(unknown[0], requirement.load())}")
    started = time.monotonic()
    proofs = watched(chosen, nothings, full, only, timeout_scale)
    if output:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(proofs)))
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    click.echo(render(proofs, color=colour), nl=False, color=colour)
    missing = [] if names else [one for one in prove.unproven(chosen) if one.id in (only or [one.id])]
    for one in missing:
        click.echo(f"no mutant breaks {one.id} ({one.title}), so nothing proves that it is checked")
    bad = [proof for proof in proofs if proof.complaints]
    played = sum(proof.played for proof in proofs)
    state = (
        "proven" if not bad and not missing else f"NOT proven: {len(bad)} of {len(proofs)} with complaints"
    )
    click.echo(
        f"{state}: {len(chosen)} mutants and {len(nothings)} null targets, {len(only or requirement.load())} requirements,"
        f" {played} cases played in {time.monotonic() - started:.0f} s"
    )
    ctx.exit(1 if bad or missing else 0)


def selected(names: tuple[str, ...]) -> tuple[list[Mutant], list[Mutant]]:
    """The mutants and null targets of those names, all when there are none."""
    mutants, nothings = prove.load(), prove.nulls()
    if unknown := [name for name in names if name not in mutants and name not in nothings]:
        raise UnknownTarget(f"there is no mutant {unknown[0]!r} (see `forkecho list mutants`)")
    return (
        [one for one in mutants.values() if not names or one.name in names],
        [one for one in nothings.values() if not names or one.name in names],
    )


def watched(
    chosen: list[Mutant], nothings: list[Mutant], full: bool, only: frozenset[str], scale: float
) -> list[Proof]:
    """Prove, with a progress bar on a terminal and a line for each complaint elsewhere."""
    if not sys.stderr.isatty():

        def tell(proof: Proof) -> None:
            for complaint in proof.complaints:
                click.echo(f"{proof.mutant.name}: {complaint}", err=True)

        return prove.prove(chosen, nothings, full=full, only=only, scale=scale, told=tell)
    columns = (TextColumn("proving"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("proving", total=len(chosen) + len(nothings))
        return prove.prove(
            chosen,
            nothings,
            full=full,
            only=only,
            scale=scale,
            told=lambda proof: progress.advance(task),
        )
