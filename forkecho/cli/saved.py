"""Text to a file or to standard output, and how it is laid out there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click

__all__ = ["save", "seen_by_people"]

WIDTH = 120  # characters of a line, where there is no terminal to ask


def seen_by_people(terminal: bool) -> dict[str, Any]:
    """How a report is to be laid out: `width` in characters, and `color`, which NO_COLOR forbids."""
    width = shutil.get_terminal_size((WIDTH, 24)).columns if terminal else WIDTH
    return {"width": width, "color": terminal and not os.environ.get("NO_COLOR")}


def save(text: str, path: Path | None) -> None:
    """Write text to a file, or to standard output where there is none.

    A file is replaced whole or not at all: what was there before survives a full disk.

    Raises:
        click.FileError: the file cannot be written.
    """
    if path is None:
        click.echo(text, nl=False)
        return
    try:
        _replace(Path(os.path.realpath(path)), text.encode())
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from None


def _replace(path: Path, octets: bytes) -> None:
    """The octets as a file of that name; one that is no ordinary file (a pipe, a terminal) is written as it stands."""
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        path.write_bytes(octets)
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.write_bytes(octets)
        if path.exists():
            beside.chmod(path.stat().st_mode & 0o7777)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
