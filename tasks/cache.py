"""DVC's cache seen from outside: the hash of a file or folder as DVC computes it, and damage.

DVC takes a cached file for whole where it may not be written to; a disk may think otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from common.files import file_hash, remove

CACHE = Path(".dvc/cache/files/md5")


def cached(md5: str) -> Path:
    """Where the cache keeps the file or folder listing of that hash."""
    return CACHE / md5[:2] / md5[2:]


def folder_files(folder: Path, md5: str = "") -> dict[str, str]:
    """The md5 of every file of a folder, from DVC's cache where it holds the folder's list."""
    if md5 and cached(md5).is_file():
        return {entry["relpath"]: entry["md5"] for entry in json.loads(cached(md5).read_text())}
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in paths}


def content_hash(path: Path) -> str:
    """A file's md5, or a folder's hash as DVC computes it."""
    if not path.is_dir():
        return file_hash(path)
    files = sorted(folder_files(path).items())
    listing = json.dumps([{"md5": md5, "relpath": name} for name, md5 in files], sort_keys=True)
    return hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest() + ".dir"


def drop_damaged(outs: Iterable[Mapping[str, str]]) -> bool:
    """Remove those of these recorded outs that are not what was recorded, and what of them in the
    cache is not what its name says; returns whether there was any."""
    there = [out for out in outs if Path(out["path"]).exists()]
    damaged = [out for out in there if content_hash(Path(out["path"])) != out["md5"]]
    for out in damaged:
        path, md5 = Path(out["path"]), out["md5"]
        members = folder_files(path) if md5.endswith(".dir") else {"": md5}
        listed = folder_files(path, md5) if md5.endswith(".dir") else members
        for member in {md5, *members.values(), *listed.values()}:
            place = cached(member)
            if place.is_file() and file_hash(place) != member.removesuffix(".dir"):
                place.unlink()
        remove(path)
    return bool(damaged)
