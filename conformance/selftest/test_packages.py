"""Which packages of Debian's a result names: those that the program comes from, by what dpkg-query says."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from forkecho.conformance.manifest import Needs
from forkecho.conformance.report.console import render
from forkecho.conformance.target import packages

#: dpkg-query(1) on a host where the program is a link (Debian's alternatives) to what `mine-9` owns, a library is there
#: for two architectures, and `gone` has been removed but for its configuration.
DPKG = """#!/bin/sh
case $1 in
--search)
    for name; do
        case $name in */real) echo "diversion by dash from: $name"; echo "mine-9, mine-doc: $name" ;; esac
    done ;;
--show)
    shift 2
    for name; do
        case $name in
            mine-9) printf 'mine-9\\t1:9.2-1\\tinstalled\\n' ;;
            libmine) printf 'libmine:amd64\\t3.0\\tinstalled\\nlibmine:i386\\t3.0\\tinstalled\\n' ;;
            gone) printf 'gone\\t1.0\\tconfig-files\\n' ;;
        esac
    done ;;
esac
[ $# -gt 2 ]
"""


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of programs of a host on which dpkg-query answers as above."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("dpkg-query", DPKG), ("real", "#!/bin/sh\n"), ("built", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "mine").symlink_to("real")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_the_owner_of_the_program_and_what_is_named_besides(debian: Path) -> None:
    """The package of the file itself, not of its link; of the others those that are installed, each once."""
    found = packages.versions(Needs(program="mine", debian="mine libmine gone"))

    assert found == {"mine-9": "1:9.2-1", "libmine": "3.0"}


@pytest.mark.parametrize("needs", [None, Needs(program="no-such"), Needs(program="built", debian="libmine")])
def test_what_no_package_owns_has_no_version_that_is_known(debian: Path, needs: Needs | None) -> None:
    """A program that was built by hand is not what a package would have given, though that is there too."""
    assert packages.versions(needs) == {}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (
            b"mine-src (2:1.4-2) bookworm; urgency=high\n\n  * A change.\n",
            {"mine-inetd": "2:1.4-2 (unpacked)"},
        ),
        (b"no changelog of Debian's\n", {}),
        (b"", {}),
    ],
)
def test_a_package_that_was_only_unpacked_has_the_version_of_its_changelog(
    debian: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, seen: dict[str, str]
) -> None:
    """Where several that exclude each other are beside each other dpkg knows of one; of a package that it has, nothing is guessed."""
    monkeypatch.setattr(packages, "DOCUMENTS", debian)
    for name in ("mine-inetd", "libmine"):
        (debian / name).mkdir()
        (debian / name / "changelog.Debian.gz").write_bytes(gzip.compress(text))

    assert packages.versions(Needs(program="built", debian="mine-inetd libmine")) == seen


def test_what_was_cut_off_has_no_version(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is no gzip at all."""
    monkeypatch.setattr(packages, "DOCUMENTS", debian)
    (debian / "mine-inetd").mkdir()
    for octets in (gzip.compress(b"mine (1) " * 1000)[:20], b"mine (1) bookworm"):
        (debian / "mine-inetd" / "changelog.Debian.gz").write_bytes(octets)
        assert packages.versions(Needs(program="built", debian="mine-inetd")) == {}


def test_elsewhere_nothing_is_said(debian: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dpkg-query."""
    (debian / "dpkg-query").unlink()
    monkeypatch.setenv("PATH", str(debian))

    assert packages.versions(Needs(program="mine")) == {}


def test_a_report_tells_of_them(hand: Any) -> None:
    """In the header, where one looks for what was judged."""
    run = hand.run(packages={"mine": "1:9.2-1", "libmine": "3.0"})

    assert "\n  packages  libmine 3.0, mine 1:9.2-1\n" in render(run)
