"""YAML that may come from anywhere, read as plain data: no tags that make objects, no nesting that
overflows the stack of the C reader (a thousand brackets ended the whole process)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from common.errors import InputError

_DEPTH, _LONG_LINE = 100, 1000


def read_yaml(path: Path) -> Any:
    """A YAML file's content, by the fast reader. Raises InputError where it is damaged or odd."""
    try:
        text = path.read_text(encoding="utf-8")
        if _may_be_deep(text) and _depth(text) > _DEPTH:
            raise ValueError("it is nested too deeply")
        return yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, IsADirectoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is damaged: {reason}", "correct it or restore an older one"
        ) from None


def _may_be_deep(text: str) -> bool:
    """A cheap upper bound: each level needs an open bracket or a column more."""
    open_brackets = text.replace("{}", "").replace("[]", "")
    brackets = open_brackets.count("{") + open_brackets.count("[")
    return brackets > _DEPTH or max(map(len, text.splitlines()), default=0) > _LONG_LINE


def _depth(text: str) -> int:
    deepest = depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest
