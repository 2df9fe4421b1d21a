"""The record itself, sorted by case id."""

from __future__ import annotations

from forkecho.conformance import result
from forkecho.conformance.result import Run

__all__ = ["render"]


def render(run: Run, *, width: int = 0, color: bool = False) -> str:
    """The run as JSON lines; `width` and `color` mean nothing here."""
    return result.dump(run)
