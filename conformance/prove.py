"""The suite against servers broken on purpose: each must be caught by what it breaks, and by nothing else.

A check that no broken server fails is not a check. And a server that does nothing, or always the same, must pass nothing.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from forkecho.conformance import fixture, requirement
from forkecho.conformance.case import Case, expand
from forkecho.conformance.clients.bench import bench_for, try_start
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import Plan, canary
from forkecho.conformance.requirement import Requirement
from forkecho.conformance.result import Verdict
from forkecho.conformance.target import Builds, NotReady, Target
from forkecho.conformance.verdict import Outcome

__all__ = ["Mutant", "Proof", "load", "nulls", "prove"]

BROKEN = (Verdict.FAIL, Verdict.WARN)
NULL_SCALE = 0.1  # null targets never answer, so nothing is gained by waiting for them

#: Most of the work is waiting for a broken server to do what it never will. Processes and not threads: in one interpreter
#: they would wait for each other.
WORKERS = 14

PR_SET_PDEATHSIG = 1  # linux/prctl.h

#: What a mutant says that it breaks besides need not be waited for as long as what it must be convicted of.
ALSO_SCALE = 0.3


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """A server that breaks one requirement on purpose.

    Attributes:
        breaks: the requirement; empty for a null target, which keeps none.
        also: what it breaks besides, each with the reason why that cannot be avoided.
    """

    name: str
    breaks: str
    also: dict[str, str]
    target: Target


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What the suite saw of one mutant.

    Attributes:
        verdicts: by requirement, the worst that was seen of it; those that do not apply are left out.
        killer: the case that caught it, with what was expected and seen.
        complaints: why it proves nothing, or breaks more than it says; none when all is well.
    """

    mutant: Mutant
    verdicts: dict[str, Verdict]
    killer: str
    expected: str
    seen: str
    played: int
    complaints: list[str]


def _mutant(path: Path, raw: dict[str, Any]) -> Mutant:
    breaks, also = raw.pop("breaks", ""), raw.pop("also", {})
    known = requirement.load()
    for id_ in (*([breaks] if breaks else []), *also):
        if id_ not in known:
            raise fixture.BadFixture(f"{path.name}: there is no requirement {id_!r}")
    manifest = fixture.convert(raw, Manifest, path.name)
    return Mutant(
        name=path.stem,
        breaks=breaks,
        also=also,
        target=Target(name=path.stem, manifest=manifest, here=str(path.resolve().parent)),
    )


@cache
def load() -> dict[str, Mutant]:
    """All mutants by name.

    Raises:
        BadFixture: a file is malformed or names a requirement that does not exist.
    """
    return {path.stem: _mutant(path, dict(raw)) for path, raw in fixture.tables("mutants")}


@cache
def nulls() -> dict[str, Mutant]:
    """The targets that do nothing, or always the same, by name."""
    return {path.stem: _mutant(path, dict(raw)) for path, raw in fixture.tables("nulls")}


def prove(
    mutants: Iterable[Mutant],
    nothings: Iterable[Mutant] = (),
    *,
    full: bool = False,
    only: frozenset[str] = frozenset(),
    scale: float = 1.0,
    told: Callable[[Proof], object] = lambda proof: None,
) -> list[Proof]:
    """Play the suite against each mutant and each null target; one queue, many at a time, each in a process of its own.

    Args:
        full: play every case of every requirement; otherwise the requirement that a mutant breaks up to its first kill,
            and of all others their first case.
        only: the requirements to play, all when there are none; a mutant that breaks another is merely probed.
        scale: what deadlines are multiplied with.
        told: called with each proof as it is made.
    """
    wanted = [*mutants, *nothings]
    # Made anew, not forked off a process that may have threads (of a progress bar, say) which hold locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(WORKERS, len(wanted)) or 1, context, _become_worker) as pool:
        try:
            futures = {pool.submit(_prove_one, mutant, full, only, scale): mutant for mutant in wanted}
            found = {}
            for future in as_completed(futures):
                proof = _proof_of(future, futures[future])
                found[proof.mutant.name] = proof
                told(proof)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()  # its guardians end what it has started
            raise
    return [found[mutant.name] for mutant in wanted]


def _become_worker() -> None:
    """In a worker: it goes when the master goes, and leaves Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        # By prctl(2); what its guardians look after goes with it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _prove_one(mutant: Mutant, full: bool, only: frozenset[str], scale: float) -> Proof:
    builds = Builds()
    try:
        if mutant.breaks:
            return _examine(mutant, builds, full, only, scale)
        return _examine_null(mutant, builds, only)
    finally:
        builds.close()


def _proof_of(future: Future[Proof], mutant: Mutant) -> Proof:
    """The proof of a mutant; one whose worker died is not proven."""
    try:
        return future.result()
    except BrokenProcessPool as error:
        complaints = [f"broken: a worker died: {error}"]
    return Proof(mutant=mutant, verdicts={}, killer="", expected="", seen="", played=0, complaints=complaints)


def _by_requirement(manifest: Manifest, only: frozenset[str] = frozenset()) -> dict[str, list[Case]]:
    """The cases that apply, by requirement, in the order of the files; of all requirements, or of some."""
    found: dict[str, list[Case]] = {}
    for case in expand(manifest).values():
        if not case.unfit(manifest):
            found.setdefault(case.requirement.id, []).append(case)
    return {id_: found[id_] for id_ in requirement.load() if id_ in found and id_ in (only or found)}


def _examine(mutant: Mutant, builds: Builds, full: bool, only: frozenset[str], scale: float) -> Proof:
    manifest = mutant.target.manifest
    cases = _by_requirement(manifest, only)
    plan = Plan(target=mutant.target, scale=scale)
    hasty = msgspec.structs.replace(plan, scale=scale * ALSO_SCALE)
    verdicts: dict[str, Verdict] = {}
    complaints: list[str] = []
    killed = Outcome(verdict=Verdict.PASS)
    killer, played = "", 0
    first = canary(expand(manifest).values())
    with (
        bench_for(plan, builds, canary=first) as patient,
        bench_for(hasty, builds, canary=None) as impatient,
    ):
        for id_ in sorted(cases, key=lambda id_: id_ != mutant.breaks):
            bench = impatient if id_ in mutant.also and not full else patient
            tried = cases[id_] if full or id_ == mutant.breaks else cases[id_][:1]
            for case in tried:
                ended, _ = bench.play(case)
                played += 1
                if ended.verdict is Verdict.NOT_APPLICABLE:
                    continue
                verdicts[id_] = _worse(verdicts.get(id_, Verdict.PASS), ended.verdict)
                if ended.verdict in (Verdict.BROKEN, Verdict.INCONCLUSIVE):
                    complaints.append(f"{case.id}: {ended.verdict.value}: {ended.reason}")
                if ended.verdict in BROKEN and id_ == mutant.breaks and not killer:
                    killer, killed = case.id, ended
                if ended.verdict in BROKEN and id_ != mutant.breaks and id_ not in mutant.also:
                    complaints.append(
                        f"breaks {id_} too ({case.id}): expected {ended.expected}; seen: {ended.seen}"
                    )
                if ended.verdict in BROKEN and not full:
                    break
    if only and mutant.breaks not in only:
        pass  # what it breaks is not asked for
    elif mutant.breaks not in cases:
        complaints.append(f"{mutant.breaks} does not apply to what its manifest declares")
    elif not killer:
        why = f" ({patient.blocked})" if patient.blocked else ""
        complaints.append(f"keeps {mutant.breaks}: none of its {len(cases[mutant.breaks])} cases fails{why}")
    complaints += [
        f"lists {id_}, which does not apply"
        for id_ in mutant.also
        if id_ in (only or mutant.also) and id_ not in cases
    ]
    return Proof(
        mutant=mutant,
        verdicts=verdicts,
        killer=killer,
        expected=killed.expected,
        seen=killed.seen,
        played=played,
        complaints=complaints,
    )


def _worse(one: Verdict, other: Verdict) -> Verdict:
    order = (Verdict.FAIL, Verdict.WARN, Verdict.BROKEN, Verdict.INCONCLUSIVE, Verdict.BLOCKED, Verdict.PASS)
    return min(one, other, key=order.index)


def _examine_null(mutant: Mutant, builds: Builds, only: frozenset[str]) -> Proof:
    """No case may pass: each needs an answer. The canary is left out, or everything would be blocked by it."""
    complaints: list[str] = []
    verdicts: dict[str, Verdict] = {}
    played = 0
    plan = Plan(target=mutant.target, scale=NULL_SCALE)
    try:
        try_start(msgspec.structs.replace(plan, scale=1.0), builds)
    except NotReady as error:
        return Proof(
            mutant=mutant,
            verdicts={},
            killer="never ready",
            expected="",
            seen=str(error),
            played=0,
            complaints=[],
        )
    seen = ""
    with bench_for(plan, builds, canary=None) as bench:
        for id_, cases in _by_requirement(mutant.target.manifest, only).items():
            ended, _ = bench.play(cases[0])
            played += 1
            verdicts[id_] = ended.verdict
            seen = seen or ended.seen
            if ended.verdict is Verdict.PASS:
                complaints.append(f"passes {cases[0].id}, although it never answers")
            elif ended.verdict is Verdict.BROKEN:
                complaints.append(f"{cases[0].id}: broken: {ended.reason}")
    return Proof(
        mutant=mutant,
        verdicts=verdicts,
        killer=f"{played} of {played} cases" if not complaints else "",
        expected="",
        seen=seen,
        played=played,
        complaints=complaints,
    )


def unproven(mutants: Iterable[Mutant]) -> list[Requirement]:
    """The requirements that no mutant breaks and that are not excluded."""
    broken = {mutant.breaks for mutant in mutants}
    return [one for one in requirement.load().values() if one.id not in broken and not one.excluded]
