"""Published checkpoints come in as they are, go out as they came, and are never run."""

import pickle
from pathlib import Path

import pytest
import torch

from common.program import main
from dreampose_core.__main__ import VERBS
from dreampose_core.model import build, load
from dreampose_core.pipeline import DreamPosePipeline
from dreampose_core.published import modern, old

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Path(__file__).parents[1] / "presets/architectures/tiny.json"
OLD_NAMES = ("query", "key", "value", "proj_attn")


def run(*arguments: object) -> int:
    return main("dreampose_core", VERBS, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def trained() -> DreamPosePipeline:
    return build(TINY, seed=7)


@pytest.fixture
def files(trained, tmp_path) -> dict[str, Path]:
    """Files as the published trainings write them: behind `module.`, old VAE names, half."""
    paths = {}
    for name in ("unet", "adapter", "vae"):
        state = {k: v.clone() for k, v in getattr(trained, name).state_dict().items()}
        if name == "vae":
            for new, was in zip(("to_q", "to_k", "to_v", "to_out.0"), OLD_NAMES, strict=True):
                state = {k.replace(f".{new}.", f".{was}."): v for k, v in state.items()}
        prefix = "" if name == "vae" else "module."
        paths[name] = tmp_path / f"{name}_500.pth"
        torch.save({prefix + k: v for k, v in state.items()}, paths[name])
    return paths


def given(files: dict[str, Path]) -> list[object]:
    return [word for name, path in files.items() for word in (f"--{name}", path)]


def test_in_and_out_again(files, trained, tmp_path):
    out = tmp_path / "model"
    assert run("import-checkpoint", *given(files), "--base", TINY, "--out", out) == 0
    model = DreamPosePipeline.from_pretrained(out)
    assert model.conditioning.config.pose_range == "symmetric"
    for name in ("unet", "adapter", "vae"):
        for key, value in getattr(trained, name).state_dict().items():
            assert torch.equal(getattr(model, name).state_dict()[key], value), key

    assert run("export-checkpoint", "--base", out, "--out", tmp_path / "published") == 0
    for name, path in files.items():
        again = torch.load(tmp_path / f"published/{name}.pth", weights_only=True)
        first = torch.load(path, weights_only=True)
        first = {key.removeprefix("module."): value for key, value in first.items()}
        assert again.keys() == first.keys()
        assert all(torch.equal(again[key], first[key]) for key in first)


def test_the_convention_can_be_said(files, tmp_path):
    out = tmp_path / "model"
    words = (*given(files), "--base", TINY, "--pose-range", "unit", "--out", out)
    assert run("import-checkpoint", *words) == 0
    assert load(str(out)).conditioning.config.pose_range == "unit"


def test_half_precision_is_read(files, trained, tmp_path):
    state = torch.load(files["adapter"], weights_only=True)
    torch.save({key: value.half() for key, value in state.items()}, files["adapter"])
    out = tmp_path / "model"
    assert run("import-checkpoint", *given(files), "--base", TINY, "--out", out) == 0
    made = load(str(out)).adapter.vae2clip.weight
    torch.testing.assert_close(made, trained.adapter.vae2clip.weight, atol=1e-3, rtol=1e-3)
    assert made.dtype == torch.float32


def test_attention_stored_as_convolutions():
    state = {"decoder.mid_block.attentions.0.query.weight": torch.ones(4, 4, 1, 1)}
    assert modern(state)["decoder.mid_block.attentions.0.to_q.weight"].shape == (4, 4)


def test_other_names_are_left_alone():
    state = {
        "encoder.mid_block.attentions.0.group_norm.weight": torch.ones(4),
        "key": torch.ones(1),
    }
    assert modern(state).keys() == old(state).keys() == state.keys()


class Boom:
    def __reduce__(self):
        return Path.touch, (Path("boom"),)


def spoil(path: Path, how: str) -> None:
    state = torch.load(path, weights_only=True)
    first = next(iter(state))
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("this is no checkpoint")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "code":
        path.write_bytes(pickle.dumps(Boom()))
    elif how == "list":
        torch.save([1, 2], path)
    elif how == "number":
        torch.save({"a": 1}, path)
    elif how == "lacking":
        torch.save({k: v for k, v in state.items() if k != first}, path)
    elif how == "shape":
        torch.save({**state, first: torch.ones(3, 3)}, path)
    elif how == "more":
        torch.save({**state, "other.weight": torch.ones(1)}, path)


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ("missing", "is not there"),
        ("text", "damaged"),
        ("cut", "damaged"),
        ("code", "more than weights"),
        ("list", "no state dict"),
        ("number", "'a' is no tensor"),
        ("lacking", "lacks"),
        ("shape", "(3, 3)"),
        ("more", "other.weight"),
    ],
)
@pytest.mark.parametrize("name", ["unet", "adapter", "vae"])
def test_bad_files_are_refused(files, tmp_path, monkeypatch, capsys, name, how, word):
    monkeypatch.chdir(tmp_path)
    spoil(files[name], how)
    out = tmp_path / "model"
    assert run("import-checkpoint", *given(files), "--base", TINY, "--out", out) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert word in line
    assert files[name].name in line
    assert not out.exists()
    assert not Path("boom").exists()
