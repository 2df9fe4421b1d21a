"""Real hosts: two network namespaces, an sshd in each, and the matrix in a third that reaches them by a cable that can be cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from forkecho.conformance import fixture, result
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.guardian import cgroups
from forkecho.conformance.result import Run, Verdict

pytestmark = pytest.mark.once

PATIENT = 120.0  # seconds for what takes a few, unless the machine is loaded
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
#: sshd insists on a folder /run/sshd: each has a /run of its own, so that the machine's is left alone.
OWN_RUN = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"',
    "sh",
)
NEEDED = {"ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client", "nsenter": "util-linux"}
CASES = ("--group", "ECHO", "--group", "FORK")

#: A server that says by a file that it has served many: by then cases have been reported.
COUNTING = """
import pathlib, sys
from socketserver import ForkingTCPServer, StreamRequestHandler

class Echo(StreamRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)

class Counting(ForkingTCPServer):
    allow_reuse_address, served = True, 0

    def process_request(self, request, address):
        self.served += 1
        if self.served == 12:
            pathlib.Path(sys.argv[2]).touch()
        super().process_request(request, address)

Counting(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever(0.05)
"""


def run(*words: str) -> str:
    """What a command prints; it must end with 0."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Cable:
    """Two hosts, `one` and `two`, a near end, and what reaches from there to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.near = self._namespace("n")
        self.far = {name: self._namespace(name) for name in ("one", "two")}
        self.config = folder / "ssh_config"
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("host", "user"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        lines = [
            f"IdentityFile {folder}/user",
            "IdentitiesOnly yes",
            "StrictHostKeyChecking no",
            f"UserKnownHostsFile {folder}/known_hosts",
            "LogLevel ERROR",
            "Port 2222",
        ]
        for number, (name, space) in enumerate(self.far.items()):
            here, there = f"192.0.2.{4 * number + 1}", f"192.0.2.{4 * number + 2}"
            ends = (f"fe{os.getpid()}{number}a", f"fe{os.getpid()}{number}b")
            run(
                "ip", "-n", self.near, "link", "add", ends[0], "type", "veth", "peer", ends[1], "netns", space
            )
            for end, place, address in ((ends[0], self.near, here), (ends[1], space, there)):
                run("ip", "-n", place, "address", "add", f"{address}/30", "dev", end)
                run("ip", "-n", place, "link", "set", end, "up")
            lines += [f"Host {name}", f"  HostName {there}"]
            self._serve(name, there)
        self.config.write_text("\n".join([*lines, "Host closed", "  HostName 192.0.2.1", ""]))

    def _namespace(self, name: str) -> str:
        space = f"fe{os.getpid()}{name}"
        run("ip", "netns", "add", space)
        self._stack.callback(run, "ip", "netns", "delete", space)
        self._stack.callback(self._clear, space)
        run("ip", "-n", space, "link", "set", "lo", "up")
        return space

    def _clear(self, space: str) -> None:
        """Kill all there; of guardians, which cannot clear away any more, the cgroups go as well."""
        killed = set(self.pids(space))
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not self.pids(space), Deadline(PATIENT))
        for group in (Path(one) for pid in killed for one in cgroups(pid)):
            if group.is_dir():
                group.rmdir()

    @staticmethod
    def pids(space: str) -> list[int]:
        """Every process there."""
        return [int(word) for word in run("ip", "netns", "pids", space).split()]

    def _serve(self, name: str, address: str) -> None:
        settings = self.folder / f"sshd-{name}"
        settings.write_text(
            f"ListenAddress {address}:2222\nHostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/user.pub\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        )
        assert SSHD
        with (self.folder / f"log-{name}").open("wb") as log:
            server = subprocess.Popen(
                [*self.inside(self.far[name]), *OWN_RUN, SSHD, "-D", "-e", "-f", str(settings)],
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._stack.callback(server.wait)
        self._stack.callback(server.kill)
        self._servers[name] = server
        listening = (*self.inside(self.far[name]), "ss", "-Hltn", "sport", "=", ":2222")
        assert wait_for(lambda: bool(run(*listening)), Deadline(PATIENT)), (
            self.folder / f"log-{name}"
        ).read_text()

    @staticmethod
    def inside(space: str) -> tuple[str, ...]:
        """A command's beginning that has it run there; the machine's files are the same."""
        return ("nsenter", f"--net=/run/netns/{space}")

    def spec(self, name: str, mark: str, temporary: Path, python: str = sys.executable) -> str:
        """A gateway to a host, on which processes bear the mark of the test."""
        return (
            f"ssh={name}//ssh_config={self.config}//python={python}"
            f"//env:FORKECHO_SELFTEST={mark}//env:TMPDIR={temporary}"
        )

    def matrix(self, *words: str) -> subprocess.Popen[str]:
        """`forkecho matrix` at the near end."""
        return subprocess.Popen(
            [*self.inside(self.near), sys.executable, "-m", "forkecho", "matrix", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def idle(self, name: str) -> bool:
        """Nothing but the sshd that listens is there any more."""
        return self.pids(self.far[name]) == [self._servers[name].pid]


@pytest.fixture
def cable() -> Iterator[Cable]:
    """Two hosts; nothing of them is left, and the machine's own ssh and network are as they were."""
    if os.geteuid() != 0:
        pytest.skip("only root may make network namespaces")
    missing = [
        f"{name} (Debian package: {package})" for name, package in NEEDED.items() if not shutil.which(name)
    ]
    missing += [] if SSHD else ["sshd (Debian package: openssh-server)"]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")
    with ExitStack() as stack:
        try:
            run("ip", "netns", "add", f"fe{os.getpid()}")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace may be made here: {error.stderr.strip()}")
        run("ip", "netns", "delete", f"fe{os.getpid()}")
        yield Cable(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fe-ssh-"))), stack)


@pytest.fixture
def counting(temporary: Path, tmp_path: Path) -> tuple[str, Path]:
    """The manifest of a server that says by a file that it is in the middle of its run; and that file."""
    place = temporary / "counting"
    place.mkdir()
    (place / "server.py").write_text(COUNTING)
    command = ["{python}", "{here}/server.py", "{port}", str(tmp_path / "middle")]
    (place / "counting.toml").write_text(f"command = {json.dumps(command)}\n")
    return str(place / "counting.toml"), tmp_path / "middle"


def test_targets_are_judged_on_two_hosts(
    nothing_left: str, cable: Cable, temporary: Path, tmp_path: Path
) -> None:
    """Each whole at one of them, with what it is made of; the records come back, and nothing stays there."""
    place = temporary / "mine"
    place.mkdir()
    shutil.copy(fixture.folder("targets") / "forking_stream.py", place / "ours.py")
    (place / "mine.toml").write_text('command = ["{python}", "{here}/ours.py", "{host}", "{port}"]\n')
    own = str(place / "mine.toml")
    specs = [word for name in cable.far for word in ("--tx", cable.spec(name, nothing_left, temporary))]
    with cable.matrix(
        "c", own, "reference", *CASES, *specs, "--output", str(tmp_path / "records")
    ) as process:
        out, errors = process.communicate()

    assert process.returncode in (0, 1), out + errors  # on a machine that is loaded not every case passes
    runs = {path.stem: result.load(path) for path in (tmp_path / "records").iterdir()}
    assert set(runs) == {"c", "mine", "reference"}
    assert {one.header.host["gateway"] for one in runs.values()} == {"one", "two"}
    assert runs["mine"].header.target["manifest"] == own
    assert all(case.verdict is not Verdict.BROKEN for one in runs.values() for case in one.cases)
    for name in cable.far:
        assert wait_for(lambda name=name: cable.idle(name), Deadline(PATIENT)), name


def lost(path: Path, host: str) -> Run:
    """The record of a run in whose middle its host was lost."""
    one = result.load(path)
    broken = [case for case in one.cases if case.verdict is Verdict.BROKEN]
    assert len({case.id for case in one.cases}) == one.footer.selected
    assert 0 < len(broken) < len(one.cases)
    assert all(case.reason.startswith(f"host {host} was lost") for case in broken)
    return one


@pytest.mark.parametrize("how", ["killed", "cut"])
def test_a_host_is_lost_in_the_middle(
    nothing_left: str, cable: Cable, counting: tuple[str, Path], temporary: Path, tmp_path: Path, how: str
) -> None:
    """Whether it dies or the cable is cut, its cases alone are broken, and what was to come is judged by the other.

    A host that is cut off learns of it by nobody, and ends what runs there all the same.
    """
    manifest, middle = counting
    specs = [word for name in cable.far for word in ("--tx", cable.spec(name, nothing_left, temporary))]
    with cable.matrix(
        manifest, "c", "reference", *CASES, *specs, "--output", str(tmp_path / "records")
    ) as process:
        assert wait_for(middle.exists, Deadline(PATIENT))
        if how == "killed":
            cable._clear(cable.far["one"])
        else:
            run("ip", "-n", cable.near, "link", "set", f"fe{os.getpid()}0a", "down")
        out, errors = process.communicate()

    assert process.returncode == 3, out + errors
    one = lost(tmp_path / "records" / "counting.jsonl", "one")
    assert one.header.host["gateway"] == "one"
    for name in ("c", "reference"):
        kept = result.load(tmp_path / "records" / f"{name}.jsonl")
        assert (kept.header.host["gateway"], kept.footer.exit in (0, 1)) == ("two", True)
    assert [line.partition(":")[0] for line in errors.splitlines()].count("counting") == 1
    if how == "cut":
        assert wait_for(lambda: len(cable.pids(cable.far["one"])) <= 3, Deadline(PATIENT)), "more than sshd"
    else:  # a machine that dies keeps its files
        for path in temporary.glob("forkecho-*"):
            shutil.rmtree(path)


def test_ctrl_c_ends_what_runs_on_a_host(
    nothing_left: str, cable: Cable, counting: tuple[str, Path], temporary: Path, tmp_path: Path
) -> None:
    """The record is closed there and comes back; nothing is left there, no process and no file."""
    manifest, middle = counting
    spec = cable.spec("one", nothing_left, temporary)
    with cable.matrix(manifest, *CASES, "--tx", spec, "--output", str(tmp_path / "records")) as process:
        assert wait_for(middle.exists, Deadline(PATIENT))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: ssh hears it too
        out, errors = process.communicate()

    assert process.returncode == 130, out + errors
    assert result.load(tmp_path / "records" / "counting.jsonl").footer.interrupted
    assert wait_for(lambda: cable.idle("one"), Deadline(PATIENT))


def test_a_killed_matrix_leaves_nothing_on_a_host(
    nothing_left: str, cable: Cable, counting: tuple[str, Path], temporary: Path, tmp_path: Path
) -> None:
    """What runs there notices that the gateway has closed."""
    manifest, middle = counting
    spec = cable.spec("one", nothing_left, temporary)
    with cable.matrix(manifest, *CASES, "--tx", spec, "--output", str(tmp_path / "records")) as process:
        assert wait_for(middle.exists, Deadline(PATIENT))
        process.kill()

    assert wait_for(lambda: cable.idle("one"), Deadline(PATIENT))


def test_hosts_that_cannot_be_used_are_refused(
    cable: Cable, temporary: Path, mark_free: Callable[[str], str]
) -> None:
    """Before anything is judged, a line for each: nobody listens, and no forkecho."""
    closed, bare = mark_free("closed"), mark_free("one")
    with cable.matrix("c", "--tx", closed, "--tx", bare) as process:
        out, errors = process.communicate()

    assert (process.returncode, out) == (2, "")
    first, second = errors.splitlines()
    assert "no Python answers there (ssh: connect to host 192.0.2.1 port 2222: Connection refused)" in first
    assert "forkecho is missing there" in second
    assert f"`ssh -F {cable.config} one {sys.executable} -S -m pip install forkecho==" in second


@pytest.fixture
def mark_free(cable: Cable) -> Callable[[str], str]:
    """A gateway to a Python that has nothing but its standard library."""
    return lambda name: f"ssh={name}//ssh_config={cable.config}//python={sys.executable} -S"
