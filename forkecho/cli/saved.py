"""Text to a file or to standard output."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["save"]


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
