"""Targets by name or by file: a manifest from TOML, and what may be wrong with it or with the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from forkecho.conformance import fixture
from forkecho.conformance.address import Address, written
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.nearest import nearest

__all__ = ["NotInstalled", "NotReady", "NotSupported", "Role", "Target", "UnknownTarget", "known", "load"]

Role = Literal["server", "client"]

#: The folders of bundled targets.
FOLDERS = {"server": "targets", "client": "clients"}


class UnknownTarget(LookupError):
    """There is no target of that name."""


class NotInstalled(RuntimeError):
    """What a target needs is missing; the text names the Debian packages."""


class NotReady(RuntimeError):
    """The target did not listen in time; the text says what it did instead."""


class NotSupported(RuntimeError):
    """This host lacks what the launch needs; says what."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A manifest with its name and the folder that `{here}` means."""

    name: str
    manifest: Manifest
    here: str = "."
    path: str = ""  # of a manifest that is the user's own
    connect: Address | None = None  # it runs already, there
    pid: int = 0  # of the owner of its listener, where that was said
    given: tuple[str, ...] = ()  # the keys that were said on the command line, otherwise than in the manifest
    listed: tuple[str, ...] = ()  # the known failures of a list beside the manifest, by their entries

    @property
    def by_python(self) -> bool:
        """We start it, and `{python}` runs it."""
        return not self.connect and self.manifest.takes("python")

    def describe(self) -> dict[str, Any]:
        """The manifest as used, for the record."""
        told: dict[str, Any] = {"name": self.name, **msgspec.to_builtins(self.manifest)}
        if self.path:
            told["manifest"] = self.path
            if self.given:
                told["given"] = list(self.given)
        if self.connect:
            told["connect"] = written(self.connect)
        if self.listed:
            told["listed"] = list(self.listed)
        return told


def known(role: Role = "server") -> dict[str, Path]:
    """The bundled targets by name: servers, or clients."""
    return {path.stem: path for path in sorted(fixture.folder(FOLDERS[role]).glob("*.toml"))}


def load(name: str, role: Role = "server") -> Target:
    """The target of that name and role, or of that file, if it ends in `.toml`.

    Raises:
        UnknownTarget: there is no such name; names what is near to it, or all that there are.
        BadFixture: the file is malformed, or declares another role.
    """
    path = Path(name) if name.endswith(".toml") else known(role).get(name)
    if path is None:
        what = "client" if role == "client" else "target"
        there_are = known(role)
        if near := nearest(name, there_are):
            raise UnknownTarget(f"there is no {what} {name!r}{near} (forkecho list {what}s names them all)")
        raise UnknownTarget(
            f"there is no {what} {name!r} (there are {', '.join(there_are)}; or a file that ends in .toml)"
        )
    manifest = fixture.convert(fixture.read(path), Manifest, str(path))
    if not manifest.command:
        raise fixture.BadFixture(f"{path}: a target needs a command")
    if manifest.role != role:
        verb = "check" if manifest.role == "server" else "check-client"
        raise fixture.BadFixture(f"{path}: it declares a {manifest.role}: use `forkecho {verb}`")
    own = name if name.endswith(".toml") else ""
    return Target(name=path.stem, manifest=manifest, here=str(path.resolve().parent), path=own)
