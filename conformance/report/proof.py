"""The matrix of a proof: requirement by mutant, and what caught each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from forkecho.conformance import requirement
from forkecho.conformance.prove import Proof
from forkecho.conformance.result import Verdict

__all__ = ["render"]

SIGNS = {Verdict.PASS: ".", Verdict.BLOCKED: "b", Verdict.BROKEN: "!", Verdict.INCONCLUSIVE: "?"}
LEGEND = (
    "X caught by what it breaks, + breaks this as well and says so, U breaks this unsaid, . keeps it, b not tried since it"
    " does not even echo, ? could not be observed, ! the suite failed, blank: does not apply"
)


def render(proofs: Sequence[Proof], *, color: bool = False, width: int = 160) -> str:
    """Two tables: the mutants with what caught them, and requirement by mutant in the order of the first."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, no_color=not color, force_terminal=color, highlight=False, markup=False
    )
    table = Table(title="Mutants", title_justify="left")
    for heading in ("", "mutant", "breaks", "caught by", "expected", "seen"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("", "breaks"))
    ordered = sorted(proofs, key=lambda proof: (proof.mutant.breaks or "~", proof.mutant.name))
    for number, proof in enumerate(ordered, 1):
        mutant = proof.mutant
        caught = proof.killer or ("NOT CAUGHT" if proof.complaints else "not asked for")
        table.add_row(str(number), mutant.name, mutant.breaks or "all", caught, proof.expected, proof.seen)
    console.print(table)
    console.print(_grid(ordered))
    console.print(LEGEND, soft_wrap=True)
    for proof in ordered:
        for complaint in proof.complaints:
            console.print(f"{proof.mutant.name}: {complaint}", soft_wrap=True)
    return stream.getvalue()


def _grid(proofs: Sequence[Proof]) -> str:
    """Requirement by mutant; the mutant's number is to be read downwards."""
    digits = len(str(len(proofs)))
    numbers = [str(number).rjust(digits) for number in range(1, len(proofs) + 1)]
    lines = [f"{'':8} {''.join(number[row] for number in numbers)}" for row in range(digits)]
    lines += [f"{id_:8} {''.join(_sign(proof, id_) for proof in proofs)}" for id_ in requirement.load()]
    return "\n".join(["", "Requirement by mutant", *lines])


def _sign(proof: Proof, id_: str) -> str:
    verdict = proof.verdicts.get(id_)
    if verdict is None:
        return " "
    if verdict in SIGNS:
        return SIGNS[verdict]
    if not proof.mutant.breaks or id_ == proof.mutant.breaks:
        return "X"
    return "+" if id_ in proof.mutant.also else "U"
