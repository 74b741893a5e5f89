"""The inbox: what is taken and what is left, failures and their ends, and a whole run."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import media_samples
import numpy as np
import pytest

from common.errors import InputError
from flows import plan as planning
from flows import summary
from flows.plan import Line
from tasks import attempts, catalog, graph, inbox, workspace
from tasks.attempts import Memory
from tasks.inbox import INBOX

SUBJECTS, CLIPS = INBOX / "subjects", INBOX / "clips"


@pytest.fixture
def here(toy):
    """A workspace with the real stages, in whose inbox nothing lies yet."""
    folder = toy("stages: {}\n", {})
    graph.GRAPH.write_text((workspace.HOME / "dvc.yaml").read_text())
    for name in ("presets", "weights"):
        (folder / name).symlink_to(workspace.HOME / name)
    set_parameters(settle=0, backoff=0, attempts=2)
    SUBJECTS.mkdir(parents=True)
    CLIPS.mkdir()
    return folder


def set_parameters(place: Path = Path(), **values: object) -> None:
    """Change the section `inbox` of a workspace's parameters."""
    text = workspace.preset_path("tiny").read_text()
    for name, value in values.items():
        text, changed = re.subn(rf"^  {name}: \S+", f"  {name}: {value}", text, flags=re.M)
        assert changed == 1
    (place / "params.yaml").write_text(text)


def photo(path: Path, level: int = 90) -> None:
    cv2.imwrite(str(path), np.full((64, 48, 3), level, np.uint8))


def passed(settle: float = 0) -> dict[str, str]:
    return {one.name: one.reason for one in inbox.scan(settle)[1]}


def found(settle: float = 0) -> list[str]:
    return list(map(str, inbox.scan(settle)[0]))


def test_only_whole_items_are_taken(here):
    for name in (
        "anna.jpg",
        "b.jpg.part",
        "c.PNG.crdownload",
        ".hidden.jpg",
        "d.yaml",
        "anna.yaml",
    ):
        (SUBJECTS / name).touch()
    (SUBJECTS / "folder").mkdir()
    (SUBJECTS / "folder/1.jpg").touch()
    (SUBJECTS / "copying").mkdir()
    (SUBJECTS / "copying/1.jpg.part").touch()
    (SUBJECTS / "link.jpg").symlink_to("/etc/passwd")
    (SUBJECTS / "links").mkdir()
    (SUBJECTS / "links/1.jpg").symlink_to("/etc/passwd")
    assert found() == ["subjects/anna.jpg", "subjects/folder"]
    reasons = passed()
    assert set(reasons) == {
        f"subjects/{name}"
        for name in ("b.jpg.part", "c.PNG.crdownload", "copying", "d.yaml", "link.jpg", "links")
    }
    assert reasons["subjects/copying"] == "1.jpg.part is an unfinished copy"
    assert "is a link" in reasons["subjects/links"]


def test_what_was_just_written_has_to_settle(here, monkeypatch):
    photo(SUBJECTS / "anna.png")
    assert passed(settle=60) == {"subjects/anna.png": "still being written"}
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert found(settle=60) == ["subjects/anna.png"]
    (SUBJECTS / "anna.yaml").touch()
    monkeypatch.setattr(time, "time", lambda: later - 3600)
    assert found(settle=60) == ["subjects/anna.png"], "the clock was set back"


def test_a_change_shows_in_the_stamp(here):
    photo(SUBJECTS / "anna.png")
    ((before,), _) = inbox.scan(0)
    assert inbox.untouched(before)
    (SUBJECTS / "anna.yaml").write_text("sample: {s1: 2}\n")
    assert not inbox.untouched(before)
    assert inbox.overrides(before).sample == {"s1": 2.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sample: {s9: 2}", "no setting 's9'"),
        ("sample: {s1: much}", "cannot be 'much'"),
        ("sample: 3", "dictionary"),
        ("retarget: {mode: none}", "retarget"),
        ("- 1", "SubjectOverrides"),
        ("sample: {", "is damaged"),
        ("!!python/object/apply:os.system [touch owned]", "is damaged"),
        ("sample: {out: /tmp/x}", "no setting 'out'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(here, text, problem):
    (SUBJECTS / "anna").mkdir()
    photo(SUBJECTS / "anna/1.png")
    (SUBJECTS / "anna/item.yaml").write_text(text)
    ((entry,), _) = inbox.scan(0)
    with pytest.raises(InputError, match=re.escape(problem)):
        inbox.overrides(entry)
    assert not (here / "owned").exists()


def test_parameters_that_cannot_be_used_are_named(here):
    set_parameters(attempts=0)
    with pytest.raises(InputError, match="inbox → attempts"):
        inbox.settings()
    Path("params.yaml").write_text("frames: {}\n")
    with pytest.raises(InputError, match="no section 'inbox'"):
        inbox.settings()


def test_failures_wait_longer_each_time(here, monkeypatch):
    memory = Memory()
    first = memory.failed("a", "stamp", "why")
    assert 9 < attempts.wait(first, 10) <= 10
    second = memory.failed("a", "stamp", "why")
    assert 19 < attempts.wait(second, 10) <= 20
    assert Memory.load().failure("a", "stamp").count == 2
    assert Memory.load().failure("a", "changed") is None
    assert memory.failed("a", "changed", "why").count == 1
    monkeypatch.setattr(time, "time", lambda: first.when - 3600)
    assert attempts.wait(second, 10) == 0, "the clock was set back"
    memory.succeeded("a")
    assert Memory.load().failures == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"known": {"a": 1}, "failures": {}}'])
def test_a_damaged_memory_is_forgotten(here, text):
    Memory().save()
    (attempts.FOLDER / "state.json").write_text(text)
    assert Memory.load() == Memory()


def test_one_run_at_a_time(here):
    code = "from tasks import attempts; attempts.alone().__enter__()"
    with attempts.alone():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "BusyError" in done.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_rules_say_which_renders(here):
    for index, name in enumerate(("anna", "bob")):
        photo(SUBJECTS / f"{name}.png", 50 * index)
    (SUBJECTS / "bob.yaml").write_text("sample: {s1: 3}\nfinetune_unet: {steps: 1}\n")
    for index, name in enumerate(("walk", "dance")):
        media_samples.noise_clip(CLIPS / f"{name}.mp4", 3 + index)
    (CLIPS / "dance.yaml").write_text("frames: {max_frames: 2}\naudio: true\n")
    Path("params.yaml").write_text(
        Path("params.yaml")
        .read_text()
        .replace('{subject: "*", clip: "*"}', '{subject: "*", clip: walk}\n    - {subject: bob}')
    )
    plan = planning.make()
    assert [unit.name for unit in plan.units] == [
        *("clips/dance.mp4", "clips/walk.mp4"),
        *("subjects/anna.png", "anna.png in walk.mp4"),
        *("subjects/bob.png", "bob.png in dance.mp4", "bob.png in walk.mp4"),
    ]
    assert set(plan.stages()) == plan.needed
    items = catalog.load()
    dance = next(r for r in items.renders.values() if items.sources[r.driving].name == "dance.mp4")
    assert dance.sample == {"s1": 3.0}
    assert dance.audio.endswith(".mp4")
    assert items.subjects[dance.subject].finetune_unet == {"steps": 1}
    assert items.sources[dance.driving].frames == {"max_frames": 2}


def test_what_cannot_be_read_is_put_aside_with_its_reason(here):
    photo(SUBJECTS / "anna.png")
    (SUBJECTS / "bad.jpg").write_text("no photo")
    (SUBJECTS / "bad.yaml").write_text("{}")
    (CLIPS / "folder").mkdir()
    photo(CLIPS / "folder/1.png")
    first = planning.make()
    assert [unit.name for unit in first.units] == ["subjects/anna.png"]
    assert [line.outcome for line in first.lines] == ["failed", "failed"]
    assert "next attempt" in first.lines[0].why
    second = planning.make()
    assert all("moved to inbox/rejected/" in line.why for line in second.lines)
    (folder,) = inbox.REJECTED.glob("*-subjects-bad.jpg")
    assert {path.name for path in folder.iterdir()} == {"bad.jpg", "bad.yaml", "reason.txt"}
    assert "bad.jpg" in (folder / "reason.txt").read_text()
    assert (planning.make().lines, Memory.load().failures) == ([], {})


def test_a_failure_of_the_machine_puts_no_item_aside(here):
    photo(SUBJECTS / "anna.png")
    plan = planning.make()
    (unit,) = plan.units
    for _ in range(2000):
        last = plan.failed(unit, "the disk is full", own=False)
        plan.memory.save = lambda: None
    assert "next attempt in 0 s" in last.why
    assert (SUBJECTS / "anna.png").exists()
    assert attempts.wait(plan.memory.failures[unit.name], 600) <= 600 * 2**10


def test_a_render_that_fails_is_given_up_until_it_changes(here):
    photo(SUBJECTS / "anna.png")
    media_samples.noise_clip(CLIPS / "walk.mp4", 3)
    plan = planning.make()
    render = plan.units[-1]
    assert render.after == ("subjects/anna.png", "clips/walk.mp4")
    assert "next attempt" in plan.failed(render, "it is bad").why
    assert "given up" in plan.failed(render, "it is bad").why
    assert (SUBJECTS / "anna.png").exists()
    assert "it is bad" in next(inbox.REJECTED.glob("*/reason.txt")).read_text()
    again = planning.make()
    assert [(line.item, line.why) for line in again.lines] == [
        (render.name, "given up: failed 2×, it is bad")
    ]
    photo(SUBJECTS / "anna.png", 120)
    assert planning.make().lines == []


def test_a_failure_is_not_tried_before_its_time(here):
    set_parameters(settle=0, backoff=1000)
    (SUBJECTS / "bad.jpg").write_text("no photo")
    assert planning.make().lines[0].outcome == "failed"
    (line,) = planning.make().lines
    assert (line.outcome, line.why[:23]) == ("skipped", "next attempt in 17 min:")
    assert planning.make(again=True).lines[0].outcome == "failed"
    photo(SUBJECTS / "bad.jpg")
    assert [unit.name for unit in planning.make().units] == ["subjects/bad.jpg"]


def test_the_summary_survives_any_name(here):
    lines = [Line("a|b\n<script>", "failed", "why"), Line("c", "unchanged")]
    rows = summary.markdown(lines).splitlines()
    assert rows[2] == "| a\\|b &lt;script> | failed | 0.0 | why |"
    assert rows[-1] == "1 failed, 1 unchanged"


@pytest.fixture
def filled(tmp_path) -> Path:
    """A workspace of its own with a person, an empty room and a clip in its inbox."""
    place = tmp_path / "workspace"
    workspace.create(place, "tiny")
    set_parameters(place, settle=0, backoff=0, attempts=2)
    (place / SUBJECTS).mkdir(parents=True)
    (place / CLIPS).mkdir()
    examples = workspace.HOME / "examples"
    shutil.copyfile(examples / "subject.png", place / SUBJECTS / "anna.png")
    photo(place / SUBJECTS / "an empty room.png")
    shutil.copyfile(examples / "driving.mp4", place / CLIPS / "walk.mp4")
    (place / CLIPS / "walk.yaml").write_text("frames: {max_frames: 2}\n")
    return place


def reprocess(place: Path) -> tuple[int, dict[str, dict]]:
    """Run the command; returns its exit code and what it wrote about each item."""
    command = [sys.executable, "-m", "flows", "reprocess"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    report = json.loads(max((place / "data/inbox/runs").iterdir()).read_text())
    assert ", ".join(f"{n} {what}" for what, n in report["totals"].items()) in done.stdout
    return done.returncode, {item["item"]: item for item in report["items"]}


@pytest.mark.long
def test_one_failing_item_stops_no_other(filled):
    code, items = reprocess(filled)
    outcomes = {name: item["outcome"] for name, item in items.items()}
    room = "subjects/an empty room.png"
    assert code == 1
    assert outcomes == {
        "clips/walk.mp4": "done",
        "subjects/anna.png": "done",
        "anna.png in walk.mp4": "done",
        room: "failed",
        "an empty room.png in walk.mp4": "skipped",
    }
    video = filled / items["anna.png in walk.mp4"]["video"]
    assert video.stat().st_size

    code, items = reprocess(filled)
    assert code == 1
    assert "moved to inbox/rejected" in items[room]["why"]
    code, items = reprocess(filled)
    assert code == 0
    assert {item["outcome"] for item in items.values()} == {"unchanged"}
