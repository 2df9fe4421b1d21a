"""Text from elsewhere (a server's output, a command line, a manifest) made fit for a terminal and for XML."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""`text` with everything that is not to be printed escaped as Python would (`\x1b`); line ends and tabs stay.

    A terminal would obey control characters, and XML 1.0 has no way at all to write most of them (section 2.2).
    """
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)
