"""Figures in words."""

from __future__ import annotations

from collections.abc import Sequence


def spans_of(indices: Sequence[int]) -> str:
    """Frame numbers in words: "3, 7–9, 12"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
