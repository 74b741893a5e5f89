"""A dataset's clips encoded once, and a base finetuned to them."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.datasets import Clip, Dataset, Failure, read_dataset, write_dataset
from common.errors import InputError
from common.files import folder_hash
from common.frames import FramesInfo, write_frames
from common.images import read_png
from common.poses import PosesInfo, write_poses
from common.program import main
from common.training import step_generator
from dreampose_core import encode_clips, finetune_base
from dreampose_core.__main__ import VERBS
from dreampose_core.finetune_base import EncodedClips, Pair
from dreampose_core.model import build, load
from dreampose_core.subject import encoded_pairs, read_clip
from mannequin.motion import sample_motion
from mannequin.render import render_clip
from mannequin.subject import sample_subject

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

ARCHITECTURES = Path(__file__).parents[1] / "presets/architectures"
COUNTS = {"anna": 3, "ben": 5, "cleo": 2}
SHORT = ("--steps", 3, "--batch-size", 2, "--checkpoint-every", 2, "--warmup-steps", 0)


def run(*arguments: object) -> int:
    return main("dreampose_core", VERBS, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Three clips, two to train on and one held out; a tiny and a small base; the encoded clips."""
    root = tmp_path_factory.mktemp("world")
    for subject, (name, count) in enumerate(COUNTS.items(), 200_000):
        motion = sample_motion("showcase", subject, 24)
        person = sample_subject(subject)
        frames = range(0, 4 * count, 4)
        rgb, iuv = render_clip(person, motion, height=80, width=64, frame_indices=frames)
        write_frames(root / name / "frames", rgb, FramesInfo("25"))
        write_poses(root / name / "poses", iuv, PosesInfo("mannequin", "mini", fps="25"))
    write_dataset(root / "set.json", dataset(root, ["anna", "ben"], ["cleo"]))
    for base in ("tiny", "mini"):
        architecture = ARCHITECTURES / f"{base}.json"
        assert run("base", "--source", architecture, "--out", root / base, "--seed", 3) == 0
        assert encode(root, base, root / f"{base}-encoded") == 0
    return root


def clip_of(root: Path, name: str) -> Clip:
    frames, poses = root / name / "frames", root / name / "poses"
    hashes = [folder_hash(folder) for folder in (frames, poses)]
    return Clip(f"{name}.mp4", name, COUNTS[name], str(frames), hashes[0], str(poses), hashes[1])


def dataset(root: Path, train: list[str], test: list[str]) -> Dataset:
    parts = ([clip_of(root, name) for name in names] for names in (train, test))
    return Dataset("set", *parts, [Failure("bad.mp4", "it is bad")])


def encode(root: Path, base: str, out: Path, file: str = "set.json") -> int:
    given = ("--base", root / base, "--dataset", root / file, "--out", out)
    return run("encode-clips", *given, "--batch-size", 2)


def finetune(world: Path, out: Path, *more: object) -> int:
    given = ("--base", world / "tiny", "--encoded", world / "tiny-encoded", "--out", out)
    return run("finetune-base", *given, *more)


class TestDatasetFile:
    def test_what_is_written_is_read(self, world):
        assert read_dataset(world / "set.json") == dataset(world, ["anna", "ben"], ["cleo"])

    @pytest.mark.parametrize(
        "change",
        [
            lambda said: said.pop("test"),
            lambda said: said["train"][0].update(source="../../elsewhere"),
            lambda said: said["train"][0].update(more=1),
            lambda said: said.update(train=[]),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, world, tmp_path, change):
        said = json.loads((world / "set.json").read_text())
        change(said)
        (tmp_path / "set.json").write_text(json.dumps(said))
        with pytest.raises(InputError):
            read_dataset(tmp_path / "set.json")


class TestEncoded:
    @pytest.mark.parametrize("base", ["tiny", "mini"])
    def test_rows_are_what_a_subject_s_pairs_would_be(self, world, base):
        model = load(str(world / base))
        clips = EncodedClips.open(world / f"{base}-encoded", "train")
        pictures = read_clip(model, world / "ben/frames", world / "ben/poses")
        expected = encoded_pairs(model, pictures, 6, seed=4)
        random, pairs = np.random.default_rng(4), []
        for _ in range(6):
            target = int(random.integers(5))
            pairs.append(Pair(1, target, int((target + random.integers(1, 5)) % 5)))
        rows = clips.rows(model, pairs)
        assert rows.keys() == expected.keys()
        for name, values in expected.items():
            torch.testing.assert_close(rows[name], values, atol=4e-3, rtol=2e-3)

    def test_poses_of_imported_models_keep_their_range(self, world):
        model = build(ARCHITECTURES / "tiny.json")
        pictures = read_clip(model, world / "ben/frames", world / "ben/poses")
        model.conditioning.register_to_config(pose_range="symmetric")
        arrays = encode_clips.encode_clip(model, pictures, 4)
        window = finetune_base.window(arrays["uv"], 2, 5)
        torch.testing.assert_close(
            window, model.conditioning.pose(pictures.iuv).uv[2:3], atol=1e-3, rtol=0
        )
        assert window.min() == -1

    def test_a_killed_run_goes_on_with_the_next_clip(self, world, tmp_path, monkeypatch):
        read, seen = encode_clips.subject.read_clip, []

        def dying(model, frames, poses):
            seen.append(frames.parent.name)
            if len(seen) == 2:
                raise RuntimeError("killed")
            return read(model, frames, poses)

        monkeypatch.setattr(encode_clips.subject, "read_clip", dying)
        with pytest.raises(RuntimeError, match="killed"):
            encode(world, "tiny", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert encode(world, "tiny", tmp_path / "out") == 0
        assert seen == ["anna", "ben", "ben", "cleo"]
        assert folder_hash(tmp_path / "out") == folder_hash(world / "tiny-encoded")
        assert not list(tmp_path.glob(".*"))

    def test_only_what_changed_is_encoded_again(self, world, tmp_path, monkeypatch):
        shutil.copytree(world / "tiny-encoded", tmp_path / "out")
        ben = world / "ben"
        changed = replace(clip_of(world, "ben"), source="ben-2", frames_md5="another")
        anna = clip_of(world, "anna")
        write_dataset(tmp_path / "set.json", Dataset("set", [changed], [anna]))
        read, seen = encode_clips.subject.read_clip, []

        def watched(model, frames, poses):
            seen.append(frames)
            return read(model, frames, poses)

        monkeypatch.setattr(encode_clips.subject, "read_clip", watched)
        given = ("--base", world / "tiny", "--dataset", tmp_path / "set.json")
        assert run("encode-clips", *given, "--out", tmp_path / "out") == 0
        assert seen == [ben / "frames"]
        folders = {folder.name for folder in (tmp_path / "out/clips").iterdir()}
        assert folders == {"anna", "ben-2"}
        write_dataset(tmp_path / "set.json", Dataset("set", [replace(changed, source="x")], []))
        assert run("base", "--source", ARCHITECTURES / "tiny.json", "--out", world / "other") == 0
        given = ("--base", world / "other", "--dataset", tmp_path / "set.json")
        assert run("encode-clips", *given, "--out", tmp_path / "out") == 0
        assert len(seen) == 2

    def test_a_clip_that_is_no_longer_as_listed(self, world, tmp_path, capsys):
        longer = replace(clip_of(world, "ben"), count=9)
        write_dataset(tmp_path / "set.json", Dataset("set", [longer]))
        given = ("--base", world / "tiny", "--dataset", tmp_path / "set.json")
        assert run("encode-clips", *given, "--out", tmp_path / "out") == 2
        assert "no longer as" in capsys.readouterr().err

    def test_poses_of_another_chart_are_refused(self, world, tmp_path, capsys):
        shutil.copytree(world / "ben", tmp_path / "ben")
        poses = tmp_path / "ben/poses/poses.json"
        poses.write_text(poses.read_text().replace('"mannequin"', '"densepose"'))
        write_dataset(tmp_path / "set.json", Dataset("set", [clip_of(tmp_path, "ben")]))
        given = ("--base", world / "tiny", "--dataset", tmp_path / "set.json")
        assert run("encode-clips", *given, "--out", tmp_path / "out") == 2
        assert "chart" in capsys.readouterr().err


@pytest.fixture
def numbered(tmp_path) -> EncodedClips:
    """Clips of 2, 3 and 4 frames whose every value says 10·clip + frame."""
    counts = {"a": 2, "b": 3, "c": 4}
    for clip, (name, count) in enumerate(counts.items()):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        values = 10.0 * clip + np.arange(count)
        for array, shape in (("latents", (1, 2, 2)), ("tokens", (3, 2)), ("uv", (2, 2, 2))):
            rows = np.broadcast_to(values.reshape(-1, *[1] * len(shape)), (count, *shape))
            np.save(folder / f"{array}.npy", rows.astype(np.float16))
    info = {"encoders": "", "train": {name: {"count": n} for name, n in counts.items()}}
    (tmp_path / "encoded.json").write_text(json.dumps(info))
    return EncodedClips.open(tmp_path, "train")


class TestPairs:
    def test_the_target_is_never_the_reference(self, numbered):
        pairs = numbered.draw(step_generator(0, 0), 4000)
        seen = Counter(pairs)
        wanted = {
            Pair(c, t, r) for c, n in enumerate((2, 3, 4)) for t in range(n) for r in range(n)
        }
        assert set(seen) == {pair for pair in wanted if pair.target != pair.reference}
        targets = Counter((pair.clip, pair.target) for pair in pairs)
        assert len(targets) == numbered.frames == 9
        assert all(abs(count / 4000 - 1 / 9) < 0.025 for count in targets.values())
        thirds = [seen[Pair(2, 0, reference)] for reference in (1, 2, 3)]
        assert max(thirds) < 1.4 * min(thirds)

    def test_rows_belong_together_and_windows_end_with_the_clip(self, numbered):
        model = build(ARCHITECTURES / "tiny.json")
        pairs = [Pair(2, 0, 3), Pair(2, 3, 1), Pair(2, 2, 0), Pair(0, 1, 0)]
        rows = numbered.rows(model, pairs)
        assert [row.unique().tolist() for row in rows["latents"]] == [[20], [23], [22], [1]]
        for name in ("reference_latents", "tokens"):
            assert [row.unique().tolist() for row in rows[name]] == [[23], [21], [20], [0]]
        window = rows["uv"].unflatten(1, (5, 2))
        assert window.flatten(2).unique(dim=2).squeeze(2).tolist() == [
            [20, 20, 20, 21, 22],
            [21, 22, 23, 23, 23],
            [20, 21, 22, 23, 23],
            [0, 0, 1, 1, 1],
        ]

    def test_the_generator_decides(self, numbered):
        first, again, other = (numbered.draw(step_generator(0, step), 9) for step in (1, 1, 2))
        assert first == again != other


class TestTraining:
    def test_a_killed_run_ends_like_an_undisturbed_one(self, world, tmp_path, monkeypatch):
        assert finetune(world, tmp_path / "whole", *SHORT) == 0
        draw_noise, drawn = finetune_base.draw_noise, []

        def dying(*arguments, **more):
            drawn.append(1)
            if len(drawn) == 4:  # the first is the validation's
                raise RuntimeError("killed")
            return draw_noise(*arguments, **more)

        monkeypatch.setattr(finetune_base, "draw_noise", dying)
        with pytest.raises(RuntimeError, match="killed"):
            finetune(world, tmp_path / "again", *SHORT)
        assert not (tmp_path / "again").exists()
        assert finetune(world, tmp_path / "again", *SHORT) == 0
        assert len(drawn) == 6
        assert folder_hash(tmp_path / "again") == folder_hash(tmp_path / "whole")

    def test_the_loss_falls_and_only_unet_and_adapter_change(self, world, tmp_path):
        more = ("--learning-rate", 2e-3, "--evaluate-every", 10, "--warmup-steps", 0)
        assert finetune(world, tmp_path / "out", "--steps", 60, "--batch-size", 8, *more) == 0
        table = (tmp_path / "out/training/curves.tsv").read_text().splitlines()
        column = table[0].split("\t").index("validation")
        measured = [float(v) for row in table[1:] if (v := row.split("\t")[column])]
        assert len(measured) == 6
        assert measured[-1] < 0.8 * measured[0]
        before, after = load(str(world / "tiny")), load(str(tmp_path / "out"))
        for name in ("unet", "adapter", "vae", "image_encoder", "conditioning"):
            old, new = (getattr(model, name).state_dict() for model in (before, after))
            same = all(old[key].equal(new[key]) for key in old)
            assert same == (name not in ("unet", "adapter")), name

    def test_epochs_count_frames(self, world, tmp_path):
        given = ("--epochs", 1.5, "--batch-size", 4, "--warmup-steps", 0)
        assert finetune(world, tmp_path / "out", *given) == 0
        figures = json.loads((tmp_path / "out/training/figures.json").read_text())
        assert (figures["frames"], figures["step"]) == (8, 3)
        assert figures["settings"]["learning_rate"] == 5e-6

    @pytest.mark.parametrize("base", ["tiny", "mini"])
    def test_pictures_on_the_way_do_not_change_it(self, world, tmp_path, base):
        given = ("--base", world / base, "--encoded", world / f"{base}-encoded", *SHORT)
        assert run("finetune-base", *given, "--out", tmp_path / "plain") == 0
        assert run("finetune-base", *given, "--preview-every", 2, "--out", tmp_path / "shown") == 0
        config = load(str(world / base)).conditioning.config
        picture = read_png(tmp_path / "shown/training/previews/000002.png")
        assert picture.shape == (3 * config.height + 4, 3 * config.width + 4, 3)
        for part in ("unet", "adapter"):
            assert folder_hash(tmp_path / "plain" / part) == folder_hash(tmp_path / "shown" / part)
        assert not list(tmp_path.glob(".*"))

    def test_without_a_test_part_nothing_is_measured(self, world, tmp_path):
        shutil.copytree(world / "tiny-encoded", tmp_path / "encoded")
        info = json.loads((tmp_path / "encoded/encoded.json").read_text())
        (tmp_path / "encoded/encoded.json").write_text(json.dumps(info | {"test": {}}))
        given = ("--base", world / "tiny", "--encoded", tmp_path / "encoded")
        assert run("finetune-base", *given, "--out", tmp_path / "out", *SHORT) == 0
        figures = json.loads((tmp_path / "out/training/figures.json").read_text())
        assert "validation" not in figures

    def test_what_is_refused(self, world, tmp_path, capsys):
        given = ("--base", world / "mini", "--encoded", world / "tiny-encoded")
        assert run("finetune-base", *given, "--out", tmp_path / "out", *SHORT) == 2
        assert "another base" in capsys.readouterr().err
        given = ("--base", world / "mini", "--encoded", world)
        assert run("finetune-base", *given, "--out", tmp_path / "out", *SHORT) == 2
        assert "no encoded clips" in capsys.readouterr().err
        one = {"train": {"photo": {"count": 1}}}
        (tmp_path / "encoded.json").write_text(json.dumps(one))
        with pytest.raises(InputError, match="photo has one frame"):
            EncodedClips.open(tmp_path, "train")
