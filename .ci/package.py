"""Compares what a checkout has with what its source distribution, and the wheel made from that, have.

Usage: package.py CHECKOUT, with the source distribution's path in TOX_PACKAGE, as tox sets it. Exit codes: 0 complete,
1 something is missing or too much.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

#: From the checkout's folders to where the wheel has them.
FOLDERS = {"forkecho": "forkecho", "conformance": "forkecho/conformance", "fixtures": "forkecho/fixtures"}

#: What the source distribution is to have beside them.
BESIDE = ["CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "tox.ini"]

#: What stays behind: the suite's own tests, and what it is expected to find, are for whoever changes the suite, the examples are
#: to be copied.
STAYING = ("conformance/selftest/", "fixtures/examples/", "fixtures/expected/")


def files(checkout: Path) -> set[str]:
    """The files of the checkout's folders, but for what a run leaves there."""
    return {
        path.relative_to(checkout).as_posix()
        for folder in FOLDERS
        for path in (checkout / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


def installed(name: str) -> str:
    """Where the wheel has a file of the checkout."""
    folder, _, rest = name.partition("/")
    return f"{FOLDERS[folder]}/{rest}"


def in_sdist(sdist: Path) -> set[str]:
    """The files of a source distribution, without its outermost folder."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


def in_wheel(sdist: Path) -> set[str]:
    """The files of the wheel that comes of a source distribution, without what tells about it."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, str(sdist)],
            check=True,
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return {
                name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")
            }


def main(checkout: Path) -> int:
    """Say what is missing or too much, a line each."""
    sdist = Path(os.environ["TOX_PACKAGE"])
    there, packed, got = files(checkout), in_sdist(sdist), in_wheel(sdist)
    wanted = {installed(name) for name in there if not name.startswith(STAYING)}
    complaints = [f"the source distribution lacks {name}" for name in sorted({*there, *BESIDE} - packed)]
    complaints += [
        f"the wheel lacks {name}: is its folder in pyproject.toml's packages, its ending in package-data?"
        for name in sorted(wanted - got)
    ]
    complaints += [f"the wheel has {name}, which it should not" for name in sorted(got - wanted)]
    print("\n".join(complaints) or f"complete: {len(packed)} files in {sdist.name}, {len(got)} in its wheel")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
