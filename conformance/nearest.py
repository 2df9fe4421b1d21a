"""What a name that does not exist may have been meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(name: str, there_are: Iterable[str]) -> str:
    """The end of a complaint (`; did you mean socat?`), empty when no name is near; case does not matter."""
    by_key = {one.casefold(): one for one in there_are}
    found = [by_key[key] for key in difflib.get_close_matches(name.casefold(), list(by_key), 3, 0.6)]
    return f"; did you mean {' or '.join(found)}?" if found else ""
