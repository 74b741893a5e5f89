"""What nothing needs any more: no item of the catalog, no commit or tag of git.

Needed are the outputs of every item's stages, whether they exist yet or not, and the bytes that
any lock or `.dvc` file names, now or in any commit. `dvc gc` builds the graph of every commit;
here their locks are read as text.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import zc.lockfile
from filelock import FileLock

from common.errors import InputError
from common.files import remove
from tasks import catalog, graph, lineage
from tasks.bridge import RUNS
from tasks.cache import CACHE, cached, folder_files
from tasks.catalog import Catalog
from tasks.inputs import RAW
from tasks.reproduce import FOLDER as REPRODUCED

_HASH = re.compile(rb"\bmd5: '?([0-9a-f]{32}(?:\.dir)?)")
_RUN_CACHE, _DVC_LOCK = Path(".dvc/cache/runs"), Path(".dvc/tmp/lock")
_DAY = 86_400
_LOG_DAYS, _BUSY_SECONDS = 7, 60


@dataclass(frozen=True)
class Waste:
    """Paths of one kind that nothing needs, and their bytes."""

    kind: str
    paths: list[Path]
    size: int


def find() -> list[Waste]:
    """All that could be removed. A day old at least where a running call may be about to use it."""
    from tasks.page import PAGES

    items = catalog.load()
    hashes = needed_hashes(items)
    kinds = {
        "outputs of removed items": _outputs(items),
        "taken-in files of removed items": _raw(items),
        "stages of removed items": _folders(items),
        "pages of removed renders": (
            path for path in PAGES.glob("*.html") if path.stem not in {*items.renders, "index"}
        ),
        "cached bytes": (path for path in CACHE.glob("??/*") if _md5(path) not in hashes),
        "remembered runs": (path for path in _RUN_CACHE.glob("??/*/*") if _hashes(path) - hashes),
        "lineage records": (
            path for path in lineage.RECORDS.glob("*.json") if path.name.split("-")[0] not in hashes
        ),
        "logs": _older(RUNS, _LOG_DAYS),
        "reproduced files": _older(REPRODUCED, 1),
    }
    found = {kind: sorted(paths) for kind, paths in kinds.items()}
    return [Waste(kind, paths, sum(map(_size, paths))) for kind, paths in found.items() if paths]


def clear() -> list[Waste]:
    """Find again and remove, while nobody else changes the catalog or DVC's locks."""
    RAW.mkdir(parents=True, exist_ok=True)
    with catalog.locked(), FileLock(RAW / ".lock"), _dvc_waits():
        found = find()
        for waste in found:
            for path in waste.paths:
                remove(path)
    return found


@contextmanager
def _dvc_waits() -> Iterator[None]:
    """DVC puts bytes into its cache and names them in a lock while it holds this."""
    _DVC_LOCK.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_BUSY_SECONDS):
        with suppress(zc.lockfile.LockError), closing(zc.lockfile.LockFile(str(_DVC_LOCK))):
            yield
            return
        time.sleep(1)
    raise InputError("DVC is busy", "try again when running calls have ended")


def needed_hashes(items: Catalog) -> set[str]:
    """Every hash that a lock or `.dvc` file of an item or of any commit names, members included."""
    named = set()
    for group, members in items.model_dump().items():
        for key in members:
            named |= _hashes(graph.item_folder(group, key) / "dvc.lock")
    for source in items.sources.values():
        named |= _hashes(Path(f"{source.input}.dvc"))
    for content in _committed():
        named |= {found.decode() for found in _HASH.findall(content)}
    for md5 in [md5 for md5 in named if md5.endswith(".dir")]:
        if cached(md5).is_file():
            named |= set(folder_files(Path(), md5).values())
    return named


def _hashes(path: Path) -> set[str]:
    try:
        return {found.decode() for found in _HASH.findall(path.read_bytes())}
    except FileNotFoundError:
        return set()


def _committed() -> Iterator[bytes]:
    """Every version of every lock and `.dvc` file that a branch, a tag or the stash reaches.

    Raises InputError where there is a git checkout that git cannot read.
    """
    if not any((folder / ".git").exists() for folder in (Path.cwd(), *Path.cwd().parents)):
        return
    listed = _git("rev-list", "--all", "--objects").decode(errors="replace")
    blobs = re.findall(r"^(\w+) .*dvc(?:\.lock)?$", listed, re.M)
    if blobs:
        yield _git("cat-file", "--batch", stdin="\n".join(blobs).encode())


def _git(*arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", *arguments], input=stdin, capture_output=True)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise InputError(f"git cannot say what its commits need ({reason})", "see: git status")
    return done.stdout


def _outputs(items: Catalog) -> Iterator[Path]:
    """What lies where stages put their outputs and is no item's, half-made things included."""
    made = items.model_dump()
    expected: dict[Path, set[str]] = {}
    for stage in graph.stages().values():
        for out in stage.outs:
            folder, name = _split(out)
            names = {name.replace("${key}", key) for key in made.get(stage.group, {})}
            expected.setdefault(folder, set()).update(names)
    for folder, names in expected.items():
        for path in folder.glob("*"):
            name = re.sub(r"^\.(.*)\.(partial|old|resume|resume\.previews)$", r"\1", path.name)
            if name not in {*names, ".gitignore"}:
                yield path


def _split(out: str) -> tuple[Path, str]:
    """Folder and name of the part of an output's path that holds the item's key."""
    parts = Path(out).parts
    index = next(index for index, part in enumerate(parts) if "${key}" in part)
    return Path(*parts[:index]), parts[index]


def _raw(items: Catalog) -> Iterator[Path]:
    kept = {Path(source.input).parent for source in items.sources.values()}
    yield from (p for p in _older(RAW, 1) if p.is_dir() and p not in kept)


def _folders(items: Catalog) -> Iterator[Path]:
    made = items.model_dump()
    for folder in (graph.ITEMS, graph.TRAINING):
        for path in folder.glob("*/*"):
            if path.name not in made.get(path.parent.name, {}):
                yield path


def _older(folder: Path, days: float) -> Iterator[Path]:
    limit = time.time() - days * _DAY
    yield from (path for path in folder.glob("*") if path.lstat().st_mtime < limit)


def _md5(path: Path) -> str:
    return path.parent.name + path.name


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir())
