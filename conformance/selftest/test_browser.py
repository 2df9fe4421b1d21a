"""The page of a run in a real browser: headless Chromium, driven by selenium.

Skipped where either is missing, unless FORKECHO_BROWSER=required.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from forkecho.conformance.deadline import Deadline, wait_for
from forkecho.conformance.matrix import Column
from forkecho.conformance.report import FORMATS, SOAKS, matrix_html
from forkecho.conformance.result import Run, Verdict
from forkecho.conformance.soak.record import Fault, Repeat, Sample, Soak, SoakFooter, SoakHeader

REQUIRED = os.environ.get("FORKECHO_BROWSER") == "required"
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")

#: How wide a phone is.
PHONE = 360
COMES_WITHIN = 30.0  # seconds for what takes a moment, unless the machine is loaded

#: The browser is to look neither for news of itself nor for accounts, and to come with nothing of its own.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip


def missing() -> str:
    """What a browser is missing here; empty if there is one."""
    if importlib.util.find_spec("selenium") is None:
        return "selenium is not installed (dependency group browser)"
    if not CHROMIUM or not DRIVER:
        return "there is no Chromium with its driver (Debian packages chromium and chromium-driver)"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()) and not REQUIRED, reason=missing() or "there is a browser")


class Browser:
    """A browser with the page of a run."""

    def __init__(self, file: Path, profile: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        options = Options()
        options.binary_location = CHROMIUM or ""
        for one in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(one)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # With its path given, selenium looks for no driver, and least of all on the network.
        self.driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
        self.driver.set_page_load_timeout(120)
        self.driver.set_script_timeout(120)
        self.file = file

    def show(
        self,
        fragment: str = "",
        *,
        width: int = 1200,
        dark: bool = False,
        script: bool = True,
        media: str = "",
    ) -> None:
        """Load the page anew."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width <= PHONE}
        self.tell("Emulation.setDeviceMetricsOverride", **size)
        self.tell("Emulation.setEmulatedMedia", media=media, features=features)
        self.tell("Emulation.setScriptExecutionDisabled", value=not script)
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(self.file.as_uri() + fragment)

    def tell(self, command: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(command, arguments)

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def comes(self, script: str, *arguments: Any) -> Any:
        """The same once it is true: some of what a click sets off happens after it."""
        return wait_for(lambda: self.ask(script, *arguments), Deadline(COMES_WITHIN))

    def fetched(self) -> list[str]:
        """What was asked for since the page was loaded."""
        told = [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]
        return [
            one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"
        ]

    def shown(self) -> list[str]:
        """The cases that are there to be seen, or to be opened."""
        found: list[str] = self.ask(
            "return [...document.querySelectorAll('.case')].filter(one => one.checkVisibility()).map(one => one.id)"
        )
        return found

    def type(self, name: str, text: str) -> None:
        """Enter something into a field of the filters."""
        self.driver.find_element("css selector", f"#filters [name={name}]").send_keys(text)


@pytest.fixture(scope="module")
def browser(big_run: Run) -> Iterator[Browser]:
    assert not missing(), missing()
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        file = Path(folder, "run.html")
        file.write_text(FORMATS["html"](big_run), encoding="utf-8")
        made = Browser(file, Path(folder, "profile"))
        yield made
        made.driver.quit()


def chosen(run: Run, fits: Callable[[Any], bool]) -> set[str]:
    return {case.id for case in run.cases if fits(case)}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, PHONE])
def test_nothing_is_amiss_and_nobody_is_asked(browser: Browser, width: int, dark: bool) -> None:
    """No word in the console, no request but for the page itself, no message box of a hostile server."""
    browser.show(width=width, dark=dark)

    assert browser.driver.get_log("browser") == []
    assert [url for url in browser.fetched() if not url.startswith(("file://", "data:", "about:"))] == []
    assert len([url for url in browser.fetched() if url.startswith("file://")]) <= 1


def test_the_policy_holds(browser: Browser) -> None:
    """A script or a style that somebody smuggles in is refused, and so is every address."""
    browser.show()
    smuggled = """
        const done = arguments[0];
        document.body.insertAdjacentHTML("beforeend", "<p id=smuggled style='color: red' onclick='window.hit = 1'>x</p>");
        const script = document.createElement("script"); script.textContent = "window.hit = 1"; document.body.append(script);
        document.getElementById("smuggled").click();
        fetch("http://127.0.0.1:9/").then(() => done("fetched"), () => done([
            window.hit, getComputedStyle(document.getElementById("smuggled")).color]));
    """
    hit, color = browser.driver.execute_async_script(smuggled)

    assert hit is None
    assert color != "rgb(255, 0, 0)"
    assert browser.driver.get_log("browser")


@pytest.mark.parametrize("width", [PHONE, 1200])
def test_nothing_is_wider_than_the_page(browser: Browser, width: int) -> None:
    """Everything opened, with the hostile words in it: no scrolling sideways."""
    browser.show(width=width)
    browser.ask("for (const one of document.querySelectorAll('details')) one.open = true")

    assert browser.ask("return document.documentElement.scrollWidth") <= width


def test_pictures_stay_in_their_frames(browser: Browser) -> None:
    """On a phone no words of a picture run into each other or out of it."""
    browser.show(width=PHONE)
    met = browser.ask(
        """
        const met = [];
        for (const lane of [...document.querySelectorAll(".case[open] figure svg.picture > g")].slice(0, 200)) {
          const frame = lane.closest("figure").getBoundingClientRect();
          const [who, how] = ["who", "how"].map((name) => lane.querySelector(`.${name}`)?.getBoundingClientRect());
          if (how && who.right > how.left) met.push(lane.textContent);
          if (who.right > frame.right) met.push(lane.textContent);
        }
        return met;
        """
    )

    assert met == []


def test_filters_by_verdict(browser: Browser, big_run: Run) -> None:
    """What is not ticked is not shown, and groups and requirements without anything to show are not either."""
    browser.show()
    assert set(
        browser.ask("return [...document.querySelectorAll('.case:not([hidden])')].map(one => one.id)")
    ) == chosen(big_run, lambda case: True)
    browser.driver.find_element("css selector", "#filters [value=pass]").click()

    assert set(browser.shown()) == chosen(big_run, lambda case: case.verdict is not Verdict.PASS)
    assert browser.ask("return document.getElementById('count').textContent") == "38 of 500 cases"
    assert browser.ask(
        "return [...document.querySelectorAll('.requirement')].every(one => one.hidden == !one.querySelector('.case:not([hidden])'))"
    )


def test_filters_by_group_level_and_text_together(browser: Browser, big_run: Run) -> None:
    """All that is asked for must fit; without regard to case; `Show all` ends it."""
    browser.show()
    browser.type("group", "ECHO")
    assert set(browser.shown()) == chosen(big_run, lambda case: case.group == "ECHO")
    browser.type("level", "must")
    browser.type("text", "TITLE OF CASE 1")
    wanted = chosen(
        big_run,
        lambda case: (
            case.group == "ECHO" and case.level == "must" and case.title.startswith("The title of case 1")
        ),
    )
    assert set(browser.shown()) == wanted
    assert wanted
    browser.driver.find_element("css selector", "#filters [type=reset]").click()
    everything = "return !document.querySelector('.case[hidden], .requirement[hidden], .group[hidden]')"

    assert browser.comes(everything)


@pytest.mark.parametrize("script", [True, False])
def test_a_link_to_a_case_opens_it(browser: Browser, big_run: Run, script: bool) -> None:
    """One that passed, under a requirement that is closed; by its id, as it is and percent-encoded."""
    wanted = next(case for case in big_run.cases[100:] if case.verdict is Verdict.PASS)
    for fragment in (wanted.id, quote(wanted.id, safe="")) if script else (wanted.id,):
        browser.show(f"#{fragment}", script=script)
        browser.tell("Emulation.setScriptExecutionDisabled", value=False)
        place = browser.ask(
            """
            const one = document.getElementById(arguments[0]);
            return [one.checkVisibility(), one.open || !arguments[1], one.getBoundingClientRect().top];
            """,
            wanted.id,
            script,
        )

        assert place[:2] == [True, True], fragment
        assert -1 <= place[2] < 800, fragment


def test_a_link_shows_what_a_filter_hides(browser: Browser, big_run: Run) -> None:
    """Followed in the page, and once more after what it led to was closed."""
    browser.show()
    failed = next(case for case in big_run.cases if case.verdict is Verdict.FAIL)
    browser.driver.find_element("css selector", "#filters [value=fail]").click()
    seen = "const one = document.getElementById(arguments[0]); return one.checkVisibility() && one.open"
    assert not browser.ask(seen, failed.id)
    link = f".concerns a[href='#{failed.id}']"
    browser.driver.find_element("css selector", link).click()
    assert browser.comes(seen, failed.id)
    browser.ask("document.getElementById(arguments[0]).open = false", failed.id)
    browser.driver.find_element("css selector", link).click()

    assert browser.comes(seen, failed.id)
    assert browser.comes("return document.activeElement.parentElement.id === arguments[0]", failed.id)


def test_without_a_script_everything_is_there(browser: Browser, big_run: Run) -> None:
    """All cases are, those that failed with all that was seen, and no filter that would do nothing."""
    browser.show(script=False)
    browser.tell("Emulation.setScriptExecutionDisabled", value=False)
    failed = chosen(big_run, lambda case: case.verdict is Verdict.FAIL)

    assert browser.ask("return document.querySelectorAll('.case').length") == 500
    assert failed <= set(browser.shown())
    assert browser.ask(
        "return [...document.querySelectorAll('.case[open] figure')].every(one => one.checkVisibility())"
    )
    assert not browser.ask("return document.getElementById('filters').checkVisibility()")


def test_dark_mode_has_other_colours(browser: Browser) -> None:
    """Paper and ink change places."""
    colors = {}
    for dark in (False, True):
        browser.show(dark=dark)
        style = "const of = getComputedStyle(document.body); return [of.backgroundColor, of.color].map(one => Number(one.match(/[0-9]+/)[0]))"
        colors[dark] = browser.ask(style)

    assert colors[False][0] > 200 > 100 > colors[False][1]
    assert colors[True][0] < 100 < 200 < colors[True][1]


def test_on_paper_requirements_are_open_and_filters_are_not_there(browser: Browser) -> None:
    """Light even where the screen is dark; what was seen of failures is printed, of what passed the words alone."""
    browser.show(dark=True, media="print")
    seen = browser.ask(
        """
        dispatchEvent(new Event("beforeprint"));
        const visible = (some) => [...document.querySelectorAll(some)].map((one) => one.checkVisibility());
        return {
          statements: visible(".statement").every(Boolean),
          filters: visible("#filters").some(Boolean),
          failures: visible(".case[open] figure").every(Boolean),
          passed: visible(".case:not([open]) .inside").some(Boolean),
          paper: getComputedStyle(document.body).backgroundColor,
        };
        """
    )

    assert seen == {
        "statements": True, "filters": False, "failures": True, "passed": False, "paper": "rgb(255, 255, 255)",
    }  # fmt: skip
    printed = base64.b64decode(browser.tell("Page.printToPDF", paperWidth=8.3, paperHeight=11.7)["data"])
    assert printed.startswith(b"%PDF-")


def test_it_can_be_used_by_keyboard(browser: Browser) -> None:
    """The first stop leads past the header, and wherever the focus is can be seen."""
    from selenium.webdriver.common.keys import Keys

    browser.show()
    body = browser.driver.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    assert browser.ask("return document.activeElement.className") == "skip"
    assert browser.ask("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)

    assert browser.comes("return document.activeElement.id === 'main'")


def objections(browser: Browser, most: dict[str, int]) -> list[Any]:
    """What rules of WCAG 2.1 AA and of good practice find: the rule, what it wants, where.

    Args:
        most: of each selector so many elements stay: some stand for all, and to look at thousands takes a minute.
    """
    found = importlib.util.find_spec("axe_core_python")
    if found is None or not found.origin:
        assert not REQUIRED, "axe-core-python is not installed (dependency group browser)"
        pytest.skip("axe-core-python is not installed (dependency group browser)")
    # Not as a part of the page, whose policy has none: by the driver.
    browser.ask(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    keep = "[...document.querySelectorAll(arguments[0])].slice(arguments[1]).forEach((one) => one.remove())"
    for some, number in most.items():
        browser.ask(keep, some, number)
    told: list[Any] = browser.driver.execute_async_script(
        """
        const done = arguments[0];
        axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], resultTypes: ["violations"] })
          .then((told) => done(told.violations.map((one) => [one.id, one.help, one.nodes.slice(0, 3).map((node) => node.html)])));
        """
    )
    return told


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, 1200])
def test_axe_has_nothing_to_object_to(browser: Browser, width: int, dark: bool) -> None:
    """Contrast, names, landmarks, order of headings, tables: what can be found by rules, of WCAG 2.1 AA and good practice."""
    browser.show(width=width, dark=dark)

    assert objections(browser, {".group": 2, ".requirement": 3, ".case": 6, ".concerns > li": 3}) == []


# The matrix


@pytest.fixture
def matrix(browser: Browser, big_run: Run) -> Iterator[Browser]:
    """The same browser with the page of many targets, one of them without a run."""
    kept = msgspec.structs.replace(
        big_run,
        cases=tuple(msgspec.structs.replace(case, verdict=Verdict.PASS) for case in big_run.cases[:40]),
    )
    columns = [Column(name=f"server-{at}", run=big_run if at % 3 else kept) for at in range(28)]
    columns.insert(4, Column(name="killed", reason="ended by SIGKILL"))
    before, browser.file = browser.file, browser.file.with_name("matrix.html")
    browser.file.write_text(matrix_html.render(columns), encoding="utf-8")
    yield browser
    browser.file = before


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, PHONE])
def test_the_matrix_fits_and_asks_nobody(matrix: Browser, width: int, dark: bool) -> None:
    """However many columns it has, they move within their table; no word in the console, and no request."""
    matrix.show(width=width, dark=dark)

    assert matrix.driver.get_log("browser") == []
    assert [url for url in matrix.fetched() if not url.startswith(("file://", "data:", "about:"))] == []
    assert matrix.ask("return document.documentElement.scrollWidth") <= width
    assert matrix.ask(
        "const one = document.querySelector('.scroll'); return one.scrollWidth > one.clientWidth"
    )


def test_the_headings_of_the_matrix_stay_in_sight(matrix: Browser) -> None:
    """Scrolled to the last cell, its target and its requirement can still be read."""
    matrix.show(script=False)
    seen = matrix.ask(
        """
        const table = document.querySelector(".scroll");
        table.scrollTo(table.scrollWidth, table.scrollHeight);
        const box = table.getBoundingClientRect();
        return [...table.querySelectorAll("thead th:last-child, tbody:last-child tr:last-child th")].map((one) => {
          const at = one.getBoundingClientRect();
          return at.top >= box.top - 1 && at.left >= box.left - 1 && at.bottom <= box.bottom + 1 && at.right <= box.right + 1;
        });
        """
    )

    assert seen == [True, True]


@pytest.mark.parametrize("width", [1200, PHONE])
def test_a_cell_of_the_matrix_leads_to_what_was_seen(matrix: Browser, width: int) -> None:
    """Without a script: the target's name stands out, in sight, under the requirement that the cell stands for."""
    matrix.show(width=width, script=False)
    cell = matrix.driver.find_element("css selector", ".matrix td.fail a")
    matrix.ask("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", cell)
    cell.click()

    assert matrix.comes("return document.querySelector(':target')?.checkVisibility()")
    top = matrix.ask("return document.querySelector(':target').getBoundingClientRect().top")
    assert 0 <= top <= 800
    assert matrix.ask("return document.querySelector(':target').closest('.requirement') !== null")


def test_what_all_agree_about_can_be_unfolded_without_a_script(matrix: Browser) -> None:
    """It is there, behind a line that says how much it is."""
    matrix.show(script=False)
    folded = "return document.querySelector('#agreements').parentElement.querySelector('details .scroll').checkVisibility()"
    closed = matrix.ask(folded)
    matrix.driver.find_element("css selector", "section details > summary").click()

    assert (closed, matrix.ask(folded)) == (False, True)


@pytest.mark.parametrize("width", [PHONE, 1200])
def test_axe_has_nothing_to_object_to_in_the_matrix(matrix: Browser, width: int) -> None:
    """By the same rules as above."""
    matrix.show(width=width)

    assert objections(matrix, {".matrix tbody": 3, ".requirement": 3, ".targets li": 6}) == []


# The page of a soak


@pytest.fixture
def soak(browser: Browser) -> Iterator[Browser]:
    """The browser, with a soak in which much grew, told in hostile words."""
    samples = tuple(
        Sample(t=5.0 * number, phase="load" if number % 4 else "rest", descriptors=6 + number, processes=1 + number % 4,
               zombies=number % 2, rss=10_000_000 + 99_999 * number, private=4_000_000 + 99_999 * number)
        for number in range(80)
    )  # fmt: skip
    hostile = "<script>alert(1)</script>" + "x" * 200
    wrong = Fault(id=hostile, requirement="ECHO-01", level="must", verdict="fail", expected="a", seen=hostile)
    repeats = tuple(
        Repeat(
            number=number,
            t=20.0 * number - 19,
            seconds=18.0,
            totals={"pass": 7},
            faults=[wrong][: number % 2],
        )
        for number in range(1, 20)
    )
    made = Soak(
        header=SoakHeader(
            format=1, forkecho="0.1.0", spec="0123456789ab", target={"name": "c", "title": hostile}, model=None, host={},
            seed=0, selection={}, selected=7, started="2026-01-01T00:00:00Z", duration=400.0, interval=5.0, load={"room": 12},
        ),
        samples=samples,
        repeats=repeats,
        footer=SoakFooter(seconds=400.0, exit=1, interrupted=False, load={"opened": 900, "served": 800}),
    )  # fmt: skip
    before, browser.file = browser.file, browser.file.with_name("soak.html")
    browser.file.write_text(SOAKS["html"](made), encoding="utf-8")
    yield browser
    browser.file = before


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1200, PHONE])
def test_the_page_of_a_soak_fits_and_asks_nobody(soak: Browser, width: int, dark: bool) -> None:
    """Without a script, on a phone as well: five plots as wide as the page, nothing wider, no request, no complaint."""
    soak.show(width=width, dark=dark, script=False)

    assert soak.driver.get_log("browser") == []
    assert [url for url in soak.fetched() if not url.startswith(("file://", "data:", "about:"))] == []
    assert soak.ask("return document.documentElement.scrollWidth") <= width
    wide = soak.ask(
        "return [...document.querySelectorAll('svg.plot')].map(one => one.getBoundingClientRect().width)"
    )
    assert len(wide) == 5
    assert min(wide) > width * 0.6


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, 1200])
def test_axe_has_nothing_to_object_to_in_a_soak(soak: Browser, width: int, dark: bool) -> None:
    """Names for everything, contrast in both modes."""
    soak.show(width=width, dark=dark)
    soak.ask("for (const one of document.querySelectorAll('details')) one.open = true")

    assert objections(soak, {"tbody": 3}) == []
