"""The stage graph agrees with the programs, the catalog and the presets."""

import dataclasses
import re
from importlib import import_module

import pytest

from tasks import catalog, closure, graph, workspace
from tasks.arguments import arguments, typed

STAGES = graph.stages()
GROUPS = {
    "bases": catalog.Base,
    "encodings": catalog.Encoding,
    "trainings": catalog.Training,
    "sources": catalog.Source,
    "subjects": catalog.Subject,
    "motions": catalog.Motion,
    "renders": catalog.Render,
}


PROGRAMS = [(g, name, *p) for g in closure.GRAPHS for name, p in closure.programs(g).items()]


@pytest.mark.parametrize(("path", "name", "room", "verb"), PROGRAMS)
def test_the_listed_code_is_the_import_closure(path, name, room, verb):
    deps = graph.read_yaml(path)["stages"][name]["do"]["deps"]
    listed = [d for d in deps if d.endswith(".py") and not d.endswith("__init__.py")]
    assert listed == closure.code_of(room, verb), "run: python -m tasks.closure"


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_commands_give_arguments_that_exist(stage):
    program = import_module(f"{stage.room}.__main__").VERBS[stage.verb]
    fields = {field.name: field for field in dataclasses.fields(program)}
    assert stage.fixed <= fields.keys()


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
@pytest.mark.parametrize("preset", workspace.presets())
def test_presets_give_all_that_is_needed(preset, stage):
    values = graph.read_yaml(workspace.preset_path(preset))[stage.settings]
    assert typed(stage.name, values) == values
    program = import_module(f"{stage.room}.__main__").VERBS[stage.verb]
    for field in dataclasses.fields(program):
        required = field.default is dataclasses.MISSING
        assert not required or field.name in stage.fixed | values.keys()


@pytest.mark.parametrize("preset", workspace.presets())
def test_presets_have_no_other_section(preset):
    sections = {stage.settings for stage in STAGES.values()} | {"files", "inbox", "limits"}
    assert graph.read_yaml(workspace.preset_path(preset)).keys() == sections


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_templates_read_fields_of_their_group(stage):
    text = (workspace.HOME / "dvc.yaml").read_text().split(f"\n  {stage.name}:\n")[1]
    block = text.split("\n\n")[0]
    used = set(re.findall(r"\$\{item\.(\w+)\}", block))
    assert used <= GROUPS[stage.group].model_fields.keys()
    assert stage.settings in used


def test_overrides_cannot_reach_what_the_command_fixes():
    for stage in STAGES.values():
        assert not arguments(stage).keys() & stage.fixed


def test_the_parameters_are_a_preset():
    contents = [workspace.preset_path(name).read_bytes() for name in workspace.presets()]
    assert (workspace.HOME / "params.yaml").read_bytes() in contents
