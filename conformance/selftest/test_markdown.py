"""The run as Markdown: what is in it, that it fits, and that no text of a server means anything in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from forkecho.conformance.report import FORMATS, markdown
from forkecho.conformance.report.printable import printable


def tokens(text: str) -> Iterator[Token]:
    """What a reader of Markdown makes of it, all levels in a row."""
    for token in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text):
        yield token
        yield from token.children or ()


def test_a_failure_is_told_whole(hand: Any) -> None:
    """The sentence, a row for the group, and what is to be unfolded: the case, both sides, and how to try it again."""
    text = FORMATS["markdown"](
        hand.run(hand.case("process/frozen", expected="all of it", seen="a half"), hand.case("x/b", "pass"))
    )

    for wanted in (
        "**not conformant: 1 passed, 1 failed (of 2 cases, 12.3 s)**",
        "| FORK | A process per connection | 1 | 1 |",
        "<details><summary>failed: FORK-06 (MUST) ",
        "- `process/frozen` The title of process/frozen.",
        "  - expected: `all of it`",
        "  - seen: `a half`",
        "  - again: `forkecho check socat --case process/frozen --seed 42`",
    ):
        assert text.count(wanted) == 1, wanted
    assert "`x/b`" not in text


def test_the_gravest_comes_first(hand: Any) -> None:
    """What fails before what only warns, and that before what was not judged."""
    cases = [hand.case(f"x/{verdict}", verdict) for verdict in ("warn", "n/a", "fail", "blocked", "pass")]
    summaries = re.findall(r"<summary>([\w/]+)", FORMATS["markdown"](hand.run(*cases)))

    assert summaries == ["failed", "warned", "blocked", "n/a"]


def test_no_text_of_a_server_means_anything(hand: Any) -> None:
    """A reader of Markdown finds no link, picture, heading, emphasis or HTML but ours, and each text once and whole."""
    text = FORMATS["markdown"](hand.hostile())
    found = list(tokens(text))

    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in found}
    assert kinds <= {
        *("heading", "paragraph", "inline", "text", "softbreak", "strong", "bullet_list", "list_item"),
        *("table", "thead", "tbody", "tr", "th", "td", "code_inline", "fence", "html_block", "html_inline"),
    }
    for token in found:
        if token.type == "html_inline":
            assert token.content == "<!-- -->"
        elif token.type == "html_block":
            assert re.fullmatch(
                r"</details>\s*|<details><summary>[^<>]*(?:<!-- -->[^<>]*)*</summary>\s*", token.content
            ), token.content
    assert len([token for token in found if token.type == "heading_open"]) == 1
    spans = {token.content for token in found if token.type == "code_inline"}
    assert printable(hand.HOSTILE).replace("\n", "\\n").strip() in {span.strip() for span in spans}
    assert not re.search(
        r"@\w", re.sub(r"`+[^`].*`+|^ *(\+|`|~).*$", "", text, flags=re.MULTILINE).replace("`", "")
    )


@pytest.mark.parametrize("text", ["a`b", "`", "``", "``a", " `a` ", "", " ", "a\nb", "\\", "x" * 500])
def test_a_code_span_is_the_text(text: str) -> None:
    """Whatever backticks are in it."""
    (span,) = [token for token in tokens(f"- {markdown.code(text)} after") if token.type == "code_inline"]

    assert span.content.strip() == text.replace("\n", "\\n").strip()


def test_a_cell_is_one_cell() -> None:
    """A pipe is no border, even in a code span."""
    text = markdown.table(["a", "b"], [[markdown.cell("x|y`|"), markdown.prose("p|q")]])
    cells = [token.content for token in tokens(text) if token.type == "code_inline"]

    assert cells == ["x|y`|"]
    assert len([token for token in tokens(text) if token.type == "td_open"]) == 2


def test_a_summary_has_room(hand: Any) -> None:
    """However many fail with however long words, it stays below what GitHub takes, and says what it leaves out."""
    requirements = ["FORK-06", "ECHO-01", "BUF-01", "CONC-02"]
    cases = [
        hand.case(f"x/{number}", seen="ü" * 20_000, requirement=requirements[number % 4])
        for number in range(400)
    ]
    run = hand.run(*cases)

    whole, less = FORMATS["markdown"](run), markdown.render(run, limit=5000)

    assert len(whole.encode()) <= markdown.LIMIT < 2**20
    assert len(less.encode()) <= 5000
    assert "4 more sections are left out here" in less
    assert "not conformant" in less
