"""The matrix as Markdown: a page to be published, made of records and of notes on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from forkecho.cli.matrix import command
from forkecho.conformance import fixture, result, upstream
from forkecho.conformance.fixture import BadFixture
from forkecho.conformance.matrix import Column
from forkecho.conformance.report.matrix_markdown import render
from forkecho.conformance.upstream import Note

NOTE = Note(means="One failed fork ends the service.", report="socat-res-01.md")


@pytest.fixture
def columns(hand: Any) -> list[Column]:
    """Two servers by hand: socat breaks what it is known for and more, good keeps all."""
    cases = [
        hand.case("res/a", "known", requirement="RES-01", reason="it exits"),
        hand.case("hyg/a", "fail", requirement="HYG-02", expected="none", seen="process 1 | holds it"),
        hand.case("hyg/b", "pass", requirement="HYG-02"),
        hand.case("fork/a", "fail", requirement="FORK-01", reason="it has threads"),
        hand.case("fork/b", "fail", requirement="FORK-02", reason="it has threads"),
        hand.case("echo/a", "warn", requirement="ECHO-10", reason="left out"),
        hand.case("conc/a", "inconclusive", requirement="CONC-01", reason="not seen"),
    ]
    good = [hand.case(case.id, "pass", requirement=case.requirement) for case in cases if case.id != "fork/b"]
    runs = [
        hand.run(*cases, packages={"socat": "1.7"}, host={"system": "Linux", "release": "6.1", "cpus": 2}),
        hand.run(*good, judged={"name": "good"}, model="fork-per-connection (direct)"),
    ]
    return [Column(name=run.header.target["name"], run=run) for run in runs]


def test_each_target_is_a_line(columns: list[Column]) -> None:
    """With its version and model, and how many requirements it keeps, breaks, known or not, and leaves open."""
    page = render([*columns, Column(name="gone", reason="ended by SIGKILL")])

    assert "| socat | socat 1.7 |  |  | 4 | 1 | 1 |\n" in page
    assert "| good |  | fork-per-connection (direct) | 5 |  |  |  |\n" in page
    assert "| gone |  | ended by SIGKILL |  |  |  |  |\n" in page
    assert "3 targets, judged by 6 requirements." in page
    assert "- when: 2026-01-01\n" in page
    assert "- on: Linux 6.1, 2 cores\n" in page


def test_what_comes_now_and_then_is_told_whether_it_came_or_not(columns: list[Column]) -> None:
    """By what the list of known failures says of itself; where it says nothing there is no word of it."""

    def listed(column: Column, known: dict[str, Any]) -> Column:
        assert column.run
        header = msgspec.structs.replace(
            column.run.header, target={**column.run.header.target, "known": known}
        )
        return msgspec.structs.replace(column, run=msgspec.structs.replace(column.run, header=header))

    known = {
        "HYG-02": "always",
        "RES-01": {"reason": "a race", "sometimes": True},
        "buffer/*": {"sometimes": False},
    }
    without = [listed(one, {}) for one in columns]

    assert "by chance" not in render(without)
    page = render([listed(columns[0], known), listed(columns[0], known), *without[1:]])
    assert f"the other way round.\n\n- {columns[0].name}: `RES-01`\n\n## What they break\n" in page


def test_what_is_broken_is_told_with_what_it_means(columns: list[Column]) -> None:
    """The MUSTs first; what has one reason in one item; with the note on it, and how to see it again."""
    page = render(columns, {"socat": {"RES-01": NOTE}}, folder="fixtures/findings")
    told = page[page.index("### socat") : page.index("## Where they differ")]

    assert told.index("HYG-02") < told.index("ECHO-10")
    assert (
        "- **RES-01** (MUST) Survives when no process can be created\n"
        "  - for its users: One failed fork ends the service.\n"
        "  - known: it exits\n"
        "  - report: [socat-res-01.md](fixtures/findings/socat-res-01.md)\n"
        "  - again: `forkecho check socat --requirement RES-01`\n"
    ) in told
    assert "in 1 of 2 cases\n  - expected `none`; seen `process 1 | holds it`" in told
    assert "- **FORK-01** (MUST) Creates a process for every connection, **FORK-02** (MUST)" in told
    assert "`forkecho check socat --requirement FORK-01 --requirement FORK-02`" in told
    assert "CONC-01" not in told
    assert "### good" not in page
    assert "report: `socat-res-01.md`\n" in render(columns, {"socat": {"RES-01": NOTE}})
    lucky = msgspec.structs.replace(NOTE, chance=True)
    assert "report: `socat-res-01.md`, whose reproduction needs chance\n" in render(
        columns, {"socat": {"RES-01": lucky}}
    )


def test_what_is_new_hides_behind_nothing_that_is_known(hand: Any) -> None:
    """Of two failures of a requirement the graver is told of."""
    cases = [
        hand.case("res/a", "known", requirement="RES-01", reason="it exits"),
        hand.case("res/b", "fail", requirement="RES-01", reason="it hangs"),
    ]
    page = render([Column(name="socat", run=hand.run(*cases))])

    assert "  - it hangs\n" in page
    assert "it exits" not in page


def test_where_they_differ_names_who_breaks_it(columns: list[Column]) -> None:
    """And how many keep it; what could not be seen is said."""
    page = render(columns)

    assert "| HYG-02 | MUST | Closes the listener in serving processes | socat | 1 |\n" in page
    assert "|  (not known: socat) | 1 |\n" in page
    assert page.endswith("\nIn 1 other requirement no two targets ended differently.\n")
    assert "## Where they differ" not in render(columns[:1])


def test_a_page_without_any_run_is_one_too() -> None:
    """Nothing was judged, and that is what it says."""
    assert "1 target, none of which was judged" in render([Column(name="gone", reason="lost")])


def test_hostile_words_mean_nothing(hand: Any) -> None:
    """No cell, link, markup, mention or line of a target's own."""
    run = hand.hostile()
    levels = [msgspec.structs.replace(case, level=hand.HOSTILE) for case in run.cases]
    run = msgspec.structs.replace(run, cases=tuple(levels))
    page = render([Column(name=hand.HOSTILE, run=run), Column(name="other", run=run)])
    found = [
        one
        for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
        for one in (token, *(token.children or ()))
    ]

    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in found}
    assert kinds <= {
        *("heading", "paragraph", "inline", "text", "softbreak", "strong", "bullet_list", "list_item"),
        *("table", "thead", "tbody", "tr", "th", "td", "code_inline", "html_inline"),
    }
    assert {token.content for token in found if token.type == "html_inline"} == {"<!-- -->"}
    rows = "".join({"tr_open": "\n", "th_open": "|", "td_open": "|"}.get(token.type, "") for token in found)
    assert {row.count("|") for row in rows.split()} <= {5, 7}
    page.encode()


def test_the_page_is_written(columns: list[Column], tmp_path: Path) -> None:
    """By `--markdown`; with links to the reports where it stands in a checkout, which has them."""
    paths = []
    for one in columns:
        assert one.run
        paths.append(str(tmp_path / f"{one.name}.jsonl"))
        Path(paths[-1]).write_text(result.dump(one.run))
    page = tmp_path / "page.md"
    done = CliRunner().invoke(command, [*paths, "--markdown", str(page)])

    assert (done.exit_code, done.stderr) == (0, "")
    assert page.read_text() == render(columns, upstream.load())

    (tmp_path / "fixtures/findings").mkdir(parents=True)
    CliRunner().invoke(command, [*paths, "--markdown", str(page)])
    assert page.read_text() == render(columns, upstream.load(), folder="fixtures/findings")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('["RES-01"]\nmeans = "x"\n', "one of `upstream` and `report` is needed"),
        ('["RES-01"]\nmeans = " "\nreport = "x.md"\n', "`means` must say"),
        ('["RES-01"]\nmeaning = "x"\n', "unknown field `meaning`"),
    ],
)
def test_a_note_that_says_too_little_is_refused(
    text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the file and the requirement."""
    (tmp_path / "mine.toml").write_text(text)
    monkeypatch.setattr(fixture, "folder", lambda name: tmp_path)
    upstream.load.cache_clear()
    try:
        with pytest.raises(BadFixture, match=r"mine\.toml, \[RES-01\]: ") as refused:
            upstream.load()
    finally:
        upstream.load.cache_clear()

    assert complaint in str(refused.value)
