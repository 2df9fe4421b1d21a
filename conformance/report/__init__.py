"""Reports: each is a function from a Run to text; they say what the record says, and nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from forkecho.conformance.report import badge
from forkecho.conformance.result import Run
from forkecho.conformance.soak.record import Soak

__all__ = ["BADGES", "FORMATS", "SOAKS", "Formats", "Report", "SoakReport"]

Shown = TypeVar("Shown")


class Report(Protocol):
    """A way to show a run: the same run and options give the same text, to the byte.

    Args:
        run: what is shown.
        width: of the lines in characters, where the format breaks lines.
        color: with colours, where the format has any.
    """

    def __call__(self, run: Run, *, width: int = ..., color: bool = ...) -> str:
        """The text."""


class SoakReport(Protocol):
    """A way to show a soak, as `Report` is one to show a run."""

    def __call__(self, soak: Soak, *, width: int = ..., color: bool = ...) -> str:
        """The text."""


class Formats(Mapping[str, Shown]):
    """Reports by name, and the module of each, which is imported when it is asked for: a page takes a while to import."""

    def __init__(self, **modules: str) -> None:
        self._modules = modules

    def __getitem__(self, name: str) -> Shown:
        render: Shown = importlib.import_module(f"{__name__}.{self._modules[name]}").render
        return render

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


#: By the name that `--format` takes.
FORMATS: Mapping[str, Report] = Formats(
    console="console", junit="junit", jsonl="jsonl", markdown="markdown", sarif="sarif", html="html"
)

#: The same for soaks.
SOAKS: Mapping[str, SoakReport] = Formats(console="soak", jsonl="soak_jsonl", html="soak_html")

#: Badges, by the suffix of the file that they are written to.
BADGES: dict[str, Callable[[Run], str]] = {".svg": badge.svg, ".json": badge.shields}
