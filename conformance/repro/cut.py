"""What a script needs of the source that all are cut from: the statements that its words let stand, and what is called."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache

__all__ = ["constants", "cut", "modules"]

#: A line that goes only into scripts that have a word, or have it not.
MARK = re.compile(r"  # if (not )?([a-z-]+)$")

#: What stands for objects of the standard library: a method of the same name as one of ours is not ours.
FOREIGN = frozenset({"channel", "file", "poll", "probe", "process", "output", "table", "stdout", "fault"})


def cut(source: str, words: Collection[str], called: str) -> tuple[dict[str, str], frozenset[str]]:
    """The functions and classes that are needed, by name and in their order, and every name that is used.

    Args:
        source: of the file that scripts are cut from.
        words: what `# if WORD` asks for.
        called: source that is put beside the functions, and needs them.
    """
    pieces = _pieces(source, frozenset(words))
    used = _names(ast.parse(called), frozenset({*FOREIGN, *modules(source)}))
    while True:
        more = used.union(*(names for name in pieces if name in used for names in pieces[name].names(used)))
        if more == used:
            break
        used = more
    return {name: piece.text(used) for name, piece in pieces.items() if name in used}, used


@cache
def modules(source: str) -> list[str]:
    """The modules that it imports, in their order."""
    return [
        alias.name for node in ast.parse(source).body if isinstance(node, ast.Import) for alias in node.names
    ]


@cache
def constants(source: str) -> list[str]:
    """The names of the constants, in their order."""
    return [
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _marked(source: str, words: Collection[str]) -> str:
    """The source without what its marks leave out, and without marks."""
    lines = source.splitlines()
    ends: dict[int, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            ends.setdefault(node.lineno, node.end_lineno or node.lineno)
    dropped: set[int] = set()
    for number, line in enumerate(lines, 1):
        found = MARK.search(line)
        if found and (found.group(2) in words) == bool(found.group(1)):
            end = ends.get(number, number)
            dropped |= set(range(number, end + 1))
            # The blank line around a function inside another one goes with it.
            if end > number and lines[number - 2] == "" and lines[end : end + 1] == [""]:
                dropped.add(end + 1)
    kept = [MARK.sub("", line) for number, line in enumerate(lines, 1) if number not in dropped]
    return "\n".join(kept) + "\n"


def _names(tree: ast.AST, foreign: Collection[str]) -> frozenset[str]:
    """The names that are used in a tree, and with a dot before them the attributes, but for those of foreign objects."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            base = node.value
            owner = base.id if isinstance(base, ast.Name) else getattr(base, "attr", "")
            if owner not in foreign:
                found.add(f".{node.attr}")
    return frozenset(found)


@dataclass(frozen=True)
class _Piece:
    """A function, or a class: the source of its head and of each method, and the names that are used there."""

    head: str
    heads_names: frozenset[str]
    methods: dict[str, tuple[str, frozenset[str]]]

    def names(self, used: Collection[str]) -> Iterator[frozenset[str]]:
        """The names that are used in what is needed of it."""
        yield self.heads_names
        for name, (_, names) in self.methods.items():
            if self._needed(name, used):
                yield names

    def text(self, used: Collection[str]) -> str:
        """Its source, with the methods that are needed."""
        needed = [text for name, (text, _) in self.methods.items() if self._needed(name, used)]
        return "\n\n".join([self.head, *needed])

    @staticmethod
    def _needed(name: str, used: Collection[str]) -> bool:
        return f".{name}" in used or name.startswith("__")


@cache
def _pieces(source: str, words: frozenset[str]) -> dict[str, _Piece]:
    """The functions and classes of a source by name, with what its marks let stand."""
    text = _marked(source, words)
    lines = text.splitlines()
    foreign = frozenset({*FOREIGN, *modules(source)})
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = _Piece(_source(node, lines), _names(node, foreign), {})
        elif isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            rest = [*node.bases, *(one for one in node.body if one not in methods)]
            end = min([_start(one) - 1 for one in methods] or [node.end_lineno or 0])
            found[node.name] = _Piece(
                "\n".join(lines[node.lineno - 1 : end]).rstrip(),
                frozenset().union(*(_names(one, foreign) for one in rest)),
                {one.name: (_source(one, lines), _names(one, foreign)) for one in methods},
            )
    return found


def _source(node: ast.FunctionDef, lines: list[str]) -> str:
    return "\n".join(lines[_start(node) - 1 : node.end_lineno])


def _start(node: ast.FunctionDef) -> int:
    """The first line of a function, its decorators among it."""
    return min([node.lineno, *(one.lineno for one in node.decorator_list)])
