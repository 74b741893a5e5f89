"""The report: one HTML file for a render that holds everything, and an index of all of them.

No stage of DVC's: it shows the lineage, which is written after the stages, and how a page looks
must never make a render stale. It is made after `evaluate` and on demand, and again only where
what it shows has changed: its first line is the hash of that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common import frames as frames_folder
from common import poses as poses_folder
from common.errors import InputError
from common.files import file_hash, write_text
from common.frames import frame_paths
from common.images import read_png
from common.poses import colour, pose_paths, read_iuv
from tasks import again, concerns, drawing, graph, lineage, panels, readings
from tasks.bridge import StageRun
from tasks.catalog import NOTHING, Catalog, Render
from tasks.graph import Address
from tasks.lineage import Node
from tasks.panels import Panel

PAGES = Path("data/pages")
_TEMPLATES = Path(__file__).with_name("pages")
_CODE = (__file__, *(m.__file__ for m in (again, concerns, drawing, panels, readings)))
_FINETUNED = {"unet": "UNet", "vae": "VAE"}
_THUMBNAIL, _LONGEST = 240, 21


@dataclass(frozen=True)
class Summary:
    """What the index says of a render."""

    key: str
    title: tuple[str, str]
    made: str
    own: str
    subject: str
    result: str
    figures: list[readings.Figure]
    warnings: int


def path_of(render: str) -> Path:
    """Where the page of a render lies."""
    return PAGES / f"{render}.html"


def bring_up_to_date(items: Catalog, key: str, addresses: Sequence[Address]) -> Path:
    """Make the page of a render where it is not there or shows something older; returns its path.

    `addresses` are the stages behind the render, in running order. Raises InputError where one of
    them has not run, its outputs are gone, or it read something older than what is there.
    """
    lineage.record(StageRun(address, "unchanged", 0.0) for address in addresses)
    inputs = _inputs(items, key, addresses)
    page = path_of(key)
    PAGES.mkdir(parents=True, exist_ok=True)
    with FileLock(PAGES / ".lock"):
        if not (page.exists() and _first_line(page) == _mark(inputs)):
            write_text(page, f"{_mark(inputs)}\n{_rendered(items, key, addresses)}")
    return page


def _inputs(items: Catalog, key: str, addresses: Sequence[Address]) -> str:
    """A hash of what the page shows: records, names, and the code that draws it."""
    entries = graph.locked(addresses)
    made = {out["path"]: out["md5"] for entry in entries.values() for out in entry["outs"]}
    digest = hashlib.md5(usedforsecurity=False)
    for address in addresses:
        if address not in entries:
            raise InputError(f"{key} is not made yet: {address} has not run", _remedy(items, key))
        for dep in entries[address]["deps"]:
            if made.get(dep["path"], dep["md5"]) != dep["md5"]:
                raise InputError(f"{address} is older than {dep['path']}", _remedy(items, key))
        for out in entries[address]["outs"]:
            if not Path(out["path"]).exists():
                raise InputError(f"{out['path']} is gone", _remedy(items, key))
            record = lineage.RECORDS / f"{out['md5']}-{address}.json"
            digest.update(file_hash(record).encode() if record.exists() else b"none")
    for path in (*map(Path, _CODE), *sorted(_TEMPLATES.iterdir())):
        digest.update(file_hash(path).encode())
    names = {key: source.name for key, source in items.sources.items()}
    digest.update(json.dumps([names, items.renders[key].model_dump()]).encode())
    return digest.hexdigest()


def _remedy(items: Catalog, key: str) -> str:
    return f"make it: {shlex.join(again.animate_command(items, key))}"


def _mark(inputs: str) -> str:
    return f"<!DOCTYPE html><!-- shows {inputs} -->"


def _first_line(page: Path) -> str:
    with open(page, encoding="utf-8") as stream:
        return stream.readline().rstrip("\n")


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _rendered(items: Catalog, key: str, addresses: Sequence[Address]) -> str:
    render = items.renders[key]
    samples, figures = Path(f"data/samples/{key}"), metrics(key)
    info = frames_folder.read_info(samples)
    entries = graph.locked(addresses)
    script = (_TEMPLATES / "player.js").read_text(encoding="utf-8")
    trees = [lineage.tree(path) for path in (_video(key), _metrics(key))]
    film = panels.film(_panels(render, key), samples)
    photos = frame_paths(Path(f"data/frames/{render.source}"))
    return (
        _environment()
        .get_template("render.html")
        .render(
            key=key,
            title=_title(items, render),
            made=_made(key),
            info=info,
            seconds=float(info.count / info.rate),
            warnings=warnings(render, figures),
            photo=panels.still(photos[0]),
            photos=len(photos),
            film=film,
            places=[{"name": n, "x": x, "width": w} for n, x, w in film.places],
            contact=panels.still(contact(key), None).uri,
            tables=readings.table(figures),
            by_frame=[drawing.chart(n, *c) for n, c in readings.curves(figures).items()],
            training=list(_training(render.subject)),
            settings=list(_settings(items, addresses, entries)),
            graph=_graph(trees, items, render),
            again=shlex.join(again.animate_command(items, key)),
            commands=[" ".join(entries[address]["cmd"].split()) for address in addresses],
            origin=_origin(trees[0]),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def metrics(key: str) -> dict[str, Any]:
    """What `evaluate` measured of a render."""
    return json.loads(_metrics(key).read_text(encoding="utf-8"))


def contact(key: str) -> Path:
    """The contact sheet of a render."""
    return _metrics(key).with_name("contact.png")


def _metrics(key: str) -> Path:
    return Path(f"data/reports/{key}/metrics.json")


def _video(key: str) -> Path:
    return Path(f"data/videos/{key}.mp4")


def _made(key: str) -> str:
    return datetime.fromtimestamp(_video(key).stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _title(items: Catalog, render: Render) -> tuple[str, str]:
    return items.sources[render.source].name, items.sources[render.driving].name


def warnings(render: Render, figures: Mapping[str, Any]) -> list[str]:
    """Everything the viewer should be warned of."""
    found = []
    for who, folder in (
        ("Subject", f"data/poses/{render.source}"),
        ("Driving clip", f"data/poses/{render.driving}"),
    ):
        found += concerns.of_poses(who, poses_folder.read_info(Path(folder)))
    return [*found, *concerns.of_figures(figures)]


def _panels(render: Render, key: str) -> list[Panel]:
    poses = Path(f"data/retargeted/{render.motion}")
    iuvs = pose_paths(poses)
    size = poses_folder.read_info(poses).size
    asked = Panel("Pose asked for", size, lambda i: colour(read_iuv(iuvs[i])), labels=True)
    found = [
        _clip("Driving clip", Path(f"data/frames/{render.driving}")),
        asked,
        _clip("Result", Path(f"data/samples/{key}")),
    ]
    return found + ([_clip("Truth", Path(render.truth))] if render.truth != NOTHING else [])


def _clip(name: str, folder: Path) -> Panel:
    paths = frame_paths(folder)
    return Panel(name, frames_folder.read_info(folder).size, lambda index: read_png(paths[index]))


def _training(subject: str) -> Iterator[tuple[str, list[drawing.Chart]]]:
    """The curves of both finetunings; without any where nothing was trained."""
    for part, name in _FINETUNED.items():
        path = Path(f"data/subjects/{subject}/{part}/curves.tsv")
        yield name, _curves(path) if path.exists() else []


def _curves(path: Path) -> list[drawing.Chart]:
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    columns = head.split("\t")
    rows = [dict(zip(columns, line.split("\t"), strict=True)) for line in lines]
    found = []
    for name in columns:
        points = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        if name not in ("step", "rate") and points:
            title = {"norm": "gradient norm"}.get(name, name.replace("_", " "))
            found.append(drawing.chart(title, *zip(*points, strict=True)))
    return found


def _settings(
    items: Catalog, addresses: Sequence[Address], entries: Mapping[Address, Any]
) -> Iterator[tuple[Address, list[tuple[str, str, bool]]]]:
    """Each stage's settings: name, value, and whether it is this item's own."""
    stages = graph.stages()
    for address in addresses:
        stage = stages[address.stage]
        own = getattr(getattr(items, stage.group)[address.item], stage.settings)
        given = _arguments(shlex.split(entries[address]["cmd"])[4:])
        yield (
            address,
            [(n, v, n in own) for n, v in given.items() if n.replace("-", "_") not in stage.fixed],
        )


def _arguments(words: Sequence[str]) -> dict[str, str]:
    """Arguments by name; of one that is given twice the last."""
    found: dict[str, str] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            flag = following.startswith("--")
            name = word.removeprefix("--").removeprefix("no-" if flag else "--")
            found[name] = ("no" if word.startswith("--no-") else "yes") if flag else following
    return found


def _graph(trees: Sequence[Node], items: Catalog, render: Render) -> drawing.Drawing:
    nodes: dict[tuple[str, str], dict[str, str]] = {}
    edges: dict[tuple[tuple[str, str], tuple[str, str]], None] = {}

    def visit(node: Node) -> tuple[str, str]:
        name = (node.path, node.md5)
        stage = node.record["stage"].partition("@")[0] if node.record else ""
        nodes.setdefault(
            name,
            {
                "path": node.path,
                "title": _short(_noun(node.path, items, render)),
                "stage": stage,
                "hash": node.md5[:8],
                "kind": "end" if node in trees else "" if node.record else "raw",
            },
        )
        for child in node.children:
            if child.path != NOTHING:
                edges[visit(child), name] = None
        return name

    for tree in trees:
        visit(tree)
    return drawing.graph(nodes, edges)


_NOUNS = {
    "bases": "base model",
    "retargeted": "pose asked for",
    "samples": "frames made",
    "reposed": "pose found",
    "videos": "the video",
    "reports": "its figures",
}
_SOURCE_NOUNS = {"frames": "frames", "dumps": "detections", "poses": "poses"}


def _noun(path: str, items: Catalog, render: Render) -> str:
    """What a file of the lineage is called."""
    top, *rest = Path(path).parts
    if top != "data":
        return path
    folder, key = rest[0], Path(rest[1]).stem
    if folder == "raw":
        names = {source.input: source.name for source in items.sources.values()}
        return names.get(path, path)
    if folder == "subjects":
        return f"finetuned {_FINETUNED[rest[2]]}"
    if folder not in _SOURCE_NOUNS:
        return _NOUNS.get(folder, path)
    roles = {
        Path(render.truth).name: "truth",
        render.driving: "driving",
        render.source: "subject",
    }
    return f"{roles.get(key, key)}: {_SOURCE_NOUNS[folder]}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _origin(tree: Node) -> list[tuple[str, str]]:
    """Code and environment of the stage that made the video."""
    code, environment = tree.record["code"], tree.record["environment"]
    dirty = " with changes" if code and code["dirty"] else ""
    found = [("code", f"commit {code['commit'][:12]}{dirty}" if code else "no commit known")]
    return found + [
        (n, str(v)) for n, v in (environment or {}).items() if v and n != "requirements"
    ]


def summary(items: Catalog, key: str) -> Summary:
    """What the index says of a render whose page is there."""
    render, figures = items.renders[key], metrics(key)
    result = frame_paths(Path(f"data/samples/{key}"))
    subject = frame_paths(Path(f"data/frames/{render.source}"))[0]
    truth = figures.get("truth") or {}
    shown = {"flicker": figures, "psnr": truth, "ssim": truth, "person_psnr": truth}
    return Summary(
        key=key,
        title=_title(items, render),
        made=_made(key),
        own=", ".join(f"{n.replace('_', ' ')} {v}" for n, v in _own(items, render)),
        subject=panels.still(subject, _THUMBNAIL).uri,
        result=panels.still(result[len(result) // 2], _THUMBNAIL).uri,
        figures=[readings.figure(n, group[n]) for n, group in shown.items() if n in group],
        warnings=len(warnings(render, figures)),
    )


def _own(items: Catalog, render: Render) -> Iterator[tuple[str, Any]]:
    """What sets the render apart from others of the same two files."""
    yield from items.sources[render.driving].frames.items()
    yield from (
        (f"finetune {n}", v) for n, v in items.subjects[render.subject].finetune_unet.items()
    )
    yield from ((f"retarget {n}", v) for n, v in items.motions[render.motion].retarget.items())
    yield from render.sample.items()


def index(summaries: Sequence[Summary], missing: Mapping[str, str]) -> str:
    """The index page: the newest render first, then the keys of those not made yet and why."""
    newest_first = sorted(summaries, key=lambda summary: summary.made, reverse=True)
    return "<!DOCTYPE html>\n" + _environment().get_template("index.html").render(
        renders=[asdict(summary) for summary in newest_first], missing=missing
    )
