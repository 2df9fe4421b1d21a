"""Known failures as TOML: a table `[known]` in a file of which all else stays as it is."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import msgspec
import tomlkit
from tomlkit.items import Item, Table

from forkecho.conformance.manifest import Known

__all__ = ["render"]

MISSING = "why? (an entry without a reason is refused)"


def render(entries: Mapping[str, Known], text: str = "") -> str:
    """`text` with these entries as its table `[known]`: those that are in it stay as they stand, comments and all."""
    document = tomlkit.parse(text)
    if "known" not in document:
        document["known"] = tomlkit.table()
    table: Any = document["known"]
    for entry in [entry for entry in table if entry not in entries]:
        del table[entry]
    for entry, known in entries.items():
        there = table.get(entry)
        if there is None:
            table[entry] = _value(known)
        elif _known(there) != known:
            if isinstance(there, Table):
                # One with a heading of its own has to go before what stands on one line can come.
                del table[entry]
            table[entry] = _value(known)
    found = tomlkit.dumps(document)
    if "known" not in tomllib.loads(found):
        # It stood in the headings or the keys of its entries alone, and a list without the table is refused.
        del document["known"]
        document["known"] = tomlkit.table()
        found = tomlkit.dumps(document)
    return found


def _known(said: Any) -> Known:
    """An entry as it stands in the file."""
    plain = said.unwrap()
    return Known(plain) if isinstance(plain, str) else msgspec.convert(plain, Known)


def _value(known: Known) -> Item:
    """An entry as it is written: no more than there is to say."""
    reason = tomlkit.string(known.reason)
    if known == Known(known.reason) and known.reason:
        return reason
    table = tomlkit.inline_table()
    table["reason"] = reason
    if known.sometimes:
        table["sometimes"] = True
    if known.seen:
        # As it would be typed: without doubled backslashes, where TOML lets us.
        plain = known.seen.isprintable() and "'" not in known.seen
        table["seen"] = tomlkit.string(known.seen, literal=plain)
    if known.expires:
        table["expires"] = known.expires
    return table if known.reason else table.comment(MISSING)
