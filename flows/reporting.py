"""The verb `report`: a render as one HTML page, or an index of all renders with their pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from common.errors import InputError
from common.files import file_hash, write_text
from flows import order
from flows.place import InWorkspace, copy, writable
from flows.report import console
from tasks import graph, lineage
from tasks.catalog import Catalog
from tasks.graph import Address


@dataclass(frozen=True)
class Report(InWorkspace):
    """Show a render in one HTML file that needs no network; --all: every render, with an index."""

    render: Annotated[Positional[str | None], arg(metavar="RENDER|OUT.mp4")] = None
    """a render's key or its video (default: the one made last)"""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FILE", help_behavior_hint="")] = None
    """the .html to write; with --all a folder (default: in data/pages)"""
    all: bool = False
    """a page for every render, and index.html"""

    def run(self) -> None:
        if self.all and self.render:
            raise InputError("--all and a render", "give one of them")
        video = Path(self.render).absolute() if self.render else None
        out = self.out and (self.out.absolute() if self.all else writable(self.out, ".html"))
        items = self.enter()
        if self.all:
            _write_all(items, out)
            return
        made = page_of(items, _named(items, self.render, video))
        if out:
            copy(made, out)
        console.print(str(out or made.absolute()), style="bold", markup=False, soft_wrap=True)


def page_of(items: Catalog, key: str) -> Path:
    """The path of a render's page, made where it is not there or not true any more."""
    from tasks import page

    return page.bring_up_to_date(items, key, order.animate(items, key))


def _named(items: Catalog, name: str | None, video: Path | None) -> str:
    """The render that a key, a video's path or nothing at all means."""
    if name is None:
        return _newest(items)
    if video.is_file():
        stage, _, key = lineage.tree(video).record["stage"].partition("@")
        if stage != "assemble" or key not in items.renders:
            raise InputError(f"{video} is no render of this workspace", "see: dreampose list")
        lock = graph.locked([Address(stage, key)])
        if file_hash(video) not in [out["md5"] for entry in lock.values() for out in entry["outs"]]:
            raise InputError(
                f"{video} is older than what is here now", f"see that: dreampose report {key}"
            )
        return key
    return items.find(f"render/{name.rpartition('/')[2]}")[1]


def _newest(items: Catalog) -> str:
    videos = {key: Path(f"data/videos/{key}.mp4") for key in items.renders}
    made = {key: path.stat().st_mtime for key, path in videos.items() if path.exists()}
    if not made:
        raise InputError(
            "there is no render yet", "make one: dreampose animate PHOTO CLIP -o OUT.mp4"
        )
    return max(made, key=made.__getitem__)


def _write_all(items: Catalog, out: Path | None) -> None:
    """Every page that can be made, and the index that links them."""
    from tasks import page

    summaries, missing = [], {}
    for key in items.renders:
        try:
            made = page_of(items, key)
        except InputError as error:
            missing[key] = error.problem
            continue
        if out:
            copy(made, out / made.name)
        summaries.append(page.summary(items, key))
        console.print(f"{len(summaries)} of {len(items.renders)}: {key}", markup=False)
    folder = out or page.PAGES
    write_text(folder / "index.html", page.index(summaries, missing))
    index = (folder / "index.html").absolute()
    console.print(str(index), style="bold", markup=False, soft_wrap=True)
