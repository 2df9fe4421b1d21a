"""Other machines to judge on, and other Pythons, each at the far end of a gateway of execnet's.

pytest-xdist hands out the cases of one session; here it is targets that are handed out, each a whole run with its own header,
model and builds, so execnet is used as xdist itself uses it. What happens at the other end is `forkecho.cli.remote`.
"""

from __future__ import annotations

import datetime
import getopt
import os
import queue
import selectors
import shlex
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

import click
import execnet
import msgspec
from execnet.rsync import RSync

import forkecho
from forkecho.cli import complain, remote
from forkecho.cli.judging import (
    TAIL,
    Judged,
    Order,
    Place,
    Playing,
    Watcher,
    last_words,
    not_judged,
    without_record,
)
from forkecho.cli.saved import save
from forkecho.conformance import result
from forkecho.conformance.collector import Collector
from forkecho.conformance.matrix import Column
from forkecho.conformance.plan import EmptySelection, select, spec_digest
from forkecho.conformance.result import QUIET, BadRecord, CaseLine, Footer, Header, Run
from forkecho.conformance.session import header
from forkecho.conformance.target import Target
from forkecho.conformance.verdict import exit_code

__all__ = ["Host", "Source", "opened", "parsed"]

#: Nobody is there to answer a question; a host that has gone is noticed within 15 s. What the user says stands before.
SSH = "-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
SSH_OPTIONS = "46AaCfGgKkMNnqsTtVvXxYyB:b:c:D:E:e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:"  # ssh(1)

OPENS_WITHIN = 60.0  # seconds until a Python at the other end has answered
ANSWERS_WITHIN = 120.0  # seconds for a question there: a probe takes a few, and there may be many targets
DIES_WITHIN = 10.0  # seconds from being killed to the end; a host where it takes longer does not answer
GOES_WITHIN = 5.0  # seconds for a gateway to close before its process here is killed

#: What is never sent with a manifest, as with pytest-xdist.
LEFT_HERE = (".*", "__pycache__", "*.pyc", "*.pyo", "*~")
FILES_MAX, BYTES_MAX = 5000, 100_000_000  # a folder with more is not that of a manifest and its sources

#: What is asked first, of a Python that may be any: its version, and that of forkecho.
HELLO = """
import sys
sys.path[:] = [place for place in sys.path if place]  # a folder forkecho in the current one is not ours
told = {"python": "%d.%d" % sys.version_info[:2]}
try:
    import forkecho
    told["forkecho"] = forkecho.__version__
    from forkecho.cli import remote
    told.update(remote.hello())
except Exception:
    told["lacks"] = str(sys.exc_info()[1])
channel.send(told)
"""
#: What is executed there, by the function of `remote`.
CALL = "from forkecho.cli import remote; remote.{}(channel)"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the run of a target is made of here: its manifest, and a list of known failures."""

    target: Target
    known: Path | None = None


def parsed(words: Sequence[str]) -> list[execnet.XSpec]:
    """The gateways that are meant, `N*SPEC` as so many.

    Raises:
        click.UsageError: one of them means nothing.
    """
    found = []
    for word in words:
        many, star, spec = word.partition("*")
        count = int(many) if star and many.isdigit() else 1
        text = spec if star and many.isdigit() else word
        for _ in range(count):
            try:
                one = execnet.XSpec(text)
            except (AttributeError, ValueError, IndexError) as error:
                raise click.UsageError(f"--tx {word}: {error}") from None
            if not any(
                isinstance(kind, str) and kind for kind in (one.ssh, one.vagrant_ssh, one.socket)
            ) and (one.popen is not True):
                raise click.UsageError(
                    f"--tx {word}: what is wanted is ssh=HOST, or popen, each with //python=PYTHON if need be"
                )
            found.append(one)
        if not count:
            raise click.UsageError(f"--tx {word}: no gateway at all")
    return found


def label(spec: execnet.XSpec) -> str:
    """What a host is called: its name as for ssh, without the options; of others the specification."""
    if not isinstance(spec.ssh, str):
        return str(spec)
    try:
        return getopt.gnu_getopt(spec.ssh.split(), SSH_OPTIONS)[1][0]
    except (getopt.GetoptError, IndexError):
        return spec.ssh


@contextmanager
def opened(specs: Sequence[execnet.XSpec], sources: Mapping[str, Source]) -> Iterator[list[Host]]:
    """The gateways, each with the right forkecho at its other end and all that it needs of ours; afterwards nothing of it is left.

    Args:
        specs: what is to be opened.
        sources: of the targets that are to be judged, by how they are named.

    Raises:
        click.exceptions.Exit: 2, where one of them cannot be used; a line for each says why, and what helps.
        click.UsageError: what is to be sent is too much.
    """
    group = execnet.Group()
    hosts = [Host(group, spec) for spec in specs]
    try:
        complaints = [said for host in hosts if (said := host.open())]
        for said in dict.fromkeys(complaints):
            complain(said)
        if complaints:
            raise click.exceptions.Exit(2)
        send([host for host in hosts if not host.same_files], sources)
        for host in hosts:
            host.ask_what_is_lacking(sources)
        yield hosts
    finally:
        with suppress(OSError):
            group.terminate(GOES_WITHIN)
        for host in hosts:
            host.close()


class Host(Place):
    """The other end of a gateway.

    Attributes:
        lacks: what each target needs and is not there, by how it is named here.
        places: where their manifests are there, if that is elsewhere.
        known: likewise the lists of known failures.
    """

    def __init__(self, group: execnet.Group, spec: execnet.XSpec) -> None:
        self.spec = spec
        self.name = label(spec)
        self.lost = ""
        self.lacks: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.known: dict[str, Path] = {}
        self.told: dict[str, Any] = {}
        self.gateway: Any = None
        self._group = group
        # What ssh, and the Python there, say to people.
        self._errors: IO[bytes] = tempfile.TemporaryFile(prefix="forkecho-")  # noqa: SIM115, it is closed by `close`

    @property
    def same_files(self) -> bool:
        """It is this machine, where a path means the same."""
        return self.spec.popen is not None and self.spec.via is None

    def open(self) -> str:
        """Open it, and say why it cannot be used, if it cannot."""
        try:
            self._open()
            self.told = self._asked(HELLO, OPENS_WITHIN)
        except Exception as error:
            why = self.last_words() or str(error) or type(error).__name__
            return (
                f"{self.spec}: no Python answers there ({why}); is there one: `{self._shell('--version')}`?"
            )
        if "spec" in self.told and (self.told["forkecho"], self.told["spec"], self.told["protocol"]) == (
            forkecho.__version__,
            spec_digest(),
            remote.PROTOCOL,
        ):
            return ""
        return f"{self.spec}: {self._wrong()}"

    def _wrong(self) -> str:
        """What is wrong with the Python there, and what mends it."""
        here, there = forkecho.__version__, self.told.get("forkecho")
        if tuple(map(int, self.told["python"].split("."))) < (3, 11):
            return f"Python {self.told['python']} is there, forkecho needs 3.11 or later: name another with //python="
        mend = self._shell(f"-m pip install forkecho=={here}")
        if there is None:
            return f"forkecho is missing there ({self.told['lacks']}): `{mend}`"
        if there != here:
            return f"forkecho {there} is there, and {here} is here: `{mend}`"
        if "lacks" in self.told:
            return f"forkecho {there} does not work there ({self.told['lacks']}): `{mend} --force-reinstall`"
        return f"forkecho {there} is there with other requirements and cases than here: install the same one: `{mend} --force-reinstall`"

    def _shell(self, words: str) -> str:
        """A command for the Python there."""
        if isinstance(self.spec.ssh, str):
            config = f"-F {self.spec.ssh_config} " if self.spec.ssh_config else ""
            return f"ssh {config}{self.spec.ssh} {self.spec.python or 'python'} {words}"
        return f"{self.spec.python or shlex.quote(sys.executable)} {words}"

    def _open(self) -> None:
        """Make the gateway, in time or not at all.

        In a thread of its own, in which Ctrl-C is blocked: what is started there inherits that, so that runs are told to end by
        us, with their records closed, and not by the terminal.

        Raises:
            Exception: whatever is wrong with it.
        """
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        spec = execnet.XSpec(str(self.spec))
        if isinstance(spec.ssh, str):
            spec.ssh += f" {SSH}"

        def make() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.gateway = self._group.makegateway(spec)
                ended.put(None)
            except BaseException as error:
                ended.put(error)

        with _errors_to(self._errors):
            threading.Thread(target=make, daemon=True).start()
            try:
                error = ended.get(timeout=OPENS_WITHIN)
            except queue.Empty:
                raise TimeoutError(f"nothing within {OPENS_WITHIN:.0f} s") from None
        if error is not None:
            raise error

    def _asked(self, source: str, within: float, *sent: object) -> Any:
        """What is answered to a question.

        Raises:
            Exception: nothing is, or not in time.
        """
        channel = self.gateway.remote_exec(source)
        for one in sent:
            channel.send(one)
        return channel.receive(within)

    def ask_what_is_lacking(self, sources: Mapping[str, Source]) -> None:
        """Ask what the targets need and is not there.

        Raises:
            click.UsageError: there is no answer.
        """
        words = [self.places.get(word, word) for word in sources]
        try:
            found = self._asked(CALL.format("lacking"), ANSWERS_WITHIN, words)
        except Exception as error:
            raise click.UsageError(f"--tx {self.spec}: {self.why(error)}") from None
        self.lacks = {word: lacks for word, lacks in zip(sources, found, strict=True) if lacks}

    def why(self, error: BaseException | None = None) -> str:
        """Its last words, or what is known of its end."""
        said = str(error).strip().splitlines()[-1:] if error else []
        return self.last_words() or next(iter(said), "") or "the connection has ended"

    def last_words(self) -> str:
        """The last line that came on standard error."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - TAIL))
        return last_words(self._errors.read())

    def takes(self, order: Order) -> bool:
        """It has what the target needs, as far as it has said."""
        return order.word not in self.lacks

    def look(self) -> None:
        """It may go while nothing is judged there."""
        if not self.lost and not self.gateway.hasreceiver():
            self.lose(self.why())

    def begin(self, order: Order, selector: selectors.BaseSelector) -> Playing:
        """Have it judged there."""
        try:
            return _Far(order, self, selector)
        except OSError:
            self.lose(self.why())
            raise

    def lose(self, why: str) -> None:
        """Nothing is expected of it any more; it is closed with all others, and by force if need be."""
        self.lost = self.lost or why

    def close(self) -> None:
        """Forget what it has said."""
        self._errors.close()


@contextmanager
def _errors_to(file: IO[bytes]) -> Iterator[None]:
    """What is started meanwhile has that file as its standard error: execnet leaves us no other way to give it one."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# What is sent


class _Folder(RSync):
    """A folder that is sent to many hosts at once."""

    def filter(self, path: str) -> bool:
        """What is sent of it."""
        return _sent(path)


def _sent(path: str) -> bool:
    """It is a file, a folder or a link that can be read, and nothing that is made anew anyway."""
    if any(fnmatch(os.path.basename(path), one) for one in LEFT_HERE):
        return False
    mode = os.lstat(path).st_mode
    return stat.S_ISLNK(mode) or ((stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and os.access(path, os.R_OK))


def send(hosts: Sequence[Host], sources: Mapping[str, Source]) -> None:
    """Send the folders of the user's own manifests, and the lists of known failures, into folders that go when the gateway does.

    Raises:
        click.UsageError: a folder is too much to send, or cannot be sent.
    """
    own = {word: one for word, one in sources.items() if one.target.path}
    lists = {word: one.known for word, one in sources.items() if one.known}
    folders = list(dict.fromkeys(one.target.here for one in own.values()))
    for folder in folders:
        _refuse_much(folder)
    if not hosts or not (own or lists):
        return
    names = {word: f"known-{number}.toml" for number, word in enumerate(lists)}
    texts = {names[word]: path.read_bytes() for word, path in lists.items()}
    try:
        places = {host: host._asked(CALL.format("keep"), ANSWERS_WITHIN, texts) for host in hosts}
        for number, folder in enumerate(folders):
            sync = _Folder(folder, verbose=False)
            for host, place in places.items():
                sync.add_target(host.gateway, f"{place}/{number}")
            sync.send()
    except Exception as error:
        why = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise click.UsageError(f"what the targets are made of cannot be sent: {why[0]}") from None
    for host, place in places.items():
        host.places = {
            word: f"{place}/{folders.index(one.target.here)}/{Path(one.target.path).name}"
            for word, one in own.items()
        }
        host.known = {word: Path(place, name) for word, name in names.items()}


def _refuse_much(folder: str) -> None:
    files = octets = 0
    for place, inside, names in os.walk(folder):
        inside[:] = [name for name in inside if _sent(os.path.join(place, name))]
        for name in names:
            path = os.path.join(place, name)
            if _sent(path):
                files, octets = files + 1, octets + os.lstat(path).st_size
        if files > FILES_MAX or octets > BYTES_MAX:
            raise click.UsageError(
                f"{folder}: it is sent with the manifest that stands in it, and has more than {FILES_MAX} files or "
                f"{BYTES_MAX // 1_000_000} MB: put the manifest and its sources into a folder of their own"
            )


# What is judged


class _Far(Playing):
    """A run at the other end of a gateway."""

    def __init__(self, order: Order, host: Host, selector: selectors.BaseSelector) -> None:
        super().__init__(order)
        self.host = host
        self._selector = selector
        self._began = datetime.datetime.now(datetime.UTC)
        self._header: Header | None = None
        self._lines: dict[str, CaseLine] = {}
        self._record: list[bytes] = []  # lines since the last header
        self._pending = b""
        self._ended: tuple[Any, ...] = ()  # what was said at the end
        self._over = False
        self._killed = self._beaten = 0.0
        self._decoder = msgspec.json.Decoder(Header | CaseLine | Footer)
        # From the thread that receives: what came, and a byte that wakes us.
        self._come: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        place = host.places.get(order.word, "")
        words = order.words(place or self._here(), host.known.get(order.word))
        try:
            self._channel = host.gateway.remote_exec(CALL.format("play"))
            self._channel.send((words, os.path.dirname(place), remote.DEAF_AFTER))
        except OSError:
            os.close(self._reader)
            os.close(self._writer)
            raise
        selector.register(self._reader, selectors.EVENT_READ, self)
        self._channel.setcallback(self._take, endmarker=None)

    def _here(self) -> str:
        """The manifest by a path that means the same in whatever folder the gateway is."""
        return str(Path(self.order.word).resolve()) if self.order.plan.target.path else self.order.word

    def _take(self, item: tuple[Any, ...] | None) -> None:
        self._come.put(item)
        with suppress(OSError):  # it is full, and wakes us as well; or we listen no more
            os.write(self._writer, b".")
        if item is None:  # the last
            os.close(self._writer)

    def hear(self, watcher: Watcher) -> None:
        """Take what has come."""
        os.read(self._reader, 1 << 16)
        before = len(self._lines)
        with suppress(queue.Empty):
            while not self._over:
                item = self._come.get_nowait()
                if item is None:
                    self._over = True
                    self._lose()
                elif item[0] == "told":
                    self._read(item[1])
                else:
                    self._ended, self._over = item, True
                    self._say(remote.HEARD)
        if len(self._lines) != before:
            self._heard = time.monotonic()
            bad = sum(line.verdict not in QUIET for line in self._lines.values())
            watcher.advances(self.order, len(self._lines), bad)

    def _read(self, octets: bytes) -> None:
        *lines, self._pending = (self._pending + octets).split(b"\n")
        for line in lines:
            try:
                found = self._decoder.decode(line)
            except msgspec.DecodeError:
                continue  # cut by an interrupt, and told again
            if isinstance(found, Header):
                self._header = found
                self._record.clear()
            elif isinstance(found, CaseLine):
                self._lines.setdefault(found.id, found)
            self._record.append(line)

    def look(self, killed: bool) -> None:
        """As with others; besides, say that we are there, and give up a host that does not answer."""
        super().look(killed)
        now = time.monotonic()
        if self._over:
            return
        if now - self._beaten > remote.BEAT:
            self._beaten = now
            self._say(remote.ALIVE)
        if self._killed and now - self._killed > DIES_WITHIN:
            self._over = True
            self._lose("it does not answer")

    def tell_to_end(self) -> None:
        """A word does."""
        self._say(remote.END)

    def kill(self) -> None:
        """Likewise."""
        if not self._killed:
            self._killed = time.monotonic()
            self._say(remote.KILL)

    def _say(self, word: str) -> None:
        with suppress(OSError):  # that it has gone is noticed by its end
            self._channel.send(word)

    def _lose(self, why: str = "") -> None:
        """The host is lost, unless the end was told."""
        self._over = True
        if not self._ended:
            error = None
            if not why:
                try:
                    self._channel.waitclose(0)
                except Exception as raised:
                    error = raised
            self.host.lose(why or self.host.why(error))

    @property
    def ended(self) -> bool:
        """It has, or nothing more can be heard of it."""
        return self._over

    def judged(self) -> Judged:
        """Its record, put in its place, or what it had told until it was lost, or why there is none."""
        self._selector.unregister(self._reader)
        os.close(self._reader)
        if self._ended and self._ended[0] == "failed":
            return not_judged(self.order, f"it could not be started: {self._ended[1]}")
        try:
            run = result.parse(b"".join(line + b"\n" for line in self._record).decode(), "its record")
        except (BadRecord, UnicodeDecodeError) as error:
            if not self._ended:
                return self._lost()
            unreadable = str(error) if self._record and isinstance(error, UnicodeDecodeError) else ""
            return without_record(
                self.order, self._ended[1], self._why, last_words(self._ended[2]), unreadable
            )
        reason = (self._why or "interrupted by somebody else") if run.footer.interrupted else ""
        return self._kept(run, reason)

    def _lost(self) -> Judged:
        """What was told until then, and for each other case that it was lost."""
        said = f"host {self.host.name} was lost: {self.host.lost}"
        try:
            collector = Collector(self.order.plan, select(self.order.plan))
        except EmptySelection:
            return not_judged(self.order, said)
        for line in self._lines.values():
            collector.take(line)
        collector.crashed = said
        lines = sorted(collector.results(), key=lambda line: line.id)
        plan = self.order.plan
        about = self._header or header(plan, len(lines), self._began, host=self.host.told["host"])
        footer = Footer(
            totals=result.totals(lines),
            selected=len(lines),
            exit=exit_code(lines, strict=plan.strict),
            seconds=round(time.monotonic() - self._started, 3),
            interrupted=False,
        )
        return self._kept(Run(header=about, cases=tuple(lines), footer=footer), said)

    def _kept(self, run: Run, reason: str) -> Judged:
        """A column of the run, with its record in its place: on which host it was judged, and of which manifest here."""
        about = run.header
        judged = about.target
        if self.order.plan.target.path:
            judged = {**judged, "manifest": self.order.plan.target.path}
        place = {**about.host, "name": self.host.told["host"]["name"], "gateway": self.host.name}
        run = msgspec.structs.replace(run, header=msgspec.structs.replace(about, target=judged, host=place))
        try:
            save(result.dump(run), self.order.record)
        except click.FileError as error:
            return not_judged(self.order, f"its record cannot be put in its place: {error.message}")
        exit_ = 3 if reason else run.footer.exit
        return Judged(column=Column(name=self.order.name, run=run, reason=reason), exit=exit_)
