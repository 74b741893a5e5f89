"""`params.yaml`, checked before DVC puts its keys and values into commands.

A section holds the settings of its stage; `limits` says what is too large to be taken in; `files`
names what DVC watches.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.settings import Limits
from tasks import graph
from tasks.arguments import typed
from tasks.reading import read_yaml

PARAMETERS = Path("params.yaml")
_LIMITS = ("megabytes", "megapixels", "seconds", "frames")


def load() -> dict[str, Any]:
    """All parameters. Raises InputError at anything that no stage has a use for."""
    values = read_yaml(PARAMETERS)
    for stage in graph.stages().values():
        typed(stage.name, _section(values, stage.settings))
    for name, value in _section(values, "files").items():
        if not isinstance(value, str):
            raise _refusal(f"files.{name} is no path")
    limits(values)
    return values


def limits(values: Any = None) -> Limits:
    """The section `limits` of params.yaml."""
    section = _section(read_yaml(PARAMETERS) if values is None else values, "limits")
    for name in _LIMITS:
        value = section.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf or (name == "frames" and value % 1):
            raise _refusal(f"limits.{name} is {str(value)[:40]!r}, no number from 0 on")
    return Limits(**{f"most_{name}": section[name] for name in _LIMITS})


def _section(values: Any, name: str) -> dict[str, Any]:
    section = values.get(name) if isinstance(values, dict) else None
    if not isinstance(section, dict):
        raise _refusal(f"it has no section {name!r}")
    return section


def _refusal(problem: str) -> InputError:
    return InputError(f"{PARAMETERS}: {problem}", "compare it with presets/mini.yaml")
