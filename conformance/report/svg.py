"""Elements of a picture in SVG, which are the same in all of ours."""

from __future__ import annotations

from xml.etree import ElementTree

from forkecho.conformance.report.printable import printable

__all__ = ["add", "percent", "write"]


def percent(value: float) -> str:
    """So much of the width, in hundredths, as short as it can be said."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"


def add(parent: ElementTree.Element, tag: str, kind: str = "", **attributes: object) -> ElementTree.Element:
    """An element of a class, with numbers as attributes."""
    given = {"class": kind} if kind else {}
    return ElementTree.SubElement(parent, tag, given | {key: str(value) for key, value in attributes.items()})


def write(
    parent: ElementTree.Element,
    tag: str,
    text: str,
    kind: str = "",
    *,
    anchor: str = "",
    **attributes: object,
) -> ElementTree.Element:
    """An element with text, which begins at its place, or has its middle or end there."""
    made = add(parent, tag, kind, **attributes)
    made.text = printable(text)
    if anchor:
        made.set("text-anchor", anchor)
    return made
