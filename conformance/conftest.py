"""Wiring only: options in, cases as parameters, a result per test out."""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import os
import pickle
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forkecho.conformance import known
from forkecho.conformance import plan as plans
from forkecho.conformance import target as targets
from forkecho.conformance.case import Case, expand
from forkecho.conformance.clients.bench import bench_for, try_start
from forkecho.conformance.collector import PROPERTY, Collector
from forkecho.conformance.deadline import crowded
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench
from forkecho.conformance.target import Builds

PR_SET_PDEATHSIG = 1  # linux/prctl.h

#: The last net, in seconds for one playing of a case by the usual deadlines: three times the longest deadline of our own
#: (60 s: twelve patiences of 5 s without an end to a slow conversation). Said here, since with `--pyargs` the settings are
#: those of somebody else's project.
NET = 180.0

PLAN = pytest.StashKey[Plan]()
BUILDS = pytest.StashKey[Builds]()
COLLECTOR = pytest.StashKey[Collector]()
Chosen = tuple[list[Case], Case | None]  # those to be played, and the one that is tried first
CASES = pytest.StashKey[Chosen]()
PICKLED = pytest.StashKey[bytes]()  # the same, as workers are given it

TEXT = "forkecho"  # the only key of a report on its way
ITEM = "test_cases.py::test_case["  # before a case's id, in that of its item


def _scale(word: str) -> float:
    """A number that deadlines can be multiplied with.

    Raises:
        argparse.ArgumentTypeError: it is none, or not above 0, or infinite.
    """
    try:
        scale = float(word)
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise argparse.ArgumentTypeError(f"{word!r} is not a number above 0")
    return scale


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("forkecho", "the conformance suite")
    group.addoption(
        "--target", default=os.environ.get("FORKECHO_TARGET", "reference"), help="the server to judge"
    )
    group.addoption("--seed", type=int, default=0, help="of the payloads (0)")
    group.addoption(
        "--timeout-scale", type=_scale, default=1.0, help="what all deadlines are multiplied with (1)"
    )
    group.addoption("--repeat", type=int, default=1, help="play each case so many times (1)")
    group.addoption(
        "--known",
        default=os.environ.get("FORKECHO_KNOWN", ""),
        help="a TOML file of failures that are known, beside the manifest's",
    )
    group.addoption("--plan", default="", help=argparse.SUPPRESS)  # how `forkecho check` hands over


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker and sys.platform == "linux":
        # A worker whose master was killed would go on for seconds; with it goes what it has started (prctl(2)).
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A worker of `pytest --pyargs -n` was told nothing, as the master has not come to know of this file (see README).
    text = worker.get("forkecho_plan", "") if worker else config.getoption("--plan")
    if text:
        plan = msgspec.json.decode(text, type=Plan)
    else:
        try:
            listed = config.getoption("--known")
            judged = targets.load(config.getoption("--target"))
            plan = Plan(
                target=known.with_file(judged, Path(listed) if listed else None),
                seed=config.getoption("--seed"),
                scale=config.getoption("--timeout-scale"),
                repeat=config.getoption("--repeat"),
            )
        except (BadFixture, targets.UnknownTarget) as error:
            raise pytest.UsageError(str(error)) from None
    if config.getoption("--plan"):  # which the workers are given as well: at both ends or at none
        config.pluginmanager.register(OneText(), "forkecho-one-text")
    config.stash[PLAN] = plan
    config.stash[BUILDS] = Builds(worker.get("forkecho_builds", "") if worker else plan.built)


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
    """Tell an xdist worker what was planned, and where the target was built; and the cases, where they are known already."""
    config = node.config
    plan = config.stash[PLAN]
    node.workerinput["forkecho_plan"] = msgspec.json.encode(plan).decode()
    node.workerinput["forkecho_builds"] = config.stash[BUILDS].place
    if config.getoption("--plan"):
        # Each worker would read all the files again, a tenth of a second of a processor.
        if PICKLED not in config.stash:
            config.stash[PICKLED] = pickle.dumps(cases_of(config))
        node.workerinput["forkecho_cases"] = config.stash[PICKLED]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where cases are taken from one worker to another, one may die: what is played beside others may kill."""
    if config.getoption("dist") != "worksteal":
        return None
    from forkecho.conformance.scheduling import Scheduling  # xdist is not loaded where there is one worker

    return Scheduling(config, log)


def cases_of(config: pytest.Config) -> Chosen:
    """Those to be played, and the one that is tried first."""
    if CASES not in config.stash:
        given = getattr(config, "workerinput", {}).get("forkecho_cases")
        config.stash[CASES] = pickle.loads(given) if given else chosen(config.stash[PLAN])
    return config.stash[CASES]


def chosen(plan: Plan) -> Chosen:
    """The same, from the files."""
    return plans.select(plan), plans.canary(expand(plan.target.manifest).values())


class OneText:
    """A plugin for both ends of xdist: what goes to and fro of a report is one text.

    execnet takes nested dicts apart in Python, value by value, which costs a worker more than many a case.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Generator[None, dict[str, Any] | None, dict[str, Any] | None]:
        """The worker's end."""
        data = yield
        return data and {TEXT: msgspec.json.encode(data).decode()}

    @pytest.hookimpl(wrapper=True)
    def pytest_report_from_serializable(self, data: dict[str, Any]) -> Generator[None, Any, Any]:
        """The master's."""
        data.update(msgspec.json.decode(data.pop(TEXT, "{}")))
        return (yield)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        plan = metafunc.config.stash[PLAN]
        net = NET * plan.repeat * max(1.0, plan.scale)
        metafunc.parametrize(
            "case",
            [
                # On the test function only: its signal must not land in the clearing up (a thaw was seen to be skipped).
                pytest.param(
                    case, id=case.id, marks=pytest.mark.timeout(crowded(net, case.held), func_only=True)
                )
                for case in cases_of(metafunc.config)[0]
            ],
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
    if hasattr(config, "workerinput"):
        # A worker has one session: nothing in all this is to be collected, neither while the cases are played nor at the end. Where
        # one follows another, as in a soak, what the last has left would be kept for ever.
        gc.freeze()
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
    # Others may be named after a case as well: self-tests are.
    names = [id_.partition(ITEM)[2].removesuffix("]") for id_ in ids]
    chosen = [cases[name] for name in names if name in cases]
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
    with bench_for(plan, config.stash[BUILDS], canary=cases_of(config)[1]) as bench:
        yield bench


@pytest.fixture
def record_result(request: pytest.FixtureRequest) -> Callable[[CaseLine], None]:
    """Hands a result to whoever gathers them, across xdist: plain types only."""

    def record(line: CaseLine) -> None:
        request.node.user_properties.append((PROPERTY, msgspec.to_builtins(line)))

    return record


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """A listed failure that is mended fails the run, although each of its tests has passed: say so."""
    collector = config.stash.get(COLLECTOR, None)
    for line in collector.results() if collector else ():
        if line.verdict is Verdict.FIXED:
            terminalreporter.write_line(f"fixed: {line.requirement} {line.id}: {line.reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """The same exit codes as `forkecho check`, where it is the cases that were run."""
    collector = session.config.stash.get(COLLECTOR, None)
    if collector is not None and session.exitstatus in (0, 1):
        session.exitstatus = collector.exit_code()


def pytest_unconfigure(config: pytest.Config) -> None:
    if BUILDS in config.stash:
        config.stash[BUILDS].close()
