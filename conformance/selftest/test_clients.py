"""The suite turned round: what is said of clients, good and bad, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from forkecho.conformance import fixture, prove, requirement, target
from forkecho.conformance.case import Template, expand, templates
from forkecho.conformance.clients import running, stage
from forkecho.conformance.clients.bench import bench_for, try_start
from forkecho.conformance.clients.peer import Peer
from forkecho.conformance.clients.stage import DEMANDS, DO, cut
from forkecho.conformance.clients.step import CLIENT_VERBS, Answer, Demand, Message
from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.manifest import Manifest, Needs
from forkecho.conformance.plan import Plan, Selection, UnknownId, canary, select
from forkecho.conformance.requirement import Applies
from forkecho.conformance.result import CaseLine, Verdict
from forkecho.conformance.run import Bench, judge
from forkecho.conformance.target import Builds, NotInstalled, NotReady, Target, UnknownTarget

HERE = Path(__file__).with_name("hostile")
RUN: dict[str, Any] = {"run": {"text": "Hello echo server"}}
TAKE: dict[str, Any] = {"take": "message"}
ECHO: dict[str, Any] = {"answer": "echo"}
END: dict[str, Any] = {"finish": "end"}
RESET: dict[str, Any] = {"finish": "reset"}

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes must be observed"),
]


def expect(what: str) -> dict[str, Any]:
    """A last step."""
    return {"expect": what}


@pytest.fixture
def play(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CaseLine]:
    """Play steps with the fickle client, as a case of their own."""

    def play(
        mood: str, *steps: dict[str, Any], short: bool = False, unread: bool = False, **manifest: Any
    ) -> CaseLine:
        if short:  # what is waited for never comes; the client's start is waited for all the same
            monkeypatch.setattr(stage, "PATIENCE", 0.5)
            monkeypatch.setattr(stage, "ENDS_WITHIN", 1.0)
        if unread:  # that it reads is waited for in vain; its message comes, when it comes
            plain = Peer.await_read
            monkeypatch.setattr(Peer, "await_read", lambda peer, observer, _: plain(peer, observer, 0.5))
        template = Template(requirement="CLIENT-01", title="A title.", steps=list(steps))
        monkeypatch.setattr(
            "forkecho.conformance.case.templates", lambda: {"step/one": (template, "step.toml, [one]")}
        )
        monkeypatch.setattr("forkecho.conformance.case.check", lambda case, place: None)
        words = ["{python}", "{here}/fickle.py", "{host}", "{port}", mood]
        if not manifest.get("stdin"):
            words.append("{message}")
        declared = Manifest(role="client", command=words, ready_within=60, **manifest)
        (case,) = expand(declared).values()
        judged = Target(name="fickle", manifest=declared, here=str(HERE))
        with bench_for(Plan(target=judged), builds, canary=None) as bench:
            return judge(case, bench)

    return play


@pytest.mark.parametrize("stdin", [False, True], ids=["argument", "stdin"])
@pytest.mark.parametrize(
    ("mood", "steps"),
    [
        ("say", [RUN, TAKE, ECHO, END, {"take": "nothing-more"}, expect("printed"), expect("success")]),
        ("say", [RUN, {"take": "end"}, ECHO, END, expect("printed"), expect("nobody-left")]),
        ("say", [RUN, TAKE, {"answer": "altered"}, END, expect("error")]),
        ("say", [RUN, TAKE, {"answer": "swapped"}, END, expect("error")]),
        ("say", [{"run": {"letters": 9000}, "small": True}, {"relay": 9000}, END, expect("end")]),
        ("say", [{"run": {"every-byte": 2}}, TAKE, {**ECHO, "pieces": "halves"}, END, expect("printed")]),
        ("say", [{"run": {"hex": "fffe80"}}, TAKE, {**ECHO, "pieces": "bytes"}, END, expect("printed")]),
        ("say", [{"run": {"text": ""}}, {"take": "end"}, END, expect("success")]),
        ("more", [RUN, TAKE, ECHO, END, {"take": "end"}, expect("error")]),
        ("hasty", [RUN, TAKE, ECHO, {"flood": 1 << 30}, expect("error")]),
        ("resets", [{**RUN, "refused": True}, expect("error")]),
    ],
)
def test_what_a_client_must_do_it_does(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], stdin: bool
) -> None:
    """A case passes when its last step has, wherever the message comes from."""
    line = play(mood, *steps, stdin=stdin)

    assert (line.verdict, line.seen, line.reason) == (Verdict.PASS, "", "")
    assert [event["event"] for event in line.processes][:1] == ["started"]


@pytest.mark.parametrize(
    ("mood", "steps", "expected", "seen"),
    [
        ("half", [RUN, TAKE], "the message, 17 bytes", "8 bytes, then the end of stream; it "),
        ("other", [RUN, TAKE], "b'Hello echo s' around byte 0 of the message", "b'revr"),
        (
            "more",
            [RUN, {"take": "nothing-more"}],
            "nothing after the message, 17 bytes",
            r"b'\r\n', then the ",
        ),
        ("resets", [RUN, TAKE], "the message, 17 bytes", "1 byte, then reset; it "),
        (
            "clings",
            [RUN, {"take": "end"}],
            "the client to end its direction",
            "17 bytes, then silence; it runs",
        ),
        (
            "hasty",
            [RUN, TAKE, ECHO, END, expect("printed")],
            "b'Hello echo server' on standard output",
            "b''",
        ),
        ("hasty", [RUN, TAKE, ECHO, END, expect("success")], "exit status 0, ", "with no word of complaint"),
        ("hasty", [RUN, TAKE, expect("explained")], "a line on standard error", "it has ended with status 1"),
        (
            "rambles",
            [RUN, TAKE, ECHO, expect("explained")],
            "a line on standard error",
            "40 lines, the first 'no'",
        ),
        (
            "crashes",
            [RUN, TAKE, ECHO, expect("error")],
            "an exit status that is not 0",
            "it was killed by SIGTERM",
        ),
        (
            "say",
            [RUN, TAKE, ECHO, END, expect("error")],
            "an exit status that is not 0",
            "ended with status 0",
        ),
        ("say", [RUN, TAKE, {"flood": 1 << 20}], "taken 1048576 bytes in reply to 17", "it has taken 1"),
        ("leaves", [RUN, TAKE, ECHO, END, expect("nobody-left")], "no process of the client", " lives"),
        ("stays", [RUN, TAKE, ECHO, END, expect("end")], "the client to end within 1 s", "it runs"),
        ("hasty", [RUN, TAKE, {"pause": 0.5}], "to wait for the declared 20 s", "after 10 s it has ended"),
        ("stays", [RUN, TAKE, expect("given-up")], "the client to end within 3 s", "it runs"),
        (
            "clings",
            [{**RUN, "small": True}, {"relay": 4}],
            "to read while it writes",
            "4 of 17 bytes, and does not",
        ),
        (
            "hesitates",
            [{**RUN, "small": True}, {"relay": 4}],
            "to read while it writes",
            "4 of 17 bytes, and does not",
        ),
    ],
)
def test_what_a_client_does_instead_is_said(
    play: Callable[..., CaseLine], mood: str, steps: list[dict[str, Any]], expected: str, seen: str
) -> None:
    """Expected and seen, in words."""
    line = play(
        mood,
        *steps,
        short=mood in ("clings", "stays") and "relay" not in steps[-1],
        unread="relay" in steps[-1],
        idle_timeout=2.0 if mood == "stays" else 20.0,
    )

    assert line.verdict is Verdict.FAIL, line.reason
    assert expected in line.expected
    assert seen in line.seen


def test_a_client_that_does_not_come_is_not_waited_for(play: Callable[..., CaseLine]) -> None:
    """That it has ended is seen at once, and said; one that runs and does not come is given up."""
    line = play("absent", RUN, TAKE)

    assert line.verdict is Verdict.FAIL
    assert "a connection from the client" in line.expected
    assert "it has ended with status 1, with " in line.seen
    assert line.seconds < 60  # what it would have been given to come


def test_numbers_of_the_prefix_stand_where_the_form_has_them(play: Callable[..., CaseLine]) -> None:
    """In the reply and in what the client is to print."""
    shown = {"reply": "{ppid} is {pid}: {data}", "prints": "{ppid} is {pid}: {data}"}
    steps = [{**RUN, "pid": 7, "ppid": 4194303}, TAKE, {**ECHO, "pieces": "numbers"}, END]
    line = play("say", *steps, expect("printed"), **shown)

    assert (line.verdict, line.seen) == (Verdict.PASS, "")
    assert play("say", *steps, expect("printed"), reply=shown["reply"]).verdict is Verdict.FAIL
    prefixed = play("say", RUN, TAKE, {"answer": "prefix"}, END, expect("error"), **shown)
    assert prefixed.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ("whole", [b"12:34:ab"]),
        ("prefix", [b"12:34:", b"ab"]),
        ("halves", [b"12:3", b"4:ab"]),
        ("numbers", [b"1", b"2", b":3", b"4", b":ab"]),
        ("bytes", [b"1", b"2", b":", b"3", b"4", b":", b"a", b"b"]),
    ],
)
def test_a_reply_is_cut(pieces: str, expected: list[bytes]) -> None:
    """Into pieces that make up the whole, none of them empty."""
    assert cut(b"12:34:ab", pieces, 6) == expected
    assert cut(b"a", pieces, 0) == [b"a"]
    assert cut(b"", pieces, 0) == []


# The table


def test_every_verb_and_demand_is_done() -> None:
    """What a case may say and what the interpreter does are the same."""
    assert set(DO) == set(CLIENT_VERBS.values())
    assert set(DEMANDS) == set(get_args(get_type_hints(Demand)["expect"]))
    assert "answer" in CLIENT_VERBS
    assert Answer(answer="echo").pieces == "whole"


def test_roles_do_not_mix() -> None:
    """A client has the cases of clients alone, a server those of servers; each of them belongs to one."""
    known = requirement.load()
    servers, clients = expand(Manifest()), expand(Manifest(role="client"))

    assert {case.requirement.role for case in servers.values()} == {"server"}
    assert {case.requirement.role for case in clients.values()} == {"client"}
    stems = {id_.partition("@")[0] for id_ in (*servers, *clients)}
    assert stems == set(templates())
    assert {id_ for id_, one in known.items() if one.role == "client"} == {
        "ECHO-12",
        "ECHO-13",
        *(id_ for id_, one in known.items() if one.group == "CLIENT"),
    }
    first = canary(clients.values())
    assert first
    assert first.requirement.id == "CLIENT-02"


@pytest.mark.parametrize(
    ("role", "chosen", "complaint"),
    [
        (
            "server",
            Selection(requirement=["CLIENT-01"]),
            "CLIENT-01 does not judge a server: use `forkecho check-client`",
        ),
        ("server", Selection(group=["CLIENT"]), "CLIENT does not judge a server"),
        ("server", Selection(case=["client/ends@1"]), "client/ends@1 does not judge a server"),
        ("client", Selection(requirement=["BUF-01"]), "BUF-01 does not judge a client: use `forkecho check`"),
        ("client", Selection(group=["FORK"]), "FORK does not judge a client"),
    ],
)
def test_what_judges_the_others_is_refused(role: Any, chosen: Selection, complaint: str) -> None:
    """With the verb that is meant, not as something unknown."""
    with pytest.raises(UnknownId) as caught:
        select(Plan(target=target.load("reference", role), selection=chosen))

    assert complaint in str(caught.value)


def test_a_case_that_takes_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not come would pass it."""
    template = Template(requirement="CLIENT-10", title="A title.", steps=[RUN, expect("error")])
    monkeypatch.setattr("forkecho.conformance.case.templates", lambda: {"a/b": (template, "a.toml, [b]")})

    with pytest.raises(BadFixture, match="no message is taken"):
        expand(Manifest(role="client"))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"prints": "data"}, "{data} must stand in it"),
        ({"prints": "{pid} {data}"}, "{pid} is not in the reply"),
        ({"command": ["nc", "{port}"]}, "a client's command needs {message}"),
    ],
)
def test_a_manifest_of_a_client_is_checked(given: dict[str, Any], complaint: str) -> None:
    """What it prints can be made out, and the message reaches it."""
    with pytest.raises(BadFixture) as caught:
        fixture.convert({"role": "client", **given}, Manifest, "x.toml")

    assert complaint in str(caught.value)
    assert fixture.convert({"role": "client", "command": ["nc"], "stdin": True}, Manifest, "x.toml").stdin


@pytest.mark.parametrize("fields", [{}, {"text": "a", "letters": 1}, {"hex": "zz"}])
def test_a_message_is_one_of_its_fields(fields: dict[str, Any]) -> None:
    """Neither none nor two, and hexadecimal where it says so."""
    with pytest.raises(ValueError, match=r"exactly one|hexadecimal"):
        Message(**fields)


def test_predicates_on_clients() -> None:
    """Role, way of the message, and declared patience."""
    client = Manifest(role="client", stdin=True, idle_timeout=3)

    assert Applies(role="client", stdin=True, idle_timeout=True).unmet(client) == ""
    assert "the target is a client" in Applies(role="server").unmet(client)
    assert "on standard input" in Applies(stdin=False).unmet(client)
    assert "as an argument" in Applies(stdin=True).unmet(Manifest(role="client"))
    assert "declares an idle-timeout" in Applies(idle_timeout=False).unmet(client)
    assert "declares no idle-timeout" in Applies(idle_timeout=True).unmet(Manifest())


# Targets


def test_a_client_and_a_server_of_one_name_are_two_targets() -> None:
    """The role says which; a manifest of the other one is refused with the verb that is meant."""
    assert target.load("socat", "client").manifest.role == "client"
    assert target.load("socat").manifest.role == "server"
    with pytest.raises(UnknownTarget, match="there is no client 'tcpserver'"):
        target.load("tcpserver", "client")
    with pytest.raises(BadFixture, match="use `forkecho check-client`"):
        target.load(str(target.known("client")["reference"]))


def test_what_cannot_be_started_is_said(builds: Builds) -> None:
    """A program that is missing, by its package; a command that is not found; a build that fails."""

    def plan(**manifest: Any) -> Plan:
        declared = Manifest(role="client", stdin=True, **manifest)
        return Plan(target=Target(name="x", manifest=declared))

    with pytest.raises(NotInstalled, match="Debian package: no-such"):
        try_start(plan(command=["x"], needs=Needs(program="no-such-program", debian="no-such")), builds)
    with pytest.raises(NotReady, match="is not found"):
        try_start(plan(command=["/nowhere/client"]), builds)
    with pytest.raises(NotReady, match="build command"):
        try_start(plan(command=["{build}/client"], build=[["false"]]), builds)
    with pytest.raises(NotReady, match="cannot be started"):
        running.start(plan(command=["/nowhere/client"]).target, builds, 9, b"")


def test_files_and_surroundings_are_a_clients_too(builds: Builds) -> None:
    """Its folder, its environment, and where it runs."""
    manifest = Manifest(
        role="client",
        stdin=True,
        command=["sh", "-c", "cat {dir}/told; echo $A $FORKECHO_PORT; pwd; cat"],
        files={"told": "port {port} of {host}\n"},
        env={"A": "at {host}"},
        cwd="/",
    )
    client = running.start(Target(name="x", manifest=manifest), builds, 4711, b"the message")
    try:
        assert client.await_end(Deadline(30))
        assert client.output("stdout") == b"port 4711 of 127.0.0.1\nat 127.0.0.1 4711\n/\nthe message"
        assert client.code == 0
    finally:
        client.stop()


# The whole


def test_the_bench_is_that_of_the_role(builds: Builds) -> None:
    """A plan says whom it judges."""
    server, client = (Plan(target=target.load("reference", role)) for role in ("server", "client"))

    assert type(bench_for(server, builds, canary=None)) is Bench
    assert type(bench_for(client, builds, canary=None)) is not Bench


def test_a_client_that_never_comes_blocks_the_rest(builds: Builds) -> None:
    """The canary fails once, and nothing else is tried."""
    judged = prove.nulls()["client-does-nothing"].target
    cases = expand(judged.manifest)
    with bench_for(Plan(target=judged), builds, canary=canary(cases.values())) as bench:
        blocked = judge(cases["client/prints"], bench)

    assert blocked.verdict is Verdict.BLOCKED
    assert "a connection from the client" in blocked.reason


def forkecho(*words: str) -> subprocess.CompletedProcess[str]:
    """One command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "forkecho", *words], capture_output=True, text=True, timeout=300, check=False
    )


def test_the_reference_client_keeps_everything() -> None:
    """Of what needs no waiting, each requirement's first case; and the record says that it was a client."""
    first = {case.requirement.id: id_ for id_, case in reversed(expand(Manifest(role="client")).items())}
    chosen = [word for id_ in first.values() if id_ != "client/silence" for word in ("--case", id_)]
    ended = forkecho("check-client", *chosen)

    assert ended.returncode == 0, ended.stdout
    assert f"conformant: {len(first) - 1} passed" in ended.stdout


def test_the_recipes_client_fails_what_it_is_known_for() -> None:
    """A fixed width among it; a failure names the command to see it again."""
    ended = forkecho("check-client", "recipe", "--case", "client/pids-of-all-widths@4194303")

    assert ended.returncode == 1
    assert "b'Received: 03:Hello echo server\\n'" in ended.stdout
    assert "forkecho check-client recipe --case client/pids-of-all-widths@4194303 --seed 0" in ended.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["check", "--requirement", "CLIENT-01"],
            2,
            "CLIENT-01 does not judge a server: use `forkecho check-client`",
        ),
        (
            ["check", "--set", "role=client", "--", "x", "{message}"],
            2,
            "a client is judged by `forkecho check-client`",
        ),
        (["check-client", "--set", "role=server"], 2, "a server is judged by `forkecho check`"),
        (["check-client", "--", "nc", "{host}", "{port}"], 2, "needs {message}"),
        (["check-client", "recipe", "--", "x", "{message}"], 2, "name one client"),
        (["check-client", "xyz"], 2, "there is no client 'xyz' (there are curl, "),
        (["check-client", "--"], 2, "after -- comes the command"),
        (["check-client", "--case", "nope"], 5, "no case fits"),
        (["check-client", "--stdin", "--", "/nowhere/nc", "{port}"], 4, "'/nowhere/nc' is not found"),
        (
            ["list", "cases", "--target", "client:socat", "--requirement", "BUF-01"],
            2,
            "does not judge a client",
        ),
    ],
)
def test_wrong_usage_of_roles_is_said(words: list[str], code: int, said: str) -> None:
    """In one line, with the verb that is meant."""
    ended = forkecho(*words)

    assert (ended.returncode, len(ended.stderr.splitlines())) == (code, 1), ended.stderr
    assert said in ended.stderr


def test_clients_are_listed_and_explained() -> None:
    """By name, with their cases; a requirement of clients names the verb that judges them."""
    assert "The forking recipe's client" in forkecho("list", "clients").stdout
    listed = forkecho("list", "cases", "--target", "client:reference", "--requirement", "ECHO-13").stdout
    assert "client/in-halves" in listed
    assert "(n/a: judges clients)" in forkecho("list", "--requirement", "CLIENT-01").stdout
    assert "forkecho check-client CLIENT --requirement CLIENT-07" in forkecho("explain", "CLIENT-07").stdout
    assert 'finish = "end"' in forkecho("explain", "client/no-reply").stdout


def test_a_command_is_judged(tmp_path: Path) -> None:
    """A client of one's own, with what it prints, and how long it waits."""
    record = tmp_path / "run.jsonl"
    words = ["--prints", "{data}", "--idle-timeout", "1", "--case", "client/prints", "--output", str(record)]
    ended = forkecho(
        "check-client",
        *words,
        "--",
        sys.executable,
        str(HERE / "fickle.py"),
        "{host}",
        "{port}",
        "say",
        "{message}",
    )

    assert ended.returncode == 0, ended.stdout
    assert '"role":"client"' in record.read_text()
    assert '"idle-timeout":1.0' in record.read_text()


def test_a_suite_that_is_killed_takes_the_client_with_it(nothing_left: str) -> None:
    """By SIGKILL, while a client that will not end is waited for; the fixture finds nothing afterwards."""
    client = prove.nulls()["client-hangs"].target
    suite = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "forkecho",
            "check-client",
            str(Path(client.here) / "client-hangs.toml"),
            "--jobs",
            "1",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def hanging() -> bool:
        return any(
            _is_marked(path, nothing_left, b"client_hangs.py") for path in Path("/proc").glob("[0-9]*")
        )

    try:
        assert wait_for(hanging, Deadline(60))
    finally:
        os.kill(suite.pid, signal.SIGKILL)
        suite.wait()


def _is_marked(process: Path, mark: str, name: bytes) -> bool:
    """It bears the mark of a test, and the name is in its command line; it may go at any moment."""
    try:
        return (
            mark.encode() in (process / "environ").read_bytes() and name in (process / "cmdline").read_bytes()
        )
    except OSError:
        return False
