"""What is expected of the servers that must not pass: the lists in `fixtures/expected`, each for `forkecho check NAME --known`."""

from __future__ import annotations

from pathlib import Path

import pytest

from forkecho.conformance import known, target

#: Not installed: they are for whoever changes the suite.
EXPECTED = Path(__file__).parents[2] / "fixtures" / "expected"


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*")), ids=lambda path: path.stem)
def test_what_is_expected_of_a_target_is_a_list_of_failures_that_there_can_be(path: Path) -> None:
    """The file is named after a target, is a list as `--known` takes it, and each entry names what exists and gives a reason."""
    judged = target.known()
    assert (path.suffix, path.stem in judged) == (".toml", True), path.name

    manifest = target.load(path.stem).manifest
    assert known.load(path)
    assert known.stranger(known.load(path), manifest) == ""


@pytest.mark.parametrize("path", sorted(EXPECTED.glob("*")), ids=lambda path: path.stem)
def test_a_target_that_must_not_pass_excuses_nothing_itself(path: Path) -> None:
    """Or `forkecho check NAME` would call it conformant without a word."""
    assert target.load(path.stem).manifest.known == {}


def test_there_are_expectations() -> None:
    """The folder is found."""
    assert list(EXPECTED.glob("*.toml"))
