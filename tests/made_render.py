"""A workspace with a render in it whose files were painted here: no model, no training."""

import json
from pathlib import Path

import numpy as np
import yaml

from common.files import write_text
from common.frames import FramesInfo, write_frames
from common.poses import PosesInfo, write_poses
from dreampose_core.evaluate import evaluate
from flows import order
from tasks import catalog, graph, lineage, workspace
from tasks.bridge import StageRun
from tasks.cache import cached, content_hash, folder_files
from tasks.freshness import render
from tasks.graph import Address

NAMES = {
    "photo": "<img src=x onerror=alert(1)>'\"&.png",
    "clip": "-- $(id); <script>alert(2)<!--.mp4",
    "truth": "{{ 7 * 7 }} `ls`.mp4",
}
"""What hostile users call their files, less the slash that no file name has."""
COUNT, HEIGHT, WIDTH = 6, 64, 48
LEVELS = {"photo": 90, "clip": 40, "result": 120, "truth": 100}


def make(place: Path, *, truth: bool = True) -> str:
    """Make the current folder, `place`, a workspace with a render; returns the render's key."""
    workspace.create(place, "tiny")
    with catalog.edit() as items:
        raws = {}
        for name, known_as in NAMES.items():
            raw = Path(f"data/raw/{name}-0123abcd/source")
            write_text(raw, known_as)
            raws[name] = items.add_source(
                raw.parent.name, raw.as_posix(), known_as, {} if name == "photo" else {"fps": 12.0}
            )
        subject = items.add_subject(raws["photo"], finetune_vae={"steps": 0})
        key = items.add_render(subject, raws["clip"], {"s1": 3.0}, raws["truth"] if truth else None)
    _paint(items, key)
    settle(items, key)
    return key


def iuv(index: int) -> np.ndarray:
    """A body of three parts that moves to the right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for part, top in ((23, 8), (2, 20), (8, 40)):
        image[top : top + 18, 10 + 2 * index : 26 + 2 * index] = part, 100, 200
    return image


def clip(level: int, count: int = COUNT) -> np.ndarray:
    """Frames (count, H, W, 3) of a person of that grey level before a blue wall."""
    frames = np.full((count, HEIGHT, WIDTH, 3), (70, 80, 160), np.uint8)
    for index in range(count):
        frames[index][iuv(index)[..., 0] > 0] = level
    return frames


def _paint(items: catalog.Catalog, key: str) -> None:
    item = items.renders[key]
    info, poses = FramesInfo("12"), PosesInfo("mannequin", "exact", fps="12")
    walk = [iuv(index) for index in range(COUNT)]
    write_frames(Path(f"data/frames/{item.source}"), clip(LEVELS["photo"], 1), FramesInfo("1"))
    write_frames(Path(f"data/frames/{item.driving}"), clip(LEVELS["clip"]), info)
    write_frames(Path(f"data/samples/{key}"), clip(LEVELS["result"]), info)
    write_poses(Path(f"data/poses/{item.source}"), walk[:1], poses)
    write_poses(Path(f"data/poses/{item.driving}"), walk, poses)
    write_poses(Path(f"data/retargeted/{item.motion}"), walk, poses)
    write_poses(Path(f"data/reposed/{key}"), walk[:1] + walk[:-1], poses)
    write_text(Path(f"data/previews/{item.motion}.png"), "a sheet")
    for source in (item.source, item.driving):
        write_text(Path(f"data/dumps/{source}.pkl"), f"a dump of {source}")
        write_text(Path(f"data/previews/{source}/sheet.png"), f"a sheet of {source}")
    truth = None
    if item.truth != catalog.NOTHING:
        truth = Path(item.truth)
        write_frames(truth, clip(LEVELS["truth"]), info)
    write_text(Path(f"data/bases/{item.base}/model_index.json"), "{}")
    for part in ("unet", "vae"):
        write_text(Path(f"data/subjects/{item.subject}/{part}/finetune.json"), f'"{part}"')
    curves = "step\tloss\trate\tnorm\n1\t0.5\t1e-4\t2\n2\t0.25\t1e-4\t1\n"
    write_text(Path(f"data/subjects/{item.subject}/unet/curves.tsv"), curves)
    write_text(Path(f"data/videos/{key}.mp4"), "the video")
    measure(items, key, truth)


def measure(items: catalog.Catalog, key: str, truth: Path | None) -> None:
    """Run the real evaluation."""
    item = items.renders[key]
    evaluate(
        samples=Path(f"data/samples/{key}"),
        subject=Path(f"data/frames/{item.source}"),
        driving=Path(f"data/frames/{item.driving}"),
        poses=Path(f"data/retargeted/{item.motion}"),
        out=Path(f"data/reports/{key}"),
        truth=truth,
        estimated_poses=Path(f"data/reposed/{key}"),
    )


def settle(items: catalog.Catalog, key: str) -> None:
    """Write what DVC would have locked and cached of the files as they are, and the lineage."""
    addresses = order.animate(items, key)
    locks: dict[Path, dict] = {}
    for address in addresses:
        lock = Path(graph.targets([address])[address].rpartition("/")[0], "dvc.lock")
        locks.setdefault(lock, {"schema": "2.0", "stages": {}})
        locks[lock]["stages"][address.stage] = _entry(items, address)
    for lock, content in locks.items():
        write_text(lock, yaml.safe_dump(content))
    lineage.record(StageRun(address, "ran", 1.0) for address in addresses)


def _entry(items: catalog.Catalog, address: Address) -> dict:
    stage = graph.stages()[address.stage]
    values = {
        **graph.read_yaml(Path("params.yaml")),
        "key": address.item,
        "item": items.model_dump()[stage.group][address.item],
    }
    deps = [render(dep, values)[0] for dep in stage.deps]
    definition = graph.read_yaml(graph.GRAPH)["stages"][address.stage]["do"]
    outs = [render(o, values)[0] for o in definition["outs"] + definition.get("metrics", [])]
    return {
        "cmd": " ".join(render(stage.command, values)),
        "deps": [_file(path) for path in deps],
        "outs": [_file(path, kept=True) for path in outs],
    }


def _file(path: str, *, kept: bool = False) -> dict:
    """A line of a lock; what is `kept` goes to the cache, as DVC would put it there."""
    there = Path(path)
    md5 = content_hash(there)
    if kept and there.is_dir():
        members = sorted(folder_files(there).items())
        for name, member in members:
            _cache(member, (there / name).read_bytes())
        listing = [{"md5": member, "relpath": name} for name, member in members]
        _cache(md5, json.dumps(listing, sort_keys=True).encode())
    elif kept:
        _cache(md5, there.read_bytes())
    return {"path": path, "hash": "md5", "md5": md5}


def _cache(md5: str, content: bytes) -> None:
    path = cached(md5)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
