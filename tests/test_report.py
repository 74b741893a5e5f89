"""The report of a render: whole, safe, true, made again only where something changed."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import browser
import made_render
import numpy as np
import pytest
import tyro
import yaml

from common.errors import InputError
from common.files import write_json
from common.poses import FramePose, PosesInfo
from dreampose_core.drift import Drift
from flows import cli, reporting
from flows.animating import Animate
from tasks import again, catalog, concerns, drawing, graph, inputs, lineage, page, readings

VOID = {"meta", "img", "input", "link", "br"}


class Reader(HTMLParser):
    """Checks that what is opened is closed; collects attributes, text by tag, whole scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workspace with a render, and the key of it."""
    place, before = tmp_path_factory.mktemp("made") / "workspace", Path.cwd()
    place.mkdir()
    os.chdir(place)
    yield place, made_render.make(place)
    os.chdir(before)


def text_of(key: str) -> str:
    return reporting.page_of(catalog.load(), key).read_text()


def test_a_page_is_whole_and_needs_nothing_else(made):
    text = text_of(made[1])
    reader = Reader(text)
    loads = [
        value
        for tag, name, value in reader.attributes
        if name in ("src", "href", "poster", "data", "action", "srcset")
    ]
    assert len(loads) == 3
    assert all(value.startswith("data:") for value in loads)
    assert "//" not in re.sub(r"data:[\w/]+;base64,[\w+/=]+", "", text)
    assert "url(" not in text
    (policy,) = [v for _, n, v in reader.attributes if n == "content" and "default-src" in v]
    assert "default-src 'none'" in policy


def test_names_are_text_and_nothing_else(made):
    reader = Reader(text_of(made[1]))
    names = made_render.NAMES
    assert reader.all("title")[0] == f"{names['photo']} in the motion of {names['clip']}"
    assert not [name for _, name, _ in reader.attributes if name.startswith("on")]
    program = Path(page.__file__).with_name("pages") / "player.js"
    assert reader.all("script") == ['{"frames": 6, "rate": 12.0}', program.read_text()]
    command = next(text for text in reader.all("pre") if text.startswith("dreampose animate"))
    assert "49" not in command
    assert names["truth"] in command


def test_what_was_measured_and_warned_of_is_told(made):
    key = made[1]
    reader = Reader(text_of(key))
    figures = page.metrics(key)["truth"]
    assert f"{figures['psnr']:.2f} dB" in reader.all("td")
    assert {"loss", "gradient norm", "PSNR of the person"} <= set(reader.all("figcaption"))
    assert "not trained: the base's own weights were used" in reader.all("p")
    assert "s1 " in reader.all("span")
    assert {"frames made", "the video", "its figures", "driving: poses"} <= set(reader.all("text"))


def test_the_film_shows_each_clip_in_its_panel(made, tmp_path):
    reader = Reader(text_of(made[1]))
    (uri,) = [v for tag, n, v in reader.attributes if tag == "video" and n == "src"]
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(uri.partition(",")[2]))
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 12
    assert len(frames) == made_render.COUNT
    panels = [
        {n: v for t, n, v in reader.attributes[i : i + 3] if t == "canvas"}
        for i, (t, n, _) in enumerate(reader.attributes)
        if (t, n) == ("canvas", "data-x")
    ]
    assert reader.all("figcaption")[:5] == [
        "Subject", "Driving clip", "Pose asked for", "Result", "Truth",
    ]  # fmt: skip
    for panel, name in zip(panels, ("clip", None, "result", "truth"), strict=True):
        x, width, high = int(panel["data-x"]), int(panel["width"]), int(panel["height"])
        last = made_render.COUNT - 1
        column = x + (10 + 2 * last + 8) * width // made_render.WIDTH
        middle = frames[last][high // 2 - 4 : high // 2 + 4, column - 4 : column + 4].mean((0, 1))
        if name:
            assert np.abs(middle - made_render.LEVELS[name]).max() < 6
    assert x + width == frames[0].shape[1]


def test_a_page_is_made_again_only_where_something_changed(made):
    items, key = catalog.load(), made[1]
    path = reporting.page_of(items, key)
    os.utime(path, (1, 1))
    assert reporting.page_of(items, key).stat().st_mtime == 1
    items.sources[items.renders[key].source].name = "renamed.png"
    assert "renamed.png" in reporting.page_of(items, key).read_text()
    path.write_text("half a pa")
    assert "renamed.png" not in text_of(key)


def test_a_render_that_is_not_made_is_refused_with_what_to_do(made):
    with catalog.edit() as items:
        item = items.renders[made[1]]
        key = items.add_render(item.subject, item.driving, {"s1": 9.0})
    with pytest.raises(InputError, match=r"sample@.* has not run.*dreampose animate .*--s1 9\.0"):
        reporting.page_of(items, key)
    with catalog.edit() as items:
        items.remove("renders", key)


def test_figures_of_older_frames_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = made_render.make(tmp_path)
    lock = Path(f"data/items/renders/{key}/dvc.lock")
    content = graph.read_yaml(lock)
    deps = content["stages"]["evaluate"]["deps"]
    next(dep for dep in deps if dep["path"] == f"data/samples/{key}")["md5"] = "0" * 32 + ".dir"
    lock.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"evaluate@.* is older than data/samples/"):
        reporting.page_of(catalog.load(), key)


def test_what_dvc_made_alone_is_shown_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = made_render.make(tmp_path)
    shutil.rmtree(lineage.RECORDS)
    assert "no commit known" in text_of(key)


def dreampose(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dreampose", *arguments])
    return cli.main()


def test_the_verb_finds_the_render(made, monkeypatch, capsys, tmp_path):
    place, key = made
    video = tmp_path / "my copy.mp4"
    video.write_bytes((place / f"data/videos/{key}.mp4").read_bytes())
    for name in ((), (key,), (f"render/{key}",), (str(video),)):
        out = tmp_path / f"{len(name)}.html"
        assert dreampose(monkeypatch, "report", *name, "-o", str(out)) == 0
        assert out.read_bytes() == (place / f"data/pages/{key}.html").read_bytes()
    video.write_text("another video")
    assert dreampose(monkeypatch, "report", str(video)) == 2
    assert dreampose(monkeypatch, "report", "nothing") == 2
    assert dreampose(monkeypatch, "report", "-o", str(tmp_path / "out.mp4")) == 2
    assert dreampose(monkeypatch, "report", key, "--all") == 2


def test_the_index_links_every_page(made, monkeypatch, tmp_path):
    key = made[1]
    with catalog.edit() as items:
        item = items.renders[key]
        other = items.add_render(item.subject, item.driving, {"s1": 9.0})
    assert dreampose(monkeypatch, "report", "--all", "-o", str(tmp_path / "all")) == 0
    reader = Reader((tmp_path / "all/index.html").read_text())
    links = [value for _, name, value in reader.attributes if name == "href"]
    assert links == [f"{key}.html"]
    assert (tmp_path / "all" / links[0]).exists()
    assert other in reader.all("th")
    assert f"{made_render.NAMES['photo']} in the motion" in "".join(reader.all("h2"))
    with catalog.edit() as items:
        items.remove("renders", other)


def test_the_command_leads_back_to_the_render(made, monkeypatch, tmp_path):
    """What the page says, parsed by the command itself and registered, is the same item."""
    raws = {source.name: source.input for source in catalog.load().sources.values()}
    taken = {name: (Path(raw).parent.name, raw) for name, raw in raws.items()}
    monkeypatch.setattr(inputs, "take_in_all", lambda paths: [taken[path.name] for path in paths])
    with catalog.edit() as items:
        item = items.renders[made[1]]
        driving = items.add_source(
            "clip-0123abcd",
            raws[made_render.NAMES["clip"]],
            "x",
            {"start": 1.5},
            reformat={"person": "center"},
        )
        plain = items.add_subject(
            item.source, finetune_unet={"steps": 0}, finetune_vae={"steps": 0}
        )
        whole = items.add_subject(item.source)
        for source in items.sources.values():
            source.name = next(name for name, raw in raws.items() if raw == source.input)
    keys = []
    with catalog.edit() as items:
        keys.append(
            items.add_render(plain, driving, {"seed": 7, "steps": 3}, retarget={"mode": "none"})
        )
        keys.append(items.add_render(whole, driving, {"s1": 2.5}, audio=True))
        keys.append(items.add_render(whole, item.driving, truth=Path(item.truth).name))
    for key in keys:
        words = again.animate_command(items, key)
        call = tyro.cli(Animate, args=words[2:])
        _, found = call._register({name: path.absolute() for name, path in call._files().items()})
        assert found == key
        assert catalog.load().renders[key] == items.renders[key]


@pytest.fixture
def committed(made, monkeypatch):
    """The workspace as a git checkout with two commits: the second one measured worse."""
    place, key = made
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    items, report = catalog.load(), Path(f"data/reports/{key}/metrics.json")
    (place / ".gitignore").write_text("__pycache__/\n/.dvc/cache/\n/.dvc/tmp/\n")
    (place / ".dvc/config.local").unlink(missing_ok=True)

    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    figures, text = json.loads(report.read_text()), report.read_text()
    figures["truth"]["psnr"] -= 3
    for row in figures["per_frame"]:
        row["psnr"] -= 3
    write_json(report, figures)
    made_render.settle(items, key)
    git("commit", "-qam", "two")
    yield key
    report.write_text(text)
    made_render.settle(items, key)


def dvc(*words: str) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_dvc_compares_metrics_and_plots_of_two_commits(committed):
    path = f"data/reports/{committed}/metrics.json"
    found = dvc("metrics", "diff", "HEAD~1", "HEAD", "--json")
    assert found[path]["truth.psnr"]["diff"] == pytest.approx(-3)
    plots = dvc("plots", "diff", "HEAD~1", "HEAD", "--json")["data"]
    (chart,) = plots[f"PSNR of {committed}"]
    values = {}
    for row in chart["content"]["data"]["values"]:
        if row.get("field", "psnr") == "psnr" and row["frame"] == 0:
            values[row["rev"]] = row["psnr"]
    assert values["HEAD~1"] - values["HEAD"] == pytest.approx(3)
    assert plots[f"UNet of {catalog.load().renders[committed].subject}"]


def pose(score: float = 1.0, *, filled: bool = False, box=(10, 10, 30, 50)) -> FramePose:
    return FramePose(box, score, filled)


def test_gaps_doubts_and_cut_bodies_are_warned_of():
    frames = [pose(), pose(0.0, filled=True), pose(0.0, filled=True), pose(0.5), pose()]
    info = PosesInfo("mannequin", "exact", size=(64, 48), frames=frames)
    assert list(concerns.of_poses("Clip", replace(info, frames=[pose()]))) == []
    filled, doubtful = concerns.of_poses("Clip", info)
    assert "2 of 5 frames (1–2)" in filled
    assert "1 of 5 frames (3)" in doubtful
    assert "0.50" in doubtful
    cut = [pose(box=(0, 10, 30, 64)), pose(box=(10, 10, 30, 64))]
    (warning,) = concerns.of_poses("Clip", replace(info, frames=cut))
    assert "left and bottom edge in all 2 frames" in warning
    nobody = [FramePose(None, 1.0)]
    assert list(concerns.of_poses("Clip", replace(info, frames=nobody))) == []


def test_wandering_colours_and_resized_truth_are_warned_of():
    assert not list(concerns.of_figures({"drift": {"background": 1.0, "person": None}}))
    assert not list(concerns.of_figures({"drift": None, "truth": None}))
    worse = {"drift": {"background": 9.0}, "truth": {"resized": True, "size": [20, 10]}}
    colours, size = concerns.of_figures(worse)
    assert "background" in colours
    assert "10×20" in size


def test_drift_is_the_distance_of_a_part_from_itself():
    body = np.zeros((10, 20, 30, 3), np.uint8)
    body[:, 5:15, 5:15, 0], body[:5, 5:15, 15:25, 0] = 2, 8
    frames = np.full((10, 20, 30, 3), 200, np.uint8)
    frames[body[..., 0] == 2], frames[body[..., 0] == 8] = 60, 250
    assert measured(frames, body) == {"background": 0.0, "person": 0.0}
    lighter = frames.copy()
    lighter[8:][body[8:, ..., 0] == 2] = 110
    found = measured(lighter, body)
    assert found["background"] == 0
    grey = [116 * ((level / 255 + 0.055) / 1.055) ** (2.4 / 3) for level in (110, 60)]
    assert found["person"] == pytest.approx(grey[0] - grey[1], abs=0.2)
    assert measured(frames[:1], body[:1]) == {"background": None, "person": None}
    assert measured(frames, body * 0)["person"] is None


def measured(frames: np.ndarray, iuvs: np.ndarray) -> dict[str, float | None]:
    drift = Drift(len(frames))
    for frame, iuv in zip(frames, iuvs, strict=True):
        drift.add(frame, iuv)
    return drift.figures()


def test_figures_are_graded_whichever_way_is_better():
    grades = [readings.figure("truth.psnr", value).grade for value in (35, 25, 15)]
    assert grades == ["good", "fair", "poor"]
    grades = [readings.figure("flicker", value / 255).grade for value in (0.5, 2, 9)]
    assert grades == ["good", "fair", "poor"]
    assert readings.figure("flicker", 2 / 255).value == "2.00 grey levels"


def test_figures_that_nobody_knows_are_shown_as_they_are():
    metrics = {
        "frames": 3,
        "novelty": 0.123456,
        "fvd": {"value": 7, "weights": "i3d", "sizes": [1, 2], "sampled": True, "why": None},
        "truth": None,
        "per_frame": [{"frame": 0, "novelty": 1}, {"frame": 2, "novelty": None}],
    }
    (_, first), (heading, rows) = readings.table(metrics)
    assert [(row.name, row.value) for row in first] == [("Novelty", "0.1235")]
    assert heading == "Fvd"
    assert [row.value for row in rows] == ["7", "i3d", "1, 2", "yes", "–"]
    assert readings.curves(metrics) == {"Novelty": ((0,), [1])}


def test_why_a_figure_is_missing_is_told():
    metrics = {"pose": None, "unmeasured": {"pose": "another chart"}}
    ((heading, (row,)),) = readings.table(metrics)
    assert heading == "What could not be measured"
    assert (row.name, row.reading) == ("Pose", "another chart")
    assert readings.table({"pose": None, "unmeasured": {}}) == []


def test_the_truths_own_figures_are_told_without_a_grade():
    metrics = {
        "pose": {"part_iou": 0.9, "per_part": {"1": 0.75, "2": None}},
        "identity": {"head": 3.0, "all": None},
        "truth": {"psnr": 31.0, "flicker": 0.1, "identity": {"head": 30.0}},
        "extras": {"lpips": {"value": 0.01}},
    }
    found = dict(readings.table(metrics))
    grades = {h: [row.grade for row in rows] for h, rows in found.items()}
    pose, identity, truth, theirs, lpips = grades.values()
    assert pose == ["good", ""]
    assert "1: 0.75 · 2: –" in [row.reading for rows in found.values() for row in rows]
    assert identity == ["good", ""]
    assert truth == ["good", ""]
    assert theirs == [""]
    assert lpips == ["good"]


def test_a_chart_keeps_its_curve_inside_its_box():
    for values in ([3.0, -2.0, 7.5], [1.0, 1.0, 1.0], [4.0]):
        chart = drawing.chart("x", list(range(len(values))), values)
        places = np.array(re.findall(r"[-\d.]+", chart.line), float).reshape(-1, 2)
        left, top, right, bottom = chart.box
        assert ((places >= (left, top)) & (places <= (right, bottom))).all()
        assert len(places) == len(values)


def test_a_graph_goes_from_left_to_right_and_nothing_overlaps():
    edges = [("a", "c"), ("b", "c"), ("c", "d"), ("a", "d"), ("d", "e"), ("b", "f"), ("f", "e")]
    drawn = drawing.graph({name: name for name in "abcdef"}, edges)
    wide, high = drawn.box_size
    x = {box.content: box.x for box in drawn.boxes}
    assert all(x[start] + wide < x[end] for start, end in edges)
    for one in drawn.boxes:
        assert 0 <= one.x <= drawn.width - wide
        assert 0 <= one.y <= drawn.height - high
        for other in drawn.boxes:
            assert one is other or abs(one.x - other.x) >= wide or abs(one.y - other.y) >= high
    assert len(drawn.lines) == len(edges) - 1


def test_a_removed_render_takes_its_page_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = made_render.make(tmp_path)
    path = reporting.page_of(catalog.load(), key)
    assert path.exists()
    assert dreampose(monkeypatch, "rm", f"render/{key}") == 0
    assert not path.exists()


@pytest.fixture(scope="module")
def window():
    program = browser.binary()
    if program is None:
        pytest.skip(
            "no Chromium here, so the page was opened in none: install one, or set $CHROMIUM"
        )
    with browser.tab(program) as tab:
        yield tab


def test_the_page_plays_in_a_browser(made, window):
    window.look(1400)
    window.load(reporting.page_of(catalog.load(), made[1]).absolute().as_uri())
    window.until("film.readyState >= 3 && !film.paused")
    before = window.ask("film.currentTime")
    window.until(f"film.currentTime != {before}")
    seen = {window.ask("counter.value")}
    deadline = time.monotonic() + 30
    while len(seen) < 3 and time.monotonic() < deadline:
        seen.add(window.ask("counter.value"))
    assert len(seen) >= 3
    window.ask("play.click()")
    window.until("film.paused && play.textContent == 'Play'")
    window.ask("(slider.value = 4, slider.dispatchEvent(new Event('input')))")
    window.until("counter.value == 'frame 5 of 6'")
    level = (
        "(c => [...c.getContext('2d').getImageData("
        "Math.round((10 + 2 * 4 + 8) / 48 * c.width), c.height >> 1, 1, 1).data].slice(0, 3))"
        "(document.querySelectorAll('canvas')[{}])"
    )
    for panel, name in ((0, "clip"), (2, "result"), (3, "truth")):
        shown = window.ask(level.format(panel))
        assert np.abs(np.array(shown) - made_render.LEVELS[name]).max() < 12
    window.ask("document.getElementById('on').click()")
    window.until("counter.value == 'frame 6 of 6'")
    for width in (1400, 390):
        window.look(width)
        window.until(f"document.documentElement.scrollWidth <= {width}")
    assert window.complaints() == []
    assert window.requests() == [window.ask("location.href")]


def test_the_index_opens_in_a_browser(made, window, monkeypatch):
    assert dreampose(monkeypatch, "report", "--all") == 0
    window.load(Path("data/pages/index.html").absolute().as_uri())
    window.until("[...document.images].every(image => image.naturalWidth > 0)")
    for width in (1400, 390):
        window.look(width)
        window.until(f"document.documentElement.scrollWidth <= {width}")
    window.ask("document.querySelector('a').click()")
    window.until("document.getElementById('film') && film.readyState >= 2")
    assert window.complaints() == []
