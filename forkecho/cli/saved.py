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

    Raises:
        click.FileError: the file cannot be written.
    """
    if path is None:
        click.echo(text, nl=False)
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.FileError(str(path), error.strerror or str(error)) from None
