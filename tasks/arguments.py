"""Overrides checked against the stage programs' own arguments.

DVC puts an override's key into a shell command as it is, so a key must be one of the program's
arguments and a value must have that argument's type.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from common.errors import InputError
from tasks import graph

Overrides = dict[str, bool | int | float | str]


def arguments(stage: graph.Stage) -> dict[str, Any]:
    """Name and type of every argument of the stage's program that its command does not fix."""
    program = import_module(f"{stage.room}.__main__").VERBS[stage.verb]
    return {name: kind for name, kind in get_type_hints(program).items() if name not in stage.fixed}


def checked(stage_name: str, overrides: dict[str, Any]) -> Overrides:
    """The overrides with their values typed. Raises InputError at a wrong key or value."""
    if not overrides:
        return {}
    known = arguments(graph.stages()[stage_name])
    unknown = [key for key in overrides if key not in known]
    if unknown:
        raise InputError(
            f"the stage '{stage_name}' has no setting {unknown[0]!r}",
            f"its settings are: {', '.join(sorted(known))}",
        )
    return {key: _typed(stage_name, key, value, known[key]) for key, value in overrides.items()}


def _typed(stage_name: str, key: str, value: Any, kind: Any) -> bool | int | float | str:
    try:
        typed = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"{stage_name}.{key} cannot be {value!r} ({reason})", "give another value"
        ) from None
    return typed if isinstance(typed, bool | int | float) else str(typed)
