"""`forkecho list`: what there is, a line each, to be read or to be searched."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click

from forkecho.cli.saved import save
from forkecho.conformance import prove, requirement, target
from forkecho.conformance.nearest import nearest
from forkecho.conformance.plan import Plan, Selection, UnknownId, select
from forkecho.conformance.requirement import GROUPS
from forkecho.conformance.target import Role, Target

__all__ = ["KINDS", "command"]

Row = tuple[str, ...]


def requirements(chosen: Selection, judged: str) -> Iterable[Row]:
    """Id, level, title; those that do not apply to the target say why."""
    manifest = either(judged).manifest
    for one in requirement.load().values():
        if one.group in (chosen.group or GROUPS) and one.id in (chosen.requirement or [one.id]):
            others = f"judges {one.role}s" if one.role != manifest.role else ""
            unmet = others or one.applies.unmet(manifest)
            yield one.id, one.level, one.title + (f" (n/a: {unmet})" if unmet else "")


def cases(chosen: Selection, judged: str) -> Iterable[Row]:
    """Id, requirement, title; those that do not apply to the target say why."""
    plan = Plan(target=either(judged), selection=chosen)
    for case in select(plan):
        unfit = plan.unfit(case)
        yield case.id, case.requirement.id, case.title + (f" (n/a: {unfit})" if unfit else "")


def either(judged: str) -> Target:
    """The server of that name, or else the client, with `client:` before a name that both have."""
    name = judged.removeprefix("client:")
    is_client = name != judged or (name not in target.known() and name in target.known("client"))
    return target.load(name, "client" if is_client else "server")


def targets(chosen: Selection, judged: str) -> Iterable[Row]:
    """Name, title; one that cannot be started here says what it needs."""
    yield from rows("server")


def clients(chosen: Selection, judged: str) -> Iterable[Row]:
    """Name, title; as for servers."""
    yield from rows("client")


def missing(chosen: Selection, judged: str) -> Iterable[Row]:
    """What cannot be tried here: role, name, what it needs; one line that says so where there is nothing."""
    roles: tuple[Role, ...] = ("server", "client")
    every = [(role, target.load(name, role)) for role in roles for name in target.known(role)]
    found: list[Row] = [
        (role, one.name, f"needs {lacks}") for role, one in every if (lacks := target.lacking(one))
    ]
    yield from found or [(f"nothing is missing of what the {len(every)} servers and clients need",)]


def rows(role: Role) -> Iterable[Row]:
    """Name and title of every target of a role."""
    for name in target.known(role):
        one = target.load(name, role)
        yield (
            name,
            one.manifest.title + (f" (not installed: {lacks})" if (lacks := target.lacking(one)) else ""),
        )


def mutants(chosen: Selection, judged: str) -> Iterable[Row]:
    """Name, what it breaks, title."""
    for mutant in prove.load().values():
        group = mutant.breaks.partition("-")[0]
        if mutant.breaks in (chosen.requirement or [mutant.breaks]) and group in (chosen.group or [group]):
            yield mutant.name, mutant.breaks, mutant.target.manifest.title


#: What can be listed, and how.
KINDS: dict[str, Callable[[Selection, str], Iterable[Row]]] = {
    "requirements": requirements,
    "cases": cases,
    "targets": targets,
    "clients": clients,
    "mutants": mutants,
    "missing": missing,
}


@click.command(short_help="List requirements, cases, targets ... what is missing.")
@click.argument("kind", type=click.Choice(list(KINDS)), default="requirements")
@click.option(
    "--target",
    "judged",
    default="reference",
    help="Requirements and cases as they are for it (reference); client:NAME for a client.",
)
@click.option(
    "--requirement", "ids", multiple=True, metavar="ID", help="Only what belongs to this requirement."
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    help="Only what belongs to this group (ECHO, FORK, ...).",
)
def command(kind: str, judged: str, ids: tuple[str, ...], groups: tuple[str, ...]) -> None:
    """List requirements (when nothing is said), cases, targets, clients, mutants, or which of them cannot be tried here."""
    chosen = Selection(requirement=[one.upper() for one in ids], group=[one.upper() for one in groups])
    for given, there_are, what in (
        (chosen.requirement, requirement.load(), "requirement"),
        (chosen.group, GROUPS, "group"),
    ):
        if unknown := [one for one in given if one not in there_are]:
            raise UnknownId(f"there is no {what} {unknown[0]!r}{nearest(unknown[0], there_are)}")
    rows = list(KINDS[kind](chosen, judged))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    save("".join(line(row, widths) for row in rows), None)


def line(row: Row, widths: list[int]) -> str:
    """A row in columns; the last one is as long as it is."""
    *before, last = row
    return "".join(f"{text:<{width}}  " for text, width in zip(before, widths, strict=False)) + last + "\n"
