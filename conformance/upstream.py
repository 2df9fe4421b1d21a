"""What the failures of real servers mean to those who use them, and whether those who make them know."""

from __future__ import annotations

from functools import cache

import msgspec

from forkecho.conformance import fixture

__all__ = ["FOLDER", "Note", "load"]

FOLDER = "findings"


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What there is to say of one requirement that one server breaks.

    Attributes:
        means: for a user of that server, in a sentence.
        upstream: the name of an issue or of a release note, where its makers know.
        report: a file beside the table, in which it is reported to them, where no such thing was found.
        chance: the report's reproduction needs chance, and does not show it each time.
    """

    means: str
    upstream: str = ""
    report: str = ""
    chance: bool = False

    def __post_init__(self) -> None:
        if not self.means.strip():
            raise ValueError("`means` must say what it means for a user")
        if not (self.upstream or self.report):
            raise ValueError("one of `upstream` and `report` is needed")


@cache
def load() -> dict[str, dict[str, Note]]:
    """The notes by target and requirement.

    Raises:
        BadFixture: a table is malformed; says the file, the requirement and what is wrong.
    """
    return {
        path.stem: {id_: fixture.convert(raw, Note, f"{path.name}, [{id_}]") for id_, raw in content.items()}
        for path, content in fixture.tables(FOLDER)
    }
