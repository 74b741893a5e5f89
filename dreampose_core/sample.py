"""The sample stage: a subject's picture and a render's poses to a samples (frames) folder.

A killed run goes on at the batch where it stopped: finished frames wait in the partial folder,
beside a fingerprint of everything that decided them.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from common import frames as frames_format
from common.batches import Batches
from common.files import holds, publish, remove, write_json
from common.frames import FramesInfo, frame_name
from common.images import write_png
from common.progress import Progress
from common.settings import Sampling
from dreampose_core.scene import Inputs, Scene

PARAMETERS, FINGERPRINT = "samples.json", "fingerprint.json"


def sample(
    given: Inputs, out: Path, settings: Sampling, scheduler: str, batch_size: int, half: bool
) -> None:
    """Render the subject (first frame of its frames) in the poses, in the subject's framing.

    Raises InputError for mixed charts and for poses that are not in the subject's frame.
    """
    scene = Scene.open(given, scheduler, half=half)
    count = len(scene.poses)
    own = {"scheduler": scheduler, "batch_size": batch_size, "half": half}
    origin = {
        "parameters": asdict(settings) | own,
        "crop": list(scene.fit.crop),
        "inputs": given.hashes(),
    }
    with publish(out, keep_partial=True) as partial, Progress("sampling", count) as progress:
        _continue_or_clear(partial, origin)

        def render(start: int, stop: int) -> None:
            paths = [partial / frame_name(i) for i in range(start, stop)]
            if all(path.exists() for path in paths):
                return
            frames = scene.model(scene.reference, scene.condition(start, stop), settings)
            for path, frame in zip(paths, frames, strict=True):
                write_png(path.with_suffix(".tmp"), scene.canvas.put(frame))
                os.replace(path.with_suffix(".tmp"), path)

        batches = Batches(batch_size)
        for these, _ in batches(count, render):
            progress.advance(len(these))
        info = FramesInfo(scene.fps, scene.canvas.picture.shape[:2], count)
        write_json(partial / frames_format.INFO, asdict(info))
        write_json(partial / PARAMETERS, origin | {"smallest_batch": batches.size})
        (partial / FINGERPRINT).unlink()


def _continue_or_clear(partial: Path, origin: dict) -> None:
    """Keep an earlier run's frames only where everything that decided them is the same."""
    key = partial / FINGERPRINT
    if not holds(key, origin):
        remove(partial)
        partial.mkdir()
        write_json(key, origin)
    for half in partial.glob("*.tmp"):
        half.unlink()
