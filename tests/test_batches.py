"""Out of memory: the batch is halved and the work goes on; every other error is raised at once."""

from dataclasses import replace

import pytest
import torch
from test_training import SHORT, Line, draw, weights
from torch import Tensor

from common.batches import Batches
from common.training import Batch, train
from dreampose_core.pipeline import DreamPosePipeline

pytestmark = pytest.mark.usefixtures("one_thread")


def full() -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")


def test_a_batch_that_does_not_fit_is_halved_for_good():
    tried = []

    def compute(start: int, stop: int) -> list[int]:
        tried.append(stop - start)
        if stop - start > 3:
            raise full()
        return list(range(start, stop))

    batches = Batches(8)
    done = list(batches(10, compute))
    assert [index for _, result in done for index in result] == list(range(10))
    assert [list(these) for these, _ in done] == [result for _, result in done]
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert batches.size == 2


@pytest.mark.parametrize("error", [full(), MemoryError(), RuntimeError("shapes differ")])
def test_what_smaller_batches_cannot_mend_is_raised(error):
    tried = []

    def compute(start: int, stop: int) -> None:
        tried.append(stop - start)
        raise error

    with pytest.raises(type(error)):
        list(Batches(4)(4, compute))
    assert tried == ([4] if "shapes" in str(error) else [4, 2, 1])


class Narrow(Line):
    """Has room for two rows from the fourth step on."""

    steps = 0

    def forward(self, batch: Batch) -> Tensor:
        self.steps += len(batch["x"]) == SHORT.batch_size
        if self.steps > 3 and len(batch["x"]) > 2:
            raise full()
        return super().forward(batch)


def test_a_training_goes_on_in_smaller_pieces(tmp_path):
    narrow, whole = Narrow(), Line()
    history = train(narrow, draw, SHORT, tmp_path / "narrow")
    plain = train(whole, draw, SHORT, tmp_path / "whole")
    assert [row.get("pieces") for row in history] == [None] * 3 + [4] * 7
    torch.testing.assert_close(weights(narrow), weights(whole))
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in plain])


def test_a_training_that_fits_in_no_piece_fails(tmp_path):
    class Full(Line):
        def forward(self, batch: Batch) -> Tensor:
            raise full()

    with pytest.raises(torch.OutOfMemoryError):
        train(Full(), draw, replace(SHORT, batch_size=4), tmp_path / "resume")


def test_sampling_goes_on_with_smaller_batches(world, tmp_path, monkeypatch):
    assert world.sample(tmp_path / "small") == 0
    render = DreamPosePipeline.__call__

    def narrow(self, reference, condition, settings):
        if len(condition.uv) > 2:
            raise full()
        return render(self, reference, condition, settings)

    monkeypatch.setattr(DreamPosePipeline, "__call__", narrow)
    assert world.sample(tmp_path / "large", "--batch-size", 8) == 0
    small = sorted((tmp_path / "small").glob("*.png"))
    assert len(small) == 5
    for path in small:
        assert path.read_bytes() == (tmp_path / "large" / path.name).read_bytes()
