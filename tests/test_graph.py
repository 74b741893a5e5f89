"""Which stages follow from a stale one."""

import pytest
import yaml

from tasks import graph
from tasks.graph import Address

CUT, POSE, FIT, DRAW = (Address(stage, "x") for stage in ("cut", "pose", "fit", "draw"))
CHAIN = [CUT, POSE, FIT, DRAW]


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """cut → pose → draw, and fit → draw."""

    def entry(deps: list[str], out: str) -> dict:
        return {"deps": [{"path": path} for path in deps], "outs": [{"path": out}]}

    stages = {
        "cut@x": entry(["code.py", "data/raw/x"], "data/cut"),
        "pose@x": entry(["data/cut"], "data/pose"),
        "fit@x": entry(["weights/w"], "data/fit"),
        "draw@x": entry(["data/pose", "data/fit"], "data/draw"),
    }
    monkeypatch.chdir(tmp_path)
    graph.LOCK.write_text(yaml.safe_dump({"stages": stages}))
    return stages


@pytest.mark.parametrize(
    ("stale", "needed"),
    [
        ([], []),
        (["cut@x"], [CUT, POSE, DRAW]),
        (["fit@x"], [FIT, DRAW]),
        (["draw@x"], [DRAW]),
    ],
)
def test_what_follows_from_a_stale_stage(recorded, stale, needed):
    assert graph.needed(CHAIN, stale) == set(needed)


def test_a_stage_whose_input_nobody_recorded_is_needed(recorded):
    assert graph.needed([POSE], []) == {POSE}


def test_all_is_needed_where_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert graph.needed(CHAIN, list(map(str, CHAIN))) == set(CHAIN)
