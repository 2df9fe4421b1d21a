"""What the kernel shows of processes and sockets: the only package that asks the operating system about them."""

from __future__ import annotations

import sys

from forkecho.conformance.observe.base import Address as Address
from forkecho.conformance.observe.base import Census as Census
from forkecho.conformance.observe.base import Effort as Effort
from forkecho.conformance.observe.base import Endpoint as Endpoint
from forkecho.conformance.observe.base import Facts as Facts
from forkecho.conformance.observe.base import Listener as Listener
from forkecho.conformance.observe.base import Masks as Masks
from forkecho.conformance.observe.base import Observer as Observer
from forkecho.conformance.observe.base import Process as Process
from forkecho.conformance.observe.base import Task as Task
from forkecho.conformance.observe.costs import Cost as Cost
from forkecho.conformance.observe.costs import Meter as Meter

__all__ = [
    "Address",
    "Census",
    "Cost",
    "Effort",
    "Endpoint",
    "Facts",
    "Listener",
    "Masks",
    "Meter",
    "Observer",
    "Process",
    "Task",
    "here",
]


def here() -> Observer:
    """The best observer for this operating system."""
    if sys.platform == "linux":
        from forkecho.conformance.observe.linux import LinuxObserver

        return LinuxObserver()
    from forkecho.conformance.observe.portable import PortableObserver

    return PortableObserver()
