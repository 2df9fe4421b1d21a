"""What is written where: the options for reports of the run, the same for all verbs that judge, and what CI shows of it."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from forkecho.cli import complain
from forkecho.cli.judged import same, writable
from forkecho.cli.saved import save, seen_by_people
from forkecho.conformance.report import BADGES, FORMATS, github, markdown
from forkecho.conformance.result import Run

__all__ = ["NAMES", "options", "places", "say", "show", "write"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: From an option that takes a file to the format of what is written there, and what `--help` says of it.
FILES = {
    "output": ("jsonl", "Write the record of the run (JSON lines)."),
    "junit": ("junit", "Write a JUnit report."),
    "badge": ("", "Write a badge: FILE.svg a picture, FILE.json for shields.io."),
    "html": ("html", "Write a page of HTML: one file, for people."),
}

#: The options, as click names them.
NAMES = (*FILES, "form")

#: GitHub takes no summary of a step above this size, and then none of it.
SUMMARY_MAX = 1024 * 1024


def options(command: Decorated) -> Decorated:
    """An option for each file, and one for what is printed."""
    for name, (_, told) in reversed(FILES.items()):
        kind = click.Path(dir_okay=False, path_type=Path)
        command = click.option(f"--{name}", metavar="FILE", type=kind, help=told)(command)
    choice = click.Choice(list(FORMATS))
    return click.option(
        "--format", "form", type=choice, default="console", help="What is printed of the run (console)."
    )(command)


def places(given: Mapping[str, Any], read: Iterable[Path] = ()) -> dict[str, Path]:
    """The files that are to be written, by option; to be asked before the run.

    Args:
        given: the options.
        read: what the run is made of, and is not to be overwritten.

    Raises:
        click.UsageError: one of them cannot be written or is read, two are the same, or a badge is to be of a kind that
            there is not.
    """
    sources = tuple(read)
    asked: dict[str, Path] = {name: given[name] for name in FILES if given.get(name)}
    for path in asked.values():
        writable(path, *sources)
    if twice := [name for name, path in asked.items() if sum(same(path, one) for one in asked.values()) > 1]:
        raise click.UsageError(f"--{' and --'.join(twice)} name the same file, {asked[twice[0]]}")
    if "badge" in asked and asked["badge"].suffix not in BADGES:
        raise click.UsageError(f"--badge {asked['badge']}: the name of a badge ends in {' or '.join(BADGES)}")
    return asked


def write(run: Run, asked: Mapping[str, Path]) -> bool:
    """Write a run to the files that were asked for, and say whether all were: one that cannot be costs no other."""
    done = True
    for name, path in asked.items():
        text = BADGES[path.suffix](run) if name == "badge" else FORMATS[FILES[name][0]](run)
        try:
            save(text, path)
        except click.FileError as error:
            complain(f"--{name}: {error.format_message()}")
            done = False
    return done


def annotated() -> bool:
    """This is a step of GitHub Actions, which reads what we print."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def say(text: str) -> None:
    """A word to people beside the reports, in which a server's own words may stand."""
    click.echo(github.inert(text) if annotated() else text, err=True)


def show(run: Run, form: str, *, missing: bool) -> None:
    """Print a run in a format, and tell GitHub Actions of it where that is where we are.

    The workflow commands go where people look: beside the report for people on standard output, else on standard error,
    which GitHub reads as well, so that what a machine reads has nothing in it that is not of its format.

    Args:
        run: what is shown.
        form: one of FORMATS.
        missing: the target never became ready, which was said already: people need no report of that.
    """
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        _summarize(run, Path(summary))
    if form != "console":
        save(FORMATS[form](run), None)
        if annotated():
            click.echo(github.render(run), nl=False, err=True)
        return
    text = "" if missing else FORMATS["console"](run, **seen_by_people(sys.stdout.isatty()))
    if annotated():
        # No server is to give GitHub orders by what it prints: none is obeyed up to a word that nobody can guess.
        word = secrets.token_hex(16)
        text = f"::stop-commands::{word}\n{text}::{word}::\n{github.render(run)}"
    save(text, None)


def _summarize(run: Run, path: Path) -> None:
    """Add the run to the summary of a step; that it cannot be written changes no verdict."""
    try:
        there = path.stat().st_size if path.exists() else 0
        # A block of HTML, such as our own of the run before, ends at a blank line only.
        apart = "\n\n" if there else ""
        text = apart + markdown.render(run, limit=min(markdown.LIMIT, SUMMARY_MAX - there - len(apart)))
        if there + len(text.encode()) > SUMMARY_MAX:
            complain(f"GITHUB_STEP_SUMMARY: {path} is full, nothing is added")
            return
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        complain(f"GITHUB_STEP_SUMMARY: {path}: {error.strerror}")
