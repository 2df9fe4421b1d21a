"""The shape of the suite, held by reading its own sources: floors, doors, docstrings, waiting, and what proves what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from forkecho.conformance import prove, requirement
from forkecho.conformance.case import expand
from forkecho.conformance.manifest import Manifest

SUITE = Path(__file__).parents[1]
PACKAGE = "forkecho.conformance"

#: The floors from the lowest up, and on each floor the modules in their order: a module imports only what stands before it.
#: A package stands for its modules, which may import each other, unless one of them has a place of its own.
FLOORS = {
    "nouns that know nobody": (
        "address", "deadline", "limits", "tcp", "nearest", "inline", "interpreter", "port", "guardian", "host", "fixture", "world", "manifest", "result", "measurement",
        "interval", "soak.record", "soak.trend",
        "model", "requirement",
        "observe", "wire", "styles", "payload", "step", "clients.step",
    ),
    "what is read, and what is made of it": ("guard", "hosted", "target", "freezer", "verdict", "case", "known", "plan", "renewal", "comparison", "soak.judged", "matrix", "upstream", "report", "repro"),
    "what happens": ("witness", "stage", "acts", "sights", "classify", "run", "clients", "prove", "bench"),
    "faces": ("report.proof", "specification", "collector", "scheduling", "session", "soak", "test_cases", "conftest"),
}  # fmt: skip
ORDER = [module for floor in FLOORS.values() for module in floor]

#: Calls that make a client's socket; with `sock=` they take one that is connected already.
CONNECTING = {"connect", "connect_ex", "create_connection", "open_connection"}


def modules() -> dict[str, Path]:
    """The sources of the suite by module, `` for the package itself; the self-tests are not among them."""
    found = {}
    for path in sorted(SUITE.rglob("*.py")):
        parts = path.relative_to(SUITE).with_suffix("").parts
        if parts[0] != "selftest":
            found[".".join(parts).removesuffix("__init__").rstrip(".")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Every module that a source imports, anywhere in it, by its full name; what is imported from a package as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}: imports are absolute, or an editable installation loads modules twice"
            )
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(module: str) -> str | None:
    """The entry of ORDER that a module belongs to: its own, or that of its package."""
    while module and module not in ORDER:
        module = module.rpartition(".")[0]
    return module or None


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call, str]]:
    """The name of what is called, the call, and the function in which it stands (``: the module)."""

    def walk(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.Call, str]]:
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            yield name, node, inside
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = inside or node.name
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    return walk(tree, "")


@pytest.mark.parametrize("module", [name for name in modules() if name])
def test_imports_go_down_only(module: str) -> None:
    """A module has a place on one of the four floors, and imports nothing that stands above it."""
    mine = place(module)
    assert mine, f"{module} has no place in FLOORS"
    known = modules()
    for imported in imports(known[module]):
        name = imported.removeprefix(f"{PACKAGE}.")
        if not imported.startswith(f"{PACKAGE}."):
            continue
        while name not in known:  # a name out of a module
            name = name.rpartition(".")[0]
        other = place(name)
        same_package = name.partition(".")[0] == module.partition(".")[0] and other == mine
        assert other, f"{name} has no place in FLOORS"
        assert same_package or ORDER.index(other) < ORDER.index(mine), f"{module} imports {name}"


def test_every_place_is_taken() -> None:
    """The list of floors names no module that does not exist."""
    assert [name for name in ORDER if name not in modules()] == []


def test_the_suite_knows_no_server() -> None:
    """It imports neither the reference server nor the client nor the command line: every server is a black box to it."""
    strangers = [
        (module, imported)
        for module, path in modules().items()
        for imported in imports(path)
        if imported.startswith("forkecho.") and not imported.startswith(PACKAGE)
    ]
    # Of the program itself only the version is used.
    assert strangers in ([], [("session", "forkecho.__version__")])


def test_the_guardian_imports_the_standard_library_alone() -> None:
    """It is run by `python -I -S` and must outlive whatever happens to the suite."""
    assert [
        name
        for name in imports(modules()["guardian"])
        if name.partition(".")[0] in ("forkecho", "psutil", "msgspec")
    ] == []


def test_the_operating_system_is_asked_through_one_door() -> None:
    """Only the package `observe` knows its ways of asking; psutil and netlink are nowhere else."""
    inside = [
        (module, imported)
        for module, path in modules().items()
        for imported in imports(path)
        if not module.startswith("observe") and (imported.startswith((f"{PACKAGE}.observe.", "psutil")))
    ]
    names = {imported.rpartition(".")[2] for _, imported in inside}

    assert names <= {
        "Address",
        "Census",
        "Cost",
        "Effort",
        "Endpoint",
        "Facts",
        "Listener",
        "Meter",
        "Observer",
        "Process",
        "Task",
    }


def test_client_sockets_are_opened_by_one_module() -> None:
    """Nobody but `wire` connects, a host that is its own client, and the load of the benchmark, which must not be slowed down; styles are given connected sockets."""
    found = []
    for module, path in modules().items():
        for name, call, _ in calls(ast.parse(path.read_text(encoding="utf-8"))):
            given = any(keyword.arg == "sock" for keyword in call.keywords)
            own = (
                isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "wire"
            )
            if name in CONNECTING and not given and not own:
                found.append(module)

    assert set(found) == {"wire", "host", "bench.generator"}


def test_only_the_launch_and_the_guardian_start_processes() -> None:
    """Builds and probes, the loads of the benchmark and of a soak, the nursery in `guard`, targets in `guardian`, a child of the `host`'s own, Pythons that are asked; nobody else forks."""
    found = set()
    for module, path in modules().items():
        for name, call, _ in calls(ast.parse(path.read_text(encoding="utf-8"))):
            parent = ast.unparse(call.func).partition(".")[0]
            if (parent == "subprocess" and name in ("run", "Popen")) or (
                parent == "os" and name in ("fork", "execvpe", "system")
            ):
                found.add(module)

    assert found == {
        "bench.rounds",
        "guard",
        "guardian",
        "host",
        "interpreter",
        "target.builds",
        "soak.loading",
        "target.installed",
        "target.packages",
    }


def test_nobody_sleeps() -> None:
    """Pauses are the steps of polls with a deadline, or the one verb that lets time pass."""
    sleeping = {
        (module, inside)
        for module, path in modules().items()
        for name, _, inside in calls(ast.parse(path.read_text(encoding="utf-8")))
        if name == "sleep"
    }

    assert {module for module, _ in sleeping} <= {"deadline", "guardian", "acts.doing"}
    assert {inside for module, inside in sleeping if module == "acts.doing"} == {"idle"}


def test_nobody_sleeps_in_a_self_test() -> None:
    """Tests wait for what must become true; a hostile server may do what it likes."""
    found = [
        path.name
        for path in sorted(Path(__file__).parent.glob("*.py"))
        for name, _, _ in calls(ast.parse(path.read_text(encoding="utf-8")))
        if name == "sleep"
    ]

    assert found == []


def undocumented(node: ast.Module | ast.ClassDef, inside: str = "") -> Iterator[str]:
    """Public classes and functions without a docstring; hooks of pytest and asyncio have their contract there."""
    for child in node.body:
        if not isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if child.name.startswith(("_", "pytest_")) and child.name != "__str__":
            continue
        if ast.get_docstring(child) is None:
            yield f"{inside}{child.name}"
        if isinstance(child, ast.ClassDef):
            yield from undocumented(child, f"{child.name}.")


@pytest.mark.parametrize("module", list(modules()))
def test_every_public_name_has_a_docstring(module: str) -> None:
    """Modules, classes, functions and methods say in a sentence what they are."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))

    assert ast.get_docstring(tree), f"{module or 'the package'} has none"
    assert list(undocumented(tree)) == []


@pytest.mark.parametrize("module", list(modules()))
def test_all_names_what_exists(module: str) -> None:
    """`__all__` has no name that the module has not, and none that is private."""
    tree = ast.parse(modules()[module].read_text(encoding="utf-8"))
    there = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    listed: list[str] = []
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            there |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets) and node.value:
                listed = ast.literal_eval(node.value)
        elif isinstance(node, ast.ImportFrom):
            there |= {alias.asname or alias.name for alias in node.names}

    assert set(listed) <= there
    assert [name for name in listed if name.startswith("_")] == []


def test_every_test_states_a_behaviour() -> None:
    """Each self-test says in its docstring what holds, in one sentence or more."""
    silent = [
        f"{path.name}: {node.name}"
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]

    assert silent == []


# What proves what


@pytest.mark.parametrize("id_", list(requirement.load()))
def test_every_requirement_is_judged_and_proven(id_: str) -> None:
    """It has a case, and a mutant that breaks it; or it is excluded, and the reason stands with it."""
    one = requirement.load()[id_]
    manifests = (
        Manifest(command=["{port}"]),
        Manifest(command=["{port}"], framing="one-shot"),
        Manifest(command=["{port}", "{message}"], role="client"),
    )
    cases = [
        case for manifest in manifests for case in expand(manifest).values() if case.requirement.id == id_
    ]
    mutants = [mutant.name for mutant in prove.load().values() if mutant.breaks == id_]

    assert cases or one.excluded, "no case judges it"
    assert mutants or one.excluded, "no mutant breaks it"


def test_every_mutant_names_requirements_that_exist() -> None:
    """What a mutant breaks, and what it cannot help breaking besides, each with a reason; null targets break nothing."""
    known = requirement.load()
    for mutant in prove.load().values():
        assert mutant.breaks in known, mutant.name
        assert set(mutant.also) <= set(known) - {mutant.breaks}, mutant.name
        assert all(reason.strip() for reason in mutant.also.values()), mutant.name
    assert prove.nulls()
    assert {mutant.breaks for mutant in prove.nulls().values()} == {""}


def test_requirements_are_whole() -> None:
    """Each has a statement that is a sentence with its level's word, a source, a rationale and a remedy."""
    for id_, one in requirement.load().items():
        assert one.statement.endswith("."), id_
        assert one.level.upper() in one.statement, id_
        assert one.source.strip(), id_
        assert one.rationale.strip(), id_
        assert one.remedy.strip(), id_


@pytest.mark.parametrize("path", sorted((SUITE / "selftest").glob("*.py")), ids=lambda path: path.stem)
def test_self_tests_import_none_of_their_own(path: Path) -> None:
    """They are not installed: what they share is a fixture of conftest.py."""
    assert not [name for name in imports(path) if name.startswith(f"{PACKAGE}.selftest")]
