"""What a run over the inbox says at its end: on the terminal, as a file, as Markdown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from common.files import write_json
from flows.plan import Line, Plan
from tasks.attempts import FOLDER

_STYLES = {"unchanged": "dim", "skipped": "yellow", "failed": "red"}


def totals(lines: Sequence[Line]) -> str:
    """`3 done, 1 failed`, say."""
    counts = Counter(line.outcome for line in lines)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "nothing there"


def table(lines: Sequence[Line]) -> Group | str:
    """Every item with what became of it; many unchanged ones are only counted."""
    shown = [line for line in lines if line.outcome != "unchanged"]
    if not shown:
        return f"Nothing to do in the inbox: {totals(lines)}."
    rows = Table("item", "", "seconds", "", box=None, pad_edge=False)
    rows.columns[0].overflow = rows.columns[3].overflow = "fold"
    rows.columns[2].justify = "right"
    for line in shown:
        seconds = f"{line.seconds:.1f}" if line.seconds else ""
        note = escape(line.why or line.video or "")
        rows.add_row(
            escape(line.item), line.outcome, seconds, note, style=_STYLES.get(line.outcome)
        )
    return Group(rows, totals(lines))


def markdown(lines: Sequence[Line]) -> str:
    """The same table in Markdown."""
    rows = ["| item | | seconds | |", "|---|---|---:|---|"]
    for line in lines:
        cells = (line.item, line.outcome, f"{line.seconds:.1f}", line.why or line.video or "")
        rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join([*rows, "", totals(lines)])


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def write(plan: Plan) -> Path:
    """Keep the run's outcome as `data/inbox/runs/TIME.json` (UTC); returns the file."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(plan.begin))
    path = FOLDER / "runs" / f"{moment}.json"
    report = {
        "begin": moment,
        "seconds": round(time.time() - plan.begin, 1),
        "totals": Counter(line.outcome for line in plan.lines),
        "items": [asdict(line) for line in plan.lines],
    }
    write_json(path, report)
    return path
