"""What is fresh, stale or missing, over all items at once, from what DVC recorded.

A stage is stale where its command or something that it read is no longer what its lock says;
what an earlier stage made counts as that stage's lock says, so that nothing large is hashed. DVC
itself, which hashes everything, took ten milliseconds a stage: too slow for all of 500 items.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tasks import graph
from tasks.cache import content_hash
from tasks.graph import Address

Items = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Group → key → item, as the catalog dumps them."""


def stale(items: Items, addresses: Sequence[Address]) -> dict[Address, list[str]]:
    """The stages among these, given in running order, that are not fresh, with the reasons.

    A stage that never ran is `missing`.
    """
    stages, parameters = graph.stages(), graph.read_yaml(Path("params.yaml"))
    entries = graph.locked(addresses)
    made = {out["path"]: out["md5"] for entry in entries.values() for out in entry["outs"]}

    @cache
    def md5(path: str) -> str | None:
        return made.get(path) or (content_hash(Path(path)) if Path(path).exists() else None)

    def reasons(address: Address) -> list[str]:
        if address not in entries:
            return ["missing"]
        entry, stage = entries[address], stages[address.stage]
        values = {
            **parameters,
            "key": address.item,
            "item": items[stage.group][address.item],
        }
        found = (
            ["other parameters"] if entry["cmd"].split() != render(stage.command, values) else []
        )
        listed = {render(dep, values)[0] for dep in stage.deps}
        recorded = {dep["path"]: dep["md5"] for dep in entry["deps"]}
        changed = sorted(path for path in recorded if md5(path) != recorded[path])
        found += [f"changed: {path}" for path in changed]
        found += [f"new dependency: {path}" for path in sorted(listed - recorded.keys())]
        found += [f"not there: {o['path']}" for o in entry["outs"] if not Path(o["path"]).exists()]
        return found

    found: dict[Address, list[str]] = {}
    makers = {out["path"]: a for a, entry in entries.items() for out in entry["outs"]}
    for address in addresses:
        sources = [makers.get(dep["path"]) for dep in entries.get(address, {"deps": []})["deps"]]
        after = [f"after {maker}" for maker in dict.fromkeys(sources) if maker in found]
        if why := reasons(address) + after:
            found[address] = why
    return found


def render(template: str, values: Mapping[str, Any]) -> list[str]:
    """The words of a DVC template: `${a.b}` replaced, a mapping as `--key value` arguments."""

    def text(match: re.Match[str]) -> str:
        value: Any = values
        for name in match[1].split("."):
            value = value[name]
        return _arguments(value) if isinstance(value, Mapping) else str(value)

    return re.sub(r"\$\{([^}]+)\}", text, template).split()


def _arguments(values: Mapping[str, Any]) -> str:
    words = []
    for key, value in values.items():
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        else:
            words.append(f"--{key} {shlex.quote(value) if isinstance(value, str) else value}")
    return " ".join(words)
