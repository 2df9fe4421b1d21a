"""The run as JUnit XML, for those who show test results of CI.

One `testcase` a case: the class is the group, the name is the case's id. What makes `forkecho check` exit
with 1 is a `failure`, what makes it exit with 3 an `error`, and what was not judged is `skipped`. A broken
SHOULD passes with its words in `system-out`; when the run was `--strict` it is a `failure`, and what could
not be observed an `error`.

It is valid against the schema that Jenkins' xUnit plugin has (junit-10.xsd), which other readers are made for as well.
"""

from __future__ import annotations

from xml.etree import ElementTree

from forkecho.conformance.report import evidence
from forkecho.conformance.report.printable import printable
from forkecho.conformance.result import CaseLine, Run, Verdict

__all__ = ["ELEMENTS", "render"]

#: From the verdict to the element that a testcase gets; "" is a passed one without any.
ELEMENTS = {
    Verdict.PASS: "",
    Verdict.FAIL: "failure",
    Verdict.WARN: "system-out",
    Verdict.KNOWN: "skipped",
    Verdict.FIXED: "failure",
    Verdict.NOT_APPLICABLE: "skipped",
    Verdict.INCONCLUSIVE: "skipped",
    Verdict.UNSTABLE: "failure",
    Verdict.BLOCKED: "failure",
    Verdict.BROKEN: "error",
}

STRICT = {Verdict.WARN: "failure", Verdict.INCONCLUSIVE: "error"}


def render(run: Run, *, width: int = 0, color: bool = False) -> str:
    """The run as an XML document; `width` and `color` mean nothing here."""
    elements = ELEMENTS | (STRICT if run.header.selection.get("strict") else {})
    cases = sorted(run.cases, key=lambda case: case.id)
    given = [elements[case.verdict] for case in cases]
    counts = {
        "tests": str(len(cases)),
        "failures": str(given.count("failure")),
        "errors": str(given.count("error")),
        "skipped": str(given.count("skipped")),
        "time": f"{run.footer.seconds:.3f}",
    }
    # Of the skipped ones the common schema lets a suite tell, and not all suites together.
    total = {key: value for key, value in counts.items() if key != "skipped"}
    root = ElementTree.Element("testsuites", {"name": "forkecho", **total})
    name = printable(str(run.header.target.get("name", "")))
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": name, **counts, "timestamp": run.header.started}
    )
    properties = ElementTree.SubElement(suite, "properties")
    for key in ("forkecho", "spec", "seed", "model"):
        if (value := getattr(run.header, key)) is not None:
            ElementTree.SubElement(properties, "property", {"name": key, "value": printable(str(value))})
    for case in cases:
        add(suite, case, elements[case.verdict])
    ElementTree.indent(root)
    octets: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return octets.decode() + "\n"


def add(suite: ElementTree.Element, case: CaseLine, element: str) -> None:
    """Add a case to a suite."""
    told = {"classname": case.group, "name": case.id, "time": f"{case.seconds:.3f}"}
    testcase = ElementTree.SubElement(suite, "testcase", told)
    if not element:
        return
    inner = ElementTree.SubElement(testcase, element)
    # Of a failure what was seen comes first; the model may be its reason.
    failed = f"expected {case.expected}; seen: {case.seen}"
    words = failed if case.verdict in (Verdict.FAIL, Verdict.WARN) else case.reason or failed
    if element != "system-out":
        inner.set("message", printable(f"{case.verdict.value}: {words}"))
    if element == "skipped":
        return
    if element != "system-out":
        inner.set("type", case.verdict.value)
    lines = [f"{case.verdict.value}: {case.requirement} ({case.level}): {case.title}"]
    lines += [f"{name}: {text}" for name, text in evidence.words(case)]
    inner.text = printable("\n".join(lines))
