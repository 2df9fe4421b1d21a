"""Reports: each is a function from a Run to text; they say what the record says, and nothing else."""

from __future__ import annotations

from typing import Protocol

from forkecho.conformance.report import console, jsonl, junit
from forkecho.conformance.result import Run

__all__ = ["FORMATS", "Report"]


class Report(Protocol):
    """A way to show a run: the same run and options give the same text, to the byte.

    Args:
        run: what is shown.
        width: of the lines in characters, where the format breaks lines.
        color: with colours, where the format has any.
    """

    def __call__(self, run: Run, *, width: int = ..., color: bool = ...) -> str:
        """The text."""


#: By the name that `--format` takes.
FORMATS: dict[str, Report] = {
    "console": console.render,
    "junit": junit.render,
    "jsonl": jsonl.render,
}
