"""The backend `detectron2`: the real packages where they are, their absence, and the exchange."""

import os
import pickle
import sys
import textwrap
from itertools import islice

import numpy as np
import pytest
import torch
from seeded_densepose import seeded_arrays

from common.errors import InputError
from densepose_prep import detectron2_backend
from densepose_prep.detectron2_backend import PYTHON, Detectron2Backend, installed
from densepose_prep.rcnn.backend import RcnnBackend
from densepose_prep.rcnn.boxes import overlap

REAL = installed(os.environ.get(PYTHON) or sys.executable)
# Packages of the real names that see one person, and put what they were told into its numbers.
FAKES = {
    "detectron2/__init__.py": "",
    "detectron2/config.py": """
        class Node:
            def __init__(self):
                self.MODEL, self.TEST = (type("Part", (), {})() for _ in range(2))
            def merge_from_list(self, items):
                self.settings = dict(zip(items[::2], items[1::2]))
        get_cfg = Node
    """,
    "detectron2/data/__init__.py": "",
    "detectron2/data/detection_utils.py": """
        import numpy, PIL.Image
        def read_image(path, format):
            assert format == "BGR"
            return numpy.asarray(PIL.Image.open(path))[..., ::-1]
    """,
    "detectron2/engine.py": """
        import torch
        from types import SimpleNamespace
        print("chatter")
        class Found(SimpleNamespace):
            def has(self, name):
                return hasattr(self, name)
        class DefaultPredictor:
            def __init__(self, config):
                assert config.settings["MODEL.ROI_HEADS.NAME"] == "DensePoseROIHeads"
                self.persons = config.TEST.DETECTIONS_PER_IMAGE
            def __call__(self, picture):
                blue = int(picture[0, 0, 0])
                if blue == 66:
                    raise RuntimeError("out of luck")
                count = 0 if blue == 0 else self.persons
                boxes = torch.tensor([[0.0, 1, 3, 3]]).expand(count, 4)
                found = Found(scores=torch.full((count,), blue / 255))
                found.pred_boxes = SimpleNamespace(tensor=boxes)
                if count:
                    found.pred_densepose = None
                return {"instances": found}
    """,
    "densepose/__init__.py": """
        def add_densepose_config(config):
            config.known = True
    """,
    "densepose/vis/__init__.py": "",
    "densepose/vis/extractor.py": """
        import torch
        from densepose.structures.chart_result import DensePoseChartResultWithConfidences as Result
        class DensePoseResultExtractor:
            def __call__(self, found):
                result = Result()
                result.labels = torch.ones(2, 3, dtype=torch.int64)
                result.uv = torch.full((2, 2, 3), 0.25)
                return [result] * len(found.scores), None
    """,
    "densepose/structures/__init__.py": "",
    "densepose/structures/chart_result.py": """
        class DensePoseChartResultWithConfidences:
            pass
    """,
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A backend whose interpreter has packages of the real names."""
    for name, text in FAKES.items():
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    monkeypatch.setenv(PYTHON, sys.executable)
    monkeypatch.setattr(detectron2_backend, "load", lambda path: (None, "hash of " + str(path)))
    return Detectron2Backend("weights.pkl", persons=1)


def blue(value: int) -> np.ndarray:
    return np.full((4, 5, 3), (1, 2, value), np.uint8)


def test_frames_go_out_and_dumps_come_back(fake):
    """The last frame ends the program: its last words are told."""
    frames = [("000000.png", blue(51)), ("000001.png", blue(0)), ("000002.png", blue(102))]
    found = fake.detect([*frames, ("000003.png", blue(66))])
    first, second, third = islice(found, 3)
    with pytest.raises(InputError, match=r"ended at 000003\.png: RuntimeError: out of luck"):
        next(found)
    assert [first.file_name, second.file_name] == ["000000.png", "000001.png"]
    assert (first.scores.item(), third.scores.item()) == pytest.approx((0.2, 0.4))
    assert first.boxes.tolist() == [[0, 1, 3, 3]]
    assert first.results[0].labels.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert second.results == []
    assert fake.origin.backend == "detectron2"
    assert (fake.origin.chart, fake.origin.weights) == ("densepose", "hash of weights.pkl")


@pytest.mark.parametrize("python", ["/no/such/python", "false"])
def test_its_absence_is_one_clear_error(python, monkeypatch):
    monkeypatch.setenv(PYTHON, python)
    with pytest.raises(InputError, match=f"{python} has no detectron2 .* use the backend 'rcnn'"):
        Detectron2Backend("weights.pkl", persons=1)


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason=f"not run: no detectron2 here; {PYTHON} names none")
def test_the_real_packages_agree_with_the_port(tmp_path):
    with open(tmp_path / "model.pkl", "wb") as stream:
        pickle.dump({"model": seeded_arrays(), "__author__": "seeds"}, stream)
    frame = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    (theirs,) = Detectron2Backend(str(tmp_path / "model.pkl"), 3).detect([("a.png", frame)])
    (ours,) = RcnnBackend(str(tmp_path / "model.pkl"), 1, 3).detect([("a.png", frame)])
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=1e-2)
    assert (overlap(torch.cat([ours.boxes, theirs.boxes])).diagonal(3) > 0.99).all()
    for one, other in zip(ours.results, theirs.results, strict=True):
        assert (one.labels != other.labels).float().mean() < 0.01
