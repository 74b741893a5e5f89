"""What a large catalog costs: `python bench/plumbing.py [RENDERS]` (500 by default).

A workspace of so many renders, all recorded as done, then: a stage through DVC beside its program
by hand, `status` over everything, what an unchanged `animate` asks of DVC, a new photo taken in.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from flows import order
from tasks import bridge, catalog, freshness, graph, inputs, workspace
from tasks.catalog import Catalog
from tasks.graph import Address

_CLIPS = 10


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def fill(renders: int) -> Catalog:
    """Renders of subjects in ten clips each, in the catalog and in recorded locks."""
    with catalog.edit() as items:
        keys = [
            items.add_source(f"s{i}-{i:08x}", f"data/raw/s{i}-{i:08x}/source.mp4", f"{i}.mp4")
            for i in range(max(_CLIPS, renders // _CLIPS))
        ]
        for index in range(renders):
            subject = items.add_subject(keys[index // _CLIPS])
            items.add_render(subject, keys[index % _CLIPS])
    parameters = graph.read_yaml(Path("params.yaml"))
    for group, members in items.model_dump().items():
        stages = [stage for stage in graph.stages().values() if stage.group == group]
        for key, item in members.items():
            values = {**parameters, "key": key, "item": item}
            recorded = {
                stage.name: {
                    "cmd": " ".join(freshness.render(stage.command, values)),
                    "deps": [_entry(freshness.render(dep, values)[0]) for dep in stage.deps],
                    "outs": [_entry(f"data/made/{stage.name}/{key}")],
                }
                for stage in stages
            }
            lock = graph.item_folder(group, key) / "dvc.lock"
            lock.write_text(yaml.safe_dump({"schema": "2.0", "stages": recorded}))
    return items


def _entry(path: str) -> dict[str, str | int]:
    md5 = hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
    return {"path": path, "hash": "md5", "md5": md5, "size": 1}


def main() -> None:
    renders = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "workspace"
        workspace.create(place, "tiny")
        os.chdir(place)
        items = fill(renders)
        everything = order.everything(items)
        first = next(iter(items.renders))
        (graph.item_folder("bases", "default") / "dvc.lock").unlink()
        base = Address("base", "default")
        through = seconds(lambda: bridge.run_stage(base))
        command = graph.locked([base])[base]["cmd"].split()[1:]
        by_hand = seconds(
            lambda: subprocess.run([sys.executable, *command], check=True, capture_output=True)
        )
        again = seconds(lambda: bridge.run_stage(base))
        status = seconds(lambda: freshness.stale(items.model_dump(), everything))
        asked = seconds(lambda: bridge.stale(order.animate(items, first)))
        photo = workspace.HOME / "examples/subject.png"
        taken = seconds(lambda: inputs.take_in(photo))
        os.chdir("/")
    print(
        f"{renders} renders, {len(everything)} stages: a stage {through:.1f} s, its program alone "
        f"{by_hand:.1f} s ({through - by_hand:+.1f} s), the stage unchanged {again:.1f} s; "
        f"status {status:.1f} s; what an unchanged animate asks {asked:.1f} s; "
        f"a photo taken in {taken:.1f} s"
    )


if __name__ == "__main__":
    main()
