"""Wiring only: options in, cases as parameters, a result per test out."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from forkecho.conformance import plan as plans
from forkecho.conformance import target as targets
from forkecho.conformance.case import expand
from forkecho.conformance.clients.bench import bench_for, try_start
from forkecho.conformance.collector import PROPERTY, Collector
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine
from forkecho.conformance.run import Bench
from forkecho.conformance.target import Builds

PR_SET_PDEATHSIG = 1  # linux/prctl.h

PLAN = pytest.StashKey[Plan]()
BUILDS = pytest.StashKey[Builds]()
COLLECTOR = pytest.StashKey[Collector]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forkecho", "the conformance suite")
    group.addoption(
        "--target", default=os.environ.get("FORKECHO_TARGET", "reference"), help="the server to judge"
    )
    group.addoption("--seed", type=int, default=0, help="of the payloads (0)")
    group.addoption(
        "--timeout-scale", type=float, default=1.0, help="what all deadlines are multiplied with (1)"
    )
    group.addoption("--repeat", type=int, default=1, help="play each case so many times (1)")
    group.addoption("--plan", default="", help=argparse.SUPPRESS)  # how `forkecho check` hands over


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker and sys.platform == "linux":
        # A worker whose master was killed would go on for seconds; with it goes what it has started (prctl(2)).
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    text = worker["forkecho_plan"] if worker else config.getoption("--plan")
    if text:
        plan = msgspec.json.decode(text, type=Plan)
    else:
        try:
            plan = Plan(
                target=targets.load(config.getoption("--target")),
                seed=config.getoption("--seed"),
                scale=config.getoption("--timeout-scale"),
                repeat=config.getoption("--repeat"),
            )
        except (BadFixture, targets.UnknownTarget) as error:
            raise pytest.UsageError(str(error)) from None
    config.stash[PLAN] = plan
    config.stash[BUILDS] = Builds(worker["forkecho_builds"] if worker else plan.built)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before the first case, once and not in each worker: does the target start at all?"""
    config = session.config
    plan, builds = config.stash[PLAN], config.stash[BUILDS]
    if hasattr(config, "workerinput") or config.getoption("--plan") or _selftests_only(config):
        return
    try:
        try_start(plan, builds)
    except targets.NotInstalled as error:
        pytest.exit(str(error), returncode=2)
    except targets.NotReady as error:
        pytest.exit(str(error), returncode=4)
    except targets.NotSupported as error:
        pytest.exit(str(error), returncode=3)


def _selftests_only(config: pytest.Config) -> bool:
    return all("selftest" in str(argument) for argument in config.args)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist worker what was planned, and where the target was built."""
    node.workerinput["forkecho_plan"] = msgspec.json.encode(node.config.stash[PLAN]).decode()
    node.workerinput["forkecho_builds"] = node.config.stash[BUILDS].place


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        plan = metafunc.config.stash[PLAN]
        # The net is for one playing of a case by the usual deadlines (pytest.ini).
        net = float(metafunc.config.getini("timeout")) * plan.repeat * max(1.0, plan.scale)
        marks = pytest.mark.timeout(net)
        metafunc.parametrize(
            "case", [pytest.param(case, id=case.id, marks=marks) for case in plans.select(plan)]
        )


def pytest_collection_finish(session: pytest.Session) -> None:
    """From here on every selected case gets a result, whatever becomes of its test (`-k` has chosen by now)."""
    config = session.config
    calls = (
        item.callspec.params
        for item in session.items
        if isinstance(item, pytest.Function) and hasattr(item, "callspec")
    )
    cases = [parameters["case"] for parameters in calls if "case" in parameters]
    if config.getoption("--plan") or hasattr(config, "workerinput") or not cases:
        return
    _watch(config, cases)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The same with xdist, where only the workers collect."""
    config = node.config
    if config.getoption("--plan") or COLLECTOR in config.stash:
        return
    cases = expand(config.stash[PLAN].target.manifest)
    chosen = [cases[name] for id_ in ids if (name := id_.partition("[")[2].removesuffix("]")) in cases]
    if chosen:
        _watch(config, chosen)


def _watch(config: pytest.Config, cases: list[Any]) -> None:
    config.stash[COLLECTOR] = Collector(config.stash[PLAN], cases)
    config.pluginmanager.register(config.stash[COLLECTOR], "forkecho-collector")


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The target that the cases of this worker share."""
    config = request.config
    plan = config.stash[PLAN]
    canary = plans.canary(expand(plan.target.manifest).values())
    with bench_for(plan, config.stash[BUILDS], canary=canary) as bench:
        yield bench


@pytest.fixture
def record_result(request: pytest.FixtureRequest) -> Callable[[CaseLine], None]:
    """Hands a result to whoever gathers them, across xdist: plain types only."""

    def record(line: CaseLine) -> None:
        request.node.user_properties.append((PROPERTY, msgspec.to_builtins(line)))

    return record


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The same exit codes as `forkecho check`, where it is the cases that were run."""
    collector = session.config.stash.get(COLLECTOR, None)
    if collector is not None and session.exitstatus in (0, 1):
        session.exitstatus = collector.exit_code()


def pytest_unconfigure(config: pytest.Config) -> None:
    if BUILDS in config.stash:
        config.stash[BUILDS].close()
