"""What breaks around a run: after each fault the same command finishes, with the same result.

Kills, interrupts and two calls at once are in test_chain; `bench/kills.py` counts random ones.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from chain import animate, at_work, command, python, recorded, start, wait_until

from tasks import bridge, cache, graph, lineage
from tasks.graph import Address

GRAPH = """
stages:
  write:
    foreach: ${words}
    do: {cmd: "echo ${item} > ${key}.txt", deps: [make.py], outs: ["${key}.txt"]}
  fold:
    foreach: ${words}
    do: {cmd: "mkdir -p out/${key} && echo ${item} > out/${key}/0 && echo x > out/${key}/1",
         deps: ["${key}.txt"], outs: ["out/${key}"]}
"""


def spoil(path: Path) -> None:
    """Other bytes of the same length in a file that nobody may write to."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(b"?" * path.stat().st_size)
    path.chmod(mode)


class TestOneStage:
    @pytest.fixture
    def here(self, toy) -> Path:
        folder = toy(GRAPH, {"words": {"a": "one"}}, make="")
        for stage in ("write", "fold"):
            bridge.run_stage(Address(stage, "a"))
        return folder

    @pytest.mark.parametrize(("stage", "out"), [("write", "a.txt"), ("fold", "out/a")])
    def test_a_damaged_cache_is_found_out_when_it_is_needed(self, here, stage, out):
        address = Address(stage, "a")
        whole = lineage.content_hash(here / out)
        members = lineage.folder_files(here / out, whole) if stage == "fold" else {"": whole}
        shutil.move(here / out, here / "gone")
        spoil(cache.cached(next(iter(members.values()))))
        assert bridge.run_stage(address).outcome == "ran"
        assert lineage.content_hash(here / out) == whole
        assert bridge.stale([address]) == {}

    @pytest.mark.parametrize("text", ["", "schema: '2.0'\nstages:\n  wri", "<<<<<<< ours\n", "[1]"])
    def test_a_lock_that_nobody_can_read_is_set_aside(self, here, text):
        lock = here / "data/items/words/a/dvc.lock"
        before = graph.read_lock(lock)
        lock.write_text(text)
        assert graph.locked([Address("write", "a")]) == {}
        stale = bridge.stale([Address("write", "a"), Address("fold", "a")])
        assert {address.stage for address in stale} == {"write", "fold"}
        for address in stale:
            assert bridge.run_stage(address).outcome == "restored"
        assert graph.read_lock(lock) == before

    def test_a_broken_list_of_readers_and_writers_is_dropped(self, here):
        (here / ".dvc/tmp/rwlock").write_text('{"write": {"a')
        assert bridge.stale([Address("write", "a")]) == {}

    def test_half_a_dvc_file_is_written_again(self, here):
        from tasks import inputs

        (here / "photo").write_bytes(b"picture")
        _, path = inputs.take_in(here / "photo")
        listing = here / f"{path}.dvc"
        whole = listing.read_text()
        listing.write_text(whole[:7])
        inputs.take_in(here / "photo")
        assert listing.read_text() == whole


def edited(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Edits what a render's lock says of its stages."""

    def edit(place: Path) -> None:
        (lock,) = place.glob("data/items/renders/*/dvc.lock")
        content = graph.read_yaml(lock)
        change(content["stages"])
        lock.write_text(yaml.safe_dump(content))

    return edit


def other_out(stages: dict) -> None:
    stages["assemble"]["outs"][0]["md5"] = "0" * 32


def other_dep(stages: dict) -> None:
    stages["sample"]["deps"][0]["md5"] = "0" * 32


def other_command(stages: dict) -> None:
    stages["sample"]["cmd"] += " --s1 9"


def without_a_stage(stages: dict) -> None:
    del stages["assemble"]


def clock(year: int) -> Callable[[Path], None]:
    """All files of the workspace, and of DVC's notes on them, are of that year."""

    def turn(place: Path) -> None:
        seconds = (year - 1970) * 31_556_952
        for path in place.rglob("*"):
            os.utime(path, (seconds, seconds), follow_symlinks=False)

    return turn


def spoiled_video(place: Path) -> None:
    (video,) = place.glob("data/videos/*.mp4")
    spoil(place / cache.cached(lineage.content_hash(video)))
    video.unlink()


def lost_frames(place: Path) -> None:
    for folder in place.glob("data/samples/*"):
        shutil.rmtree(folder)
    shutil.rmtree(place / ".dvc/cache/files")


FAULTS = {
    "lock: other out": edited(other_out),
    "lock: other dep": edited(other_dep),
    "lock: other command": edited(other_command),
    "lock: a stage missing": edited(without_a_stage),
    "clock: 2036": clock(2036),
    "clock: 1981": clock(1981),
    "cache: spoiled": spoiled_video,
    "cache: lost": lost_frames,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory, undisturbed) -> Path:
    """A copy of the undisturbed workspace, with that one render."""
    folder = tmp_path_factory.mktemp("faults") / "workspace"
    shutil.copytree(undisturbed, folder, symlinks=True)
    (first,) = (key for key in graph_renders(folder) if "--" in key and is_plain(folder, key))
    for key in graph_renders(folder) - {first}:
        python("-m", "flows", "rm", f"render/{key}", cwd=folder)
    return folder


def graph_renders(place: Path) -> set[str]:
    return set(graph.read_yaml(place / "data/catalog.yaml")["renders"])


def is_plain(place: Path, key: str) -> bool:
    return not graph.read_yaml(place / "data/catalog.yaml")["renders"][key]["sample"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_same_command_mends_it(place, files, fault):
    before = recorded(place)
    fault(place)
    animate(place, files, "mended.mp4")
    assert (files / "mended.mp4").read_bytes() == (files / "first.mp4").read_bytes()
    assert recorded(place) == before


@pytest.mark.slow
def test_the_stage_and_dvc_are_killed(place, files):
    """The render's stages run anew; both killed ones end the command with one clear line."""
    before = recorded(place)
    forget_the_render(place)
    for stage, words in (("sample", "-m dreampose_core sample"), ("assemble", "from dvc.cli")):
        process = start(place, files, "killed again.mp4")
        wait_until(lambda stage=stage: any(place.glob(f"data/runs/{stage}-*/log.txt")), 300)
        wait_until(lambda words=words: victims(place, words), 60)
        for pid in victims(place, words):
            os.kill(pid, signal.SIGKILL)
        assert process.wait(60) == 1
        said = (files / "killed again.mp4.log").read_text()
        assert said.splitlines()[-1].startswith(f"error: {stage}@")
        assert "Traceback" not in said
        wait_until(lambda: not at_work(place), 5)
        for left in place.glob("data/runs/*"):
            shutil.rmtree(left)
    _, ran = animate(place, files, "killed again.mp4")
    assert "evaluate" in ran
    assert (files / "killed again.mp4").read_bytes() == (files / "first.mp4").read_bytes()
    assert recorded(place) == before


def victims(place: Path, words: str) -> list[int]:
    return [pid for pid, line in at_work(place).items() if words in line and "sh -c" not in line]


def forget_the_render(place: Path) -> None:
    """As if its stages had never run."""
    shutil.rmtree(place / ".dvc/cache/runs")
    for pattern in ("data/samples/*", "data/videos/*", "data/reposed/*", "data/reports/*"):
        for path in place.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for lock in place.glob("data/items/renders/*/dvc.lock"):
        lock.unlink()


@pytest.mark.slow
def test_a_full_disk_is_said_and_survived(place, files):
    """`data/samples` lies on a disk with no room; with room the same command goes on."""
    before = recorded(place)
    forget_the_render(place)
    samples = place / "data/samples"
    script = f'mount -t tmpfs -o size=16k full {samples} && exec "$0" "$@"'
    words = [sys.executable, "-m", "flows", *command(files, "full.mp4")]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, *words],
        cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    animate(place, files, "full.mp4")
    assert (files / "full.mp4").read_bytes() == (files / "first.mp4").read_bytes()
    assert recorded(place) == before
