"""A run of the suite from beginning to end: pytest plays the cases, the record is made of what it reports."""

from __future__ import annotations

import datetime
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import forkecho
from forkecho.conformance import observe, target
from forkecho.conformance.case import Case
from forkecho.conformance.classify import classify
from forkecho.conformance.clients.bench import try_start
from forkecho.conformance.collector import Collector
from forkecho.conformance.model import Classification, explainable, explanation
from forkecho.conformance.plan import Plan, select, spec_digest
from forkecho.conformance.result import FORMAT, CaseLine, Footer, Header, Run, Verdict, totals
from forkecho.conformance.target import Builds, NotReady, Running
from forkecho.conformance.verdict import exit_code

__all__ = ["header", "host", "model_of", "play", "python_of", "terminable"]

#: A run of fewer cases is over in a moment: the model is looked for only where it may explain a failure.
FEW = 20
#: Of pytest's own plugins those that the cases have no use for: each is asked before and after every case, which costs more than most
#: cases do themselves.
UNUSED = (
    "debugging", "doctest", "faulthandler", "junitxml", "legacypath", "logging", "monkeypatch", "pastebin", "recwarn", "setuponly",
    "setupplan", "stepwise", "threadexception", "tmpdir", "unittest", "unraisableexception", "warnings",
)  # fmt: skip
CLASSIFY_WITHIN = 5.0  # seconds; one that takes longer to be told is not worth the wait

Told = Callable[[CaseLine], object]
Began = Callable[[Header], object]


def play(
    plan: Plan,
    *,
    jobs: int = 1,
    stop_first: bool = False,
    look: bool = True,
    told: Told = lambda line: None,
    began: Began = lambda header: None,
) -> tuple[Run, str]:
    """Judge the plan's target; the run, and why the target never became ready (empty when it did).

    Args:
        jobs: workers, each with a target of its own.
        stop_first: end after the first failure.
        look: which model the target has is wanted, where that takes no longer than the cases do.
        told: called with each result as it comes.
        began: called once the target was seen to start, with the header so far: the model may still be looked for.

    Raises:
        UnknownId, EmptySelection: see `plan.select`.
        NotInstalled: the target's program is missing.
        NoInterpreter: the target does not support the Python that is to run it.
    """
    python = python_of(plan)
    started = datetime.datetime.now(datetime.UTC)
    plan = msgspec.structs.replace(plan, day=started.date())
    cases = select(plan)
    clock = time.monotonic()
    collector = Collector(plan, cases, told)
    builds = Builds()
    about = header(
        plan,
        len(cases),
        started,
        host=host(),
        packages=target.versions(plan.target.manifest.needs),
        python=python,
    )
    missing, model = "", None
    try:
        with terminable():
            missing, model = _try_start(plan, builds, look=look and len(cases) >= FEW)
            if not missing:
                began(msgspec.structs.replace(about, model=str(model) if model else None))
                _pytest(msgspec.structs.replace(plan, built=builds.place), cases, collector, jobs, stop_first)
                if look and model is None and any(map(_to_explain, collector.results())):
                    with suppress(Exception):  # that it cannot be looked at once more changes no verdict
                        _, model = _try_start(plan, builds, look=True)
    except KeyboardInterrupt:
        collector.interrupted = True
    finally:
        builds.close()
    lines = collector.results(f"the target never became ready: {missing}" if missing else "")
    lines = [_explained(line, model) for line in lines]
    code = exit_code(lines, strict=plan.strict, interrupted=collector.interrupted)
    if missing and not collector.interrupted:
        code = 4
    footer = Footer(
        totals=totals(lines),
        selected=len(cases),
        exit=code,
        seconds=round(time.monotonic() - clock, 3),
        interrupted=collector.interrupted,
    )
    about = msgspec.structs.replace(about, model=str(model) if model else None)
    return Run(header=about, cases=tuple(sorted(lines, key=lambda line: line.id)), footer=footer), missing


def header(
    plan: Plan,
    selected: int,
    started: datetime.datetime,
    *,
    host: dict[str, Any],
    packages: dict[str, str] | None = None,
    python: dict[str, Any] | None = None,
) -> Header:
    """What is known of a run before its target was started."""
    return Header(
        format=FORMAT,
        forkecho=forkecho.__version__,
        spec=spec_digest(),
        target=plan.target.describe(),
        model=None,
        host=host,
        seed=plan.seed,
        selection=_told_selection(plan),
        selected=selected,
        started=started.isoformat(timespec="seconds").replace("+00:00", "Z"),
        packages=packages or {},
        python=python or {},
    )


def _try_start(plan: Plan, builds: Builds, *, look: bool) -> tuple[str, Classification | None]:
    """Build and start the target once, before workers do it many times: why that failed, and which model it has.

    Args:
        look: which model it has is wanted.
    """
    try:
        if plan.target.manifest.role == "client":
            try_start(plan, builds)
            return "", None
        with target.start(plan.target, builds, scale=plan.scale, python=plan.python) as running:
            return "", model_of(running, plan.scale) if look else None
    except NotReady as error:
        return str(error), None


def model_of(running: Running, scale: float) -> Classification:
    """Which model a target is seen to use; a fault of ours in finding out must not fail the run."""
    try:
        return classify(running, scale=scale, budget=CLASSIFY_WITHIN)
    except Exception as error:
        return Classification(model=None, reason=f"the suite failed: {type(error).__name__}: {error}")


def _to_explain(line: CaseLine) -> bool:
    """A failure of a kind that the model may explain."""
    return line.verdict in (Verdict.FAIL, Verdict.WARN) and explainable(line.requirement)


def _explained(line: CaseLine, model: Classification | None) -> CaseLine:
    """A failure with the model as its reason, where that is one."""
    why = explanation(model.model, line.requirement) if model and _to_explain(line) else ""
    return msgspec.structs.replace(line, reason=why) if why and not line.reason else line


def _pytest(plan: Plan, cases: list[Case], collector: Collector, jobs: int, stop_first: bool) -> None:
    """Have pytest play the cases, deaf to the surroundings: their options and plugins are for other tests.

    A plugin that reruns failures, say, would hide that the target is unstable.
    """
    suite = Path(__file__).parent
    arguments = [str(suite / "test_cases.py"), "-c", str(suite / "pytest.ini"), "--rootdir", str(suite)]
    arguments += ["--plan", msgspec.json.encode(plan).decode(), "--assert=plain"]
    # Nothing is written beside the suite, reports are ours to make, and what the cases print is nothing.
    arguments += ["-p", "no:cacheprovider", "-p", "no:terminal", "-p", "pytest_timeout", "--capture=no"]
    arguments += [word for name in UNUSED for word in ("-p", f"no:{name}")]
    if jobs > 1 and len(cases) > 1:
        arguments += ["-p", "xdist.plugin", "-n", str(min(jobs, len(cases))), "--dist", "worksteal"]
    if stop_first:
        arguments.append("-x")
    kept = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        ended = pytest.main(arguments, plugins=[collector])
        if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
            collector.crashed = f"pytest ended with {ended!r}"
    finally:
        os.environ.pop("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
        os.environ.update({name: value for name, value in kept.items() if value is not None})


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, with its record closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def python_of(plan: Plan) -> dict[str, str]:
    """Which Python runs the target, for the record; of one that does not answer as a Python the path alone."""
    if not plan.target.by_python:
        return {}
    found = target.require_python(plan.target, plan.python)
    return found.describe() if found else {"path": plan.python}


def host() -> dict[str, object]:
    """Where is judged what is judged here."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "observer": observe.here().name,
    }


def _told_selection(plan: Plan) -> dict[str, object]:
    """The options that chose the cases and how they were played, as they were given."""
    chosen = {name: value for name, value in msgspec.structs.asdict(plan.selection).items() if value}
    defaults = Plan(target=plan.target)
    for name in ("scale", "repeat", "strict", "stress", "python"):
        if (value := getattr(plan, name)) != getattr(defaults, name):
            chosen[name] = value
    return chosen
