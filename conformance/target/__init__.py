"""Targets: a manifest from TOML, and the running server that it becomes."""

from __future__ import annotations

from forkecho.conformance.target.attaching import attach, start
from forkecho.conformance.target.builds import Builds, fill
from forkecho.conformance.target.installed import lacking, require, require_python
from forkecho.conformance.target.launching import begin, launch
from forkecho.conformance.target.named import (
    NotInstalled,
    NotReady,
    NotSupported,
    Role,
    Target,
    UnknownTarget,
    known,
    load,
)
from forkecho.conformance.target.packages import versions
from forkecho.conformance.target.running import EXTENSIONS, HOSTS, LOOPBACK_6, Running

__all__ = [
    "EXTENSIONS",
    "HOSTS",
    "LOOPBACK_6",
    "Builds",
    "NotInstalled",
    "NotReady",
    "NotSupported",
    "Role",
    "Running",
    "Target",
    "UnknownTarget",
    "attach",
    "begin",
    "fill",
    "known",
    "lacking",
    "launch",
    "load",
    "require",
    "require_python",
    "start",
    "versions",
]
