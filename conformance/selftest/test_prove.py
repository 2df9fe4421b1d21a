"""The proof: servers broken on purpose are caught, by what they break and by nothing else; a bad proof is complained of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import msgspec
import pytest

from forkecho.conformance import fixture, prove, requirement, target
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.prove import Mutant, Proof
from forkecho.conformance.result import Verdict
from forkecho.conformance.target import Builds, Target

HERE = Path(__file__).with_name("hostile")
PACE = 0.3  # of what is waited for in vain, where something is

pytestmark = [
    pytest.mark.once,
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three requirements instead of all: what is tested is the proof, not the cases."""
    wanted = ("ECHO-01", "FORK-01", "HYG-01")
    everything = prove._by_requirement

    def some(manifest: Manifest, only: frozenset[str] = frozenset()) -> dict[str, list[prove.Case]]:
        return {id_: cases for id_, cases in everything(manifest, only).items() if id_ in wanted}

    monkeypatch.setattr(prove, "_by_requirement", some)


def claimed(name: str, breaks: str, **also: str) -> Mutant:
    """A shipped target that is said to break something."""
    return Mutant(name=name, breaks=breaks, also=also, target=target.load(name))


@pytest.fixture
def examined(builds: Builds) -> Callable[..., Proof]:
    """The proof of one mutant, in this process."""

    def proof(mutant: Mutant, *, full: bool = False, only: frozenset[str] = frozenset()) -> Proof:
        pace = 1.0 if mutant.name == "reference" else PACE
        return prove._examine(mutant, builds, full, only, pace)

    return proof


# One mutant


@pytest.mark.usefixtures("few")
def test_a_mutant_is_caught_by_the_first_case_that_it_fails(examined: Callable[..., Proof]) -> None:
    """The case that caught it is named with what was seen, and its other cases are not played."""
    proof = examined(claimed("threading", "FORK-01", **{"HYG-01": "it has no children"}))

    assert proof.complaints == []
    assert proof.killer.startswith("process/")
    assert "alive before the connection" in proof.seen
    assert proof.verdicts["FORK-01"] is Verdict.FAIL
    assert proof.verdicts["ECHO-01"] is Verdict.PASS
    assert proof.played == 3


@pytest.mark.usefixtures("few")
def test_a_server_that_breaks_nothing_proves_nothing(examined: Callable[..., Proof]) -> None:
    """All cases of what it is said to break are tried before that is said."""
    proof = examined(claimed("reference", "HYG-01"))
    cases = prove._by_requirement(proof.mutant.target.manifest)["HYG-01"]

    assert proof.complaints == [f"keeps HYG-01: none of its {len(cases)} cases fails"]
    assert proof.killer == ""
    assert proof.played == 2 + len(cases)


@pytest.mark.usefixtures("few")
def test_what_a_mutant_breaks_besides_must_be_said(examined: Callable[..., Proof]) -> None:
    """It would not prove that the check tells one fault from another."""
    proof = examined(claimed("threading", "HYG-01"))

    assert [complaint.partition(":")[0] for complaint in proof.complaints] == [
        "breaks FORK-01 too (process/born)"
    ]


@pytest.mark.usefixtures("few")
def test_everything_is_played_where_that_is_wanted(examined: Callable[..., Proof]) -> None:
    """`--full`: no requirement stops at its first kill."""
    mutant = claimed("reference", "HYG-01")
    cases = prove._by_requirement(mutant.target.manifest)

    assert examined(mutant, full=True).played == sum(map(len, cases.values()))


@pytest.mark.usefixtures("few")
def test_only_what_is_asked_for_is_played(examined: Callable[..., Proof]) -> None:
    """A mutant of another requirement need not be caught then, but must keep what is asked for."""
    kept = examined(claimed("reference", "HYG-01"), only=frozenset({"ECHO-01", "SHUT-01"}))
    broken = examined(claimed("threading", "HYG-01"), only=frozenset({"FORK-01"}))

    assert (kept.complaints, kept.played, kept.killer) == ([], 1, "")
    assert [complaint.partition(":")[0] for complaint in broken.complaints] == [
        "breaks FORK-01 too (process/born)"
    ]


@pytest.mark.usefixtures("few")
def test_what_does_not_apply_cannot_be_proven(examined: Callable[..., Proof]) -> None:
    """Neither what it breaks nor what it breaks besides."""
    proof = examined(claimed("reference", "ECHO-11", **{"ECHO-02": "no reason"}))

    assert "ECHO-11 does not apply to what its manifest declares" in proof.complaints
    assert "lists ECHO-02, which does not apply" in proof.complaints


@pytest.mark.usefixtures("few")
def test_a_mutant_that_does_not_start_proves_nothing(examined: Callable[..., Proof]) -> None:
    """What could not be judged is said."""
    manifest = Manifest(command=["{python}", "{here}/exits.py", "{port}"])
    mutant = Mutant(
        name="exits",
        breaks="ECHO-01",
        also={},
        target=Target(name="exits", manifest=manifest, here=str(HERE)),
    )

    complaints = examined(mutant).complaints

    assert complaints[-1].startswith("keeps ECHO-01: ")
    assert "exited with 3" in complaints[-1]


@pytest.mark.usefixtures("few")
def test_a_server_that_answers_is_no_null_target(builds: Builds) -> None:
    """A null target must pass nothing."""
    proof = prove._examine_null(claimed("reference", ""), builds, frozenset())

    assert len(proof.complaints) == len(proof.verdicts) == 3
    assert all("although it never answers" in complaint for complaint in proof.complaints)


# All of them


def test_proofs_are_written_in_order_whichever_is_made_first(tmp_path: Path) -> None:
    """Each mutant in a process of its own, null targets as well; the same for those who type it."""
    names = ["answers-an-empty-connection", "nothing-listens"]
    file = tmp_path / "proofs.json"
    done = subprocess.run(
        [sys.executable, "-m", "forkecho", "prove", *names, "--output", str(file)],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    proofs = msgspec.json.decode(file.read_bytes(), type=list[Proof])

    assert done.returncode == 0, done.stdout + done.stderr
    assert [proof.mutant.name for proof in proofs] == names
    assert [proof.complaints for proof in proofs] == [[], []]
    assert proofs[0].killer.startswith("echo/")
    assert proofs[1].killer == "never ready"
    assert "proven: 1 mutants and 1 null targets" in done.stdout


def test_a_worker_that_dies_proves_nothing() -> None:
    """The mutant that it had is complained of, and no more is lost."""
    future: Future[Proof] = Future()
    future.set_exception(BrokenProcessPool("killed"))

    assert prove._proof_of(future, claimed("reference", "ECHO-01")).complaints == [
        "broken: a worker died: killed"
    ]


# What there is


def test_every_requirement_has_a_mutant() -> None:
    """What nothing breaks is not proven to be checked."""
    assert prove.unproven(prove.load().values()) == []
    assert {one.id for one in prove.unproven([])} == {
        id_ for id_, one in requirement.load().items() if not one.excluded
    }


def test_a_mutant_of_an_unknown_requirement_is_refused() -> None:
    """The file is named."""
    raw = {"breaks": "ECHO-99", "command": ["x", "{port}"]}

    with pytest.raises(fixture.BadFixture, match=r"mine\.toml: there is no requirement 'ECHO-99'"):
        prove._mutant(Path("mine.toml"), raw)


@pytest.mark.parametrize("one", [Verdict.FAIL, Verdict.WARN, Verdict.BROKEN])
def test_the_worse_verdict_is_kept(one: Verdict) -> None:
    """Whatever the order in which they come."""
    assert prove._worse(one, Verdict.PASS) is prove._worse(Verdict.PASS, one) is one
