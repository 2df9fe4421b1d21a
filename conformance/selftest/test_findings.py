"""What real servers were found to break: each finding has its meaning, upstream's word or a report, and a script that shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from forkecho import fixtures
from forkecho.conformance import fixture, known, requirement, target
from forkecho.conformance.case import expand

FINDINGS = Path(fixtures.__file__).parent / "findings"
FILES = sorted(FINDINGS.glob("*.toml"))
SCRIPTS = sorted(FINDINGS.glob("*.py"))
PAGES = {"python-versions.md"}  # that are no report of a failure; see test_python_versions.py
PATIENCE = 120.0  # seconds; a script takes a few, unless the machine is loaded

CHANCE = "15"  # seconds for a script that needs chance; that it can be run at all is what is tested then
#: Not installed; see test_expected.py.
EXPECTED = Path(__file__).parents[2] / "fixtures" / "expected"

#: Servers of which only the handler is ours.
FRAMEWORKS = ("net-server", "socketserver", "socketserver-in-process")

#: What was seen to fail of a target that excuses nothing and of which no list is kept; some of it by test_hosted.py.
SEEN = {"socketserver-in-process": ("HYG-02", "HYG-03", "SHUT-02", "SHUT-03", "SHUT-08", "SHUT-09")}


def findings(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of a file, by requirement."""
    found: dict[str, dict[str, Any]] = fixture.read(path)
    return found


def known_failures(name: str) -> Iterable[str]:
    """What is known to fail of a target: by its manifest, or by the list of what is expected of it."""
    listed = EXPECTED / f"{name}.toml"
    return SEEN.get(name) or (known.load(listed) if listed.exists() else target.load(name).manifest.failures)


def known_musts(name: str) -> dict[str, set[str]]:
    """The known failures that are of a MUST, with the requirements that each names."""
    judged = target.load(name)
    musts = [case for case in expand(judged.manifest).values() if case.requirement.level == "must"]
    excused = {
        entry: {
            case.requirement.id
            for case in musts
            if entry == case.requirement.id or fnmatchcase(case.id, entry)
        }
        for entry in known_failures(name)
    }
    return {entry: ids for entry, ids in excused.items() if ids}


def real_servers() -> list[str]:
    """Targets whose program is not ours: nothing of it comes from the suite, from beside the manifest, or from a build."""
    targets = {name: target.load(name).manifest for name in target.known()}
    ours = ("here", "build", "suite")
    return [name for name, one in targets.items() if not any(map(one.takes, ours)) and one.failures]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_findings_are_whole(path: Path) -> None:
    """The file is named for a target; each entry names a requirement, what it means, and who knows of it or what to report."""
    assert path.stem in target.known()
    for id_, entry in findings(path).items():
        assert id_ in requirement.load(), id_
        assert set(entry) <= {"means", "upstream", "report", "chance"}, id_
        assert entry["means"].endswith("."), id_
        assert entry.get("upstream") or entry.get("report"), id_
        if "report" in entry:
            assert (FINDINGS / entry["report"]).is_file(), id_


def test_every_report_belongs_to_a_finding() -> None:
    """No report lies about that no finding names, and no script that no report speaks of."""
    named = {entry["report"] for path in FILES for entry in findings(path).values() if "report" in entry}

    assert {path.name for path in FINDINGS.glob("*.md")} - PAGES == named
    assert {script.stem for script in SCRIPTS} == {Path(name).stem for name in named}
    assert all(f"{Path(name).stem}.py" in (FINDINGS / name).read_text(encoding="utf-8") for name in named)


@pytest.mark.parametrize("name", [*real_servers(), *FRAMEWORKS])
def test_every_known_must_of_a_real_server_is_a_finding(name: str) -> None:
    """What a real server is known to break is explained to whoever uses it; of a glob one requirement at least."""
    musts = known_musts(name)
    path = FINDINGS / f"{name}.toml"
    explained = set(findings(path)) if path.exists() else set()

    assert [entry for entry, ids in musts.items() if not ids & explained] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_finding_has_outlived_its_failure(path: Path) -> None:
    """Each is of a requirement that the target is known to break."""
    excused = set().union(*known_musts(path.stem).values())

    assert set(findings(path)) <= excused


@pytest.mark.once
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_reproductions_show_what_the_reports_say(script: Path, tmp_path: Path, nothing_left: str) -> None:
    """Each script ends with 1, and with a word of what was seen, where the server is as old as the report; of what needs chance, with 0 or 1."""
    belongs = next(path for path in FILES if f"{script.stem}.md" in path.read_text(encoding="utf-8"))
    entry = next(one for one in findings(belongs).values() if one.get("report") == f"{script.stem}.md")
    chance = entry.get("chance", False)
    if lacks := target.lacking(target.load(belongs.stem)):
        pytest.skip(lacks)

    ended = subprocess.run(
        [sys.executable, str(script), *([CHANCE] if chance else [])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert ended.returncode in ((0, 1) if chance else (1,)), ended.stdout + ended.stderr
    assert re.search(r"\w", ended.stdout)
