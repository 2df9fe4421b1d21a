"""Where the data lives, and how a TOML file becomes typed records or one clear complaint."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

__all__ = ["BadFixture", "convert", "folder", "octets", "parse", "read", "tables"]

Record = TypeVar("Record")


class BadFixture(ValueError):
    """A data file says something that cannot be meant; the text names the place and what would be right."""


def folder(name: str) -> Path:
    """The folder of `cases`, `targets`, `requirements`, `mutants` or `nulls` as installed.

    Processes are started from these files, so they are needed as real paths: an installation that stays zipped
    is refused.
    """
    place = files("forkecho.fixtures") / name
    if not isinstance(place, Path):
        raise BadFixture("forkecho runs programs from its own files: install it unzipped")
    return place


def read(path: Path) -> dict[str, Any]:
    """The tables of one TOML file.

    Raises:
        BadFixture: it cannot be read or is not TOML; says the file and the line.
    """
    return parse(octets(path), str(path))


def octets(path: Path) -> bytes:
    """What is in a file.

    Raises:
        BadFixture: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadFixture(f"{path}: {error.strerror}") from None


def parse(text: bytes, place: str) -> dict[str, Any]:
    """The tables of TOML that was read already; a complaint begins with `place`.

    Raises:
        BadFixture: it is not TOML; says the line.
    """
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFixture(f"{place}: not TOML: {error}") from None


def convert(raw: object, kind: type[Record], place: str) -> Record:
    """`raw` as a `kind`, or a complaint that begins with `place`.

    Raises:
        BadFixture: a field is unknown, missing or of the wrong type; names the fields that exist.
    """
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadFixture(f"{place}: {error}{_hint(str(error), kind)}") from None


def _hint(message: str, kind: type) -> str:
    """What would be right instead, where the message does not say it."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    if "unknown field" in message and " - at" not in message:
        return f" (there are {', '.join(sorted(fields))})"
    found = re.search(r"Invalid enum value .* - at `\$\.([\w-]+)", message)
    if found and found.group(1) in fields:
        return f" (there are {', '.join(_choices(fields[found.group(1)]))})"
    return ""


def _choices(kind: Any) -> list[str]:
    """The values of a Literal, also inside a list or a union."""
    if get_origin(kind) is Literal:
        return [str(value) or "''" for value in get_args(kind)]
    return [value for part in get_args(kind) for value in _choices(part)]


def tables(name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every TOML file of a folder with its content, in the order of their names."""
    for path in sorted(folder(name).glob("*.toml")):
        yield path, read(path)
