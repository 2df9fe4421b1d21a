"""What is made before a target is started: words with their placeholders replaced, and what its build commands make."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from forkecho.conformance.guard import Guard
from forkecho.conformance.target.named import NotReady, Target

__all__ = ["TAIL", "Builds", "fill"]

TAIL = 400  # characters of a target's output that are shown


def fill(words: Iterable[str], tokens: Mapping[str, str]) -> list[str]:
    """`words` with each `{token}` and `@TOKEN@` replaced; other braces are left alone."""
    pattern = re.compile(
        "|".join(re.escape(f"{{{name}}}") + "|" + re.escape(f"@{name.upper()}@") for name in tokens)
    )
    return [pattern.sub(lambda found: tokens[found.group().strip("{}@").lower()], word) for word in words]


class Builds:
    """What the build commands of targets made: once a run, whoever asks first.

    Args:
        folder: where another process of the same run has built already.
    """

    def __init__(self, folder: str = "") -> None:
        self._lock = threading.Lock()
        self._ours = not folder
        self._folder = Path(folder) if folder else None
        self._done: dict[str, str] = {}
        self._guard: Guard | None = None

    @property
    def place(self) -> str:
        """The folder of all builds, empty while nothing was built."""
        return str(self._folder or "")

    def folder(self, target: Target, tokens: Mapping[str, str]) -> Path:
        """The `{build}` folder of a target, filled.

        Raises:
            NotReady: a build command failed; shows what it printed.
        """
        with self._lock:
            if self._folder is None:
                self._guard = Guard()
                self._folder = self._guard.folder("forkecho-build-")
            place = self._folder / target.name
            if target.name not in self._done and not self._ours:
                return place  # whoever made the folder has filled it
            if target.name not in self._done:
                place.mkdir(exist_ok=True)
                self._done[target.name] = self._build(target, {**tokens, "build": str(place)})
            if self._done[target.name]:
                raise NotReady(self._done[target.name])
            return place

    @staticmethod
    def _build(target: Target, tokens: Mapping[str, str]) -> str:
        for words in target.manifest.build:
            argv = fill(words, tokens)
            try:
                done = subprocess.run(
                    argv,
                    check=False,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    timeout=300,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"build command {shlex.join(argv)}: {error}"
            if done.returncode:
                return f"build command {shlex.join(argv)} ended with {done.returncode}: {done.stderr.strip()[-TAIL:]}"
        return ""

    def close(self) -> None:
        """Take away what was built."""
        if self._folder and self._ours:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder, self._done = None, {}
        if self._guard:
            self._guard.close()
            self._guard = None
