"""Manifests: forms of replies, what is refused in which words, and the placeholders of commands."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forkecho.conformance import fixture, target
from forkecho.conformance.case import expand
from forkecho.conformance.manifest import DEFAULT_DEMAND, Claim, Manifest, Reply, concerns
from forkecho.conformance.requirement import Applies

PIDS = [7, 42, 123, 4194, 32768, 419430, 4194304, 12345678, 999999999, 2147483647]  # of 1 to 10 digits
PAYLOADS = [b"", b"x", b"12", b"12:34:", b":", b": ", b"0", b" ", b"\n", b"\xff\x00", b"::1:2:3"]


@pytest.mark.parametrize("payload", PAYLOADS, ids=repr)
@pytest.mark.parametrize("pid", PIDS)
def test_all_four_forms_are_split_at_their_separators(pid: int, payload: bytes) -> None:
    """PIDs of any width are found, and digits and colons of the payload stay in the payload."""
    ppid = PIDS[-1 - PIDS.index(pid)]
    for form, prefix, claim in (
        ("{data}", b"", Claim(octets=b"")),
        ("{ppid}:{data}", b"%d:" % ppid, Claim(octets=b"%d:" % ppid, ppid=ppid)),
        ("{pid}: {data}", b"%d: " % pid, Claim(octets=b"%d: " % pid, pid=pid)),
        (
            "{pid}:{ppid}:{data}",
            b"%d:%d:" % (pid, ppid),
            Claim(octets=b"%d:%d:" % (pid, ppid), pid=pid, ppid=ppid),
        ),
    ):
        assert Reply(form).split(prefix + payload) == claim
        assert len(prefix) <= Reply(form).longest


@pytest.mark.parametrize("form", ["{ppid}:{data}", "{pid}: {data}", "{pid}:{ppid}:{data}"])
def test_a_prefix_that_is_not_whole_is_not_split(form: str) -> None:
    """However much of it has come, a prefix is there only with its last separator."""
    whole = form.removesuffix("{data}").replace("{pid}", "4712").replace("{ppid}", "4711").encode()
    for length in range(len(whole)):
        assert Reply(form).split(whole[:length]) is None
    assert Reply(form).split(whole) is not None


@pytest.mark.parametrize(
    "octets", [b"x:1:", b"-5:1:", b" 5:1:", b"5;1:", b"5::", b":5:", b"5:1 :", b"\xd9\xa1:1:"]
)
def test_what_is_no_prefix_is_not_split(octets: bytes) -> None:
    """Only ASCII digits and the very separators make a prefix."""
    assert Reply("{pid}:{ppid}:{data}").split(octets + b"data") is None


def test_how_numbers_are_written_is_judged_elsewhere() -> None:
    """Leading zeros are split all the same: ECHO-11 alone is to fail for them."""
    assert Reply("{pid}:{data}").split(b"007:x") == Claim(octets=b"007:", pid=7)


def test_separators_are_taken_literally() -> None:
    """Characters that mean something in a pattern mean themselves here."""
    assert Reply("[{pid}] .*{ppid}|{data}").split(b"[5] .*6|x") == Claim(octets=b"[5] .*6|", pid=5, ppid=6)
    assert Reply("[{pid}] .*{ppid}|{data}").split(b"[5] abc6|x") is None


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("{pid}", "{data} must stand at the end, once"),
        ("", "{data} must stand at the end, once"),
        ("{data}:{pid}", "{data} must stand at the end, once"),
        ("{data}{data}", "{data} must stand at the end, once"),
        ("{data} ", "{data} must stand at the end, once"),
        ("{tid}:{data}", "{tid} is unknown (there are {pid}, {ppid}, {data})"),
        ("{pid}:{pid}:{data}", "{pid} and {ppid} may stand once each"),
        ("{ppid}:{ppid}:{data}", "{pid} and {ppid} may stand once each"),
        ("{pid}{data}", "a number must be followed by something that is no digit"),
        ("{pid}{ppid}:{data}", "a number must be followed by something that is no digit"),
        ("{pid}0:{data}", "a number must be followed by something that is no digit"),
    ],
)
def test_a_form_that_cannot_be_split_again_is_refused(form: str, words: str) -> None:
    """The complaint names the form and the rule that it breaks."""
    with pytest.raises(ValueError, match="^reply ") as raised:
        Reply(form)

    assert str(raised.value).startswith(f"reply {form!r}: ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"reply": "{pid}{data}"}, "must be followed by something that is no digit"),
        ({"announce": "port ("}, "announce 'port (' is no pattern"),
        ({"announce": "port 7"}, "has no group: the port is taken from group 1"),
        ({"ready-within": 0}, "ready-within must be above 0"),
        ({"message-max": 0}, "message-max must be above 0"),
        ({"drain-within": -1}, "drain-within must be above 0"),
        ({"max-connections": -1}, "must not be below 0"),
        ({"idle-timeout": -0.5}, "must not be below 0"),
        ({"ready-within": math.inf}, "ready-within must be a finite number of seconds, not inf"),
        ({"drain-within": math.nan}, "drain-within must be a finite number of seconds, not nan"),
        ({"idle-timeout": math.nan}, "idle-timeout must be a finite number of seconds, not nan"),
        ({"known": {"ECHO-01": " "}}, "each entry of [known] needs a reason"),
        (
            {"known": {"ECHO-01": {"reason": "old", "seen": "("}}},
            "known 'ECHO-01': seen '(' is no pattern: missing ), unterminated subpattern",
        ),
        ({"framing": "lines"}, "Invalid enum value 'lines'"),
        ({"lineage": "adopted"}, "Invalid enum value 'adopted'"),
        ({"drain": "later"}, "Invalid enum value 'later'"),
        ({"families": ["ipv5"]}, "Invalid enum value 'ipv5'"),
        ({"python": "3.8"}, "python '3.8': what is wanted is versions, such as '>=3.8'"),
        ({"families": []}, "families must name one at least"),
        ({"command": "server {port}"}, "Expected `array`, got `str` - at `$.command`"),
        ({"max_connections": 5}, "unknown field `max_connections` (there are announce, build, command,"),
        ({"comand": []}, "unknown field `comand`"),
        ({"needs": {"debian": "socat"}}, "missing required field `program`"),
        ({"needs": {"program": "lua", "probe": "lua"}}, "Expected `array`, got `str` - at `$.needs.probe`"),
        ({"needs": {"program": "lua", "probe": ["lua", "{port}"]}}, "probe: {port} is not known before"),
        ({"needs": {"program": "lua", "probe": ["lua", "@BUILD@/x"]}}, "probe: {build} is not known before"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_place(raw: dict[str, Any], words: str) -> None:
    """The complaint begins with the place, and says what would be right."""
    with pytest.raises(fixture.BadFixture) as raised:
        fixture.convert({"command": ["x"], **raw}, Manifest, "mine.toml")

    assert str(raised.value).startswith("mine.toml: ")
    # msgspec quotes what a check of ours said.
    assert words in str(raised.value)


def test_defaults_are_those_of_the_design() -> None:
    """What a manifest does not say is as the table in the README has it."""
    plain = Manifest(command=["server", "{port}"])

    assert (plain.reply, plain.framing, plain.message_max, plain.ready_within) == (
        "{data}",
        "stream",
        1024,
        5,
    )
    assert (plain.lineage, plain.drain, plain.drain_within, plain.idle_timeout) == ("direct", "", 5, 0)
    assert (plain.families, plain.in_process, plain.max_connections) == (["ipv4"], False, 0)
    assert plain.demand == DEFAULT_DEMAND == 64
    assert Manifest(max_connections=40).demand == 40


@pytest.mark.parametrize(
    ("command", "fixed"),
    [(["s", "{port}"], True), (["s", "bind=@HOST@:@PORT@"], True), (["s", "p{port}x"], True), (["s"], False)],
)
def test_a_port_is_fixed_where_the_command_is_told_it(command: list[str], fixed: bool) -> None:
    """A target that is not told a port picks it itself."""
    assert Manifest(command=command).fixed_port is fixed
    assert (Applies(fixed_port=True).unmet(Manifest(command=command)) == "") is fixed


def test_a_path_is_fixed_where_the_command_is_told_it() -> None:
    """A UNIX socket has no port: the host or the path is what it is told."""
    told = Manifest(command=["s", "{path}"], families=["unix"])

    assert told.fixed_port
    assert Manifest(command=["s", "{host}"], families=["unix"]).fixed_port
    assert not Manifest(command=["s", "{port}"], families=["unix"]).fixed_port


def test_the_first_family_says_what_the_transport_is() -> None:
    """The others are judged by requirements of their own, which ask whether they are declared."""
    unix, both = Manifest(families=["unix"]), Manifest(families=["ipv4", "unix"])

    assert (unix.transport, both.transport) == ("unix", "tcp")
    assert Applies(transport="tcp").unmet(unix) == "the target listens on a UNIX socket"
    assert Applies(transport="unix").unmet(both) == "the target speaks TCP"
    assert Applies(transport="tcp").unmet(both) == ""
    assert (
        Applies(families=["ipv6", "dual"]).unmet(both)
        == "the target does not declare ipv6 or dual (families)"
    )
    assert Applies(families=["dual", "unix"]).unmet(both) == ""


# Placeholders


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("{port}", "7"),
        ("@PORT@", "7"),
        ("TCP-LISTEN:{port},bind={host},fork", "TCP-LISTEN:7,bind=127.0.0.1,fork"),
        ("@HOST@:@PORT@", "127.0.0.1:7"),
        ("{max-connections}", "5"),
        ("@MAX-CONNECTIONS@", "5"),
        ("{pid}:{data}", "{pid}:{data}"),
        ("{ port }", "{ port }"),
        ("{{port}}", "{7}"),
        ("{PORT}", "{PORT}"),
        ("@port@", "@port@"),
        ("awk '{print $1}'", "awk '{print $1}'"),
        ("{}", "{}"),
        ("{port", "{port"),
        ("service x\n{\n port = {port}\n}\n", "service x\n{\n port = 7\n}\n"),
    ],
)
def test_placeholders_are_replaced_and_other_braces_left_alone(word: str, filled: str) -> None:
    """Whole tokens only, in both spellings; whatever else has braces stays as it is."""
    tokens = {"host": "127.0.0.1", "port": "7", "max-connections": "5"}

    assert target.fill([word], tokens) == [filled]


def test_what_was_put_in_is_not_filled_again() -> None:
    """A value that looks like a placeholder is a value."""
    assert target.fill(["{dir}/{port}"], {"dir": "/tmp/{port}", "port": "7"}) == ["/tmp/{port}/7"]


# Files


def test_every_shipped_target_loads() -> None:
    """Each says what it is, and each entry of [known] speaks of cases that there are."""
    for name in target.known():
        found = target.load(name)
        assert found.name == name
        assert found.manifest.title
        cases = expand(found.manifest).values()
        for entry in found.manifest.known:
            assert any(concerns(entry, case.id, case.requirement.id) for case in cases), (name, entry)


def test_every_shipped_target_says_what_it_needs() -> None:
    """A program and its package, unless Python is all of it; its own files are there, and no file is nobody's."""
    used: set[str] = set()
    for name in target.known():
        found = target.load(name)
        needs = found.manifest.needs
        words = [
            word
            for command in (found.manifest.command, *found.manifest.build, needs.probe if needs else [])
            for word in command
        ]
        used |= {
            word.removeprefix("{here}/").partition(":")[0] for word in words if word.startswith("{here}/")
        }
        assert needs or found.manifest.command[0] == "{python}", name
        if needs:
            assert needs.program in words or any(needs.program in word.split() for word in words), name
            assert needs.debian, name
    there = {path.name for path in Path(found.here).iterdir() if path.is_file() and path.suffix != ".toml"}

    assert used == there


def test_of_an_unknown_target_the_nearest_is_named_or_else_all() -> None:
    """Fifty names are of no use to whom a letter slipped, and needed by who has no idea."""
    near = "there is no target 'sockat'; did you mean socat or socat-pipe or ncat? (forkecho list targets names them all)"
    with pytest.raises(target.UnknownTarget, match=f"^{re.escape(near)}$"):
        target.load("sockat")
    with pytest.raises(
        target.UnknownTarget, match=r"there is no target 'xyz' \(there are .*\breference\b.*\bsocat\b"
    ):
        target.load("xyz")
    with pytest.raises(target.UnknownTarget, match=r"'crul'; did you mean curl\? \(forkecho list clients"):
        target.load("crul", "client")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("command = [", "not TOML"),
        ('title = "no command"', "a target needs a command"),
        ("command = ['x']\nport = 7", "unknown field `port`"),
    ],
)
def test_a_bad_file_is_refused_with_its_path(tmp_path: Path, text: str, words: str) -> None:
    """The complaint begins with the path."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(fixture.BadFixture) as raised:
        target.load(str(path))

    assert str(raised.value).startswith(f"{path}: ")
    assert words in str(raised.value)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    """The system's own words."""
    with pytest.raises(fixture.BadFixture, match="mine.toml: No such file or directory"):
        target.load(str(tmp_path / "mine.toml"))


def test_here_is_the_folder_of_the_file(tmp_path: Path) -> None:
    """`{here}` of a manifest is where it lies."""
    path = tmp_path / "mine.toml"
    path.write_text('command = ["{here}/server"]')

    assert target.load(str(path)).here == str(tmp_path.resolve())


def test_a_target_describes_itself_for_the_record() -> None:
    """The manifest as used, with the name, and the address where it was attached to; plain types only."""
    attached = target.Target(name="x", manifest=Manifest(), connect=("::1", 7))
    told = attached.describe()

    assert (told["name"], told["connect"], told["max-connections"]) == ("x", "[::1]:7", 0)
    assert msgspec.json.decode(msgspec.json.encode(told)) == told
