"""What the steps of a classification find."""

from __future__ import annotations

import msgspec

from forkecho.conformance.model import Flag, Model

__all__ = ["Found"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A model, with the lineage of its processes and flags where it makes any (see `Classification`)."""

    model: Model | None
    lineage: str = ""
    flags: tuple[Flag, ...] = ()
