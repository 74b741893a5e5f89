"""Figures by networks trained on photographs: LPIPS, FID, FVD. Extras: each needs what it names.

Frames go in as batches of pairs, made and true, uint8 (B, H, W, 3) of one size. Every result says
which version of what made it, at which resolution and from which frames, because the numbers of
two set-ups cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from common.errors import InputError

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]
_INCEPTION_SIDE, _I3D_SIDE, LPIPS_SIDE = 299, 224, 64
WINDOW, STRIDE = 16, 4
"""Frames of an FVD clip, and frames from the start of one to the next."""


def lpips(pairs: Pairs) -> dict[str, Any]:
    """Zhang et al. 2018: distance of AlexNet's features, mean over frames; 0 is the same."""
    package = _package("lpips", "LPIPS", "pip install lpips torchvision")
    network = _fetched(lambda: package.LPIPS(net="alex", verbose=False), "LPIPS").eval()
    values, size = [], None
    for made, truth in pairs:
        size = made.shape[1:3]
        if min(size) < LPIPS_SIDE:
            raise InputError(
                f"LPIPS of {size[1]}×{size[0]} pixels means nothing", f"use {LPIPS_SIDE} or more"
            )
        with torch.no_grad():
            values += network(_signed(made), _signed(truth)).flatten().tolist()
    return {
        "value": float(np.mean(values)),
        "made by": f"lpips {_version('lpips')}, AlexNet v0.1",
        "resolution": list(size),
        "frames": f"all {len(values)}",
    }


def fid(pairs: Pairs) -> dict[str, Any]:
    """Heusel et al. 2017: Fréchet distance of InceptionV3's 2048 features, as torch-fidelity."""
    package = _package(
        "torch_fidelity.feature_extractor_inceptionv3", "FID", "pip install torch-fidelity"
    )
    extractor = _fetched(lambda: package.FeatureExtractorInceptionV3("inception", ["2048"]), "FID")
    extractor = extractor.eval()
    made, truth, size = _features(pairs, lambda x: extractor(torch.from_numpy(x).movedim(-1, 1))[0])
    return {
        "value": frechet_distance(made, truth),
        "made by": f"torch-fidelity {_version('torch-fidelity')}, InceptionV3 2048",
        "resolution": f"{list(size)}, scaled to {_INCEPTION_SIDE}",
        "frames": f"all {len(made)}; under some thousands the value is too high",
    }


def fvd(pairs: Pairs, weights: Path) -> dict[str, Any]:
    """Unterthiner et al. 2018: Fréchet distance of I3D's features of clips of WINDOW frames.

    `pairs` are such clips, and `weights` the TorchScript file `i3d_torchscript.pt` (Kinetics-400).
    """
    try:
        network = torch.jit.load(str(weights), map_location="cpu").eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"FVD cannot read {weights} ({str(error).strip().splitlines()[0]})",
            "give the TorchScript file i3d_torchscript.pt",
        ) from None
    made, truth, size = _features(pairs, lambda clip: _i3d(network, clip))
    return {
        "value": frechet_distance(made, truth),
        "made by": f"torch {version('torch')}, {Path(weights).name}",
        "resolution": f"{list(size)}, scaled to {_I3D_SIDE}",
        "frames": f"{len(made)} clips of {WINDOW} frames, {STRIDE} apart; "
        "under some thousands the value is too high",
    }


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Squared Fréchet distance of the Gaussians fitted to features (N, D) and (M, D).

    The trace of the root of the covariances' product is the sum of the singular values of
    A·Bᵀ, A and B being the centred features: exact, and quick where there are few.
    """
    count = min(len(first), len(second))
    if count < 2:
        raise InputError(f"a Fréchet distance of {count} samples", "give a longer clip")
    a, b = (x.astype(np.float64) - x.mean(0, dtype=np.float64) for x in (first, second))
    a, b = a / np.sqrt(len(a) - 1), b / np.sqrt(len(b) - 1)
    shift = np.square(first.mean(0, dtype=np.float64) - second.mean(0, dtype=np.float64)).sum()
    common = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(shift + np.square(a).sum() + np.square(b).sum() - 2 * common)


def _features(
    pairs: Pairs, extract: Callable[[np.ndarray], Tensor]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    made, truth, size = [], [], (0, 0)
    with torch.no_grad():
        for a, b in pairs:
            size = a.shape[1:3]
            made.append(extract(a).flatten(1).numpy())
            truth.append(extract(b).flatten(1).numpy())
    if not made:
        raise InputError("the clip is too short", f"FVD needs {WINDOW + STRIDE} frames or more")
    return np.concatenate(made), np.concatenate(truth), size


def _i3d(network: torch.jit.ScriptModule, clip: np.ndarray) -> Tensor:
    """Features (1, 400) of one clip uint8 (WINDOW, H, W, 3)."""
    side = (_I3D_SIDE, _I3D_SIDE)
    frames = F.interpolate(_signed(clip), side, mode="bilinear", align_corners=False)
    video = frames.transpose(0, 1)[None]
    return network(video, rescale=False, resize=False, return_features=True)


def _signed(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 127.5 - 1


def _package(module: str, what: str, remedy: str) -> ModuleType:
    try:
        return import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        raise InputError(f"{what} needs a package that is not here ({error})", remedy) from None


def _fetched(make: Callable[[], torch.nn.Module], what: str) -> torch.nn.Module:
    try:
        return make()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"the weights of {what} cannot be fetched ({str(error).strip().splitlines()[-1]})",
            "run it once while online; they are kept under TORCH_HOME",
        ) from None


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"
