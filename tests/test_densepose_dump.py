"""Dumps: DensePose's own are read, ours are read by DensePose's reader, hostile ones by nobody."""

import dataclasses
import os
import pickle
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from common.errors import InputError
from densepose_prep.convert import reference_uv
from densepose_prep.dump import ChartResult, Detections, Origin, read_dump, write_dump

FIXTURES = Path(__file__).parent / "fixtures/densepose"
MINI = Origin("mannequin", "mini", "abc")


def detections(name: str = "000000.png", sizes: tuple = ((7, 5), (3, 9))) -> Detections:
    random = torch.Generator().manual_seed(3)
    results = []
    for height, width in sizes:
        labels = torch.randint(0, 25, (height, width), generator=random)
        results.append(ChartResult(labels, torch.rand(2, height, width, generator=random)))
    boxes = torch.rand(len(sizes), 4, generator=random) * 50
    return Detections(name, torch.rand(len(sizes), generator=random), boxes, results)


def assert_same(one: Detections, other: Detections) -> None:
    assert one.file_name == other.file_name
    torch.testing.assert_close(one.scores, other.scores, rtol=0, atol=0)
    torch.testing.assert_close(one.boxes, other.boxes, rtol=0, atol=0)
    for a, b in zip(one.results, other.results, strict=True):
        torch.testing.assert_close((a.labels, a.uv), (b.labels, b.uv), rtol=0, atol=0)


def pickled(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        return archive.read(name)


def globals_of(path: Path) -> set[str]:
    return {text for code, text, _ in pickletools.genops(pickled(path)) if code.name == "GLOBAL"}


def test_densepose_dumps_are_read():
    images, origin = read_dump(FIXTURES / "dump.pkl")
    assert origin == Origin("densepose", "detectron2", "")
    assert [len(image.results) for image in images] == [3, 3]
    assert images[0].file_name == "images/img8.png"
    for image in images:
        for box, result in zip(image.boxes, image.results, strict=True):
            height, width = result.labels.shape
            assert (width, height) == tuple((box[2:] - box[:2]).int().tolist())


def test_a_dump_without_persons_is_read():
    (image,), _ = read_dump(FIXTURES / "dump_empty.pkl")
    assert image.results == []
    assert image.boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["dump.pkl", "dump_empty.pkl"])
def test_writing_a_real_dump_keeps_it(name, tmp_path):
    images, origin = read_dump(FIXTURES / name)
    write_dump(tmp_path / "again.pkl", images, origin)
    again, same = read_dump(tmp_path / "again.pkl")
    assert same == origin
    for one, other in zip(images, again, strict=True):
        assert_same(one, other)
    assert globals_of(tmp_path / "again.pkl") == globals_of(FIXTURES / name)


def test_the_real_class_takes_our_pickles(tmp_path, monkeypatch):
    """A module of DensePose's name, holding a dataclass of its fields, and a plain `torch.load`."""
    fields = ["labels", "uv", "sigma_1", "sigma_2", "kappa_u", "kappa_v"]
    fields += ["fine_segm_confidence", "coarse_segm_confidence"]
    real = dataclasses.make_dataclass(
        "DensePoseChartResultWithConfidences", [(f, Any) for f in fields]
    )
    real.__module__ = "densepose.structures.chart_result"
    write_dump(tmp_path / "dump.pkl", [detections(), detections("000001.png", ())], MINI)
    assert not any(name.startswith("densepose.") for name in sys.modules)

    for name in ("densepose", "densepose.structures", "densepose.structures.chart_result"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    setattr(sys.modules["densepose.structures.chart_result"], real.__name__, real)
    first, second = torch.load(tmp_path / "dump.pkl", weights_only=False)
    assert set(first) >= {"file_name", "scores", "pred_boxes_XYXY", "pred_densepose"}
    assert "pred_densepose" not in second
    for made, expected in zip(first["pred_densepose"], detections().results, strict=True):
        assert type(made) is real
        assert (made.labels.dtype, made.uv.dtype) == (torch.int64, torch.float32)
        assert dataclasses.astuple(made)[2:] == (None,) * 6
        torch.testing.assert_close(made.uv, expected.uv)


def test_our_dumps_say_where_they_come_from_and_are_repeatable(tmp_path):
    for name in ("one.pkl", "two.pkl"):
        write_dump(tmp_path / name, [detections()], MINI)
    images, origin = read_dump(tmp_path / "one.pkl")
    assert origin == MINI
    assert_same(images[0], detections())
    assert (tmp_path / "one.pkl").read_bytes() == (tmp_path / "two.pkl").read_bytes()


class Hostile:
    def __reduce__(self):
        return Path.touch, (Path("touched"),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))]
)
def test_hostile_pickles_are_refused_and_not_run(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save([{"file_name": "000000.png", "scores": Hostile()}], tmp_path / "dump.pkl")
    with pytest.raises(InputError, match="not a readable DensePose dump"):
        read_dump(tmp_path / "dump.pkl")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"no dump", (FIXTURES / "dump.pkl").read_bytes()[:9000]],
    ids=["empty", "text", "cut"],
)
def test_files_that_are_no_dump_are_refused(content, tmp_path):
    (tmp_path / "dump.pkl").write_bytes(content)
    with pytest.raises(InputError, match="not a readable DensePose dump"):
        read_dump(tmp_path / "dump.pkl")


def broken(**changes: Any) -> list[dict[str, Any]]:
    entry = {"file_name": "a1.png", "scores": torch.zeros(0), "pred_boxes_XYXY": torch.zeros(0, 4)}
    return [{**entry, **changes}]


@pytest.mark.parametrize(
    "entries",
    [
        [],
        {"file_name": "a"},
        [{"file_name": "a"}],
        broken(scores=torch.zeros(2)),
        broken(pred_boxes_XYXY=None),
        broken(pred_densepose=[torch.zeros(3)]),
        broken(chart="smplx"),
        broken(chart=["densepose"]),
    ],
)
def test_malformed_entries_are_refused(entries, tmp_path):
    torch.save(entries, tmp_path / "dump.pkl")
    with pytest.raises(InputError):
        read_dump(tmp_path / "dump.pkl")


@pytest.mark.parametrize(
    ("labels", "uv"),
    [
        (torch.full((2, 3), 25), torch.zeros(2, 2, 3)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, 2)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.full((2, 2, 3), torch.nan)),
    ],
)
def test_malformed_results_are_refused(labels, uv, tmp_path):
    image = Detections("0.png", torch.ones(1), torch.zeros(1, 4), [ChartResult(labels, uv)])
    write_dump(tmp_path / "dump.pkl", [image], MINI)
    with pytest.raises(InputError):
        read_dump(tmp_path / "dump.pkl")


def test_a_long_dump_is_never_whole_in_memory(tmp_path):
    """40 images of 32 MB each are written, and read, in 250 MB more than the program itself has.

    Without the environment variable the C library keeps some of what is freed.
    """
    program = """
import resource, sys, torch
from pathlib import Path
from densepose_prep.dump import ChartResult, Detections, Origin, read_dump, write_dump
def own(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024
def image(number):
    result = ChartResult(torch.full((1400, 1400), number % 25), torch.full((2, 1400, 1400), 0.5))
    return Detections(f"{number}.png", torch.ones(1), torch.zeros(1, 4), [result])
image(0)
resource.setrlimit(resource.RLIMIT_DATA, (own("VmData") + 250 * 2**20, -1))
write_dump(Path(sys.argv[1]), (image(number) for number in range(40)), Origin())
resource.setrlimit(resource.RLIMIT_DATA, (-1, -1))
before = own("RssAnon")
images, _ = read_dump(Path(sys.argv[1]))
assert own("RssAnon") - before < 250 * 2**20
assert [int(image.results[0].labels.max()) for image in images] == [n % 25 for n in range(40)]
"""
    command = [sys.executable, "-c", program, tmp_path / "long.pkl"]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "long.pkl").stat().st_size > 1.2e9
    assert [path.name for path in tmp_path.iterdir()] == ["long.pkl"]


def test_the_reference_form_is_what_its_reformatter_makes():
    expected = np.load(FIXTURES / "reformatted_person0.npz")
    images, _ = read_dump(FIXTURES / "dump.pkl")
    for image in images:
        truth = expected[Path(image.file_name).stem]
        made = reference_uv(image.results[0], image.boxes[0].numpy(), truth.shape[1:])
        assert made.dtype == truth.dtype
        np.testing.assert_array_equal(made, truth)
