"""Which stages follow from a stale one."""

from pathlib import Path

import pytest
import yaml

from tasks import graph
from tasks.graph import Address

CUT, POSE, FIT, DRAW = (Address(stage, "x") for stage in ("cut", "pose", "fit", "draw"))
CHAIN = [CUT, POSE, FIT, DRAW]
DEFINITIONS = yaml.safe_dump(
    {
        "stages": {
            a.stage: {"foreach": "${things}", "do": {"cmd": f"python {a.stage}"}} for a in CHAIN
        }
    },
    sort_keys=False,
)


@pytest.fixture
def recorded(toy):
    """cut → pose → draw, and fit → draw."""

    def entry(deps: list[str], out: str) -> dict:
        return {"deps": [{"path": path} for path in deps], "outs": [{"path": out}]}

    made = {
        CUT: entry(["code.py", "data/raw/x"], "data/cut"),
        POSE: entry(["data/cut"], "data/pose"),
        FIT: entry(["weights/w"], "data/fit"),
        DRAW: entry(["data/pose", "data/fit"], "data/draw"),
    }
    toy(DEFINITIONS, {"things": {"x": 1}})
    stages = {address.stage: entry for address, entry in made.items()}
    Path("data/items/things/x/dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    return made


@pytest.mark.parametrize(
    ("stale", "needed"),
    [
        ([], []),
        ([CUT], [CUT, POSE, DRAW]),
        ([FIT], [FIT, DRAW]),
        ([DRAW], [DRAW]),
    ],
)
def test_what_follows_from_a_stale_stage(recorded, stale, needed):
    assert graph.needed(CHAIN, stale) == set(needed)


def test_a_stage_whose_input_nobody_recorded_is_needed(recorded):
    assert graph.needed([POSE], []) == {POSE}


def test_what_was_trained_is_needed_only_as_it_changes(recorded):
    train = Address("fit", "x")
    path = Path("data/items/things/x/dvc.lock")
    stages = yaml.safe_load(path.read_text())["stages"]
    stages["draw"]["deps"] = [{"path": "data/trained/x"}]
    stages["fit"]["outs"] = [{"path": "data/trained/x"}]
    path.write_text(yaml.safe_dump({"stages": stages}))
    assert graph.needed([DRAW], []) == set()
    assert graph.needed([train, DRAW], []) == set()
    assert graph.needed([train, DRAW], [train]) == {train, DRAW}


def test_what_takes_days_lies_beside():
    assert graph.item_folder("trainings", "x") == Path("data/training/trainings/x")
    assert graph.item_folder("renders", "x") == Path("data/items/renders/x")
    assert graph.is_beside("finetune-base@x")
    assert not graph.is_beside("finetune-unet@x")


def test_all_is_needed_where_nothing_is_recorded(toy):
    toy(DEFINITIONS, {"things": {"x": 1}})
    assert graph.needed(CHAIN, CHAIN) == set(CHAIN)


def test_what_dvc_recorded_comes_by_stage(recorded):
    assert graph.locked(CHAIN) == recorded


def test_items_are_laid_out_once(toy):
    folder = toy(DEFINITIONS, {"things": {"x": 1}})
    path = folder / "data/items/things/x/dvc.yaml"
    before = path.stat().st_mtime_ns
    graph.lay_out({"things": {"x": 1, "y": {"a": 2}}})
    assert path.stat().st_mtime_ns == before
    graph.lay_out({"things": {"x": 3}})
    assert yaml.safe_load(path.read_text()) == {
        "vars": ["../../../../params.yaml", {"key": "x", "item": 3}],
        "stages": {a.stage: {"wdir": "../../../..", "cmd": f"python {a.stage}"} for a in CHAIN},
    }
    assert path.with_name("dvc.yaml").exists()
    assert (folder / "data/items/things/y/dvc.yaml").exists()
