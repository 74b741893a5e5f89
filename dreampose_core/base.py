"""The base stage: a model folder from whatever the parameters name."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.files import publish
from dreampose_core.model import load

_NOT_MODEL = ("iuv", "training", "*.md", "provenance.json")
"""What the shipped folder holds beside the model."""


def make_base(source: str, revision: str, seed: int, out: Path) -> None:
    """Write the model of `source` (folder, hub id, architecture file) to `out`.

    A finished model folder is checked and copied byte for byte.
    """
    model = load(source, revision or None, seed)
    with publish(out) as partial:
        if (Path(source) / "conditioning").is_dir():
            shutil.copytree(source, partial, ignore=shutil.ignore_patterns(*_NOT_MODEL))
        else:
            model.save_pretrained(partial)
