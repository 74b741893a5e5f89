"""Work in batches that shrink where memory does not suffice.

Own code: accelerate's `find_executable_batch_size` starts the whole work anew and counts from 128.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from common.errors import lacks_memory

Result = TypeVar("Result")


class Batches:
    """Cuts work into batches of `size`, which is halved, for good, where one does not fit."""

    def __init__(self, size: int):
        self.size = size

    def __call__(
        self, count: int, compute: Callable[[int, int], Result]
    ) -> Iterator[tuple[range, Result]]:
        """`compute(start, stop)` for the batches of 0 … count − 1, in order, with their range.

        A batch that does not fit is computed again in halves; a single one's error is raised.
        """
        start = 0
        while start < count:
            these = range(start, min(start + self.size, count))
            try:
                result = compute(these.start, these.stop)
            except (MemoryError, RuntimeError) as error:
                if len(these) == 1 or not lacks_memory(error):
                    raise
                self.size = len(these) // 2
            else:
                yield these, result
                start = these.stop
                continue
            make_room()
            print(f"out of memory: goes on with batches of {self.size}", flush=True)


def make_room() -> None:
    """Give back what a failed attempt still holds; only after its error is gone."""
    gc.collect()
    torch.cuda.empty_cache()
