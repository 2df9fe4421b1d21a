"""The run as a badge: how many of the cases passed, in the colour of the exit code."""

from __future__ import annotations

import json
from typing import NamedTuple

from forkecho.conformance.plan import FILTERS
from forkecho.conformance.report.console import SENTENCES, WORDS
from forkecho.conformance.result import Run, Verdict

__all__ = ["said", "shields", "svg"]

LABEL = "forkecho"

#: By exit code, as the name that shields.io has and as its colour.
COLORS = {
    0: ("brightgreen", "#4c1"),
    1: ("red", "#e05d44"),
    4: ("red", "#e05d44"),
    130: ("lightgrey", "#9f9f9f"),
}
UNJUDGED = ("lightgrey", "#9f9f9f")

#: What else may hold although the server is conformant; none of it may hide behind a green badge.
BESIDES = (Verdict.KNOWN, Verdict.WARN, Verdict.INCONCLUSIVE)
WRONG = (Verdict.FAIL, Verdict.FIXED, Verdict.UNSTABLE, Verdict.BLOCKED, Verdict.WARN, Verdict.INCONCLUSIVE)


class Badge(NamedTuple):
    """What a badge says, and in which colour."""

    message: str
    color: str
    hex: str


def said(run: Run) -> Badge:
    """The message of a run: `523 of 523`, `22 failed`, and whether it was a part only."""
    totals, code = run.footer.totals, run.footer.exit
    counts = {verdict: totals.get(verdict.value, 0) for verdict in Verdict}

    def told(verdicts: tuple[Verdict, ...]) -> list[str]:
        return [f"{counts[one]} {WORDS[one][0]}" for one in verdicts if counts[one]]

    if code == 0:
        judged = sum(counts.values()) - counts[Verdict.NOT_APPLICABLE]
        words = [f"{counts[Verdict.PASS]} of {judged}", *told(BESIDES)]
    elif code == 1:
        words = told(WRONG[:4]) or told(WRONG)
    else:
        words = [SENTENCES.get(code, f"exit code {code}")]
    if any(run.header.selection.get(name) for name in FILTERS):
        words.append("a selection")
    return Badge(", ".join(words), *COLORS.get(code, UNJUDGED))


def shields(run: Run) -> str:
    """What shields.io's endpoint badge reads."""
    message, color, _ = said(run)
    told = {"schemaVersion": 1, "label": LABEL, "message": message, "color": color}
    return json.dumps(told, indent=2) + "\n"


def svg(run: Run) -> str:
    """A picture that needs nothing else, with its text for those who cannot see it."""
    # Imported where it is used: whoever wants no picture does not wait for it.
    import anybadge
    from anybadge.templates import get_template

    message, _, color = said(run)
    # The library's own picture says nothing to a screen reader.
    told = f"{LABEL}: {message}"
    opening = 'height="20">'
    template = get_template("default").replace(
        opening, f'height="20" role="img" aria-label="{told}">\n    <title>{told}</title>', 1
    )
    badge = anybadge.Badge(LABEL, message, default_color=color, template=template)
    badge.mask_str = "rounded"  # else a number that counts the badges of this process
    return f"{badge.badge_svg_text.rstrip()}\n"
