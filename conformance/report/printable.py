"""Text from elsewhere (a server's output, a command line, a manifest) made fit for a terminal and for XML."""

from __future__ import annotations

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    r"""`text` with all that cannot be printed escaped as Python does it (`\x1b`); line ends and tabs stay.

    A terminal would obey control characters, and XML 1.0 cannot write most of them at all (section 2.2).
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
    )


def one_line(text: str) -> str:
    r"""`text` made printable, with line ends and tabs escaped as well: it is to stay in its line."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")
