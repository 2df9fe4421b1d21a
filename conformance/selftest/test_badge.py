"""Badges: what they say, and that they are never greener than the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest

from forkecho.cli import outputs
from forkecho.conformance.report import BADGES, badge
from forkecho.conformance.result import Verdict


@pytest.mark.parametrize(
    ("verdicts", "told", "message", "color"),
    [
        ("pass pass n/a", {}, "2 of 2", "brightgreen"),
        ("pass known known", {}, "1 of 3, 2 known", "brightgreen"),
        ("pass warn", {}, "1 of 2, 1 warned", "brightgreen"),
        ("pass inconclusive", {}, "1 of 2, 1 inconclusive", "brightgreen"),
        ("pass", {"selection": {"case": ["x"]}}, "1 of 1, a selection", "brightgreen"),
        ("pass fail fail", {}, "2 failed", "red"),
        ("fail fixed unstable blocked warn", {}, "1 failed, 1 fixed, 1 unstable, 1 blocked", "red"),
        ("pass warn", {"selection": {"strict": True}}, "1 warned", "red"),
        ("fail", {"selection": {"group": ["x"]}}, "1 failed, a selection", "red"),
        ("pass broken", {}, "the suite could not judge", "lightgrey"),
        ("inconclusive", {}, "the suite could not judge", "lightgrey"),
        ("n/a", {}, "nothing to judge", "lightgrey"),
        ("", {}, "nothing to judge", "lightgrey"),
        ("blocked", {"exit_": 4}, "the target never became ready", "red"),
        ("pass blocked", {"exit_": 130}, "interrupted", "lightgrey"),
    ],
)
def test_a_badge_says_how_it_ended(
    hand: Any, verdicts: str, told: dict[str, Any], message: str, color: str
) -> None:
    """In the colour of the exit code, and what is less than all is said."""
    run = hand.run(*(hand.case(f"x/{n}", verdict) for n, verdict in enumerate(verdicts.split())), **told)

    assert json.loads(badge.shields(run)) == {
        "schemaVersion": 1,
        "label": "forkecho",
        "message": message,
        "color": color,
    }
    assert message in badge.svg(run)
    assert badge.said(run).hex in badge.svg(run)


def test_green_is_the_exit_code_0_alone(hand: Any) -> None:
    """Whichever verdict was given."""
    for verdict in Verdict:
        run = hand.run(hand.case("x/a", verdict.value), hand.case("x/b", "pass"))
        assert ("green" in badge.said(run).color) == (run.footer.exit == 0), verdict


@pytest.mark.parametrize("suffix", BADGES)
def test_two_badges_are_the_same_bytes(hand: Any, suffix: str) -> None:
    """Nor does it matter how many badges were made before."""
    run = hand.run(hand.case("x/a"))

    assert BADGES[suffix](run) == BADGES[suffix](run)


def test_a_picture_needs_nothing_else(hand: Any) -> None:
    """It is one document of SVG with a text for those who cannot see it, and names no other place but its namespace."""
    text = badge.svg(hand.hostile())
    root = ElementTree.fromstring(text)

    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("role") == "img"
    assert (root.get("aria-label") or "").startswith("forkecho: ")
    assert text.count("http") == 1
    assert "href" not in text


@pytest.mark.parametrize("name", ["badge", "badge.png", "badge.SVGZ"])
def test_another_kind_of_badge_is_refused(name: str, tmp_path: Path) -> None:
    """Before the run, with the kinds that there are."""
    with pytest.raises(click.UsageError, match="ends in .svg or .json"):
        outputs.places({"badge": tmp_path / name})
