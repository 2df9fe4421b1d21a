"""Targets judged beside each other, each by a `forkecho check` in a process and a session of its own, here or elsewhere."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from forkecho.cli.followed import CLOSES_WITHIN
from forkecho.conformance import result
from forkecho.conformance.matrix import Column
from forkecho.conformance.plan import Plan
from forkecho.conformance.result import BadRecord

__all__ = [
    "CHECK",
    "NET",
    "NOT_FOR_IT",
    "POLL",
    "TAIL",
    "Here",
    "Judged",
    "Order",
    "Place",
    "Playing",
    "Watcher",
    "judge",
    "last_words",
    "not_judged",
    "without_record",
]

#: -P: a folder forkecho in the current one is not ours.
CHECK = (sys.executable, "-P", "-m", "forkecho", "check")

#: What makes a run tell GitHub of itself, which is for one run a step.
NOT_FOR_IT = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")

NET = 180.0  # seconds after which the suite itself ends a case; the same as in conformance/conftest.py
SILENCE = 2 * NET  # seconds without a case that ends: the run hangs, since the net would have caught a case

POLL = 0.2  # seconds; most ends are seen at once, by the end of the pipe
TAIL = 4096  # bytes of standard error of which the last line is shown

COULD_NOT_JUDGE = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # what asks for an end
OUR_FAULT = "this is a fault of forkecho itself"  # as `forkecho.cli.main` ends a traceback
#: Exit codes of `forkecho check` that mean what they say where it has left no record.
PLAIN = (2, 4, 5)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One target that is to be judged.

    Attributes:
        name: of its column.
        plan: what will be tried.
        options: for `forkecho check`.
        known: a list of known failures beside the manifest's.
        word: that names the target.
        cases: how many will be tried.
        record: where its record is to be.
        patience: seconds that the whole run may take.
        silence: seconds that may pass without a case that ends.
    """

    name: str
    plan: Plan
    options: tuple[str, ...]
    known: Path | None
    word: str
    cases: int
    record: Path
    patience: float
    silence: float = SILENCE

    def words(self, word: str = "", known: Path | None = None) -> list[str]:
        """For `forkecho check`; where the target and the list are other files, their places there."""
        word, known = word or self.word, known or self.known
        # A name that looks like an option is none.
        return [
            *self.options,
            *([f"--known={known}"] if known else []),
            f"./{word}" if word.startswith("-") else word,
        ]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: its column, and the exit code that it stands for."""

    column: Column
    exit: int


class Watcher:
    """Is told what goes on; here it does not care."""

    def begins(self, order: Order) -> None:
        """A target is judged from now on."""

    def advances(self, order: Order, done: int, bad: int) -> None:
        """So many cases have ended, so many of them to be looked at."""

    def ended(self, order: Order, judged: Judged) -> None:
        """A target has been judged, or is not going to be."""


class Place(ABC):
    """Where targets are judged, one at a time.

    Attributes:
        name: of it.
        lost: why nothing can be judged there any more.
    """

    name = "here"
    lost = ""

    def takes(self, order: Order) -> bool:
        """It has what the target needs."""
        return True

    @abstractmethod
    def look(self) -> None:
        """Notice that it is lost."""

    @abstractmethod
    def begin(self, order: Order, selector: selectors.BaseSelector) -> Playing:
        """Begin to judge it.

        Raises:
            OSError: that cannot be.
        """


class Here(Place):
    """This machine."""

    def look(self) -> None:
        """It is never lost: whoever asks is here."""

    def begin(self, order: Order, selector: selectors.BaseSelector) -> Playing:
        """Start a process."""
        return _Child(order, selector)


def judge(orders: Sequence[Order], places: Sequence[Place], watcher: Watcher) -> tuple[list[Judged], bool]:
    """Judge them, one at a time in each place, and say whether that was interrupted; then the rest is judged no more.

    A run that hangs, crashes or is killed costs its own target, and so does a place that is lost in the middle of it. Nothing
    of any is left: each is in a session of its own that is ended as a whole, and the guardian of a killed run ends what
    that had started.
    """
    waiting = list(orders)
    running: dict[Place, Playing] = {}
    found: dict[str, Judged] = {}

    def told(order: Order, judged: Judged) -> None:
        found[order.name] = judged
        watcher.ended(order, judged)

    with _Interrupts() as interrupts, selectors.DefaultSelector() as selector:
        try:
            while running or (waiting and not interrupts.count):
                for place in places:
                    if place not in running:
                        place.look()
                    while place not in running and not interrupts.count and not place.lost:
                        order = next((one for one in waiting if place.takes(one)), None)
                        if order is None:
                            break
                        waiting.remove(order)
                        try:
                            running[place] = place.begin(order, selector)
                        except OSError as error:
                            if place.lost:
                                waiting.insert(0, order)
                                continue
                            why = error.strerror or str(error)
                            told(order, not_judged(order, f"it could not be started: {why}"))
                        else:
                            watcher.begins(order)
                for order in [one for one in waiting if not _taken(one, places)]:
                    waiting.remove(order)
                    told(order, not_judged(order, f"not tried: {_no_place(order, places)}"))
                for key, _ in selector.select(POLL) if running else ():
                    key.data.hear(watcher)
                for place, playing in list(running.items()):
                    if interrupts.count:
                        playing.stop("interrupted")
                    playing.look(killed=interrupts.count > 1)
                    if playing.ended:
                        del running[place]
                        told(playing.order, playing.judged())
        finally:
            for playing in running.values():  # only after a fault of ours
                playing.kill()
        for order in waiting:
            found[order.name] = not_judged(order, "not tried: interrupted")
        return [found[order.name] for order in orders], bool(interrupts.count)


def _taken(order: Order, places: Sequence[Place]) -> bool:
    """There is a place for it, free or not."""
    return any(place.takes(order) for place in places if not place.lost)


def _no_place(order: Order, places: Sequence[Place]) -> str:
    """What became of those that there were."""
    lost = {place.name: place.lost for place in places if place.lost and place.takes(order)}
    return f"no host is left ({'; '.join(f'{name}: {why}' for name, why in lost.items())})"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def not_judged(order: Order, why: str, code: int = COULD_NOT_JUDGE) -> Judged:
    """There is no record."""
    return Judged(column=Column(name=order.name, reason=why), exit=code)


def without_record(order: Order, code: int, stopped: str, last: str, unreadable: str = "") -> Judged:
    """How a run ended that has left no record, or none that can be read.

    Args:
        order: what was to be judged.
        code: its exit code, below 0 the signal that ended it.
        stopped: why it was told to end, if it was.
        last: its last words.
        unreadable: what is wrong with its record.
    """
    if unreadable:
        return not_judged(order, f"its record cannot be read: {unreadable}")
    told = stopped or (f"ended by {_signal_name(-code)}" if code < 0 else "")
    if stopped and code == -signal.SIGKILL:
        told += ", and killed, as it did not close its record"
    meant = code in PLAIN and not told
    if not meant:
        told = told or f"ended with exit code {code}, and left no record"
    why = ": ".join(filter(None, (told, last))) or "it said nothing, and left no record"
    return not_judged(order, why, code if meant else COULD_NOT_JUDGE)


def last_words(errors: bytes) -> str:
    """The last line of what was said on standard error."""
    said = errors.decode(errors="replace")
    lines = [line.removeprefix("forkecho: ").strip() for line in said.splitlines() if line.strip()]
    # After a traceback comes whose fault it is; what it is stands before.
    return "; ".join(lines[-2:] if lines and lines[-1] == OUR_FAULT else lines[-1:])


class _Interrupts:
    """Counts what asks for an end, such as Ctrl-C, instead of raising in the middle of something; not in a thread, where none arrive."""

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> _Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {one: signal.signal(one, self._come) for one in SIGNALS}
        return self

    def _come(self, number: int, frame: object) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


class Playing(ABC):
    """A run of `forkecho check` somewhere, from its start to its record; ended when it takes too long."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._why = ""  # it is ended before its time
        self._started = self._heard = time.monotonic()
        self._stopped = 0.0

    @abstractmethod
    def hear(self, watcher: Watcher) -> None:
        """Take what it says about cases that have ended."""

    def look(self, killed: bool) -> None:
        """Is it over its time? Then it is told to end, and made to if it does not."""
        now = time.monotonic()
        if now - self._started > self.order.patience:
            self.stop(f"given up after {self.order.patience:.0f} s")
        elif now - self._heard > self.order.silence:
            self.stop(f"given up after {self.order.silence:.0f} s in which no case ended")
        if self._stopped and (killed or now - self._stopped > CLOSES_WITHIN):
            self.kill()

    def stop(self, why: str) -> None:
        """Tell it, once, to end and to close its record."""
        if not self._why:
            self._why, self._stopped = why, time.monotonic()
            self.tell_to_end()

    @abstractmethod
    def tell_to_end(self) -> None:
        """What it takes."""

    @abstractmethod
    def kill(self) -> None:
        """End it and its workers; a guardian ends the rest."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """It has."""

    @abstractmethod
    def judged(self) -> Judged:
        """Its record, put in its place, or why there is none."""


class _Child(Playing):
    """One in a process of ours."""

    def __init__(self, order: Order, selector: selectors.BaseSelector) -> None:
        super().__init__(order)
        self._selector = selector
        self._done = self._bad = 0
        # Beside the place of its record, so that it gets there in one piece or not at all.
        self._folder = tempfile.TemporaryDirectory(prefix=".forkecho-", dir=order.record.parent)
        self._record = Path(self._folder.name) / "run.jsonl"
        self._errors = Path(self._folder.name) / "stderr"
        reader, writer = os.pipe()
        self._reader = reader
        try:
            with self._errors.open("wb") as errors:
                self._process = subprocess.Popen(
                    [*CHECK, *order.words(), "--output", str(self._record), "--ticks", str(writer)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[writer],
                    start_new_session=True,
                    env={name: value for name, value in os.environ.items() if name not in NOT_FOR_IT},
                )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        selector.register(reader, selectors.EVENT_READ, self)

    def hear(self, watcher: Watcher) -> None:
        """Take what it says about cases that have ended."""
        if not (said := os.read(self._reader, 1 << 16)):
            self._deafen()
            return
        self._heard = time.monotonic()
        self._done += len(said)
        self._bad += said.count(b"x")
        watcher.advances(self.order, self._done, self._bad)

    def tell_to_end(self) -> None:
        """Signals do."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # one that is stopped would not hear

    def kill(self) -> None:
        """Its whole session."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)

    @property
    def ended(self) -> bool:
        """It has."""
        return self._process.poll() is not None

    def judged(self) -> Judged:
        """Its record, put in its place, or why there is none."""
        code = self._process.returncode
        self.kill()  # what is left of its session: what a build command has started, say
        self._deafen()
        try:
            run = result.load(self._record)
            os.replace(self._record, self.order.record)
        except BadRecord as error:
            unreadable = str(error) if self._record.exists() else ""
            return without_record(self.order, code, self._why, self._last_words(), unreadable)
        except OSError as error:
            return not_judged(self.order, f"its record cannot be put in its place: {error.strerror}")
        finally:
            self._folder.cleanup()
        reason = (self._why or "interrupted by somebody else") if run.footer.interrupted else ""
        return Judged(
            column=Column(name=self.order.name, run=run, reason=reason),
            exit=COULD_NOT_JUDGE if reason else run.footer.exit,
        )

    def _last_words(self) -> str:
        return last_words(self._errors.read_bytes()[-TAIL:])

    def _deafen(self) -> None:
        """Hear no more."""
        if self._reader >= 0:
            self._selector.unregister(self._reader)
            os.close(self._reader)
            self._reader = -1
