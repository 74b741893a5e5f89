"""Checkpoints in the published form: `unet_epoch_N.pth`, `adapter_N.pth`, `vae_N.pth`.

Plain state dicts, their keys sometimes behind `module.`, the VAE's attention under the names of
diffusers 0.1x. They are read with `weights_only`, so that a file cannot run code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from common.errors import InputError
from common.files import publish
from dreampose_core.model import load
from dreampose_core.scene import load_subject

State = dict[str, Tensor]

_OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
_ATTENTION = re.compile(r"(.*\.attentions\.\d+\.)([\w.]+)\.(weight|bias)")


def read_state(path: Path) -> State:
    """The tensors of a `.pth` file as float32. Raises InputError where it is none."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path} is not there", "check the name") from None
    except Exception:  # the reader raises anything on a damaged file
        raise InputError(
            f"{path} is damaged, or holds more than weights",
            "give a state dict as DreamPose's training writes it",
        ) from None
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path} holds no state dict", "give the .pth of one component")
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise InputError(f"{path}: {strange[0]!r} is no tensor", "give a plain state dict")
    return {str(name).removeprefix("module."): value.float() for name, value in content.items()}


def modern(state: State) -> State:
    """VAE keys under today's names; attention weights (C, C, 1, 1) become (C, C)."""
    return _renamed(state, _OLD_ATTENTION)


def old(state: State) -> State:
    """The reverse of `modern`; weights stay (C, C), as diffusers 0.1x wrote them."""
    return _renamed(state, {new: was for was, new in _OLD_ATTENTION.items()})


def _renamed(state: State, names: Mapping[str, str]) -> State:
    renamed = {}
    for name, value in state.items():
        match = _ATTENTION.fullmatch(name)
        if match and match[2] in names:
            name = f"{match[1]}{names[match[2]]}.{match[3]}"
            value = value.flatten(1) if value.ndim == 4 else value
        renamed[name] = value
    return renamed


def take_over(component: nn.Module, state: State, path: Path) -> None:
    """Load a state into a component. Raises InputError naming the first key that does not fit."""
    wanted = component.state_dict()
    for name, value in wanted.items():
        if name not in state:
            raise InputError(f"{path} lacks {name!r}", "is it the file of another component?")
        if state[name].shape != value.shape:
            raise InputError(
                f"{path}: {name!r} is {tuple(state[name].shape)}, "
                f"the model's is {tuple(value.shape)}",
                "give the base that the checkpoint was trained on, at the same resolution",
            )
    strange = [name for name in state if name not in wanted]
    if strange:
        raise InputError(
            f"{path} has {strange[0]!r}, which the model does not know",
            "is it the file of another component?",
        )
    component.load_state_dict(state)


def import_published(
    base: str, unet: Path, adapter: Path, vae: Path | None, pose_range: str, out: Path
) -> None:
    """Write the model folder `out` from published files and the base they were trained on.

    `pose_range` says how the checkpoint's poses were scaled: "unit" as its training code does,
    "symmetric" as its test script does; the sampler follows.
    """
    model = load(base)
    take_over(model.unet, read_state(unet), unet)
    take_over(model.adapter, read_state(adapter), adapter)
    if vae:
        take_over(model.vae, modern(read_state(vae)), vae)
    model.conditioning.register_to_config(pose_range=pose_range)
    with publish(out) as partial:
        model.save_pretrained(partial)


def export_published(base: Path, unet: Path | None, vae: Path | None, out: Path) -> None:
    """Write `unet.pth`, `adapter.pth` and `vae.pth` of a base with a subject's components.

    `unet` and `vae` are the folders that finetuning wrote.
    """
    model = load_subject(base, unet, vae)
    with publish(out) as partial:
        partial.mkdir()
        for name in ("unet", "adapter", "vae"):
            state = {key: value.cpu() for key, value in getattr(model, name).state_dict().items()}
            torch.save(old(state) if name == "vae" else state, partial / f"{name}.pth")
