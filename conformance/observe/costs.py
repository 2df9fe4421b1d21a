"""What processes cost: page faults and time on a processor, of a process and of all that it forks from then on."""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Collection
from typing import NamedTuple

from forkecho.conformance.observe.base import Process

__all__ = ["Cost", "Meter"]

#: perf_event_open(2): its number (the C library has no function for it), what is counted, and the flag that children are.
CALLS = {
    "x86_64": 298,
    "aarch64": 241,
    "riscv64": 241,
    "armv7l": 364,
    "i686": 336,
    "ppc64le": 319,
    "s390x": 331,
}
SOFTWARE, TASK_CLOCK, MINOR_FAULTS = 1, 1, 5
SIZE = 128  # bytes of struct perf_event_attr, of which all but the first few are 0
INHERIT = 1 << 1
CLOSE_ON_EXEC = 8


class Cost(NamedTuple):
    """What was used so far: minor page faults, and seconds on a processor."""

    faults: int
    seconds: float


class Meter:
    """Counts what some processes use, and all that descend from them, those among them that have ended already.

    The kernel adds up the counts of children as they exit, whoever reaps them (perf_event_open(2), `inherit`).

    Raises:
        OSError: this kernel, or this user, may not (kernel.perf_event_paranoid).
    """

    def __init__(self, processes: Collection[Process]) -> None:
        self._faults: list[int] = []
        self._clocks: list[int] = []
        try:
            for process in processes:
                # A counter is of one thread: those that a process starts later are inherited as children are.
                for thread in sorted(map(int, os.listdir(f"/proc/{process.pid}/task"))):
                    self._faults.append(_counter(thread, MINOR_FAULTS))
                    self._clocks.append(_counter(thread, TASK_CLOCK))
        except BaseException:
            self.close()
            raise

    def read(self) -> Cost:
        """What was used since the meter was made."""
        faults = sum(map(_value, self._faults))
        return Cost(faults, sum(map(_value, self._clocks)) / 1e9)

    def close(self) -> None:
        """Count no longer."""
        for descriptor in self._faults + self._clocks:
            os.close(descriptor)
        self._faults, self._clocks = [], []


def _counter(thread: int, what: int) -> int:
    """A descriptor from which the count is read."""
    import ctypes  # hardly anybody needs it

    number = CALLS.get(platform.machine())
    if number is None:
        raise OSError(f"perf_event_open is not known on {platform.machine()}")
    attributes = ctypes.create_string_buffer(SIZE)
    struct.pack_into("=IIQQQQQ", attributes, 0, SOFTWARE, SIZE, what, 0, 0, 0, INHERIT)
    library = ctypes.CDLL(None, use_errno=True)
    descriptor: int = library.syscall(number, attributes, thread, -1, -1, CLOSE_ON_EXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), f"perf_event_open: {os.strerror(ctypes.get_errno())}")
    return descriptor


def _value(descriptor: int) -> int:
    """The count, or the nanoseconds."""
    return int.from_bytes(os.read(descriptor, 8), sys.byteorder)
