"""The README's section on adding a server, by doing what it says."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from forkecho.conformance import target

README = Path(__file__).parents[2] / "README.md"
LINES_MAX = 10  # of a manifest


def block(mark: str) -> str:
    """What stands in the fence below a mark of the README."""
    found = re.search(rf"<!-- test: {mark} -->\n```\w*\n(.*?)```\n", README.read_text(), re.DOTALL)
    assert found, f"README.md has no <!-- test: {mark} -->"
    return found.group(1)


def manifest(folder: Path) -> Path:
    """The manifest, in the file that its first line names."""
    text = block("a server")
    path = folder / text.splitlines()[0].removeprefix("# ")
    path.write_text(text)
    return path


def test_a_server_is_ten_lines_at_most(tmp_path: Path) -> None:
    """As the README shows it."""
    path = manifest(tmp_path)

    assert len(path.read_text().splitlines()) <= LINES_MAX
    assert target.load(str(path)).manifest.needs


@pytest.mark.once
@pytest.mark.timeout(1200)  # two whole runs
@pytest.mark.skipif(not shutil.which("mini-inetd"), reason="mini-inetd is not installed (Debian: tcputils)")
def test_a_server_is_added_as_the_readme_says(tmp_path: Path) -> None:
    """Judged, its failures listed, and then it passes."""
    manifest(tmp_path)
    codes, ended = [], []
    for line in block("its commands").splitlines():
        words = shlex.split(line)
        assert words[0] == "forkecho"
        done = subprocess.run(
            [sys.executable, "-m", *words], check=False, capture_output=True, text=True, cwd=tmp_path
        )
        assert "Traceback" not in done.stderr
        codes.append(done.returncode)
        ended.append(done.stdout + done.stderr)

    assert codes == [1, 0, 0], "\n".join(ended)
    assert "not conformant: " in ended[0]
    assert "conformant but for known failures: " in ended[-1]
