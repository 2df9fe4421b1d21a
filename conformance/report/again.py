"""The command line that plays one case of a record again."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec

from forkecho.conformance import target
from forkecho.conformance.inline import inline
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.result import Header
from forkecho.conformance.target import Role

__all__ = ["again", "command", "command_line"]

#: Manifest keys that `forkecho check` has an option for; all others go by `--set`.
OPTIONS = ("reply", "framing", "max-connections", "prints")


def command_line(header: Header, case_id: str) -> str:
    """What to type to play that case against the same target with the same seed, quoted for a shell."""
    python = str(header.selection.get("python", ""))
    return again(header, ["--case", case_id, "--seed", str(header.seed)], python)


def again(header: Header, chosen: Sequence[str], python: str) -> str:
    """What to type to judge the same target again by what is `chosen`, under that Python, quoted for a shell."""
    told = dict(header.target)
    role: Role = "client" if told.get("role") == "client" else "server"
    words = ["forkecho", "check-client" if role == "client" else "check"]
    tail: list[str] = []
    bundled = _bundled(told, role)
    if connect := told.get("connect"):
        words += ["--connect", str(connect)]
        keys = _otherwise(told, Manifest())
    elif path := told.get("manifest"):
        words += [str(path)]
        # The file may be elsewhere or another one by now: the record says what was said beside it.
        keys = told["given"] if isinstance(told.get("given"), list) else []
    elif bundled:
        words += [str(told["name"])]
        keys = _otherwise(told, bundled)
    else:
        tail = ["--", *command(told)]
        keys = _otherwise(told, Manifest())
    words += chosen
    if scale := header.selection.get("scale"):
        words += ["--timeout-scale", str(scale)]
    if header.selection.get("stress"):
        words += ["--stress"]
    if python:
        words += ["--python", python]
    return shlex.join(words + _settings(told, keys) + tail)


def command(told: dict[str, Any]) -> list[str]:
    """The words that start a target; none where the record, which may be from elsewhere, has no list of them."""
    words = told.get("command")
    return [str(word) for word in words] if isinstance(words, list) else []


def _bundled(told: dict[str, Any], role: Role) -> Manifest | None:
    """The manifest of that name that comes with forkecho, if it has the same command."""
    manifest = _shipped(str(told.get("name")), role)
    return manifest if manifest and manifest.command == told.get("command") else None


@cache
def _shipped(name: str, role: Role) -> Manifest | None:
    """The manifest of that name that comes with forkecho; read once, since a page asks for it hundreds of times."""
    return target.load(name, role).manifest if name in target.known(role) else None


def _otherwise(told: dict[str, Any], plain: Manifest) -> list[str]:
    """The keys, but for the command, of which something else was told than stands in `plain`."""
    stands = msgspec.to_builtins(plain)
    return [key for key, value in told.items() if key in stands and key != "command" and value != stands[key]]


def _settings(told: dict[str, Any], keys: list[Any]) -> list[str]:
    """The options that say what was told by these keys."""
    found: list[str] = []
    for key in sorted(key for key in keys if isinstance(key, str) and key in told):
        # What is known to fail, and what a target is called, changes no case.
        if key not in ("title", "known", "role"):
            value = told[key]
            found += [f"--{key}", str(value)] if key in OPTIONS else ["--set", f"{key}={_value(value)}"]
    return found


def _value(value: object) -> str:
    """A value for `--set`: TOML, but a text without quotes unless it would be taken for something else."""
    if not isinstance(value, str):
        try:
            return inline(value)
        except TypeError:  # a null, which no manifest of ours has
            return str(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return inline(value)
