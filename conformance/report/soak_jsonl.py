"""The record of a soak itself."""

from __future__ import annotations

import forkecho.conformance.soak.record as record
from forkecho.conformance.soak.record import Soak

__all__ = ["render"]


def render(soak: Soak, *, width: int = 0, color: bool = False) -> str:
    """The soak as JSON lines; `width` and `color` mean nothing here."""
    return record.dump(soak)
