"""Settings checked against the stage programs' own arguments.

DVC puts a setting's key into a shell command as it is, so a key must be one of the program's
arguments and a value must have that argument's type. Settings of an item (overrides) may come from
anywhere: they name nothing outside the workspace.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from common.errors import InputError
from tasks import graph

Overrides = dict[str, bool | int | float | str]


def arguments(stage: graph.Stage) -> dict[str, Any]:
    """Name and type of every argument of the stage's program that its command does not fix."""
    hints = _hints(stage.room, stage.verb)
    return {name: kind for name, kind in hints.items() if name not in stage.fixed}


@cache
def _hints(room: str, verb: str) -> dict[str, Any]:
    return get_type_hints(import_module(f"{room}.__main__").VERBS[verb])


def checked(stage_name: str, overrides: dict[str, Any]) -> Overrides:
    """The overrides with their values typed.

    Raises InputError at a wrong key or value, and at one that leads out of the workspace.
    """
    if not overrides:
        return {}
    values = typed(stage_name, overrides)
    for key, value in values.items():
        if isinstance(value, str) and _leads_out(value):
            raise InputError(
                f"{stage_name}.{key} {value!r} leads out of the workspace",
                "an item may only name what lies inside; params.yaml may name the rest",
            )
    return values


def typed(stage_name: str, settings: dict[str, Any]) -> Overrides:
    """The settings of a stage with their values typed. Raises InputError at a wrong one."""
    known = arguments(graph.stages()[stage_name])
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise InputError(
            f"the stage '{stage_name}' has no setting {str(unknown[0])[:80]!r}",
            f"its settings are: {', '.join(sorted(known))}",
        )
    return {key: _typed(stage_name, key, value, known[key]) for key, value in settings.items()}


def _typed(stage_name: str, key: str, value: Any, kind: Any) -> bool | int | float | str:
    if not isinstance(value, bool | int | float | str):
        raise InputError(
            f"{stage_name}.{key} cannot be a list, a mapping or nothing", "give a value"
        )
    try:
        made = _adapter(kind).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(
            f"{stage_name}.{key} cannot be {str(value)[:80]!r} ({reason})", "give another value"
        ) from None
    if isinstance(made, bool | int | float):
        return made
    if re.search(r"[\0\r\n]|\$\{|://.*[@?]", str(made)):
        raise InputError(
            f"{stage_name}.{key} holds a line's end, a template, or an address with a password",
            "give a plain name or address; passwords belong into ~/.netrc",
        )
    return str(made)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _leads_out(text: str) -> bool:
    return text.startswith(("/", "~", "-")) or "://" in text or ".." in text.split("/")
