"""Text from elsewhere (a server's output, a command line, a manifest) made fit for a terminal and for XML."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    r"""`text` with all that cannot be printed escaped as Python does it (`\x1b`); line ends and tabs stay.

    A terminal would obey control characters, and XML 1.0 cannot write most of them at all (section 2.2).
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )
