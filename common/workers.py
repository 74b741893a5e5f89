"""The same function for many jobs, in several processes of one thread each.

What a job makes must not depend on who else is at work; then results do not depend on how many
processes there are.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from common.program import die_with_parent
from common.progress import RUN_DIR

Job, Result = TypeVar("Job"), TypeVar("Result")
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_OWN = (*_THREADS, RUN_DIR)


def in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None = None
) -> Iterator[Result]:
    """Results in the order in which they are ready; `workers` is all cores unless given.

    With one worker the jobs are done here. `function` must be a module's own and take one picklable
    job.
    """
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if workers <= 1:
        yield from map(function, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with (
        _single_threaded_children(),
        ProcessPoolExecutor(workers, spawn, initializer=die_with_parent) as pool,
    ):
        futures = [pool.submit(function, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _single_threaded_children() -> Iterator[None]:
    """Processes started meanwhile use one thread each, and their progress is not the program's."""
    before = {name: os.environ.pop(name) for name in _OWN if name in os.environ}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name in _THREADS:
            del os.environ[name]
        os.environ.update(before)
