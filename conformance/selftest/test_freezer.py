"""What is frozen, and what keeps it from it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.freezer import Freezer
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.target import Builds, Target, begin

HERE = Path(__file__).with_name("hostile")
PATIENT = 60.0  # seconds for what takes a moment, unless the machine is loaded

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc"),
]


def test_who_waits_for_its_child_to_become_another_program_can_be_frozen(builds: Builds) -> None:
    """As a shell does, by vfork(2): stopped before that, the child would never let it come to a stop."""
    manifest = Manifest(command=["{python}", "{here}/vforks.py", "{port}", "{dir}/fifo"])
    with begin(Target(name="vforks", manifest=manifest, here=str(HERE)), builds) as running:
        observer = running.observer
        assert observer
        assert running.folder

        def waits() -> bool:
            states = sorted(facts.state for facts in running.alive())
            return states == ["D", "S"]

        assert wait_for(waits, Deadline(PATIENT))
        both = {facts.process for facts in running.alive()}
        freezer = Freezer(running)
        assert not freezer.stop(both)
        # Now nothing but the freezer holds the child up.
        with open(os.open(running.folder / "fifo", os.O_RDWR), "wb"):  # that waits for nobody
            assert wait_for(lambda: freezer.stop(both), Deadline(PATIENT))

        assert {facts.state for facts in running.alive()} == {"T"}
        assert {"sleep" in facts.command for facts in running.alive()} == {True, False}
        freezer.thaw(both)
