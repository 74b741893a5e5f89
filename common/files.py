"""Atomic outputs and small file helpers.

An output appears whole or not at all: it is made under a temporary sibling name and moved into
place by `os.replace`. A run killed at any moment leaves nothing that looks finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def remove(path: Path) -> None:
    """Delete a file, a link or a folder; missing is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def publish(target: Path, *, keep_partial: bool = False) -> Iterator[Path]:
    """Yield a temporary sibling of `target` to write to; on success it replaces `target`.

    The caller creates the yielded path, as a file or as a folder. A file replaces a file in one
    move. Where a folder is involved the old target is moved aside first, because `os.replace`
    onto a filled folder fails, and is put back if the second move fails or, by the next call,
    if a kill came between the two. With `keep_partial` what an earlier, killed run left is kept,
    for programs that continue where they stopped; otherwise it is deleted.
    """
    target = Path(target)
    partial = target.with_name(f".{target.name}.partial")
    aside = target.with_name(f".{target.name}.old")
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    remove(aside)
    if not keep_partial:
        remove(partial)
    try:
        yield partial
        there = target.exists() or target.is_symlink()
        if there and (partial.is_dir() or (target.is_dir() and not target.is_symlink())):
            os.replace(target, aside)
        os.replace(partial, target)
    except BaseException:
        recover(target)
        if not keep_partial:
            remove(partial)
        raise
    remove(aside)


def recover(target: Path) -> None:
    """Put the old target back if a kill came between the two moves of `publish`."""
    aside = target.with_name(f".{target.name}.old")
    if aside.exists() and not target.exists():
        os.replace(aside, target)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with publish(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, keys in the given order, one trailing newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def holds(path: Path, value: Any) -> bool:
    """Whether a JSON file holds this value; one that is missing or damaged does not."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(value))
    return False


def file_hash(path: Path, algorithm: str = "md5") -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def folder_hash(folder: Path) -> str:
    """Hex md5 over the sorted relative names and contents of a folder's files."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{file_hash(path)}\n".encode())
    return digest.hexdigest()
