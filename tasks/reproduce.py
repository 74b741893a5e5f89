"""Making a file again from its lineage, in a work tree beside, to see whether the bytes are equal.

The recorded commands run one after the other, without DVC, on the recorded code and inputs: those
of this workspace where they are still the same, else the recorded commit's code and the inputs
that DVC's cache holds.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import file_hash, remove
from tasks import graph, lineage
from tasks.cache import cached, content_hash, folder_files
from tasks.lineage import Node, Record
from tasks.workspace import ROOMS

FOLDER = Path("data/reproduced")


@dataclass(frozen=True)
class Reproduced:
    """A stage's output made again: where, its hash as recorded and as it is now."""

    stage: str
    path: Path
    recorded: str
    now: str


def reproduce(file: Path) -> Iterator[Reproduced]:
    """Run every stage behind `file` again, yielding each output as soon as it is made.

    Raises InputError where code or an input is neither here nor to be had from git or the cache,
    or where a stage fails.
    """
    root = lineage.tree(file)
    records = list(_in_running_order(root))
    FOLDER.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f"{file.stem[:40]}-", dir=FOLDER))
    for record in records:
        _place_code(record, place)
    made = {out["path"] for record in records for out in record["lock"]["outs"]}
    for dep in (dep for record in records for dep in lineage.data_deps(record)):
        if dep["path"] not in made:
            _place_input(dep["path"], dep["md5"], place)
    for record in records:
        _place_code(record, place)
        _run(record, place)
        for out in record["lock"]["outs"]:
            path = place / out["path"]
            yield Reproduced(record["stage"], path, out["md5"], content_hash(path))


def _in_running_order(node: Node) -> Iterator[Record]:
    """The stages to run; a base that a training made is taken as it is."""
    if not node.record or graph.is_beside(node.record["stage"]):
        return
    for child in node.children:
        yield from _in_running_order(child)
    if not node.again:
        yield node.record


def _place_code(record: Record, place: Path) -> None:
    """The recorded modules: this workspace's, where they are the same, else the commit's."""
    deps = record["lock"]["deps"]
    modules = {dep["path"]: dep["md5"] for dep in deps if dep["path"].endswith(".py")}
    for room in ROOMS:
        remove(place / room)
        shutil.copytree(room, place / room, ignore=shutil.ignore_patterns("__pycache__"))
    changed = _differing(modules, place)
    if changed and record["code"]:
        _unpack(record["code"]["commit"], place)
        changed = _differing(modules, place)
    if changed:
        raise InputError(
            f"{changed[0]} is no longer the code that made the file",
            "check out the code that made it (dreampose lineage names the commit)",
        )


def _differing(modules: dict[str, str], place: Path) -> list[str]:
    return [
        path
        for path, md5 in modules.items()
        if not (place / path).exists() or file_hash(place / path) != md5
    ]


def _unpack(commit: str, place: Path) -> None:
    done = subprocess.run(["git", "archive", commit], capture_output=True)
    if done.returncode == 0:
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(place, filter="data")


def _place_input(path: str, md5: str, place: Path) -> None:
    """A raw input, weights or parameters, from the workspace or from DVC's cache.

    What lies outside the workspace is read where it is.
    """
    here, there = Path(path), place / path
    if here.is_absolute():
        if here.exists() and content_hash(here) == md5:
            return
        raise InputError(f"{path} is no longer as it was ({md5[:8]})", "bring the old one back")
    there.parent.mkdir(parents=True, exist_ok=True)
    if here.exists() and content_hash(here) == md5:
        remove(there)
        shutil.copytree(here, there) if here.is_dir() else shutil.copyfile(here, there)
        return
    members = folder_files(here, md5) if md5.endswith(".dir") else {"": md5}
    for name, member in members.items():
        kept = cached(member)
        if not kept.is_file():
            raise InputError(
                f"{path} is no longer as it was ({md5[:8]}) and not in DVC's cache",
                f"bring the old one back, perhaps with: dvc pull {path}",
            )
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, there / name)


def _run(record: Record, place: Path) -> None:
    command = _program(record["lock"]["cmd"])
    done = subprocess.run([sys.executable, *command[1:]], cwd=place, env=_environment())
    if done.returncode:
        raise InputError(
            f"{record['stage']} failed when it was run again", f"see what it wrote in {place}"
        )


def _program(command: str) -> list[str]:
    """The words of a recorded command. Raises InputError unless it runs a module of a room."""
    with suppress(ValueError):
        words = shlex.split(command)
        if words[:2] == ["python", "-m"] and words[2:] and words[2].split(".")[0] in ROOMS:
            return words
    raise InputError(
        f"the record's command is no program of this project: {command[:80]!r}",
        "make the record again: dreampose animate",
    )


def _environment() -> dict[str, str]:
    """This process's, without what would lead the programs out of the work tree."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("DREAMPOSE_", "PYTHONPATH"))}
