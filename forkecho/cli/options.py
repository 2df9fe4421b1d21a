"""Options that several verbs have, each declared once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from forkecho.cli.numbers import Number

__all__ = ["known_list", "python_of", "seeded", "selecting", "timeout_scale"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def selecting(command: Decorated) -> Decorated:
    """Which cases are played: `--case`, `--requirement`, `--group`, `--level`."""
    for option in (
        click.option("--level", "levels", metavar="LEVEL", multiple=True, help="Only must, should or may."),
        click.option(
            "--group",
            "groups",
            metavar="NAME",
            multiple=True,
            help="Only cases of this group (ECHO, FORK, ...).",
        ),
        click.option(
            "--requirement",
            "requirements",
            metavar="ID",
            multiple=True,
            help="Only cases of this requirement.",
        ),
        click.option("--case", "cases", metavar="GLOB", multiple=True, help="Only cases whose id fits."),
    ):
        command = option(command)
    return command


known_list = click.option(
    "--known",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Failures that are known, beside those of the manifest (TOML; see `forkecho known`).",
)
seeded = click.option("--seed", type=int, default=0, show_default=True, help="Of the random payloads.")
timeout_scale = click.option(
    "--timeout-scale", type=Number(0.01, 1000), default=1.0, help="Multiplies all deadlines (1)."
)
python_of = click.option(
    "--python", default=sys.executable, help="What {python} stands for: a path or a version (this one)."
)
