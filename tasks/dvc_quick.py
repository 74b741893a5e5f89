"""What `dvc status` and `dvc add` do, without the graph of everything there is.

DVC builds that first, which took most of a minute with 500 items; here only the files asked for
are read. Run in a process of its own (`tasks.bridge`), like all of DVC.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.lock import LockError, make_lock
from dvc.repo import Repo
from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import Invalid

from common.errors import InputError
from tasks.reading import read_yaml


def main(argv: Sequence[str]) -> int:
    """`status TARGET…` prints JSON {target: reasons} of the stale ones; `add FILE…` adds files."""
    verb, *names = argv
    try:
        with Repo(_wait_for_lock=True) as repo, repo.lock:
            _drop_broken_rwlock(repo)
            print(json.dumps({"status": status, "add": add}[verb](repo, names)))
    except DvcException as error:
        print(f"ERROR: {error}")
        return 1
    return 0


def status(repo: Repo, targets: Sequence[str]) -> dict[str, Any]:
    """DVC's reasons to run each of the targets (`FOLDER/dvc.yaml:STAGE`) that is stale."""
    reasons: dict[str, Any] = {}
    for target in targets:
        path, _, name = target.rpartition(":")
        _set_aside_broken_lock(Path(path).with_name("dvc.lock"))
        try:
            found = repo.stage.load_one(path, name).status()
        except LockError:
            found = {target: ["another process is at work"]}
        reasons |= {target: why for why in found.values()}  # noqa: B035
    return reasons


def add(repo: Repo, paths: Sequence[str]) -> list[str]:
    """Put files, which no stage writes, into the cache and a `.dvc` file beside each."""
    for path in map(Path, paths):
        Path(f"{path}.dvc").unlink(missing_ok=True)
        stage = repo.stage.create(
            single_stage=True,
            validate=False,
            fname=f"{path}.dvc",
            wdir=str(path.parent),
            outs=[path.name],
        )
        stage.add_outs()
        stage.dump()
    return list(paths)


def _set_aside_broken_lock(path: Path) -> None:
    """DVC, killed while it wrote, leaves half a file that it cannot read; so do careless hands.

    Without its lock an item's outputs come back out of the run cache.
    """
    try:
        if path.exists():
            COMPILED_LOCKFILE_SCHEMA(read_yaml(path))
    except (InputError, Invalid):
        path.replace(path.with_name("dvc.lock.damaged"))


def _drop_broken_rwlock(repo: Repo) -> None:
    """The same for DVC's list of who reads and writes what."""
    path = Path(repo.tmp_dir, RWLOCK_FILE)
    with make_lock(str(path.with_name(RWLOCK_LOCK)), wait=True):
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            pass
        except ValueError:
            path.unlink()
