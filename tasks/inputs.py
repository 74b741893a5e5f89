"""Taking in a user's file: probed, copied to `data/raw/<slug>-<hash8>/`, put under DVC's care.

The copy is named `source` and the file's own extension, so that no name a user can think of ever
reaches a command line. The same bytes are taken in once, under whatever name they come. Of a
folder its photos are copied, numbered in the order of their names.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

from filelock import FileLock

from common.files import file_hash, publish
from dreampose_core.extract import extract_frames, photos_in
from tasks import bridge
from tasks.catalog import slug

RAW = Path("data/raw")


def probe(path: Path, *, max_frames: int = 0, **cut: float) -> None:
    """Raises InputError where a folder of photos or a file's first picture cannot be used.

    `max_frames` and `cut` (fps, start, end) are how the file will be cut.
    """
    count = 0 if path.is_dir() else min(max_frames, 1) or 1
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        extract_frames(path, Path(scratch, "frames"), max_frames=count, **cut)


def take_in(path: Path) -> tuple[str, str]:
    """Copy a file or a folder of photos; returns its raw key and the path of the copy."""
    return take_in_all([path])[0]


def take_in_all(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """`take_in` of several, for which DVC is started once only."""
    RAW.mkdir(parents=True, exist_ok=True)
    with FileLock(RAW / ".lock"):
        copies = [_taken(path) for path in paths]
        new = [copy for copy in copies if not copy.with_name(copy.name + ".dvc").exists()]
        if new:
            bridge.add(list(dict.fromkeys(new)))
    return [(copy.parent.name, copy.as_posix()) for copy in copies]


def _taken(path: Path) -> Path:
    """The copy of a file or of a folder of photos, made where there is none yet."""
    photos = photos_in(path) if path.is_dir() else []
    digest = (_joint_hash(photos) if photos else file_hash(path))[:8]
    for copy in RAW.glob(f"*-{digest}/source*"):
        if copy.suffix != ".dvc":
            return copy
    target = RAW / f"{slug(path.stem)}-{digest}" / f"source{_suffix(path)}"
    with publish(target.parent) as partial:
        partial.mkdir()
        _copy(path, photos, partial / target.name)
    return target


def _copy(path: Path, photos: list[Path], target: Path) -> None:
    if not photos:
        shutil.copyfile(path, target)
        return
    target.mkdir()
    for index, photo in enumerate(photos):
        shutil.copyfile(photo, target / f"{index:03d}{_suffix(photo)}")


def _joint_hash(paths: list[Path]) -> str:
    text = "".join(map(file_hash, paths))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _suffix(path: Path) -> str:
    suffix = "" if path.is_dir() else path.suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
