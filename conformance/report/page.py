"""Pages: templates filled by Jinja2, with everything that a page needs in the one file."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from forkecho.conformance.report.printable import printable

__all__ = ["Anchors", "fill"]


def fill(template: str, *, styles: tuple[str, ...], scripts: tuple[str, ...], **values: Any) -> str:
    """A page from a template that extends `base.html`: the same values give the same text, to the byte.

    What is not `Markup` is escaped, after what cannot be printed in it was made visible.

    Args:
        template: its name in the folder `templates`.
        styles: the style sheets there that the page has, `page.css` of the base first.
        scripts: the scripts there that it has; nothing else may be one.
        values: what it is told.
    """
    return _environment().get_template(template).render(styles=styles, scripts=scripts, **values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("forkecho.conformance.report"),
        autoescape=True,
        finalize=lambda value: (
            printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
        ),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(asset=_asset, digest=_digest)
    return environment


@cache
def _asset(name: str) -> Markup:
    """A style sheet or a script of ours, as it stands in the page."""
    text = resources.files("forkecho.conformance.report").joinpath("templates", name).read_text("utf-8")
    return Markup(text)


@cache
def _digest(name: str) -> str:
    """What the page's policy knows an asset by: nothing else may be a style or a script in it."""
    octets = hashlib.sha256(_asset(name).encode()).digest()
    return f"sha256-{base64.b64encode(octets).decode()}"


class Anchors:
    """Names to link to, each given once.

    Args:
        taken: those that the template uses itself.
    """

    def __init__(self, taken: tuple[str, ...] = ()) -> None:
        self._given = set(taken)

    def new(self, text: str) -> str:
        """A name that is the text where that may be: percent-encoded as in an address, and of nobody else."""
        wanted = quote(printable(text), safe="/@:+,=~") or "_"
        name, number = wanted, 1
        while name in self._given:
            number += 1
            name = f"{wanted}~{number}"
        self._given.add(name)
        return name
