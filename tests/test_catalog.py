"""The catalog: keys, overrides, references, damage, many writers."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from tasks import catalog, workspace


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").symlink_to(workspace.HOME / "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _two_sources(items: catalog.Catalog) -> tuple[str, str]:
    return (
        items.add_source("anna-11111111", "data/raw/anna-11111111/source.png", "Anna.png"),
        items.add_source("walk-22222222", "data/raw/walk-22222222/source.mp4", "walk.mp4"),
    )


@given(st.text(max_size=300))
def test_a_slug_of_any_name_is_a_key(name):
    assert re.fullmatch(r"[a-z0-9-]{1,24}", catalog.slug(name))


def test_a_key_ends_in_the_hash_of_its_overrides(here):
    with catalog.edit() as items:
        anna, walk = _two_sources(items)
        cut = items.add_source("walk-22222222", items.sources[walk].input, "w", {"end": 2})
        subject = items.add_subject(anna)
        untrained = items.add_subject(anna, finetune_unet={"steps": 0})
        plain = items.add_render(subject, walk)
        strong = items.add_render(subject, walk, {"s1": 6})
    assert (anna, walk) == ("anna-11111111", "walk-22222222")
    assert re.fullmatch(r"walk-22222222-[0-9a-f]{8}", cut)
    assert subject == anna
    assert re.fullmatch(rf"{anna}-[0-9a-f]{{8}}", untrained)
    assert plain == f"{anna}--{walk}"
    assert re.fullmatch(rf"{plain}-[0-9a-f]{{8}}", strong)
    assert items.renders[plain].motion == items.renders[strong].motion
    assert catalog.load() == items


def test_another_retargeting_is_another_motion_and_render(here):
    with catalog.edit() as items:
        anna, walk = _two_sources(items)
        subject = items.add_subject(anna)
        plain = items.add_render(subject, walk)
        as_filmed = items.add_render(subject, walk, retarget={"mode": "none"})
    motion = items.renders[as_filmed].motion
    assert re.fullmatch(rf"{plain}-[0-9a-f]{{8}}", as_filmed)
    assert re.fullmatch(rf"{items.renders[plain].motion}-[0-9a-f]{{8}}", motion)
    assert items.motions[motion].retarget == {"mode": "none"}
    assert items.motions[items.renders[plain].motion].retarget == {}


def test_the_same_settings_are_the_same_item(here):
    with catalog.edit() as items:
        anna, walk = _two_sources(items)
        first = items.add_render(items.add_subject(anna), walk, {"s1": 6})
    before = catalog.CATALOG.stat().st_mtime_ns
    with catalog.edit() as items:
        _two_sources(items)
        assert items.add_render(items.add_subject(anna), walk, {"s1": 6.0}) == first
    assert catalog.CATALOG.stat().st_mtime_ns == before


def test_a_truth_stays_with_its_render(here):
    with catalog.edit() as items:
        anna, walk = _two_sources(items)
        subject = items.add_subject(anna)
        key = items.add_render(subject, walk)
        assert items.renders[key].truth == catalog.NOTHING
        assert items.add_render(subject, walk, truth=walk) == key
        assert items.add_render(subject, walk) == key
        assert items.renders[key].truth == f"data/frames/{walk}"
        assert items.renders[key].evaluate == {"truth": f"data/frames/{walk}"}


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ({"s1; touch /tmp/owned": 1}, "no setting"),
        ({"$(id)": 1}, "no setting"),
        ({"out": "elsewhere"}, "no setting"),
        ({"s1": "high; rm -rf /"}, "cannot be"),
        ({"steps": 2.5}, "cannot be"),
        ({"steps": None}, "cannot be"),
    ],
)
def test_bad_overrides_are_refused(here, overrides, what):
    def register() -> None:
        with catalog.edit() as items:
            anna, walk = _two_sources(items)
            items.add_render(items.add_subject(anna), walk, overrides)

    with pytest.raises(InputError, match=what):
        register()
    assert not catalog.CATALOG.exists()


def test_items_must_exist_before_they_are_used(here):
    with pytest.raises(InputError, match="no 'nobody' among the sources"), catalog.edit() as items:
        items.add_subject("nobody")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("sources: {A@b: {input: x, name: y}}", "sources"),
        ("renders: [", "damaged"),
        ("sources: {a: {input: /etc/passwd, name: y}}", "sources → a → input"),
        ("sorces: {}", "sorces"),
    ],
)
def test_damage_is_named(here, text, what):
    (here / "data").mkdir()
    catalog.CATALOG.write_text(text)
    with pytest.raises(InputError, match=what):
        catalog.load()


def test_many_writers_lose_nothing(here):
    def add(number: int) -> None:
        with catalog.edit() as items:
            items.add_source(f"x-{number:08d}", f"data/raw/x-{number:08d}/source.png", "x")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))
    assert len(catalog.load().sources) == 40


class TestItems:
    """Anna walks and waves; her photo is also a subject, and the true answer of her walk."""

    @pytest.fixture
    def items(self, here):
        with catalog.edit() as items:
            anna, walk = _two_sources(items)
            wave = items.add_source("wave-33333333", "data/raw/wave-33333333/source", "wave")
            subject = items.add_subject(anna)
            items.add_render(subject, walk, truth=walk)
            items.add_render(subject, wave, truth=anna)
        return items

    def test_found_by_key_or_kind_and_key(self, items):
        assert items.find("walk-22222222") == ("sources", "walk-22222222")
        assert items.find("subject/anna-11111111") == ("subjects", "anna-11111111")
        assert items.find("sources/anna-11111111") == ("sources", "anna-11111111")

    @pytest.mark.parametrize("name", ["nobody", "render/walk-22222222", "", "../x", "a/b/c"])
    def test_a_stranger_is_refused(self, items, name):
        with pytest.raises(InputError, match="there is no item"):
            items.find(name)

    def test_a_name_of_two_items_is_refused(self, items):
        with pytest.raises(InputError, match="source/anna-11111111 or subject/anna-11111111"):
            items.find("anna-11111111")

    def test_users(self, items):
        first, second = items.renders
        assert items.users("sources", "walk-22222222") == [
            ("renders", first),
            ("motions", items.renders[first].motion),
        ]
        assert items.users("renders", first) == []
        assert ("subjects", "anna-11111111") in items.users("sources", "anna-11111111")
        assert ("renders", second) in items.users("sources", "anna-11111111")

    def test_removing_takes_what_is_made_of_it(self, items):
        first, second = items.renders
        gone = items.remove("sources", "walk-22222222")
        assert ("renders", first) in gone
        assert set(items.renders) == {second}
        assert set(items.motions) == {items.renders[second].motion}
        items.remove("renders", second)
        assert (items.renders, items.motions) == ({}, {})
        assert set(items.sources) == {"anna-11111111", "wave-33333333"}
        assert set(items.subjects) == {"anna-11111111"}

    def test_removing_a_subject_leaves_another_one_s_motion(self, items):
        with catalog.edit() as items:
            other = items.add_subject("anna-11111111", finetune_unet={"steps": 0})
            kept = items.add_render(other, "walk-22222222")
        gone = items.remove("subjects", "anna-11111111")
        assert set(items.renders) == {kept}
        assert set(items.motions) == {items.renders[kept].motion}
        assert ("motions", items.renders[kept].motion) not in gone

    def test_a_training_makes_a_base_that_subjects_can_start_from(self, items):
        with catalog.edit() as items:
            plain = items.add_training("ubc")
            short = items.add_training("ubc", finetune_base={"steps": 3})
            second = items.add_training("dance", plain)
            subject = items.add_subject("anna-11111111", short)
        assert (plain, second) == ("ubc", "dance--ubc")
        assert re.fullmatch(r"ubc-[0-9a-f]{8}", short)
        assert set(items.encodings) == {"ubc", "dance--ubc"}
        assert items.bases[short].trained == f"data/trained/{short}"
        assert items.bases[short].base == {"source": f"data/trained/{short}"}
        assert items.users("trainings", short) == [("bases", short)]
        assert subject == f"anna-11111111--{short}"
        gone = items.remove("encodings", "ubc")
        assert len(gone) == len(set(gone))
        assert (items.encodings, items.trainings, set(items.bases)) == ({}, {}, {"default"})
        assert subject not in items.subjects
        assert set(items.subjects) == {"anna-11111111"}

    def test_a_training_does_not_replace_another_base(self, items):
        with pytest.raises(InputError, match="another base 'default'"):
            items.add_training("default")
        with pytest.raises(InputError, match="no 'nobody' among the bases"):
            items.add_training("ubc", "nobody")

    def test_removing_the_base_takes_all(self, items):
        items.remove("bases", "default")
        assert (items.bases, items.subjects, items.renders) == ({}, {}, {})
        assert len(items.sources) == 3
