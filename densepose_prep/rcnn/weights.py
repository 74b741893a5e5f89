"""The official weights: a pickle {"model": {name: array}, …}, read without running any of it.

A pickle names what it wants called. Here the few names that arrays need lead to the small classes
below, which make arrays of plain numbers and nothing else; any other name is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from common.errors import InputError
from common.files import file_hash, publish
from densepose_prep.rcnn.backbone import CHANNELS
from densepose_prep.rcnn.heads import BOX_BINS
from densepose_prep.rcnn.network import DensePoseRcnn

_NORM = ("weight", "bias", "running_mean", "running_var")
_NORM_EPSILON = 1e-5
_NORMALISED = "backbone.bottom_up."
_CONSTANTS = re.compile(r"pixel_(mean|std)|.*\.anchor_generator\.cell_anchors\.\d")
"""Arrays that old checkpoints carry and that are no weights; detectron2 ignores them too."""
_REMEDY = "give model_final_162be9.pkl of densepose_rcnn_R_50_FPN_s1x, or its address"


class _Numbers:
    """Stands for `numpy.dtype`."""

    def __init__(self, code: str, *_: object):
        if code not in ("f2", "f4", "f8", "i4", "i8", "u1", "b1"):
            raise pickle.UnpicklingError(f"an array of {code!r}")
        self.kind = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.kind = self.kind.newbyteorder(state[1])


class _Array:
    """Stands for `numpy.ndarray` and for the function that numpy's pickles begin one with."""

    def __init__(self, *_: object):
        self.values = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, numbers, by_columns, data = state
        self._fill(data, numbers, shape, "F" if by_columns else "C")

    def _fill(self, data: bytes | str, numbers: _Numbers, shape: tuple, order: str) -> None:
        data = data.encode("latin1") if isinstance(data, str) else data
        self.values = np.frombuffer(data, numbers.kind).reshape(shape, order=order)

    @classmethod
    def from_buffer(cls, *given: Any) -> _Array:
        """As numpy's pickles of protocol 5 make one."""
        array = cls()
        array._fill(*given)
        return array


def _encode(text: str, codec: str) -> bytes:
    """How bytes come in a pickle of protocol 2."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"text in {codec!r}")
    return text.encode("latin1")


_NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Numbers,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("__builtin__", "bytes"): lambda: b"",
    **{
        (f"numpy.{core}.{module}", name): made
        for core in ("core", "_core")
        for module, name, made in (
            ("multiarray", "_reconstruct", _Array),
            ("numeric", "_frombuffer", _Array.from_buffer),
        )
    },
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants {module}.{name}") from None


def read_arrays(stream: BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of the file's "model" by name. Raises pickle.UnpicklingError and kin."""
    model = _Reader(stream, encoding="latin1").load()["model"]
    return {name: array.values for name, array in model.items()}


def official_shapes(network: DensePoseRcnn) -> dict[str, tuple[int, ...]]:
    """Name and shape of every array that an official file must hold.

    They are the network's own, but that the file keeps the ResNet's normalisation apart.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name, tensor in network.state_dict().items():
        convolution, _, part = name.rpartition(".")
        if name.startswith(_NORMALISED) and part == "bias":
            shapes |= {f"{convolution}.norm.{norm}": tuple(tensor.shape) for norm in _NORM}
        else:
            shapes[name] = tuple(tensor.shape)
    return shapes


def check(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError where arrays are missing, unknown or of other shapes."""
    for what, names in (("lacks", shapes.keys() - arrays), ("also has", arrays.keys() - shapes)):
        if names:
            raise ValueError(f"it {what} {min(names)}" + f" and {len(names) - 1} more arrays")
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype.kind != "f":
            raise ValueError(f"{name} is {arrays[name].dtype} {arrays[name].shape}, not {shape}")


def as_used(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The network's state from the file's arrays.

    A frozen normalisation is folded into its convolution, and the box head reads its bins row by
    row with the channels innermost, as `roi_align` gives them.
    """
    tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}
    for name in [name for name in tensors if name.endswith(".norm.weight")]:
        convolution = name.removesuffix(".norm.weight")
        scale, bias, mean, variance = (tensors.pop(f"{convolution}.norm.{part}") for part in _NORM)
        scale = scale * (variance + _NORM_EPSILON).rsqrt()
        tensors[f"{convolution}.weight"] *= scale[:, None, None, None]
        tensors[f"{convolution}.bias"] = bias - mean * scale
    bins = tensors["roi_heads.box_head.fc1.weight"].unflatten(1, (CHANNELS, BOX_BINS**2))
    tensors["roi_heads.box_head.fc1.weight"] = bins.transpose(1, 2).flatten(1)
    return tensors


def network_of(arrays: Mapping[str, np.ndarray]) -> DensePoseRcnn:
    """The network with the arrays of a file. Raises ValueError where they are not its own."""
    with torch.device("meta"):
        network = DensePoseRcnn()
    arrays = {name: array for name, array in arrays.items() if not _CONSTANTS.fullmatch(name)}
    check(arrays, official_shapes(network))
    network.load_state_dict(as_used(arrays), assign=True)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def load(path: Path) -> tuple[DensePoseRcnn, str]:
    """The network of an official file, and the file's hash. Raises InputError."""
    try:
        with open(path, "rb") as stream:
            network = network_of(read_arrays(stream))
        return network, file_hash(path)
    except Exception as error:  # the reader raises anything on a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"no DensePose weights at {path} ({reason})", _REMEDY) from None


def local(weights: str) -> Path:
    """The path of a file, which is fetched and kept where `weights` is an address."""
    if "://" not in weights:
        return Path(weights)
    folder = Path(torch.hub.get_dir(), "checkpoints", "densepose")
    target = folder / re.sub(r"[^\w.-]+", "_", weights.partition("://")[2])
    if not target.exists():
        try:
            with publish(target) as partial:
                torch.hub.download_url_to_file(weights, str(partial))
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot fetch {weights} ({error})",
                "fetch it by another way and give the file's path as densepose.weights",
            ) from None
    return target
