"""What the page on versions of Python says of CPython's history, asked of every Python that is there."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from forkecho import fixtures
from forkecho.conformance import interpreter, requirement
from forkecho.conformance.interpreter import WANTED, Interpreter, NoInterpreter

PAGE = Path(fixtures.__file__).parent / "findings" / "python-versions.md"

#: Of ForkingMixIn: reaps in each turn, reaps when a client comes, waits for all in server_close(), catches Exception only.
QUESTION = """
import inspect, json
try:
    from socketserver import ForkingMixIn as mixin
except ImportError:
    from SocketServer import ForkingMixIn as mixin
request = inspect.getsource(mixin.process_request)
print(json.dumps([
    hasattr(mixin, "service_actions"),
    "collect_children" in request,
    bool(getattr(mixin, "block_on_close", False)) and hasattr(mixin, "server_close"),
    "except Exception:" in request,
]))
"""


def found(version: str) -> Interpreter:
    """The one of that version, where there is one."""
    try:
        return interpreter.named(version)
    except NoInterpreter as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("version", WANTED)
def test_socketserver_is_as_the_page_says(version: str) -> None:
    """Reaping without traffic came with 3, server_close() that waits with 3.7."""
    python = found(version)
    said = subprocess.run([python.path, "-c", QUESTION], capture_output=True, timeout=60, check=True)

    assert json.loads(said.stdout) == [
        python.fits(">=3.3"),
        python.fits("<3"),
        python.fits(">=3.7"),
        python.fits(">=3.6"),
    ]


@pytest.mark.parametrize("version", WANTED)
def test_an_interpreter_ends_on_ctrl_c_as_the_page_says(version: str) -> None:
    """By the signal from 3.8 on, with status 1 before."""
    python = found(version)
    ended = subprocess.run(
        [python.path, "-c", "raise KeyboardInterrupt"], capture_output=True, timeout=60, check=False
    )

    assert ended.returncode == (-signal.SIGINT if python.fits(">=3.8") else 1)


def test_the_page_names_what_there_is() -> None:
    """Requirements with their titles as they are now."""
    rows = re.findall(
        r"^\| (\w+-\d+) \((MUST|SHOULD)\) ([^|]+?)(?:, (?:in|at) [^|]*)? \|",
        PAGE.read_text("utf-8"),
        re.MULTILINE,
    )
    known = requirement.load()

    assert [(known[id_].level.upper(), known[id_].title) for id_, *_ in rows] == [
        (level, title) for _, level, title in rows
    ]
    assert len(rows) == 7
