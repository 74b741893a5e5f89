"""Weight files: numpy's pickles of every age are read, hostile ones are refused and not run."""

import codecs
import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from seeded_densepose import SHAPES

from common.errors import InputError
from densepose_prep.rcnn import weights

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "half": np.float16([1, -2]),
    "swapped": np.arange(3, dtype=">f8"),
    "one": np.array(3.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
}


def pickled(value: object, protocol: int) -> bytes:
    return pickle.dumps({"model": value, "__author__": "someone"}, protocol)


def read(content: bytes) -> dict[str, np.ndarray]:
    return weights.read_arrays(io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_back(protocol):
    made = read(pickled(collections.OrderedDict(ARRAYS), protocol))
    assert made.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(made[name], array)
        assert made[name].shape == array.shape


def test_pickles_of_numpy_1_come_back():
    content = pickled(ARRAYS, 2)
    older = content.replace(b"numpy._core.", b"numpy.core.")
    assert (b"_core" in content, b"_core" in older) == (True, False)
    np.testing.assert_array_equal(read(older)["turned"], ARRAYS["turned"])


class Calls:
    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize(
    "value",
    [
        Calls(os.system, "touch touched"),
        Calls(Path.touch, Path("touched")),
        Calls(eval, "open('touched', 'w')"),
        {"array": Calls(exec, "open('touched', 'w')")},
        Calls(codecs.encode, "touched", "rot13"),
        Calls(np.dtype, "O"),
        np.array([Calls(os.system, "touch touched")], dtype=object),
        torch.zeros(3),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hostile_files_are_refused_and_not_run(value, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.pkl").write_bytes(pickled(value, protocol))
    with pytest.raises(InputError, match="no DensePose weights"):
        weights.load(Path("weights.pkl"))
    assert not Path("touched").exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", pickled(ARRAYS, 4)[:90], b"N.", b"(lp0\n."]
)
def test_files_that_are_none_are_refused(content, tmp_path):
    (tmp_path / "weights.pkl").write_bytes(content)
    with pytest.raises(InputError, match="no DensePose weights"):
        weights.load(tmp_path / "weights.pkl")
    with pytest.raises(InputError, match="no DensePose weights"):
        weights.load(tmp_path / "missing.pkl")


def official(**changes: object) -> dict[str, np.ndarray]:
    """Arrays of the official shapes that take no memory."""
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in SHAPES.items()}
    return {name: array for name, array in (arrays | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"roi_heads.decoder.p4.2.bias": None}, "lacks roi_heads.decoder.p4.2.bias"),
        ({"roi_heads.mask_head.weight": np.zeros(1)}, "also has roi_heads.mask_head.weight"),
        ({"roi_heads.box_head.fc1.bias": np.zeros(7, "f4")}, r"fc1.bias is float32 \(7,\)"),
        ({"roi_heads.box_head.fc1.bias": np.zeros(1024, "i8")}, "fc1.bias is int64"),
    ],
)
def test_arrays_of_another_network_are_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        weights.network_of(official(**changes))


def test_the_constants_of_old_checkpoints_are_no_weights(monkeypatch):
    """They are left out before the check, which is all that is looked at here."""
    checked = []

    def check(arrays, shapes):
        checked.extend(arrays)
        raise ValueError("enough")

    monkeypatch.setattr(weights, "check", check)
    old = {
        **{f"pixel_{what}": np.zeros((3, 1, 1)) for what in ("mean", "std")},
        "proposal_generator.anchor_generator.cell_anchors.0": np.zeros((3, 4)),
    }
    with pytest.raises(ValueError, match="enough"):
        weights.network_of(official(**old))
    assert set(checked) == SHAPES.keys()


def test_an_address_is_fetched_once_and_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    source = tmp_path / "model_final.pkl"
    source.write_bytes(b"weights")
    kept = weights.local(source.as_uri())
    source.write_bytes(b"other")
    assert weights.local(source.as_uri()) == kept
    assert kept.read_bytes() == b"weights"
    with pytest.raises(InputError, match="cannot fetch"):
        weights.local((tmp_path / "none.pkl").as_uri())
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert weights.local("some/file.pkl") == Path("some/file.pkl")
