"""Make a trained model the shipped one: whole, in half precision, with its provenance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderDC

from common.files import folder_hash, publish, write_json
from dreampose_core.detail import DetailNetwork
from dreampose_core.model import load

_KEPT = ("README.md",)


def promote(base: Path, decoder: Path, detail: Path, iuv: Path, out: Path, curves: Path) -> None:
    """Compose base, decoder, detail network and IUV network into `out`; its model card stays.

    The trainings' curves go to the folder `curves`.
    """
    model = load(str(base))
    model.register_modules(
        vae=AutoencoderDC.from_pretrained(decoder), detail=DetailNetwork.from_pretrained(detail)
    )
    with publish(out) as partial:
        model.to(dtype=torch.float16).save_pretrained(partial)
        shutil.copytree(iuv, partial / "iuv", ignore=shutil.ignore_patterns("training"))
        for part in (*partial.rglob("config.json"), partial / "model_index.json"):
            config = json.loads(part.read_text())
            config.pop("_name_or_path", None)
            part.write_text(json.dumps(config, indent=2) + "\n")
        sources = {"base": base, "decoder": decoder, "detail": detail, "iuv": iuv}
        write_json(
            partial / "provenance.json",
            {
                name: {"folder": str(path), "md5": folder_hash(path)}
                for name, path in sources.items()
            },
        )
        for name in _KEPT:
            if (out / name).exists():
                shutil.copy(out / name, partial / name)
    with publish(curves) as partial:
        for name, folder in sources.items():
            shutil.copytree(folder / "training", partial / name)
