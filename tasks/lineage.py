"""Where every file comes from: one record a stage output, found by the bytes' hash.

`data/lineage/<md5>-<stage>@<item>.json` is written after a stage ran: what DVC recorded (command,
dependencies and outputs with their hashes), the files of a folder output, the code's commit and
whether it was dirty, the environment. A tree is walked from an output's hash to its stage's
dependencies and on to whatever made those; no git commit is needed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from common.errors import InputError
from common.files import file_hash, write_json
from tasks import graph
from tasks.bridge import StageRun
from tasks.cache import content_hash, folder_files
from tasks.catalog import NOTHING
from tasks.graph import Address, inside, inside_or_absolute
from tasks.workspace import HOME, ROOMS

RECORDS = Path("data/lineage")
Record = dict[str, Any]


Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}(\.dir)?$")]
Inside = Annotated[str, AfterValidator(inside)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="allow")
    path: Annotated[str, AfterValidator(inside_or_absolute)]
    md5: Hash


class _Made(_Read):
    path: Inside


class _Lock(BaseModel):
    model_config = ConfigDict(extra="allow")
    cmd: str
    deps: list[_Read] = []
    outs: list[_Made]


class _Code(BaseModel):
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    dirty: bool


class _Record(BaseModel):
    """The form of a record, and that it leads nowhere: `reproduce` does what it says."""

    stage: Annotated[str, StringConstraints(pattern=r"^[\w-]+@[a-z0-9-]+$")]
    lock: _Lock
    files: dict[Inside, dict[Inside, Hash]]
    code: _Code | None
    environment: dict[str, str | int | None] | None
    seconds: float | None


@dataclass
class Node:
    """A file or folder of the tree, the record of the stage that made it, what that stage read.

    `again` marks a node whose record was already shown further up. Code is not a child: the
    record lists it.
    """

    path: str
    md5: str
    record: Record | None = None
    children: list[Node] = field(default_factory=list)
    again: bool = False


def record(runs: Iterable[StageRun]) -> None:
    """Write the records of these stages that are missing or no longer true.

    A stage that did not run here (`dvc repro` made it) gets no code and no environment.
    """
    by_address = {run.address: run for run in runs}
    for address, entry in graph.locked(by_address).items():
        run = by_address[address]
        for out in entry["outs"]:
            path = _path(out["md5"], address)
            if run.outcome == "ran" or _recorded(path) != entry:
                write_json(path, _record(run, entry))


def told(addresses: Iterable[Address]) -> list[Record]:
    """The records of these stages' outputs, for another clone to adopt."""
    return [
        json.loads(_path(out["md5"], address).read_text(encoding="utf-8"))
        for address, entry in graph.locked(addresses).items()
        for out in entry["outs"]
    ]


def adopt(records: Iterable[Record]) -> None:
    """Keep records that another clone made. Raises InputError where one is none."""
    for given in records:
        try:
            checked = _Record.model_validate(given).model_dump()
        except ValidationError:
            raise InputError(
                "what another clone says of how it made its files cannot be read",
                "give every worker a clone of this commit",
            ) from None
        for out in checked["lock"]["outs"]:
            write_json(_path(out["md5"], checked["stage"]), checked)


def _path(md5: str, stage: Address | str) -> Path:
    """Where the record of an output of a stage, `STAGE@ITEM`, lies."""
    return RECORDS / f"{md5}-{stage}.json"


def _recorded(path: Path) -> Record | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["lock"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _record(run: StageRun, entry: Record) -> Record:
    here = run.outcome == "ran"
    return {
        "stage": str(run.address),
        "lock": entry,
        "files": {
            out["path"]: folder_files(Path(out["path"]), out["md5"])
            for out in entry["outs"]
            if out["md5"].endswith(".dir")
        },
        "code": _code() if here else None,
        "environment": _environment() if here else None,
        "seconds": round(run.seconds, 2) if here else None,
    }


def _code() -> dict[str, Any] | None:
    """Commit and dirt of the workspace, or None where it is no git checkout with a commit."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--", *ROOMS))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _environment() -> dict[str, Any]:
    lock = HOME / "requirements.txt"
    return {
        "requirements": file_hash(lock) if lock.exists() else None,
        "python": platform.python_version(),
        "torch": _version("torch"),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": _device(),
    }


def _device() -> str:
    """The first NVIDIA GPU's name, else the processor's: what the bytes of a result depend on."""
    with suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.splitlines()[0]
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _texts() -> list[str]:
    """Every record's text, newest last."""
    paths = sorted(RECORDS.glob("*.json"), key=lambda path: path.stat().st_mtime)
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def _makers(md5: str, texts: list[str]) -> list[Record]:
    """The records of the stages that made these bytes; a damaged one counts as none."""
    found = []
    for text in texts:
        if md5 in text:
            with suppress(ValidationError):
                found.append(_Record.model_validate_json(text).model_dump())
    return [record for record in found if _made(record, md5)]


def _made(record: Record, md5: str) -> str | None:
    """The path at which a record's stage put these bytes, if it did."""
    for out in record["lock"]["outs"]:
        if out["md5"] == md5:
            return out["path"]
    for folder, files in record["files"].items():
        for name, member in files.items():
            if member == md5:
                return f"{folder}/{name}"
    return None


def tree(path: Path) -> Node:
    """The lineage of an output, of a member of an output folder, or of a copy of either.

    Raises InputError where no record knows the bytes.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist", "check the name")
    md5, texts = content_hash(path), _texts()
    found = _makers(md5, texts)
    if not found:
        raise InputError(
            f"no stage of this workspace made the bytes of {path}",
            "run it in the workspace that made the file, on an unchanged copy",
        )
    return _node(_made(found[-1], md5), md5, texts, set())


def _node(path: str, md5: str, texts: list[str], seen: set[str]) -> Node:
    found = [record for record in _makers(md5, texts) if _made(record, md5) == path]
    if not found:
        return Node(path, md5)
    record = found[-1]
    if record["stage"] in seen:
        return Node(path, md5, record, again=True)
    seen.add(record["stage"])
    children = [_node(dep["path"], dep["md5"], texts, seen) for dep in data_deps(record)]
    return Node(path, md5, record, children)


def data_deps(record: Record) -> list[dict[str, str]]:
    """What the stage read that is not code."""
    return [dep for dep in record["lock"]["deps"] if not dep["path"].endswith(".py")]


def as_data(node: Node) -> dict[str, Any]:
    """The tree as plain data, for JSON; a record that was already shown further up is left out."""
    return {
        "path": node.path,
        "md5": node.md5,
        "made_by": None if node.again else node.record,
        "again": node.again,
        "from": [as_data(child) for child in node.children],
    }


def mermaid(node: Node) -> str:
    """The tree as a Mermaid flow chart, inputs to the left."""
    lines = ["flowchart LR"]
    names: dict[tuple[str, str], str] = {}

    def visit(node: Node) -> str:
        key = (node.path, node.md5)
        if key not in names:
            names[key] = f"n{len(names)}"
            lines.append(f'  {names[key]}["{node.path}<br/>{node.md5[:8]}"]')
        if node.record and not node.again:
            stage = node.record["stage"].split("@")[0]
            made_of = [child for child in node.children if child.path != NOTHING]
            lines.extend(f"  {visit(child)} -->|{stage}| {names[key]}" for child in made_of)
        return names[key]

    visit(node)
    return "\n".join(lines) + "\n"
