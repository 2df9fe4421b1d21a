"""Values as Python source, laid out as the formatters do it, in ASCII."""

from __future__ import annotations

__all__ = ["WIDTH", "call", "literal", "quoted"]

WIDTH = 88  # characters of a line, as black and ruff have it
STEP = "    "


def quoted(value: str | bytes) -> str:
    r"""A text or bytes in double quotes, unless that takes more escapes; all that is not ASCII is escaped."""
    plain = value.decode("latin-1") if isinstance(value, bytes) else value
    mark = "'" if plain.count('"') > plain.count("'") else '"'
    # With both marks in it ascii() chooses single ones and escapes those alone.
    inner = ascii(plain + "'\"")[1:-1].removesuffix("\\'\"").replace("\\'", "'")
    return f"{'b' if isinstance(value, bytes) else ''}{mark}{inner.replace(mark, chr(92) + mark)}{mark}"


def literal(value: object, room: int = WIDTH, indent: str = "") -> str:
    """A number, a text, bytes, a list or a dictionary of such; over several lines where `room` characters do not do.

    Args:
        indent: what the lines after the first begin with.
    """
    if isinstance(value, (str, bytes)):
        return quoted(value)
    if not isinstance(value, (list, tuple, dict)):
        return repr(value)
    first, last = (
        ("{", "}") if isinstance(value, dict) else ("(", ")") if isinstance(value, tuple) else ("[", "]")
    )
    flat = [_entry(one, value, WIDTH * 1000, "") for one in value]
    comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
    line = f"{first}{', '.join(flat)}{comma}{last}"
    if len(line) <= room or not value:
        return line
    inner = indent + STEP
    lines = [f"{inner}{_entry(one, value, WIDTH - len(inner) - 1, inner)}," for one in value]
    return "\n".join([first, *lines, indent + last])


def _entry(one: object, of: object, room: int, indent: str) -> str:
    """A member of a list, or a key of a dictionary with its value."""
    if isinstance(of, dict):
        key = f"{literal(one)}: "
        return key + literal(of[one], room - len(key), indent)
    return literal(one, room, indent)


def call(head: str, arguments: list[str], room: int = WIDTH) -> list[str]:
    """The lines of a call, where `head` is all before its parenthesis."""
    line = f"{head}({', '.join(arguments)})"
    if len(line) <= room:
        return [line]
    inner = STEP + ", ".join(arguments)
    if len(inner) <= room:
        return [f"{head}(", inner, ")"]
    return [f"{head}(", *(f"{STEP}{one}," for one in arguments), ")"]
