"""Numbers of the command line: what is wrong is told with what would be right."""

from __future__ import annotations

import math
from typing import Any

import click

__all__ = ["Number", "WholeNumber"]


class Number(click.FloatRange):
    """A finite number within bounds, both included; click's own takes `nan` for one, and says of `x` what type it is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or beyond the bounds; says what is wanted.
        """
        try:
            number = float(super().convert(value, param, ctx))
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{str(value)!r} is not a number {bounds(self.min, self.max)}", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """A whole number within bounds, both included."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number.

        Raises:
            click.BadParameter: it is none, or beyond the bounds; says what is wanted.
        """
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{str(value)!r} is not a whole number {bounds(self.min, self.max)}", param, ctx)


def bounds(least: float | None, most: float | None) -> str:
    """The bounds in words; every option has a lower one at least."""
    return f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"
