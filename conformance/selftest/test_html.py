"""The page of a run: whole, safe whatever a server says, the same in every byte, and small."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import msgspec
import pytest

from forkecho.conformance import requirement, result
from forkecho.conformance.report import FORMATS, again
from forkecho.conformance.report.lanes import CONNECTIONS_MAX, PROCESSES_MAX, lanes
from forkecho.conformance.report.page import Anchors
from forkecho.conformance.report.picture import LEGEND, draw
from forkecho.conformance.result import CaseLine, Run, Verdict

SIZE_MAX = 2_000_000  # bytes, of 500 cases with 30 failures

#: Elements without an end.
VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """What a browser would make of a page: elements that are closed in order, ids, links, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes nothing"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def text(big_run: Run) -> str:
    return FORMATS["html"](big_run)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_page_is_small(text: str) -> None:
    """500 cases with 30 failures, each with all the evidence that a record has room for."""
    assert len(text.encode()) < SIZE_MAX


def test_every_case_is_there(page: Page, big_run: Run) -> None:
    """Each has its place by its id, its verdict in words, its requirement's sentence and the command to try it again."""
    assert [one for one in big_run.cases if one.id not in page.ids] == []
    assert {case["data-verdict"] for case in page.all("details") if case["class"] == "case"} == {
        verdict.value.replace("/", "") for verdict in Verdict
    }
    for case in big_run.cases[:40]:
        known = requirement.load()[case.requirement]
        assert all(said in page.text for said in (case.id, case.title, known.statement, known.source))
        assert again.command_line(big_run.header, case.id) in page.text


def test_the_header_says_what_was_judged(page: Page, big_run: Run) -> None:
    """Name, title, command, host, model, seed, date and the verdict sentence with the totals."""
    told = big_run.header.target
    for said in (told["name"], told["title"], "TCP-LISTEN", "fork-per-connection (direct)", "Linux", "42"):
        assert said in page.text
    assert "2026-01-01T00:00:00Z" in page.text
    assert "not conformant: 462 passed, 30 failed" in page.text


def test_failures_are_open_and_what_passed_is_not(page: Page, big_run: Run) -> None:
    """One sees at once what is to be looked at; it can be seen without a script."""
    verdicts = {case.id: case.verdict for case in big_run.cases}
    for one in page.all("details"):
        if one["class"] == "case":
            assert ("open" in one) == (verdicts[one["id"]] in (
                Verdict.FAIL, Verdict.WARN, Verdict.FIXED, Verdict.UNSTABLE, Verdict.BLOCKED, Verdict.BROKEN,
            ))  # fmt: skip


def test_ids_are_unique_and_links_lead_somewhere(page: Page) -> None:
    """Inside the page, and nowhere else."""
    links = [one["href"] for tag in ("a", "use") for one in page.all(tag)]

    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert {link for link in links if not link.startswith("#")} == set()
    assert {link[1:] for link in links} - set(page.ids) == set()
    assert [
        name
        for one in page.all("svg")
        for name in one.get("aria-labelledby", "").split()
        if name not in page.ids
    ] == []


def test_nothing_is_fetched_and_nothing_foreign_runs(page: Page) -> None:
    """No address of anybody, no handler, no style but that of the page; and a policy that says so to the browser."""
    for tag, attributes in page.elements:
        assert not [
            name
            for name in attributes
            if name.startswith("on") or name in ("src", "style", "action", "srcset")
        ], tag
        assert attributes.get("href", "#")[0] == "#" or attributes["href"] == "data:,"
    assert {tag for tag, _ in page.elements} & {"img", "iframe", "object", "embed", "base"} == set()
    (policy,) = [one["content"] for one in page.all("meta") if one.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert len(page.all("script")) == 1


def test_what_a_server_says_stays_text(page: Page, text: str) -> None:
    """Markup, quotes, braces of templates, control characters, a change of direction, half a character."""
    assert "<img src=x" not in text
    assert "{{ 7*7 }}" in page.text
    assert "49" not in [part for part in page.text.split() if part.startswith("&lt;")]
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31m\u202e\udcff" in page.text
    text.encode()


def test_hostile_names_do_not_leave_their_place(big_run: Run) -> None:
    """Ids of cases, requirements, groups, levels and keys of the record may be anything: a record can be made by hand."""
    bad = "\"><script>alert(1)</script> main \udc80'/x"
    cases = [
        msgspec.structs.replace(big_run.cases[0], id=id_, requirement=bad, group=bad, level=bad, title=bad)
        for id_ in (bad, "main", "filters", "ECHO-01", "%41", "", "a b", "ä")
    ]
    header = msgspec.structs.replace(
        big_run.header, target={"name": bad, "title": bad, "command": [bad]}, model=bad, host={bad: bad}
    )
    run = msgspec.structs.replace(big_run, header=header, cases=tuple(cases))
    made = Page(FORMATS["html"](run))

    assert [name for name, count in Counter(made.ids).items() if count > 1] == []
    assert {one["href"][1:] for one in made.all("a")} <= set(made.ids)
    assert len(made.all("script")) == 1
    assert not any(re.search(r"\s", name) for name in made.ids)


def test_anything_in_the_events_is_borne(big_run: Run) -> None:
    """Times that are none, names that are none, events without anything."""
    odd = [
        {}, {"t": "x", "event": ["y"], "on": 7, "pid": "z"}, {"t": -1, "event": "born", "until": None},
        {"t": 1e300, "event": "gone", "pid": 3}, {"t": True, "event": "frozen", "pid": 2**70, "length": "many"},
        {"event": "sent", "on": "a", "length": "x"}, {"event": "closed", "on": "a", "t": 2},
        {"event": "owner", "pid": [1], "start": {}, "ppid": [], "command": ["x"]}, {"event": "born", "pid": {}, "command": {}},
        {"event": "holds", "on": ["a"], "pid": [1], "start": {}, "until": []}, {"event": "alive", "pid": None, "untold": "x"},
    ]  # fmt: skip
    case = msgspec.structs.replace(big_run.cases[0], transcript=odd, processes=odd)

    Page(FORMATS["html"](msgspec.structs.replace(big_run, cases=(case,))))


def test_headings_are_in_order(page: Page) -> None:
    """One of the first rank, and none that skips one on the way down."""
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_tables_say_what_their_headings_are_about(page: Page) -> None:
    """Each has a scope."""
    assert page.all("th")
    assert {one.get("scope") for one in page.all("th")} == {"col", "row"}
    assert len(page.all("main")) == len(page.all("header")) == len(page.all("footer")) == 1
    assert page.all("html")[0]["lang"] == "en"


@pytest.mark.once
def test_two_renderings_are_the_same_bytes(big_run: Run, text: str, tmp_path: Path) -> None:
    """In another process, with other hashes, in another folder, from the cases in another order."""
    record = tmp_path / "run.jsonl"
    case = msgspec.structs.replace(big_run.cases[7], reason="x", expected="x", seen="x", processes=[])
    sayable = msgspec.structs.replace(big_run, cases=(*big_run.cases[8:], case, *big_run.cases[:7]))
    record.write_text(result.dump(sayable))
    seen = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC{seed}", "LC_ALL": "C"}
        words = [sys.executable, "-m", "forkecho", "report", str(record), "--format", "html"]
        (tmp_path / seed).mkdir()
        seen.add(
            subprocess.run(
                words, env=environment, cwd=tmp_path / seed, check=True, capture_output=True
            ).stdout
        )

    assert len(seen) == 1
    assert seen == {FORMATS["html"](sayable).encode()}
    assert FORMATS["html"](msgspec.structs.replace(big_run, cases=big_run.cases[::-1])) == text


def test_evidence_without_room_is_left_to_the_record(big_run: Run) -> None:
    """Of 500 failures with everything; the page says that it left something out, and stays small."""
    heavy = [
        msgspec.structs.replace(big_run.cases[0], id=f"x/{number}", verdict=Verdict.FAIL)
        for number in range(500)
    ]
    made = FORMATS["html"](msgspec.structs.replace(big_run, cases=tuple(heavy)))

    assert len(made.encode()) < SIZE_MAX
    assert "is left out here, to keep this page small" in made


def test_an_empty_run_is_a_page(big_run: Run) -> None:
    """Nothing was judged, and that is said."""
    footer = msgspec.structs.replace(big_run.footer, totals=result.totals([]), selected=0, exit=5)
    made = Page(FORMATS["html"](msgspec.structs.replace(big_run, cases=(), footer=footer)))

    assert "nothing to judge" in made.text


def test_addresses_are_the_ids_of_cases() -> None:
    """As they are where that may be, encoded where not, and each once."""
    anchors = Anchors(("main",))

    assert [anchors.new(one) for one in ("buffer/one-over@4097", "a b", "main", "main", "\udc80", "")] == [
        "buffer/one-over@4097", "a%20b", "main~2", "main~3", "%5Cudc80", "_",
    ]  # fmt: skip
    assert unquote("a%20b") == "a b"


# The picture


def case_of(big_run: Run, **told: object) -> CaseLine:
    return msgspec.structs.replace(big_run.cases[0], **told)


def born(pid: int, on: str, at: float, **told: object) -> dict[str, object]:
    return {"t": at, "event": "born", "on": on, "pid": pid, "start": 1, "ppid": 700, "command": "x", **told}


def end(pid: int, event: str, at: float, **told: object) -> dict[str, object]:
    return {"t": at, "event": event, "on": "", "pid": pid, "start": 1, **told}


def test_no_picture_where_nobody_was_looked_at(big_run: Run) -> None:
    """The wire alone is no picture of processes."""
    assert draw(case_of(big_run, processes=[]), "x") is None


def test_a_process_is_drawn_as_long_as_it_was_seen(big_run: Run) -> None:
    """What was looked for and had gone has ended in between; what was not looked for is open; a zombie is one."""
    events = [
        born(1, "a", 1.0, until=2.0), born(2, "b", 1.0), born(3, "c", 1.0), born(4, "d", 1.0),
        end(1, "gone", 5.0), end(3, "alive", 6.0), end(4, "zombie", 4.0, until=6.0),
    ]  # fmt: skip
    found = {lane.pid: lane for lane in lanes(case_of(big_run, processes=events, transcript=[]))}

    assert {pid: (lane.how, lane.at) for pid, lane in found.items()} == {
        1: ("gone", 5.0), 2: ("last seen", 1.0), 3: ("still there", 6.0), 4: ("zombie", 4.0),
    }  # fmt: skip
    assert {
        pid: [(span.kind, span.start, span.end) for span in lane.spans] for pid, lane in found.items()
    } == {
        1: [("seen", 1.0, 2.0), ("holds", 1.0, 2.0), ("unseen", 2.0, 5.0)],
        2: [("seen", 1.0, 1.0)],
        3: [("seen", 1.0, 6.0)],
        4: [("seen", 1.0, 1.0), ("unseen", 1.0, 4.0), ("zombie", 4.0, 6.0)],
    }


def test_one_that_had_another_ones_connection_for_a_moment_was_not_born_for_it(big_run: Run) -> None:
    """A child forked for the next connection has what its parent had open, until it has closed it."""
    events = [born(1, "a", 1.0, until=1.001), born(1, "b", 1.1, until=3.0)]

    assert [lane.words for lane in lanes(case_of(big_run, processes=events, transcript=[]))] == ["born for b"]


def test_nobody_is_drawn_before_it_was_seen(big_run: Run) -> None:
    """Neither owners, of which there are two after a second launch, nor who was there before a connection."""
    events = [
        {"t": 1.0, "event": "owner", "on": "", "pid": 700, "start": 1, "ppid": 1},
        {"t": 2.0, "event": "holds", "on": "b", "pid": 699, "start": 1, "ppid": 1, "until": 3.0},
        born(1, "a", 2.0),
        {"t": 4.0, "event": "owner", "on": "", "pid": 701, "start": 1, "ppid": 1},
        end(2, "sent SIGTERM", 5.0),
    ]
    found = lanes(case_of(big_run, processes=events, transcript=[]))

    assert [(lane.kind, lane.pid, lane.begins, lane.spans[0].start, lane.words) for lane in found] == [
        ("owner", 700, 1.0, 1.0, "owns the listener"),
        ("owner", 701, 4.0, 4.0, "owns the listener"),
        ("older", 699, 2.0, 2.0, "was there before b"),
        ("older", 2, 5.0, 5.0, "was there"),
        ("born", 1, 2.0, 2.0, "born for a"),
    ]


def test_a_client_is_seen_by_what_it_does_on_the_wire(big_run: Run) -> None:
    """From its start to its last word, and then it has ended at some time before that was noticed."""
    wire = [{"t": at, "on": "client", "event": "received"} for at in (2.0, 3.0, 9.0)]
    events = [end(1, "started", 1.0), end(1, "ended with status 0", 5.0)]
    lane = lanes(case_of(big_run, processes=events, transcript=wire))[1]

    assert [(span.kind, span.start, span.end) for span in lane.spans] == [
        ("seen", 1.0, 3.0),
        ("unseen", 3.0, 5.0),
    ]
    assert (lane.words, lane.how) == ("the client", "ended with status 0")


def test_what_was_frozen_is_drawn_until_it_was_let_go(big_run: Run) -> None:
    """Or until it was last seen, when nobody did."""
    events = [
        born(1, "a", 1.0),
        end(1, "frozen", 2.0),
        end(1, "thawed", 3.0),
        end(1, "frozen", 4.0),
        end(1, "alive", 5.0),
    ]
    (lane,) = lanes(case_of(big_run, processes=events, transcript=[]))

    assert [(span.start, span.end) for span in lane.spans if span.kind == "frozen"] == [
        (2.0, 3.0),
        (4.0, 5.0),
    ]
    assert lane.done == "frozen"


def test_a_connection_is_drawn_from_its_beginning_to_its_end(big_run: Run) -> None:
    """Open, half-closed, closed, and what came from the other side."""
    events = [
        {"t": at, "on": "a", "event": what}
        for at, what in (
            (1, "connected"),
            (2, "sent"),
            (3, "half-closed"),
            (4, "end of stream"),
            (5, "closed"),
        )
    ]
    lane = lanes(case_of(big_run, processes=[born(1, "a", 2.0)], transcript=events))[0]

    assert [(span.kind, span.start, span.end) for span in lane.spans] == [
        ("open", 1, 3),
        ("half-closed", 3, 5),
    ]
    assert (lane.how, lane.at) == ("end of stream", 4)
    assert [mark.kind for mark in lane.marks] == ["sent", "end", "closed"]


@pytest.mark.parametrize("ending", ["reset", "ETIMEDOUT", "EHOSTUNREACH"])
def test_a_connection_that_broke_is_open_no_more(ending: str, big_run: Run) -> None:
    """Whatever error it ended in: not until the suite closes its end; a new one of that name is."""
    wire = [(1, "connected"), (2, ending), (3, "half-closed"), (5, "closed"), (6, "connected"), (7, "sent")]
    events = [{"t": at, "on": "a", "event": what} for at, what in wire]
    broken = lanes(case_of(big_run, processes=[born(1, "a", 2.0)], transcript=events[:4]))[0]
    anew = lanes(case_of(big_run, processes=[born(1, "a", 2.0)], transcript=events))[0]

    assert [(span.kind, span.start, span.end) for span in broken.spans] == [("open", 1, 2)]
    assert (broken.how, broken.at) == (ending, 2)
    assert [(mark.kind, mark.at) for mark in broken.marks] == [("end", 2), ("closed", 5)]
    assert [(span.kind, span.start, span.end) for span in anew.spans] == [("open", 1, 2), ("open", 6, 7)]


def test_a_crowd_is_told_together(big_run: Run) -> None:
    """Thousands of connections and processes stay a picture that can be read; nobody is left uncounted."""
    names = [f"n{number}" for number in range(3000)]
    wire = [{"t": 0.1, "on": name, "event": "connected"} for name in names]
    events = [born(number + 1, name, 0.2, until=1.0) for number, name in enumerate(names)]
    case = case_of(big_run, transcript=wire, processes=[*events, end(7, "zombie", 3.0)])
    found = lanes(case)
    told = {
        kind: sum(int(lane.name) if lane.kind == "more" else 1 for lane in part)
        for kind, part in (("connections", found[:4]), ("processes", found[4:]))
    }

    assert told == {"connections": 3000, "processes": 3000}
    assert len(found) <= CONNECTIONS_MAX + PROCESSES_MAX
    assert any(lane.how == "zombie" for lane in found)  # what differs is not lost in the crowd
    picture = draw(case, "x")
    assert picture
    assert len(picture.svg) < 20_000


def test_many_that_differ_are_cut(big_run: Run) -> None:
    """However different they are, there are so many lanes at the most."""
    events = [born(number, f"n{number}", 0.2) | {"event": f"sent SIG{number}"} for number in range(50)]
    found = lanes(case_of(big_run, processes=events, transcript=[]))

    assert len(found) == PROCESSES_MAX
    assert found[-1].name == str(50 - PROCESSES_MAX + 1)


def test_pictures_are_well_formed_and_told_in_words(big_run: Run) -> None:
    """Each with a title and a description that names every process and connection, and only what the page explains."""
    for case in big_run.cases[:60]:
        picture = draw(case, "p")
        assert picture
        root = ElementTree.fromstring(picture.svg)
        words = {one.get("id"): one.text or "" for one in root if one.tag in ("title", "desc")}
        assert root.get("role") == "img"
        assert (root.get("aria-labelledby") or "").split() == list(words)
        assert "process 700 owns the listener" in words["p-words"]
        assert set(picture.kinds) <= set(LEGEND)
        drawn = {(one.get("class") or "").partition(" ")[0] for one in root.iter("rect")}
        assert drawn <= set(picture.kinds)


def test_shapes_stay_inside(big_run: Run) -> None:
    """No bar begins before the scale or ends after it."""
    for case in big_run.cases[:60]:
        picture = draw(case, "p")
        assert picture
        for one in ElementTree.fromstring(picture.svg).iter("rect"):
            x, width = (float((one.get(name) or "").rstrip("%")) for name in ("x", "width"))
            assert 0 <= x <= 100
            assert x + width <= 100.31
