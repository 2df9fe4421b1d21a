"""The lines of a record as they come to be, beside the place where it is to be."""

from __future__ import annotations

import os
from pathlib import Path

from forkecho.cli import complain

__all__ = ["Journal"]


class Journal:
    """A file `NAME.PID.part` that grows with a record whose own file `NAME` is written whole at the end.

    It is there for what nobody can clean up after: the suite is killed, or the machine stops. Nothing is written beside what
    is no ordinary file, or where there is no place. That it cannot be written ends nothing but the journal.

    Args:
        path: where the record is to be; without one nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        ordinary = path is not None and (path.is_file() or not path.exists())
        self.path = path.with_name(f"{path.name}.{os.getpid()}.part") if path and ordinary else None
        self._descriptor: int | None = None
        self._lost = False

    def add(self, line: str) -> None:
        """One more line, with its end; from any thread, since the kernel appends a line whole."""
        if self.path is None or self._lost:
            return
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(self.path, flags, 0o666)
            os.write(self._descriptor, line.encode())
        except OSError as error:
            complain(f"{self.path}: {error.strerror}; what is seen is not written before the end")
            self._lost = True

    def close(self, *, keep: bool) -> bool:
        """Remove the file unless it is to be kept, and say whether there is one now."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self.path is None or not self.path.exists():
            return False
        if not keep:
            self.path.unlink()
        return keep
