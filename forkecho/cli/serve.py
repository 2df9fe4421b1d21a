"""`forkecho serve`: the reference server."""

from __future__ import annotations

from forkecho.cli.program import Program

__all__ = ["command"]

command = Program("serve")
