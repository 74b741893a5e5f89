"""Trainings on several processes and in little memory, and their pictures on the way."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from world import World

from common import memory
from common.errors import InputError
from common.images import read_png
from common.program import main
from common.settings import MEMORY, TrainingSettings
from common.training import make_optimizer
from dreampose_core.__main__ import VERBS
from dreampose_core.footprint import decoder_activations, unet_activations
from dreampose_core.model import build

pytestmark = pytest.mark.usefixtures("one_thread", "little_garbage")

TINY = Path(__file__).parents[1] / "presets/architectures/tiny.json"
SHORT = ("--steps", 6, "--batch-size", 4, "--pairs", 4, "--warmup-steps", 0)
CPU = torch.device("cpu")


def finetuned(world: World, out: Path, *more: object) -> Path:
    arguments = ["finetune-unet", *world.given, "--out", out, *SHORT, *more]
    assert main("dreampose_core", VERBS, [str(argument) for argument in arguments]) == 0
    return out


def losses(folder: Path) -> list[float]:
    lines = (folder / "curves.tsv").read_text().splitlines()
    column = lines[0].split("\t").index("loss")
    return [float(line.split("\t")[column]) for line in lines[1:]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "unet/diffusion_pytorch_model.safetensors")


def failing(error: Exception) -> type:
    """A verb that fails so."""

    @dataclass(frozen=True)
    class Verb:
        """Fail."""

        def run(self) -> None:
            raise error

    return Verb


@pytest.mark.slow
def test_two_processes_train_as_one(world, tmp_path):
    one = finetuned(world, tmp_path / "one")
    arguments = ["finetune-unet", *world.given, "--out", tmp_path / "two", *SHORT]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch += ["--main_process_port", "0", "--module", "dreampose_core"]
    command = [sys.executable, *launch, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert losses(tmp_path / "two") == pytest.approx(losses(one), rel=1e-4)
    first, second = weights(one), weights(tmp_path / "two")
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-4, rtol=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


class TestMemory:
    @pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
    def test_the_optimizer_is_the_one_asked_for(self, optimizer):
        problem = nn.Linear(64, 64)
        settings = TrainingSettings(steps=1, optimizer=optimizer)
        chosen = make_optimizer(list(problem.parameters()), settings)
        problem(torch.ones(1, 64)).sum().backward()
        chosen.step()
        state = [v for own in chosen.state.values() for v in own.values() if torch.is_tensor(v)]
        held = sum(value.numel() * value.element_size() for value in state)
        needs = memory.training_needs(problem, settings, 0)
        if optimizer == "adamw":
            assert needs["optimizer"] == pytest.approx(held, rel=0.01)
        else:
            assert held < 4 * 64 * 64

    def test_what_is_not_installed_is_named(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
        with pytest.raises(InputError, match="pip install bitsandbytes"):
            make_optimizer([], TrainingSettings(steps=1, optimizer="adamw8bit"))

    @pytest.mark.parametrize("name", MEMORY)
    def test_a_preset_sets_its_switches(self, name):
        settings = TrainingSettings(steps=1, batch_size=8, memory=name).fitted(processes=2)
        assert settings.accumulation == 4
        assert {key: getattr(settings, key) for key in MEMORY[name]} == MEMORY[name]

    def test_a_smaller_device_is_asked_for_less(self):
        model = build(TINY)
        for activations in (unet_activations, decoder_activations):
            needed = []
            for name in MEMORY:
                settings = TrainingSettings(steps=1, batch_size=1, memory=name).fitted(1)
                needs = memory.training_needs(model.unet, settings, activations(model, settings))
                needed.append(sum(needs.values()))
            assert needed == sorted(needed)

    def test_what_cannot_fit_is_refused_before_the_start(self, monkeypatch):
        monkeypatch.setattr(memory, "free", lambda device: 5e9)
        needs = {"weights": 9e9, "gradients": 2e9, "optimizer": 2e9, "activations": 0.5e9}
        memory.check("training", needs, CPU)
        with pytest.raises(InputError, match=r"training needs about 13\.5 GB .* --memory 12gb"):
            memory.check("training", needs, torch.device("cuda"))

    def test_what_may_not_fit_is_said(self, monkeypatch, capsys):
        monkeypatch.setattr(memory, "free", lambda device: 5e9)
        memory.check("training", {"weights": 0, "gradients": 4e9, "activations": 2e9}, CPU)
        assert "may not suffice" in capsys.readouterr().out

    def test_less_memory_trains_the_same_way(self, world, tmp_path):
        plain = finetuned(world, tmp_path / "plain")
        checkpointed = finetuned(world, tmp_path / "less", "--gradient-checkpointing")
        assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-4)
        lean = losses(finetuned(world, tmp_path / "lean", "--memory", "12gb"))
        assert lean == pytest.approx(losses(plain), rel=0.05)

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            MemoryError(),
        ],
    )
    def test_running_out_of_it_is_advice(self, error, tmp_path, monkeypatch, capsys):
        verb = failing(error)
        monkeypatch.setenv("DREAMPOSE_RUN_DIR", str(tmp_path))
        assert main("program", {"verb": verb, "other": verb}, ["verb"]) == 2
        assert "--memory 12gb" in json.loads((tmp_path / "error.json").read_text())["remedy"]
        assert capsys.readouterr().err.count("\n") == 1

    def test_another_fault_stays_one(self):
        verb = failing(RuntimeError("shapes differ"))
        with pytest.raises(RuntimeError, match="shapes differ"):
            main("program", {"verb": verb, "other": verb}, ["verb"])


def test_pictures_on_the_way(world, tmp_path):
    out = finetuned(world, tmp_path / "out", "--preview-every", 3)
    names = sorted(path.name for path in (out / "previews").iterdir())
    assert names == ["000003.png", "000006.png"]
    early, late = (read_png(out / "previews" / name) for name in names)
    assert early.shape == late.shape
    third = early.shape[1] // 3
    np.testing.assert_array_equal(early[:, : 2 * third], late[:, : 2 * third])
    assert (early[:, -third:] != late[:, -third:]).any()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    again = finetuned(world, tmp_path / "again")
    assert all(
        torch.equal(a, b)
        for a, b in zip(weights(out).values(), weights(again).values(), strict=True)
    )


def test_settings_of_a_preset_are_given_whole():
    settings = TrainingSettings(steps=1, batch_size=3, memory="12gb")
    assert replace(settings, memory="as-given").fitted(4) == replace(settings, memory="as-given")
