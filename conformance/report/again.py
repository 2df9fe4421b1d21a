"""The command line that plays one case of a record again."""

from __future__ import annotations

import shlex
import tomllib
from typing import Any

import msgspec

from forkecho.conformance import target
from forkecho.conformance.inline import inline
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.result import Header
from forkecho.conformance.target import Role

__all__ = ["command_line"]

#: Manifest keys that `forkecho check` has an option for; all others go by `--set`.
OPTIONS = ("reply", "framing", "max-connections", "prints")


def command_line(header: Header, case_id: str) -> str:
    """What to type to play that case against the same target with the same seed, quoted for a shell."""
    told = dict(header.target)
    role: Role = "client" if told.get("role") == "client" else "server"
    words = ["forkecho", "check-client" if role == "client" else "check"]
    tail: list[str] = []
    bundled = _bundled(told, role)
    if connect := told.get("connect"):
        words += ["--connect", str(connect)]
        plain = Manifest()
    elif path := told.get("manifest"):
        words += [str(path)]
        plain = None
    elif bundled:
        words += [str(told["name"])]
        plain = bundled
    else:
        tail = ["--", *(str(word) for word in told.get("command", ()))]
        plain = Manifest()
    words += ["--case", case_id, "--seed", str(header.seed)]
    if scale := header.selection.get("scale"):
        words += ["--timeout-scale", str(scale)]
    if header.selection.get("stress"):
        words += ["--stress"]
    return shlex.join(words + (_settings(told, plain) if plain else []) + tail)


def _bundled(told: dict[str, Any], role: Role) -> Manifest | None:
    """The manifest of that name that comes with forkecho, if it has the same command."""
    if told.get("name") not in target.known(role):
        return None
    manifest = target.load(str(told["name"]), role).manifest
    return manifest if manifest.command == told.get("command") else None


def _settings(told: dict[str, Any], plain: Manifest) -> list[str]:
    """The options that make of `plain` what was told."""
    defaults = msgspec.to_builtins(plain)
    found: list[str] = []
    for key, value in sorted(told.items()):
        # What is known to fail, and what a target is called, changes no case.
        if key not in defaults or key in ("command", "title", "known", "role") or value == defaults[key]:
            continue
        found += [f"--{key}", str(value)] if key in OPTIONS else ["--set", f"{key}={_value(value)}"]
    return found


def _value(value: object) -> str:
    """A value for `--set`: TOML, but a text without quotes unless it would be taken for something else."""
    if not isinstance(value, str):
        return inline(value)
    try:
        tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return value
    return inline(value)
