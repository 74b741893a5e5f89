"""The code each stage depends on: its program's import closure, read off the sources.

`python -m tasks.closure` brings the lists in GRAPHS up to date; a test compares them. The
room's `__main__.py` is left out: what it hands to the work is in the stage's command already.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from common.files import write_text
from tasks.graph import GRAPH, read_yaml
from tasks.workspace import ROOMS

GRAPHS = (GRAPH, Path("pipelines/benchmark/dvc.yaml"))


def programs(graph: Path) -> dict[str, tuple[str, str]]:
    """Room and verb of the program of each stage."""
    commands = {name: stage["do"]["cmd"] for name, stage in read_yaml(graph)["stages"].items()}
    return {
        name: re.match(r"python -m (\S+) (\S+)", command).groups()
        for name, command in commands.items()
    }


def code_of(room: str, verb: str) -> list[str]:
    """Paths of all modules of this project that a program imports to do its work."""
    program = ast.parse(Path(room, "__main__.py").read_text(encoding="utf-8"))
    waiting = {path for node in _verb_classes(program, verb) for path in _imports(node)}
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= set(_imports(ast.parse(path.read_text(encoding="utf-8")))) - found
    return sorted(path.as_posix() for path in found)


def _verb_classes(program: ast.Module, verb: str) -> list[ast.ClassDef]:
    """The class that `VERBS` names for the verb, and its bases."""
    (verbs,) = (
        node.value
        for node in program.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERBS"
    )
    names = dict(
        zip(map(ast.literal_eval, verbs.keys), map(ast.unparse, verbs.values), strict=True)
    )
    classes = {node.name: node for node in program.body if isinstance(node, ast.ClassDef)}
    return _with_bases(names[verb], classes)


def _with_bases(name: str, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    bases = [ast.unparse(base) for base in classes[name].bases]
    inherited = [_with_bases(base, classes) for base in bases if base in classes]
    return [classes[name], *chain(*inherited)]


def _imports(tree: ast.AST) -> Iterator[Path]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (path for name in names if (path := _module_path(name)))


def _module_path(name: str) -> Path | None:
    """The file of a module of this project; packages here hold nothing but their docstring."""
    path = Path(*name.split(".")).with_suffix(".py")
    return path if name.split(".")[0] in ROOMS and path.is_file() else None


def update(graph: Path) -> None:
    """Rewrite the code dependencies in a `dvc.yaml`, and nothing else in it."""
    text = graph.read_text(encoding="utf-8")
    for name, program in programs(graph).items():
        start = text.index(f"\n  {name}:\n")
        head, deps, rest = text[start:].partition("      deps:\n")
        rest = re.sub(r"\A(        - \S+\.py\n)*", "", rest)
        code = "".join(f"        - {path}\n" for path in code_of(*program))
        text = text[:start] + head + deps + code + rest
    write_text(graph, text)


if __name__ == "__main__":
    for graph in GRAPHS:
        update(graph)
