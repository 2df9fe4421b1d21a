"""Values as TOML on one line, as they stand in the data files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

__all__ = ["inline"]


def inline(value: object) -> str:
    """A number, a text, a list or a table as TOML would have it; a table's keys keep their order."""
    match value:
        case Mapping():
            inner = ", ".join(f"{_key(str(key))} = {inline(one)}" for key, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(inline(one) for one in value)}]"
        case str() | bool() | int() | float():
            return json.dumps(value, ensure_ascii=False).replace(
                "\x7f", "\\u007f"
            )  # which JSON allows and TOML does not
    raise TypeError(f"TOML has no {type(value).__name__}")


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
