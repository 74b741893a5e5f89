"""The one way a program refuses bad input: exit code 2 and one line with the remedy."""

from __future__ import annotations

EXIT_BAD_INPUT = 2
LESS_MEMORY = (
    "training: give --memory 12gb, or more --accumulation; sampling: a smaller --batch-size; "
    "or end what else uses the device"
)
"""The remedy where memory does not suffice."""


class InputError(Exception):
    """Input that cannot be used: `problem` says what is wrong, `remedy` what to do about it."""

    def __init__(self, problem: str, remedy: str):
        super().__init__(f"{problem} — {remedy}")
        self.problem = problem
        self.remedy = remedy


def lacks_memory(error: BaseException) -> bool:
    """Whether it is torch's or the C library's way to say so; torch itself is not imported here."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text
    )
