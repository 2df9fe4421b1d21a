"""What is published of real servers is of all that there are: the checkout's own lists, which nothing else would hold."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from forkecho.conformance import target

CHECKOUT = Path(__file__).parents[2]
#: The reference and the recipe in other forms, and classes that are used in process: tried elsewhere by tox, and by self-tests. And what
#: speed is measured against.
NOT_PUBLISHED = re.compile(r"reference-.*|recipe-.*|.*-in-process|lean|socketserver-unlimited|iterative-c")


def servers() -> list[str]:
    """Those that tox's environment `targets` judges."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read_string((CHECKOUT / "tox.ini").read_text())
    return " ".join(tox["servers"][group] for group in ("real", "ours", "pythons", "contrasts")).split()


def test_every_server_is_judged_for_the_results() -> None:
    """Once."""
    assert sorted(servers()) == sorted(name for name in target.known() if not NOT_PUBLISHED.fullmatch(name))


@pytest.mark.skipif(not (CHECKOUT / ".ci").is_dir(), reason="a source distribution has no CI")
@pytest.mark.parametrize("role", ["server", "client"])
def test_ci_installs_what_they_need(role: target.Role) -> None:
    """Every Debian package that a manifest names, which is then judged on a new machine as well."""
    script = CHECKOUT / ".ci" / "run"
    found = re.findall(r"^(?:PACKAGES|UNPACKED)=\((.*?)\)$", script.read_text(), re.MULTILINE | re.DOTALL)
    needs = [target.load(name, role).manifest.needs for name in target.known(role)]
    wanted = {package for one in needs if one for package in one.debian.split()}

    assert wanted - set(" ".join(found).split()) == set()
