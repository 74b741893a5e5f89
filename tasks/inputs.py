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

from common.errors import InputError
from common.files import file_hash, publish
from common.settings import Limits
from dreampose_core.extract import extract_frames, photos_in
from tasks import bridge
from tasks.catalog import slug
from tasks.reading import read_yaml

RAW = Path("data/raw")


def probe(path: Path, limits: Limits, *, max_frames: int = 0, **cut: float) -> None:
    """Raises InputError where a folder of photos or a file's first picture cannot be used.

    What is over the limits is refused before anything is decoded. `max_frames` and `cut` (fps,
    start, end) are how the file will be cut.
    """
    count = 0 if path.is_dir() else min(max_frames, 1) or 1
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        extract_frames(path, Path(scratch, "frames"), max_frames=count, **cut, limits=limits)


def take_in(path: Path) -> tuple[str, str]:
    """Copy a file or a folder of photos; returns its raw key and the path of the copy.

    Raises InputError where it changes meanwhile.
    """
    return take_in_all([path])[0]


def take_in_all(paths: Sequence[Path]) -> list[tuple[str, str]]:
    """`take_in` of several, for which DVC is started once only."""
    RAW.mkdir(parents=True, exist_ok=True)
    with FileLock(RAW / ".lock"):
        copies = [_taken(path) for path in paths]
        new = [copy for copy in copies if not _is_in_care(copy.with_name(copy.name + ".dvc"))]
        if new:
            bridge.add(*dict.fromkeys(new))
    return [(copy.parent.name, copy.as_posix()) for copy in copies]


def _taken(path: Path) -> Path:
    """The copy of a file or of a folder of photos, made where there is none yet."""
    digest = _digest(path)
    for copy in RAW.glob(f"*-{digest}/source*"):
        if copy.suffix != ".dvc":
            return copy
    target = RAW / f"{slug(path.stem)}-{digest}" / f"source{_suffix(path)}"
    with publish(target.parent) as partial:
        partial.mkdir()
        _copy(path, partial / target.name)
        if _digest(partial / target.name) != digest:
            raise InputError(f"{path} changes while it is read", "wait until it is whole")
    return target


def _is_in_care(listing: Path) -> bool:
    """Whether DVC has written the whole of this `.dvc` file."""
    try:
        return read_yaml(listing)["outs"][0]["path"] == listing.stem
    except (FileNotFoundError, InputError, TypeError, KeyError, IndexError):
        return False


def _copy(path: Path, target: Path) -> None:
    if not path.is_dir():
        shutil.copyfile(path, target)
        return
    target.mkdir()
    for index, photo in enumerate(photos_in(path)):
        shutil.copyfile(photo, target / f"{index:03d}{_suffix(photo)}")


def _digest(path: Path) -> str:
    """The first eight hex digits of a file's md5, or of one over a folder's photos in order."""
    if not path.is_dir():
        return file_hash(path)[:8]
    text = "".join(map(file_hash, photos_in(path)))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _suffix(path: Path) -> str:
    suffix = "" if path.is_dir() else path.suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
