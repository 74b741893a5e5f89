"""Commits of what says how to make everything again: catalog, stages, locks, lists of bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from filelock import FileLock

from common.errors import InputError
from tasks.catalog import CATALOG
from tasks.clips import DATASETS
from tasks.graph import ITEMS, TRAINING

_PLACES = (
    *map(str, (CATALOG, "data/.gitignore", ITEMS, TRAINING, DATASETS)),
    ":(glob)data/raw/**/*.dvc",
)


def commit(message: str) -> bool:
    """Commit these files, and nothing else that may be staged; one process at a time.

    Returns whether there was anything to commit. Raises InputError where git will not.
    """
    with FileLock(CATALOG.with_name(".commit.lock")):
        _git("add", "--", *_existing())
        if not _git("status", "--porcelain", "--untracked-files=no", "--", *_existing()):
            return False
        _git("commit", "--quiet", "--only", "--message", message, "--", *_existing())
    return True


def _existing() -> list[str]:
    """Git refuses a pattern that fits nothing."""
    *plain, pattern = _PLACES
    wanted = [place for place in plain if Path(place).exists()]
    return wanted + [pattern] * any(Path("data/raw").glob("*/*.dvc"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError("there is no git here", "install git, or leave out --commit") from None
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())[:200]
        raise InputError(f"git cannot commit ({reason})", "see: git status")
    return done.stdout
