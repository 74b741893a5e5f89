"""The stage graph as DVC keeps it: what `dvc.yaml` defines, what each item's `dvc.lock` recorded.

`dvc.yaml` defines every stage once, for all items of a group. DVC runs a copy that lies beside
each item, `data/items/GROUP/KEY/dvc.yaml`, with a lock of its own: DVC reads and writes a lock
whole, which took half a minute a stage with 500 items in one. The only module that knows how
these files are laid out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from common.errors import InputError
from common.files import remove, write_text
from tasks.reading import read_yaml

GRAPH, ITEMS, TRAINING = Path("dvc.yaml"), Path("data/items"), Path("data/training")
BESIDE = ("encodings", "trainings")
"""Groups whose stages take days and run only when asked for by name: `dvc repro -R data/items`
does not meet them, and `reproduce` takes what they made as it is."""
_UP = "../../../.."
_GIVEN = ("data/raw/", "data/trained/", "data/datasets/")
_HEAD = "# The stages of dvc.yaml for one item. Written by the program, as the catalog is.\n"
_PLOTS = {
    "renders": {
        "PSNR of ${key}": ("frame", "data/reports/${key}/metrics.json", ["psnr", "person_psnr"]),
        "SSIM of ${key}": ("frame", "data/reports/${key}/metrics.json", ["ssim", "person_ssim"]),
    },
    "subjects": {
        "UNet of ${key}": ("step", "data/subjects/${key}/unet/curves.tsv", ["loss"]),
        "VAE of ${key}": ("step", "data/subjects/${key}/vae/curves.tsv", ["loss"]),
    },
}
"""What `dvc plots` draws of an item: title → x, file, y. DVC knows no key in the `dvc.yaml` that
defines the stages, so these stand here."""


class Address(NamedTuple):
    """One stage of one item, written `sample@woman-1a2b3c4d--dance-5e6f7a8b`."""

    stage: str
    item: str

    def __str__(self) -> str:
        return f"{self.stage}@{self.item}"


@dataclass(frozen=True)
class Stage:
    """A stage of `dvc.yaml`: the catalog group it runs over, its program, what its command fixes.

    `command`, `deps` and `outs` (metrics too) are as written, templates included.
    """

    name: str
    command: str
    group: str
    room: str
    verb: str
    fixed: frozenset[str]
    settings: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]


def stages() -> dict[str, Stage]:
    """Every stage of `dvc.yaml`, in its order."""
    return {name: _stage(name, entry) for name, entry in _definitions().items()}


def _definitions() -> dict[str, dict[str, Any]]:
    return _read_definitions(GRAPH.absolute(), GRAPH.stat().st_mtime_ns)


@cache
def _read_definitions(path: Path, _changed: int) -> dict[str, dict[str, Any]]:
    return read_yaml(path)["stages"]


def _stage(name: str, entry: dict[str, Any]) -> Stage:
    command = entry["do"]["cmd"]
    room, verb = re.match(r"python -m (\S+) (\S+)", command).groups()
    (settings,) = re.findall(r"\$\{(\w+)\}(?=\s+\$\{item\.)", command)
    return Stage(
        name=name,
        command=command,
        group=_group(entry),
        room=room,
        verb=verb,
        fixed=frozenset(flag.replace("-", "_") for flag in re.findall(r"--([\w-]+)", command)),
        settings=settings,
        deps=tuple(entry["do"]["deps"]),
        outs=tuple(
            next(iter(out)) if isinstance(out, dict) else out  # a mapping of its options
            for out in (*entry["do"]["outs"], *entry["do"].get("metrics", []))
        ),
    )


def stages_of(group: str, key: str) -> list[Address]:
    """All stages of an item, in their order."""
    return [Address(name, key) for name, stage in stages().items() if stage.group == group]


def item_folder(group: str, key: str) -> Path:
    """Where an item's `dvc.yaml` and `dvc.lock` lie."""
    return (TRAINING if group in BESIDE else ITEMS) / group / key


def _group(entry: dict[str, Any]) -> str:
    return entry["foreach"].strip("${}")


def is_beside(address: str) -> bool:
    """Whether `STAGE@ITEM` is a stage of the groups beside."""
    entry = _definitions().get(address.partition("@")[0])
    return entry is not None and _group(entry) in BESIDE


def targets(addresses: Iterable[Address]) -> dict[Address, str]:
    """What DVC calls each of these stages: `data/items/renders/KEY/dvc.yaml:sample`."""
    groups = {name: _group(entry) for name, entry in _definitions().items()}
    return {a: f"{item_folder(groups[a.stage], a.item) / 'dvc.yaml'}:{a.stage}" for a in addresses}


def lay_out(items: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the `dvc.yaml` of every item, given by group and key, that is not as it should be."""
    definitions = _definitions()
    for group, members in items.items():
        stages = {
            name: {"wdir": _UP, **entry["do"]}
            for name, entry in definitions.items()
            if _group(entry) == group
        }
        plots = [
            {title: {"x": x, "y": {f"{_UP}/{path}": y}}}
            for title, (x, path, y) in _PLOTS.get(group, {}).items()
        ]
        content = {"stages": stages} | ({"plots": plots} if plots else {})
        body = yaml.safe_dump(content, sort_keys=False, width=10_000)
        for key, item in members.items():
            variables = json.dumps([f"{_UP}/params.yaml", {"key": key, "item": item}])
            path = item_folder(group, key) / "dvc.yaml"
            text = f"{_HEAD}vars: {variables}\n{body}"
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)


def locked(addresses: Iterable[Address]) -> dict[Address, dict[str, Any]]:
    """What DVC recorded of those of these stages that ran: {cmd, deps, outs} each."""
    entries: dict[str, Any] = {}
    found = {}
    for address, target in targets(addresses).items():
        lock = target.rpartition("/")[0] + "/dvc.lock"
        if lock not in entries:
            entries[lock] = read_lock(Path(lock))
        if address.stage in entries[lock]:
            found[address] = entries[lock][address.stage]
    return found


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """What a lock file holds by stage: nothing where it is missing, damaged or not DVC's work.

    A killed DVC leaves half a file, and hands may have edited it: no out may lie elsewhere.
    """
    try:
        return {
            stage: {"deps": [], **entry}
            for stage, entry in read_yaml(path)["stages"].items()
            if all(inside(out["path"]) for out in entry["outs"])
            and all(isinstance(dep["path"], str) for dep in entry.get("deps", []))
        }
    except (InputError, FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def inside(path: str) -> str:
    """The path. Raises ValueError where its words lead out of the workspace."""
    if PurePosixPath(inside_or_absolute(path)).is_absolute():
        raise ValueError(f"{path[:80]!r} leads out of the workspace")
    return path


def inside_or_absolute(path: str) -> str:
    """The path. Raises ValueError where it goes up: weights may lie anywhere, but plainly."""
    if ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path[:80]!r} goes up")
    return path


def needed(addresses: Sequence[Address], stale: Collection[Address]) -> set[Address]:
    """Which of these stages, given in running order, must be run: the stale ones and all after.

    A stage that reads what no recorded stage among them made counts as needed: DVC shall decide.
    """
    entries = locked(addresses)
    makers = {out["path"]: address for address, entry in entries.items() for out in entry["outs"]}
    found: set[Address] = set()

    def may_change(path: str) -> bool:
        return makers[path] in found if path in makers else _is_made(path)

    for address in addresses:
        if address in stale or any(may_change(dep["path"]) for dep in entries[address]["deps"]):
            found.add(address)
    return found


def discard(group: str, key: str) -> None:
    """Remove an item's stages and what they made, whose bytes stay in DVC's cache."""
    for entry in locked(stages_of(group, key)).values():
        for out in entry["outs"]:
            remove(Path(out["path"]))
    remove(item_folder(group, key))


def _is_made(path: str) -> bool:
    return path.startswith("data/") and not path.startswith(_GIVEN)
