"""Taking in a user's file: probed, copied to `data/raw/<slug>-<hash8>/`, put under DVC's care.

The copy is named `source` and the file's own extension, so that no name a user can think of ever
reaches a command line. The same bytes are taken in once, under whatever name they come.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

from filelock import FileLock

from common.files import file_hash, publish
from dreampose_core.extract import extract_frames
from tasks import bridge
from tasks.catalog import slug

RAW = Path("data/raw")


def probe(path: Path) -> None:
    """Raises InputError where the first picture of a file cannot be used."""
    with tempfile.TemporaryDirectory() as scratch, redirect_stderr(io.StringIO()):
        extract_frames(path, Path(scratch, "frames"), max_frames=1)


def take_in(path: Path) -> tuple[str, str]:
    """Copy a file; returns its raw key and the path of the copy."""
    digest = file_hash(path)[:8]
    RAW.mkdir(parents=True, exist_ok=True)
    with FileLock(RAW / ".lock"):
        known = [copy for copy in RAW.glob(f"*-{digest}/source*") if copy.suffix != ".dvc"]
        new = RAW / f"{slug(path.stem)}-{digest}" / f"source{_suffix(path)}"
        target = known[0] if known else new
        if not known:
            with publish(target.parent) as partial:
                partial.mkdir()
                shutil.copyfile(path, partial / target.name)
        if not target.with_name(target.name + ".dvc").exists():
            bridge.add(target)
    return target.parent.name, target.as_posix()


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else ""
