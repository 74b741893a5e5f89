"""The stage graph as DVC keeps it: what `dvc.yaml` defines and what `dvc.lock` recorded.

The only module that knows how these files are laid out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

GRAPH, LOCK = Path("dvc.yaml"), Path("dvc.lock")


class Address(NamedTuple):
    """One stage of one item, written `sample@woman-1a2b3c4d--dance-5e6f7a8b`."""

    stage: str
    item: str

    def __str__(self) -> str:
        return f"{self.stage}@{self.item}"


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml`: the catalog group it runs over, its program, what its command fixes.

    `deps` are the dependencies as written, templates included.
    """

    name: str
    group: str
    room: str
    verb: str
    fixed: frozenset[str]
    settings: str
    deps: tuple[str, ...]


def read_yaml(path: Path) -> Any:
    """A YAML file's content, by the fast reader."""
    with open(path, encoding="utf-8") as stream:
        return yaml.load(stream, yaml.CSafeLoader)


def stages() -> dict[str, Stage]:
    """Every stage of `dvc.yaml`, in its order."""
    return {name: _stage(name, entry) for name, entry in read_yaml(GRAPH)["stages"].items()}


def _stage(name: str, entry: dict[str, Any]) -> Stage:
    command = entry["do"]["cmd"]
    room, verb = re.match(r"python -m (\S+) (\S+)", command).groups()
    (settings,) = re.findall(r"\$\{(\w+)\}(?=\s+\$\{item\.)", command)
    return Stage(
        name=name,
        group=entry["foreach"].strip("${}"),
        room=room,
        verb=verb,
        fixed=frozenset(flag.replace("-", "_") for flag in re.findall(r"--([\w-]+)", command)),
        settings=settings,
        deps=tuple(entry["do"]["deps"]),
    )


def locked() -> dict[str, dict[str, Any]]:
    """What DVC recorded of each stage it ran: {"stage@item": {cmd, deps, outs}}."""
    return read_yaml(LOCK)["stages"] if LOCK.exists() else {}


def needed(addresses: Sequence[Address], stale: Collection[str]) -> set[Address]:
    """Which of these stages, given in running order, must be run: the stale ones and all after.

    A stage that reads what no recorded stage among them made counts as needed: DVC shall decide.
    """
    entries = locked()
    makers = {
        out["path"]: address
        for address in addresses
        for out in entries.get(str(address), {"outs": []})["outs"]
    }
    found: set[Address] = set()
    for address in addresses:
        if str(address) in stale or any(
            makers.get(dep["path"]) in {None, *found}
            for dep in entries[str(address)]["deps"]
            if _is_made(dep["path"])
        ):
            found.add(address)
    return found


def _is_made(path: str) -> bool:
    return path.startswith("data/") and not path.startswith("data/raw/")
