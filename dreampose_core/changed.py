"""A subject's folder: the components that finetuning changed, and what was asked for.

Free of torch: where no step is to be trained there is nothing to load.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from common.files import publish, write_json
from common.settings import TrainingSettings

FIGURES = "finetune.json"


def write_figures(folder: Path, settings: TrainingSettings, changed: Collection[str]) -> None:
    """Say in a subject's folder how it was trained, and the names of the components in it."""
    write_json(folder / FIGURES, {"settings": asdict(settings), "changed": list(changed)})


def unchanged(out: Path, settings: TrainingSettings) -> None:
    """The folder of a subject for whom the base is used as it is."""
    with publish(out) as partial:
        partial.mkdir()
        write_figures(partial, settings, ())
