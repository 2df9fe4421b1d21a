"""The specification for people: complete, up to date, and the same every time."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forkecho.conformance import requirement, specification
from forkecho.conformance.case import expand, templates
from forkecho.conformance.inline import inline
from forkecho.conformance.manifest import Manifest
from forkecho.conformance.plan import UnknownId
from forkecho.conformance.requirement import GROUPS, Applies

SPEC = Path(__file__).parents[2] / "SPEC.md"


def test_spec_is_not_stale() -> None:
    """What is checked in is what `forkecho spec` prints."""
    assert specification.render() == SPEC.read_text(encoding="utf-8"), "run `forkecho spec --output SPEC.md`"


def test_spec_names_every_requirement_once() -> None:
    """With its statement, level and source, in the order of the groups."""
    text = specification.render()
    headings = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]

    assert list(requirement.load()) == headings
    for one in requirement.load().values():
        section = text.partition(f"### {one.id}\n")[2].partition("\n#")[0]
        for said in (one.statement, one.source, one.rationale, one.remedy):
            assert " ".join(said.split()).replace("<", "&lt;") in section
        assert f"({one.level.upper()})" in section
    positions = [text.index(f"## {group}: ") for group in GROUPS if f"### {group}-" in text]
    assert sorted(positions) == positions


def test_every_requirement_is_judged_and_the_judgement_is_proven() -> None:
    """By a case and a mutant, or it is excluded with the reason."""
    lacking = [
        f"{id_}: {len(entry.cases)} cases, {len(entry.mutants)} mutants"
        for id_, entry in specification.entries().items()
        if not entry.requirement.excluded and not (entry.cases and entry.mutants)
    ]

    assert lacking == []


#: A value for each predicate that is not its default.
PREDICATES: dict[str, Any] = {
    "framing": "one-shot",
    "reply": ["ppid"],
    "reply_any": ["pid", "ppid"],
    "lineage": "indirect",
    "drain": ["cut"],
    "in_process": False,
    "max_connections": False,
    "min_connections": 100,
    "fixed_port": False,
    "transport": "unix",
    "families": ["dual"],
    "role": "client",
    "stdin": True,
    "idle_timeout": True,
    "announce": False,
    "told_host": False,
}


def test_every_predicate_is_put_into_words() -> None:
    """A new one is not forgotten, and none reads as another."""
    assert set(Applies.__struct_fields__) == set(PREDICATES)
    said = {specification.in_words(Applies(**{name: value})) for name, value in PREDICATES.items()}

    assert len(PREDICATES) == len(said)
    assert "every target" not in said
    assert specification.in_words(Applies()) == "every target"
    together = specification.in_words(Applies(framing="stream", drain=["finish", "cut", "orphan"]))
    assert together == "targets with stream framing, and any declared drain"


@pytest.mark.parametrize("id_", requirement.load())
def test_a_requirement_is_explained(id_: str) -> None:
    """Statement, source, reason and remedy, and the cases by name; small letters will do."""
    one = requirement.load()[id_]
    words = " ".join(specification.explain(id_.lower()).split())

    for said in (one.statement, one.source, one.rationale, one.remedy, f"({one.level.upper()})"):
        assert " ".join(said.split()) in words
    for stem, (template, _) in templates().items():
        assert (template.requirement == id_) == (f" {stem} " in f"{words} ")


def test_a_case_is_explained_with_its_steps() -> None:
    """In one size with the numbers, in all sizes with the name of the parameter; it names what it judges."""
    first = {template.requirement: (stem, template) for stem, (template, _) in reversed(templates().items())}
    for stem, template in first.values():
        text = specification.explain(stem)
        assert template.requirement in text
        assert " ".join(template.title.split()) in " ".join(text.split())
        assert f"  {len(template.steps)}. " in text
    one_size = specification.explain("buffer/whole@4097")

    assert "size = 4097" in one_size
    assert "exchange = { random = 4097 }" in one_size


def test_every_case_can_be_explained() -> None:
    """In each of its sizes: no parameter is left in the steps."""
    for manifest in (Manifest(), Manifest(framing="one-shot", message_max=2000, max_connections=40)):
        for id_ in expand(manifest):
            stem, _, suffix = id_.partition("@")
            template = templates()[stem][0]
            parameters = specification._parameters(template, suffix, manifest)
            assert suffix == "-".join(map(str, parameters.values()))
    one_shot = Manifest(framing="one-shot", message_max=2000)
    assert "random = 2001" in specification.explain("buffer/whole@2001", one_shot)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("FROK-06", "FORK-06"),
        ("buffer/wohle", "buffer/whole"),
        ("buffer/whole@4099", "buffer/whole@4097"),
        ("zzz", "forkecho list requirements"),
    ],
)
def test_an_unknown_id_is_refused_with_what_is_near(name: str, near: str) -> None:
    """In the complaint, which names what was asked for too."""
    with pytest.raises(UnknownId) as caught:
        specification.explain(name)

    assert repr(name) in str(caught.value)
    assert near in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [1, 2.5, True, "", 'a "b" \\ \n\t\x7f\x00 é', [1, "x", [2]], {}, {"a b": {"c": [True]}, "d-e_1": "f"}],
)
def test_inline_values_are_toml(value: object) -> None:
    """What is shown can be put into a file, or after `--set`."""
    assert value == tomllib.loads(f"value = {inline(value)}")["value"]


def test_every_manifest_can_be_written_inline() -> None:
    """The one thing that TOML cannot say is None, which only stands for "not given"."""
    told = {
        key: value
        for key, value in msgspec.to_builtins(Manifest(env={"A": "b"})).items()
        if value is not None
    }

    assert told == tomllib.loads("\n".join(f"{key} = {inline(value)}" for key, value in told.items()))
    with pytest.raises(TypeError):
        inline(None)
