"""The bench at which clients are judged, and which bench a plan is for."""

from __future__ import annotations

from forkecho.conformance import target
from forkecho.conformance.case import Case
from forkecho.conformance.clients import running
from forkecho.conformance.clients.stage import DO, ClientStage
from forkecho.conformance.plan import Plan
from forkecho.conformance.run import Bench
from forkecho.conformance.target import Builds
from forkecho.conformance.verdict import Outcome, outcome

__all__ = ["ClientBench", "bench_for", "try_start"]


class ClientBench(Bench):
    """Starts the client anew for every case: there is nothing that cases could share."""

    def _play(self, case: Case, scale: float) -> tuple[Outcome, ClientStage | None]:
        stage = ClientStage(case, self.plan, self.builds, scale)
        number = 0
        error: BaseException | None = None
        try:
            for step in case.steps:
                number += 1
                DO[type(step)](stage, step)
        except Exception as failure:
            error = failure
        finally:
            stage.clear()
        return outcome(error, case.requirement.level, number), stage


def bench_for(plan: Plan, builds: Builds, *, canary: Case | None) -> Bench:
    """The bench for what a plan judges; see `Bench`."""
    kind = ClientBench if plan.target.manifest.role == "client" else Bench
    return kind(plan, builds, canary=canary)


def try_start(plan: Plan, builds: Builds) -> None:
    """Build and start the target once, as far as that can be done without a case.

    Raises:
        NotInstalled: its program is missing.
        NotReady: it cannot be built or started, or does not listen.
    """
    if plan.target.manifest.role == "client":
        running.prepare(plan.target, builds, python=plan.python)
        return
    with target.start(plan.target, builds, scale=plan.scale, python=plan.python):
        pass
