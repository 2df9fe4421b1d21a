"""What the columns of a matrix are to be made of: targets, each under the Pythons that were asked for, and saved runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from forkecho.conformance import interpreter, result, target
from forkecho.conformance.interpreter import Interpreter, NoInterpreter, installed, unfound
from forkecho.conformance.matrix import headings
from forkecho.conformance.result import Run
from forkecho.conformance.target import Target

__all__ = ["RECORD", "Entry", "entered", "interpreters_of", "left_out", "without_missing"]

RECORD = ".jsonl"  # the ending that tells a saved run from a target
ALL = "all"  # Pythons


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What a column is to be made of.

    Attributes:
        word: how it was named.
        name: of the target.
        python: that is to run it, where one was asked for.
        told: the same in short, or of a record, where the column's name is to say it.
    """

    word: str
    name: str
    found: Target | Run
    python: Interpreter | None = None
    told: str = ""

    @property
    def words(self) -> list[str]:
        """For `forkecho check`."""
        return [f"--python={self.python.path}"] if self.python else []

    @property
    def record(self) -> str:
        """What its record is called, without the ending."""
        return f"{self.name}-{self.python.short}" if self.python else self.name

    @property
    def short(self) -> str:
        """The Python that runs it, or ran it."""
        if self.python:
            return self.python.short
        return interpreter.short(self.found.header.python) if isinstance(self.found, Run) else ""

    @property
    def other(self) -> bool:
        """It is another Python than the suite's own, and was asked for."""
        if isinstance(self.found, Run):
            return "python" in self.found.header.selection
        return self.python is not None and self.python.path != sys.executable


def interpreters_of(words: Sequence[str]) -> list[Interpreter]:
    """Those that were asked for, each once.

    Raises:
        NoInterpreter: one of them is not there.
    """
    found = [one for word in words for one in (installed() if word == ALL else [interpreter.named(word)])]
    return list({one.path: one for one in found}.values())


def entered(names: Sequence[str], pythons: Sequence[Interpreter] = ()) -> dict[str, Entry]:
    """What is to be compared, by the heading of its column; the Pythons of a target beside each other.

    Raises:
        UnknownTarget, BadFixture: a target cannot be loaded.
        BadRecord: a file that ends in `.jsonl` is no record of a run.
        NoInterpreter: a target supports none of the Pythons.
        click.UsageError: one is named twice.
    """
    bundled = target.known()
    seen: set[Path] = set()
    names = [word for name in names for word in saved_in(name, bundled)]
    for name in names:
        place = bundled.get(name, Path(name)).resolve()
        if place in seen:
            raise click.UsageError(f"{name} is named twice; each is one column")
        seen.add(place)
    found: list[Entry] = []
    for word in names:
        if word.endswith(RECORD):
            run = result.load(Path(word))
            found.append(Entry(word=word, name=str(run.header.target.get("name", "?")), found=run))
        else:
            found += entries_of(word, target.load(word), pythons)
    told = [
        msgspec.structs.replace(one, told=one.short if one.other or several(one, found) else "")
        for one in found
    ]
    told = beside_each_other(told)
    return dict(zip(headings([(one.name, one.told) for one in told]), told, strict=True))


def saved_in(name: str, bundled: Mapping[str, Path]) -> list[str]:
    """The records in a folder by name; of all else, itself.

    Raises:
        click.UsageError: there is none in the folder.
    """
    if name in bundled or not Path(name).is_dir():
        return [name]
    if found := sorted(Path(name).glob(f"*{RECORD}")):
        return [str(path) for path in found]
    raise click.UsageError(f"{name}: no record of a run is in that folder (they end in {RECORD})")


def lacking(one: Entry, elsewhere: Sequence[Mapping[str, str]]) -> str:
    """What a target needs that is not here; where other machines have said what they lack, that is on none of them."""
    if not isinstance(one.found, Target):
        return ""
    if elsewhere:
        said = [lacks.get(one.word, "") for lacks in elsewhere]
        return said[0] if all(said) else ""
    return target.lacking(one.found, one.python.path if one.python else sys.executable)


def without_missing(
    entries: Mapping[str, Entry], elsewhere: Sequence[Mapping[str, str]] = ()
) -> tuple[dict[str, Entry], list[str]]:
    """What can be judged, here or elsewhere, and of each other target what it needs.

    Raises:
        click.UsageError: nothing is left.
    """
    needs = {
        heading: f"{one.name} needs {lacks}"
        for heading, one in entries.items()
        if (lacks := lacking(one, elsewhere))
    }
    left = {heading: one for heading, one in entries.items() if heading not in needs}
    if not left:
        raise click.UsageError(f"nothing is left to judge here: {'; '.join(dict.fromkeys(needs.values()))}")
    return left, [f"not judged: {said}" for said in dict.fromkeys(needs.values())]


def beside_each_other(entries: Sequence[Entry]) -> list[Entry]:
    """As they were named, but the Pythons of a target at the place of its first, by version."""
    first: dict[str, int] = {}

    def place(numbered: tuple[int, Entry]) -> tuple[int, str, list[int]]:
        number, one = numbered
        if not one.told:
            return number, "", []
        at = first.setdefault(one.name, number)
        return at, re.sub(r"[\d.]", "", one.told), interpreter.numbers(one.told)

    return [one for _, one in sorted(enumerate(entries), key=place)]


def entries_of(word: str, judged: Target, pythons: Sequence[Interpreter]) -> list[Entry]:
    """A column for each Python that the target supports, one where none was asked for or it is not run by any.

    Raises:
        NoInterpreter: it supports none of them.
    """
    plain = Entry(word=word, name=judged.name, found=judged)
    if not pythons or not judged.manifest.takes("python"):
        return [plain]
    fitting = [one for one in pythons if one.fits(judged.manifest.python)]
    if not fitting:
        there = ", ".join(one.short for one in pythons)
        raise NoInterpreter(f"target {judged.name} needs Python {judged.manifest.python}, and not {there}")
    return [msgspec.structs.replace(plain, python=one) for one in fitting]


def several(one: Entry, among: Iterable[Entry]) -> bool:
    """Its target stands there under another Python as well."""
    return any(other.name == one.name and other.short != one.short for other in among)


def left_out(words: Sequence[str], found: Sequence[Interpreter], judged: Iterable[Entry]) -> Iterator[str]:
    """What is not in the matrix, though one may think so: which Pythons were not found, and which are not supported."""
    for name, needs in {
        one.name: one.found.manifest.python for one in judged if one.python and isinstance(one.found, Target)
    }.items():
        if strangers := [one.short for one in found if not one.fits(needs)]:
            yield f"{name} needs Python {needs}, so not judged under {', '.join(strangers)}"
    if ALL in words and (missing := unfound(found)):
        yield f"Python not found: {', '.join(missing)}"
